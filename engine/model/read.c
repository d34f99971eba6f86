/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reading a model's numbers: to the host, or to the device in steps of a few megabytes. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/model/model_p.h"
#include "engine/model/ops.h"
#include "engine/model/reading.h"

/* Bytes that one thread reads at a time: they stay in the cache, and most matrices are several. */
#define STEP (512u << 10)
/* Rows at a time are a multiple of this, so that a block of rows that share scales is decoded once. */
#define TOGETHER 128u

/* Whether no number is NaN or infinite: those have all bits of the exponent set. */
static int all_finite(const float *x, uint64_t n)
{
	uint32_t bad = 0;
	for (uint64_t i = 0; i < n; i++) {
		uint32_t u;
		memcpy(&u, &x[i], sizeof u);
		bad |= (u & 0x7f800000u) == 0x7f800000u;
	}
	return !bad;
}

static uint64_t row_numbers(const struct cwe_tensor *t)
{
	return t->rank > 1 ? t->shape[1] : 1;
}

static int check_finite(const struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, const float *x, uint64_t n,
	struct cwb_err *err)
{
	if (all_finite(x, n)) {
		return 0;
	}
	for (uint64_t i = 0; i < n; i++) {
		if (!isfinite(x[i])) {
			return cwb_err_set(err, CWP_ENUMBER, "%s: tensor %s holds %f at element %" PRIu64
				"; repair the checkpoint", m->source->path, t->name, (double)x[i], row * row_numbers(t) + i);
		}
	}
	return 0;
}

/* Whether no number of 16 bits has all bits of the exponent set, which are these. */
static int all_finite_16(const uint16_t *x, uint64_t n, uint16_t exponent)
{
	uint16_t bad = 0;
	for (uint64_t i = 0; i < n; i++) {
		bad |= (uint16_t)((x[i] & exponent) == exponent);
	}
	return !bad;
}

/* The same of numbers as they are stored; where one is bad it is looked for as f32. */
static int check_finite_raw(const struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, const void *raw, uint64_t n,
	struct cwb_err *err)
{
	if (t->dtype == CWP_F32) {
		return check_finite(m, t, row, raw, n, err);
	}
	if (all_finite_16(raw, n, t->dtype == CWP_BF16 ? 0x7f80 : 0x7c00)) {
		return 0;
	}
	float *x = malloc(n * sizeof *x + 1);
	if (x == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory to read %s", t->name);
	}
	cwe_f32_from_dtype(x, raw, t->dtype, n);
	int r = check_finite(m, t, row, x, n, err);
	free(x);
	return r;
}

/* load() may not explain a failure. */
static int load(struct cwe_model *m, float *d, const void *src, uint32_t dtype, uint64_t n, struct cwb_err *err)
{
	int r = m->device->ops->load(m->device->b, d, src, dtype, n);
	return r == 0 ? 0 : cwb_err_set(err, r, "%s: weights cannot be brought to the device (code %d)",
		m->device->plugin->descriptor->id, r);
}

/* Rows at a time of a width in bytes. */
static uint64_t step_rows(const struct cwe_tensor *t, uint64_t rows, uint64_t bytes)
{
	uint64_t step = bytes > 0 && bytes < STEP ? STEP / bytes : 1;
	step = (step + TOGETHER - 1) / TOGETHER * TOGETHER;
	return t->whole || step > rows ? rows : step;
}

static int read_host(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *x, struct cwb_err *err)
{
	int r = cwe_weights_read_f32(m->weights, t, row, rows, x, err);
	return r == 0 ? check_finite(m, t, row, x, rows * row_numbers(t), err) : r;
}

/* Rows in steps, which threads read at the same time. */
struct steps {
	struct cwe_model *m;
	const struct cwe_tensor *t;
	uint64_t row, rows, step;
	float *x;
	struct cwb_err *err; /* [steps] */
};

static void read_step(void *arg, size_t i)
{
	const struct steps *s = arg;
	uint64_t at = i * s->step, n = s->rows - at < s->step ? s->rows - at : s->step;
	int r = read_host(s->m, s->t, s->row + at, n, s->x + at * row_numbers(s->t), &s->err[i]);
	s->err[i].code = r;
}

int cwe_model_read_host(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *x, struct cwb_err *err)
{
	struct steps s = {.m = m, .t = t, .row = row, .rows = rows, .x = x, .step = step_rows(t, rows, row_numbers(t) * sizeof *x)};
	uint64_t n = s.step < rows ? (rows + s.step - 1) / s.step : 1;
	if (n == 1 || (s.err = calloc(n, sizeof *s.err)) == NULL) {
		return read_host(m, t, row, rows, x, err);
	}
	cwe_pool_run(m->device->host->pool, n, read_step, &s);
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		r = s.err[i].code == 0 ? 0 : cwb_err_set(err, s.err[i].code, "%s", s.err[i].message);
	}
	free(s.err);
	return r;
}

/* Where rows go to: f32, through load(), or as they are stored, through upload(). */
static int bring(struct cwe_model *m, const struct cwe_tensor *t, void *d, int stored, uint64_t at, const void *raw, uint64_t n,
	struct cwb_err *err)
{
	uint64_t width = t->dtype == CWP_F32 ? sizeof(float) : sizeof(uint16_t);
	return stored ? CWE_OP(m->device, upload, (char *)d + at * width, raw, n * width)
		      : load(m, (float *)d + at, raw, t->dtype, n, err);
}

struct brought {
	struct cwe_model *m;
	const struct cwe_tensor *t;
	uint64_t row;
	void *d;
	int stored;
};

/* Any thread. */
static int fill(void *arg, uint64_t row, uint64_t rows, void *raw, struct cwb_err *err)
{
	const struct brought *b = arg;
	int r = cwe_weights_read_raw(b->m->weights, b->t, row, rows, raw, err);
	return r == 0 ? check_finite_raw(b->m, b->t, row, raw, rows * row_numbers(b->t), err) : r;
}

static int use(void *arg, uint64_t row, uint64_t rows, const void *raw, struct cwb_err *err)
{
	const struct brought *b = arg;
	uint64_t cols = row_numbers(b->t);
	return bring(b->m, b->t, b->d, b->stored, (row - b->row) * cols, raw, rows * cols, err);
}

/* Rows as they are stored, some at a time: several threads read and check, this one sends them on. */
static int read_raw(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, void *d, int stored,
	struct cwb_err *err)
{
	uint64_t bytes = row_numbers(t) * (t->dtype == CWP_F32 ? sizeof(float) : sizeof(uint16_t));
	uint64_t step = step_rows(t, rows, bytes);
	struct brought b = {m, t, row, d, stored};
	struct cwe_reading r = {.first = row, .rows = rows, .step = step, .row_bytes = bytes, .fill = fill, .use = use, .arg = &b,
		.threads = m->device->host->table.threads};
	return cwe_reading_run(&r, err);
}

/* The two summands of a weight, some rows at a time, through load(). */
static int load_split(struct cwe_model *m, const struct cwe_tensor *t, float *d_quantized, float *d_exact, struct cwb_err *err)
{
	uint64_t cols = row_numbers(t), step = step_rows(t, t->shape[0], cols * sizeof(float));
	float *x = malloc(2 * step * cols * sizeof *x + 1);
	int r = x != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory to read %s", t->name);
	for (uint64_t row = 0; r == 0 && row < t->shape[0]; row += step) {
		uint64_t n = t->shape[0] - row < step ? t->shape[0] - row : step;
		float *exact = x + n * cols;
		if ((r = cwe_weights_read_split(m->weights, t, row, n, x, exact, err)) == 0 &&
			(r = check_finite(m, t, row, x, n * cols, err)) == 0 && (r = check_finite(m, t, row, exact, n * cols, err)) == 0 &&
			(r = load(m, d_quantized + row * cols, x, CWP_F32, n * cols, err)) == 0) {
			r = load(m, d_exact + row * cols, exact, CWP_F32, n * cols, err);
		}
	}
	free(x);
	return r;
}

int cwe_model_load_rows(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *d, struct cwb_err *err)
{
	return cwe_device_remote(m->device) ? read_raw(m, t, row, rows, d, 0, err) : cwe_model_read_host(m, t, row, rows, d, err);
}

int cwe_model_upload_rows(struct cwe_model *m, const struct cwe_tensor *t, uint64_t rows, void *d, struct cwb_err *err)
{
	return read_raw(m, t, 0, rows, d, 1, err);
}

int cwe_model_load_split(struct cwe_model *m, const struct cwe_tensor *t, float *d_quantized, float *d_exact, struct cwb_err *err)
{
	uint64_t n = t->shape[0] * t->shape[1];
	if (cwe_device_remote(m->device)) {
		return load_split(m, t, d_quantized, d_exact, err);
	}
	int r = cwe_weights_read_split(m->weights, t, 0, t->shape[0], d_quantized, d_exact, err);
	r = r == 0 ? check_finite(m, t, 0, d_quantized, n, err) : r;
	return r == 0 ? check_finite(m, t, 0, d_exact, n, err) : r;
}

int cwe_model_read_rows(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *d, struct cwb_err *err)
{
	int r = cwe_device_load_begin(m->device, err);
	if (r == 0) {
		r = cwe_model_load_rows(m, t, row, rows, d, err);
		int waited = cwe_device_load_wait(m->device, r == 0 ? err : NULL);
		r = r == 0 ? waited : r;
	}
	return r;
}

static int by_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* Tokens in the order of their ids, so that each row is read once: (id << 32 | place). */
static uint64_t *sort_tokens(const struct cwe_model *m, const uint32_t *id, uint64_t count, struct cwb_err *err)
{
	for (uint64_t i = 0; i < count; i++) {
		if (id[i] >= m->arch.vocabulary) {
			(void)cwb_err_set(err, CWP_EVALUE, "token id %" PRIu32 " is not in the model's vocabulary of %" PRIu32, id[i],
				m->arch.vocabulary);
			return NULL;
		}
	}
	uint64_t *order = count <= UINT32_MAX ? malloc(count * sizeof *order + 1) : NULL;
	if (order == NULL) {
		(void)cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " tokens", count);
		return NULL;
	}
	for (uint64_t i = 0; i < count; i++) {
		order[i] = (uint64_t)id[i] << 32 | i;
	}
	qsort(order, count, sizeof *order, by_id);
	return order;
}

/* Tokens that one thread looks up at a time. */
#define EMBED_TOKENS 256

struct embedding {
	struct cwe_model *m;
	const struct cwe_tensor *t;
	const uint64_t *order;
	uint64_t count;
	float *x;
	struct cwb_err *err; /* of each piece */
};

/* Rows of the embedding in their places, times the family's factor; ids that follow one another are read once. */
static void embed_piece(void *arg, size_t piece)
{
	const struct embedding *e = arg;
	const uint64_t *order = e->order;
	float scale = e->m->arch.embedding_scale;
	uint64_t d = e->m->arch.hidden, first = piece * EMBED_TOKENS, left = e->count - first;
	uint64_t end = first + (left < EMBED_TOKENS ? left : EMBED_TOKENS);
	int r = 0;
	for (uint64_t i = first; r == 0 && i < end; i++) {
		float *to = e->x + (order[i] & UINT32_MAX) * d;
		if (i > first && order[i] >> 32 == order[i - 1] >> 32) {
			memcpy(to, e->x + (order[i - 1] & UINT32_MAX) * d, d * sizeof *to);
			continue;
		}
		r = cwe_model_read_host(e->m, e->t, order[i] >> 32, 1, to, &e->err[piece]);
		for (uint64_t k = 0; scale != 1 && r == 0 && k < d; k++) {
			to[k] *= scale;
		}
	}
}

static int embed_host(struct cwe_model *m, const struct cwe_tensor *t, const uint64_t *order, uint64_t count, float *x,
	struct cwb_err *err)
{
	const struct cwp_host *host = &m->device->host->table;
	uint64_t pieces = (count + EMBED_TOKENS - 1) / EMBED_TOKENS;
	struct embedding e = {m, t, order, count, x, calloc(pieces + 1, sizeof *e.err)};
	if (e.err == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for embeddings");
	}
	if (pieces == 1) {
		embed_piece(&e, 0);
	} else {
		host->parallel_for(host->ctx, pieces, embed_piece, &e);
	}
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < pieces; i++) {
		r = e.err[i].code != 0 ? cwb_err_set(err, e.err[i].code, "%s", e.err[i].message) : 0;
	}
	free(e.err);
	return r;
}

int cwe_model_embed(struct cwe_model *m, const uint32_t *id, uint64_t count, float *d_x, struct cwb_err *err)
{
	char name[64];
	(void)snprintf(name, sizeof name, "%sembed_tokens.weight", m->body);
	const struct cwe_tensor *t = cwe_weights_find(m->weights, name);
	int remote = cwe_device_remote(m->device);
	uint64_t n = count * m->arch.hidden, *order = sort_tokens(m, id, count, err);
	if (order == NULL) {
		return err != NULL && err->code != 0 ? err->code : -ENOMEM;
	}
	float *x = remote ? malloc(n * sizeof *x + 1) : d_x;
	int r = x != NULL ? embed_host(m, t, order, count, x, err) : cwb_err_set(err, -ENOMEM, "no memory for embeddings");
	if (remote) {
		r = r == 0 ? CWE_OP(m->device, upload, d_x, x, n * sizeof *x) : r;
		free(x);
	}
	free(order);
	return r;
}

const struct cwe_tensor *cwe_model_head_tensor(const struct cwe_model *m)
{
	char name[64];
	(void)snprintf(name, sizeof name, "%sembed_tokens.weight", m->body);
	return cwe_weights_find(m->weights, m->arch.tied ? name : m->head);
}

int cwe_model_head_rows(struct cwe_model *m, uint64_t first, uint64_t rows, float *d_w, struct cwb_err *err)
{
	return cwe_model_read_rows(m, cwe_model_head_tensor(m), first, rows, d_w, err);
}

int cwe_model_head_read(struct cwe_model *m, uint64_t first, uint64_t rows, float *w, struct cwb_err *err)
{
	return cwe_model_read_host(m, cwe_model_head_tensor(m), first, rows, w, err);
}

int cwe_model_final_norm(struct cwe_model *m, float *d_w, struct cwb_err *err)
{
	char name[64];
	(void)snprintf(name, sizeof name, "%snorm.weight", m->body);
	return cwe_model_read_rows(m, cwe_weights_find(m->weights, name), 0, m->arch.hidden, d_w, err);
}
