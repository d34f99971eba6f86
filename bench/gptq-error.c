/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Every Linear of some layers through a quantizer in several ways, for whoever compares them: the half of bench/gptq-error and
 * of tests/interop/test_gptq.py that runs this engine.
 *
 *     gptq-error-run JOB FIRST COUNT SHARE WAY...
 *
 * JOB is a job file, of which model and calibration sets count; what is measured is the original model, all sets together.
 * Layers [FIRST, FIRST + COUNT). WAY is a list of options of the quantizer static such as "bits=4,algorithm=gptq"; with a "+"
 * in front of it the given share of each matrix is protected: the weights whose rounding, by the first way without statistics,
 * would do the most harm on its own, (Q(w) - w)^2 E[x^2].
 *
 * For each Linear, to standard output: a line of JSON {"module", "rows", "cols", "tokens", "ways": [{"group", "symmetric",
 * "seconds", "note"}]}, then binary: weight f32 [rows, cols], x x^T f32 [cols, cols], mask [rows, (cols + 7) / 8], and for each
 * way scales f32 and zero points i8 [rows, groups] and what an engine would compute with, f32 [rows, cols], before protected
 * values are rounded to the model's type. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include <cwp/quantizer.h>

#include "bench/error.h"
#include "engine/calibrate/calibrate.h"
#include "engine/format/output.h"
#include "engine/plugin/registry.h"
#include "engine/plugin/settings.h"
#include "engine/text/beside.h"
#include "engine/text/samples.h"

enum { MAX_WAYS = 16, MAX_OPTIONS = 16, TILE = 64 };

struct way {
	int masked;
	struct cwp_setting *settings;
};

struct bench {
	struct cwe_host host;
	struct cwe_pool *pool;
	struct cwe_registry *registry;
	const struct cwe_plugin *plugin;
	struct cwe_device device;
	struct cwe_model model;
	uint32_t first, last;
	double share;
	struct way way[MAX_WAYS];
	int ways;
};

/* One way of a matrix. */
struct result {
	struct cwp_grid grid;
	uint64_t scales_row;
	uint8_t *codes;
	float *scales, *exact, *value;
	int8_t *zeros;
	double seconds;
	char note[256];
};

struct task {
	const struct way *way;
	const struct cwp_quantizer *q;
	const struct cwe_module_statistics *s;
	const uint8_t *mask;
	struct result *r;
	const void *state;
	int code;
};

static void rows_tile(void *arg, size_t i)
{
	struct task *t = arg;
	uint64_t row = i * TILE, cols = t->s->cols, rows = t->s->rows - row < TILE ? t->s->rows - row : TILE;
	struct cwp_quantizer_tile tile = {.size = sizeof tile, .row = row, .rows = rows, .cols = cols, .weight = t->s->weight + row * cols,
		.mask = t->mask != NULL ? t->mask + row * ((cols + 7) / 8) : NULL, .mask_stride = (cols + 7) / 8, .state = t->state};
	struct cwp_quantizer_result result = {.size = sizeof result, .codes = t->r->codes + row * cols,
		.scales = t->r->scales + row * t->r->scales_row,
		.zeros = t->r->grid.symmetric ? NULL : t->r->zeros + row * t->r->scales_row,
		.exact = t->mask != NULL && t->state != NULL ? t->r->exact + row * cols : NULL};
	int r = t->q->quantize(t->way->settings, &t->r->grid, &tile, &result);
	if (r != 0) {
		t->code = r;
	}
}

static double now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The matrix in one way; statistics are not looked at where measured is 0. */
static int quantize(struct bench *b, const struct way *way, const char *name, const struct cwe_module_statistics *s, const uint8_t *mask,
	int measured, struct result *r, struct cwb_err *err)
{
	const struct cwp_quantizer *q = b->plugin->interface;
	uint64_t n = s->rows * s->cols;
	struct task t = {.way = way, .q = q, .s = s, .mask = mask, .r = r};
	char text[256] = "";
	void *state = NULL;
	int e = q->grid(way->settings, s->rows, s->cols, &r->grid, text, sizeof text);
	if (e != 0) {
		return cwb_err_set(err, e, "%s: %s", name, text);
	}
	r->scales_row = cwe_grid_scales(&r->grid, s->cols);
	r->codes = must(malloc(n));
	r->scales = must(malloc(s->rows * r->scales_row * sizeof(float)));
	r->zeros = must(calloc(s->rows * r->scales_row, 1));
	r->exact = must(malloc(n * sizeof(float)));
	r->value = must(malloc(n * sizeof(float)));
	memcpy(r->exact, s->weight, n * sizeof(float));
	double begin = now();
	if (measured && q->needs(way->settings) != 0) {
		struct cwp_quantizer_module m = {.size = sizeof m, .name = name, .rows = s->rows, .cols = s->cols, .tokens = s->tokens,
			.weight = s->weight, .mask = mask, .mask_stride = (s->cols + 7) / 8, .gram = s->gram};
		e = q->prepare(&b->host.table, way->settings, &r->grid, &m, &state, r->note, sizeof r->note);
	}
	t.state = state;
	if (e == 0) {
		cwe_pool_run(b->pool, (s->rows + TILE - 1) / TILE, rows_tile, &t);
		e = t.code;
	}
	r->seconds = now() - begin;
	q->release(state);
	if (e != 0) {
		return cwe_host_error(&b->host, "static", name, e, err);
	}
	cwe_dequantize(&r->grid, s->rows, s->cols, r->codes, r->scales, r->grid.symmetric ? NULL : r->zeros, r->value);
	for (uint64_t i = 0; mask != NULL && i < n; i++) {
		if (mask[i / s->cols * ((s->cols + 7) / 8) + i % s->cols / 8] >> (i % s->cols % 8) & 1) {
			r->value[i] = r->exact[i];
		}
	}
	return 0;
}

static void result_free(struct result *r)
{
	free(r->codes);
	free(r->scales);
	free(r->zeros);
	free(r->exact);
	free(r->value);
}

static uint8_t *choose(struct bench *b, const char *name, const struct cwe_module_statistics *s, struct cwb_err *err)
{
	uint64_t n = s->rows * s->cols;
	struct result plain = {0};
	uint8_t *mask = must(calloc(s->rows, (s->cols + 7) / 8));
	float *score = must(malloc(n * sizeof *score));
	if (quantize(b, &b->way[0], name, s, NULL, 0, &plain, err) != 0) {
		result_free(&plain);
		free(score);
		free(mask);
		return NULL;
	}
	for (uint64_t i = 0; i < n; i++) {
		float e = plain.value[i] - s->weight[i];
		score[i] = e * e * s->gram[i % s->cols * (s->cols + 1)];
	}
	choose_largest(score, n, s->cols, b->share, mask);
	result_free(&plain);
	free(score);
	return mask;
}

static void print(const struct bench *b, const char *name, const struct cwe_module_statistics *s, const uint8_t *mask, const struct result *r)
{
	json_t *ways = json_array();
	for (int i = 0; i < b->ways; i++) {
		(void)json_array_append_new(ways, json_pack("{s:i,s:b,s:f,s:s}", "group", (int)r[i].grid.group, "symmetric",
			(int)r[i].grid.symmetric, "seconds", r[i].seconds, "note", r[i].note));
	}
	json_t *line = json_pack("{s:s,s:I,s:I,s:I,s:o}", "module", name, "rows", (json_int_t)s->rows, "cols", (json_int_t)s->cols,
		"tokens", (json_int_t)s->tokens, "ways", ways);
	char *text = must(json_dumps(line, JSON_COMPACT));
	puts(text);
	free(text);
	json_decref(line);
	(void)fwrite(s->weight, sizeof(float), s->rows * s->cols, stdout);
	(void)fwrite(s->gram, sizeof(float), s->cols * s->cols, stdout);
	(void)fwrite(mask, 1, s->rows * ((s->cols + 7) / 8), stdout);
	for (int i = 0; i < b->ways; i++) {
		(void)fwrite(r[i].scales, sizeof(float), s->rows * r[i].scales_row, stdout);
		(void)fwrite(r[i].zeros, 1, s->rows * r[i].scales_row, stdout);
		(void)fwrite(r[i].value, sizeof(float), s->rows * s->cols, stdout);
	}
}

static int take_module(void *arg, uint32_t layer, uint32_t set, uint32_t linear, const struct cwe_module_statistics *s, struct cwb_err *err)
{
	struct bench *b = arg;
	struct result r[MAX_WAYS];
	char name[CWE_MODULE_NAME_MAX];
	(void)set;
	memset(r, 0, sizeof r);
	if (layer >= b->last) {
		return CWP_ECANCELLED; /* all is done */
	}
	if (layer < b->first || linear >= cwe_linears_scored(&b->model.arch, layer)) {
		return 0;
	}
	(void)cwe_module_name(&b->model, layer, linear, name, sizeof name);
	uint8_t *mask = choose(b, name, s, err);
	int e = mask != NULL ? 0 : err->code;
	for (int i = 0; e == 0 && i < b->ways; i++) {
		e = quantize(b, &b->way[i], name, s, b->way[i].masked ? mask : NULL, 1, &r[i], err);
	}
	if (e == 0) {
		print(b, name, s, mask, r);
	}
	for (int i = 0; i < b->ways; i++) {
		result_free(&r[i]);
	}
	free(mask);
	return e;
}

static int add_way(struct bench *b, char *text, struct cwb_err *err)
{
	struct cwj_option option[MAX_OPTIONS];
	struct way *way = &b->way[b->ways];
	size_t n = 0;
	way->masked = text[0] == '+';
	for (char *rest = NULL, *one = strtok_r(text + way->masked, ",", &rest); one != NULL; one = strtok_r(NULL, ",", &rest)) {
		char *equals = strchr(one, '=');
		if (equals == NULL || n == MAX_OPTIONS) {
			return cwb_err_set(err, CWP_EVALUE, "%s is no option", one);
		}
		*equals = '\0';
		option[n++] = (struct cwj_option){one, equals + 1, 1, 1};
	}
	b->ways++;
	return cwe_settings_make(b->plugin->descriptor, "quantize", option, n, &way->settings, err);
}

/* All samples of all sets as one set, which keeps them. */
static int read_sets(const struct cwj_job *job, struct cwe_source *source, const struct cwe_arch *arch, struct cwe_corpus *ret,
	struct cwb_err *err)
{
	struct cwe_sample_set *set = must(calloc(job->n_sets + 1, sizeof *set)), all = {0};
	struct cwe_tokenizer *tokenizer = NULL;
	int r = cwe_tokenizer_beside(source, &tokenizer, NULL);
	for (size_t i = 0; i < job->n_sets; i++) {
		r = cwe_samples_read(&job->sets[i], tokenizer, NULL, job->seed, arch->context, arch->vocabulary, &set[i], err);
		if (r != 0) {
			break;
		}
		all.sample = must(realloc(all.sample, (all.count + set[i].count + 1) * sizeof *all.sample));
		memcpy(all.sample + all.count, set[i].sample, set[i].count * sizeof *all.sample);
		all.count += set[i].count;
	}
	r = r == 0 ? cwe_corpus_new(&all, 1, 0, ret, err) : r;
	for (size_t i = 0; i < job->n_sets; i++) {
		cwe_samples_free(&set[i]);
	}
	free(all.sample);
	free(set);
	cwe_tokenizer_free(tokenizer);
	return r;
}

static int run(struct bench *b, const struct cwj_job *job, int argc, char **argv, struct cwb_err *err)
{
	struct cwe_source *source = NULL;
	struct cwe_corpus corpus = {0};
	const char *plugins = getenv("CWP_PLUGIN_DIR");
	int r = cwe_pool_new(0, &b->pool, err);
	if (r == 0) {
		cwe_host_init(&b->host, b->pool, 0);
		r = cwe_registry_new(&plugins, plugins != NULL, CWE_REGISTRY_ANY_OWNER, &b->registry, err);
	}
	r = r == 0 ? cwe_registry_find(b->registry, CWP_KIND_QUANTIZER, "static", &b->plugin, err) : r;
	for (int i = 5; r == 0 && i < argc && b->ways < MAX_WAYS; i++) {
		r = add_way(b, argv[i], err);
	}
	r = r == 0 ? cwe_source_open(job->model, 0, &source, err) : r;
	r = r == 0 ? cwe_device_open(b->registry, &b->host, &(struct cwe_device_choice){0}, &b->device, err) : r;
	r = r == 0 ? cwe_model_open(source, NULL, &b->device, &b->model, err) : r;
	r = r == 0 ? read_sets(job, source, &b->model.arch, &corpus, err) : r;
	if (r == 0) {
		struct cwe_calibration c = {.model = &b->model, .corpus = &corpus, .needs = CWP_STAT_GRAM, .boundary_memory = UINT64_MAX,
			.resume = b->model.arch.layers, .arg = b, .module = take_module};
		r = cwe_calibrate_run(&c, err);
		r = r == CWP_ECANCELLED ? 0 : r;
	}
	cwe_corpus_free(&corpus);
	cwe_source_close(source);
	cwe_device_close(&b->device);
	for (int i = 0; i < b->ways; i++) {
		cwe_settings_free(b->plugin->descriptor, b->way[i].settings);
	}
	cwe_registry_free(b->registry);
	cwe_pool_free(b->pool);
	return r;
}

int main(int argc, char **argv)
{
	struct bench b = {0};
	struct cwj_job *job = NULL;
	struct cwb_err err = {0};
	if (argc < 6) {
		fprintf(stderr, "usage: gptq-error-run JOB FIRST COUNT SHARE WAY...\n");
		return 64;
	}
	b.first = (uint32_t)strtoul(argv[2], NULL, 10);
	b.last = b.first + (uint32_t)strtoul(argv[3], NULL, 10);
	b.share = strtod(argv[4], NULL);
	int r = cwj_job_read(argv[1], &job, &err);
	r = r == 0 ? run(&b, job, argc, argv, &err) : r;
	cwj_job_free(job);
	if (r != 0) {
		fprintf(stderr, "gptq-error-run: %s\n", err.message);
	}
	return r == 0 && fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
