/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Strips of rows, a layer's modules at a time. */
#include "engine/pipeline/strips.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine/pipeline/quantize.h"

#define MEMORY (160ull << 20) /* of all strips together, however many threads there are */
#define NEAR (256u << 10)     /* bytes of weights in f32 that stay in a processor's own cache from conversion to code */

/* What one thread works with. */
struct strip {
	struct strip *next; /* that is free */
	float *weight;
	uint8_t *codes;
	float *scales;
	int8_t *zeros;
};

struct strips {
	struct cwe_run *run;
	struct cwe_writer *writer;
	const struct cwe_run_module **module; /* [count] of the layer at hand */
	size_t *first;                        /* [count + 1] number of each one's first strip */
	size_t *left;                         /* [count] strips that are not written yet; under the lock */
	size_t count;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t given; /* a strip back */
	struct strip *strip;  /* [n] */
	size_t n;
	struct strip *free;
	int code;
	struct cwb_err err;
};

static uint64_t rows_of(const struct cwe_run_module *m)
{
	return m->grid.granularity == CWP_PER_BLOCK && m->grid.block_rows > CWE_ROW_TILE ? m->grid.block_rows : CWE_ROW_TILE;
}

/* Rows of a strip that are read and quantized at a time; those that share scales are together. */
static uint64_t part_of(const struct cwe_run_module *m)
{
	uint64_t part = NEAR / sizeof(float) / m->cols;
	return m->grid.granularity == CWP_PER_BLOCK ? rows_of(m) : part < 1 ? 1 : part < rows_of(m) ? part : rows_of(m);
}

/* Whether no block lies in two strips. */
static int fits(const struct cwe_run_module *m)
{
	return rows_of(m) % CWE_ROW_TILE == 0 && (m->grid.granularity != CWP_PER_BLOCK || rows_of(m) % m->grid.block_rows == 0);
}

int cwe_run_by_strips(const struct cwe_run *run, int protecting)
{
	struct cwe_writer_options options = cwe_run_writer_options(run, protecting);
	if ((protecting && run->job->carrier != CWJ_CARRIER_NONE) || run->quantizer_needs != 0) {
		return 0;
	}
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		if (m->quantized && (!cwe_writer_takes_rows(&options, &m->grid) || !fits(m))) {
			return 0;
		}
	}
	return 1;
}

/* Codes, weights in f32 and scales of the largest strip. */
struct most {
	uint64_t codes, weights, scales;
};

static struct most largest(const struct cwe_run *run)
{
	struct most most = {1, 1, 1};
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		if (m->quantized) {
			uint64_t codes = rows_of(m) * m->cols, weights = part_of(m) * m->cols;
			uint64_t scales = rows_of(m) * cwe_grid_scales(&m->grid, m->cols);
			most.codes = codes > most.codes ? codes : most.codes;
			most.weights = weights > most.weights ? weights : most.weights;
			most.scales = scales > most.scales ? scales : most.scales;
		}
	}
	return most;
}

/* Packed codes and scales in the file's type beside. */
static uint64_t strip_bytes(const struct cwe_run *run)
{
	struct most most = largest(run);
	return most.weights * sizeof(float) + most.codes * 2 + most.scales * (2 * sizeof(float) + 2);
}

/* One a thread, as far as memory allows. */
static size_t strips_of(const struct cwe_run *run)
{
	uint64_t most = MEMORY / strip_bytes(run), threads = cwe_pool_threads(run->p->host->pool);
	return (size_t)(most < 1 ? 1 : most < threads ? most : threads);
}

uint64_t cwe_run_strips_memory(const struct cwe_run *run)
{
	return strips_of(run) * strip_bytes(run);
}

/* NULL where another one failed. */
static struct strip *take(struct strips *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->code == 0 && s->free == NULL) {
		pthread_cond_wait(&s->given, &s->lock);
	}
	struct strip *mine = s->code == 0 ? s->free : NULL;
	if (mine != NULL) {
		s->free = mine->next;
	}
	pthread_mutex_unlock(&s->lock);
	return mine;
}

/* A strip of the module i is written, or not: the first error stays. */
static void give_back(struct strips *s, struct strip *mine, size_t i, int code, const struct cwb_err *err)
{
	pthread_mutex_lock(&s->lock);
	if (code == 0 && --s->left[i] == 0) {
		cwe_writer_rows_whole(s->writer, s->module[i]->name);
	}
	mine->next = s->free;
	s->free = mine;
	if (code != 0 && s->code == 0) {
		s->code = code;
		s->err = *err;
	}
	pthread_cond_broadcast(&s->given);
	pthread_mutex_unlock(&s->lock);
}

/* Rows [row, row + rows) of a module, the first of them at `at` of the strip. */
static int do_part(struct strips *s, struct strip *mine, const struct cwe_run_module *m, uint64_t row, uint64_t rows, uint64_t at,
	struct cwb_err *err)
{
	struct cwe_run *run = s->run;
	uint64_t scale = at * cwe_grid_scales(&m->grid, m->cols);
	int r = cwe_run_module_read(run, m, row, rows, mine->weight, err);
	if (r != 0) {
		return r;
	}
	int code = cwe_run_quantize_rows(run, m, row, rows, mine->weight, NULL, 0, mine->codes + at * m->cols, mine->scales + scale,
		mine->zeros + scale);
	r = code == CWP_ENUMBER ? cwe_quantizing_bad_weight(m, row, rows, mine->weight, err) : 0;
	return r != 0 || code == 0 ? r : cwe_host_error(run->p->host, run->job->quantize.plugin, m->name, code, err);
}

static int do_strip(struct strips *s, struct strip *mine, const struct cwe_run_module *m, uint64_t row, struct cwb_err *err)
{
	uint64_t rows = m->rows - row < rows_of(m) ? m->rows - row : rows_of(m), part = part_of(m), n;
	int r = 0;
	for (uint64_t at = 0; at < rows && r == 0; at += n) {
		n = rows - at < part ? rows - at : part;
		r = do_part(s, mine, m, row + at, n, at, err);
	}
	return r != 0 ? r
		: cwe_writer_rows(s->writer, m->name, row, rows, mine->codes, mine->scales, m->grid.symmetric ? NULL : mine->zeros, err);
}

static void take_strip(void *arg, size_t number)
{
	struct strips *s = arg;
	struct cwb_err err = {0};
	size_t i = 0;
	struct strip *mine = take(s);
	if (mine == NULL) {
		return;
	}
	while (s->first[i + 1] <= number) {
		i++;
	}
	int r = do_strip(s, mine, s->module[i], (number - s->first[i]) * rows_of(s->module[i]), &err);
	give_back(s, mine, i, r, &err);
}

/* All modules of a layer together, so that threads wait for each other once. */
static int do_layer(struct strips *s, uint32_t layer, struct cwb_err *err)
{
	struct cwe_run *run = s->run;
	s->count = 0;
	s->first[0] = 0;
	for (size_t i = run->layer_at[layer]; i < run->layer_at[layer + 1]; i++) {
		struct cwe_run_module *m = &run->module[i];
		if (m->kept) {
			continue; /* copied with the rest */
		}
		m->protected_weights = 0;
		if (m->quantized && !cwe_writer_has(s->writer, m->name)) {
			s->module[s->count] = m;
			s->left[s->count] = (size_t)((m->rows + rows_of(m) - 1) / rows_of(m));
			s->first[s->count + 1] = s->first[s->count] + s->left[s->count];
			s->count++;
		}
	}
	cwe_pool_run(run->p->host->pool, s->first[s->count], take_strip, s);
	int r = s->code;
	if (r != 0 && err != NULL) {
		*err = s->err;
	}
	for (size_t i = 0; r == 0 && i < s->count; i++) {
		r = cwe_writer_rows_end(s->writer, s->module[i]->name, err);
	}
	return r;
}

static int allocate(struct strips *s, struct cwb_err *err)
{
	struct most most = largest(s->run);
	int there = 1;
	s->n = strips_of(s->run);
	s->module = calloc(s->run->modules + 1, sizeof(void *));
	s->first = calloc(s->run->modules + 2, sizeof *s->first);
	s->left = calloc(s->run->modules + 1, sizeof *s->left);
	s->strip = calloc(s->n, sizeof *s->strip);
	for (size_t i = 0; s->strip != NULL && i < s->n; i++) {
		struct strip *one = &s->strip[i];
		one->weight = malloc(most.weights * sizeof *one->weight);
		one->codes = malloc(most.codes);
		one->scales = malloc(most.scales * sizeof *one->scales);
		one->zeros = calloc(most.scales, 1);
		one->next = s->free;
		s->free = one;
		there = there && one->weight != NULL && one->codes != NULL && one->scales != NULL && one->zeros != NULL;
	}
	return s->module != NULL && s->first != NULL && s->left != NULL && s->strip != NULL && there ? 0
		: cwb_err_set(err, -ENOMEM, "no memory for quantizing");
}

static void clear(struct strips *s)
{
	for (size_t i = 0; s->strip != NULL && i < s->n; i++) {
		free(s->strip[i].weight);
		free(s->strip[i].codes);
		free(s->strip[i].scales);
		free(s->strip[i].zeros);
	}
	free(s->strip);
	free(s->module);
	free(s->first);
	free(s->left);
	pthread_cond_destroy(&s->given);
	pthread_mutex_destroy(&s->lock);
}

int cwe_run_strips(struct cwe_run *run, struct cwe_writer *writer, struct cwb_err *err)
{
	struct strips s = {.run = run, .writer = writer};
	pthread_mutex_init(&s.lock, NULL);
	pthread_cond_init(&s.given, NULL);
	int r = allocate(&s, err);
	for (uint32_t layer = 0; r == 0 && layer < run->model.arch.layers; layer++) {
		r = do_layer(&s, layer, err);
		cwe_run_progress(run, CWE_STAGE_QUANTIZE, run->layer_at[layer + 1], run->modules, "modules");
		r = r == 0 ? cwe_run_cancelled(run, err) : r;
	}
	clear(&s);
	return r;
}
