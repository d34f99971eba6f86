/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reading a model's numbers to the host. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/model/model_p.h"

/* Rows at a time are a multiple of this where numbers are not read as they are stored, so that a block of rows that share scales is
 * decoded once. */
#define TOGETHER 128u

/* A number is NaN or infinite when all bits of its exponent are set: one more in their last place then sets the bit above them,
 * and in no other case. So many numbers are looked at together, each in its part of a word. */
typedef uint64_t words __attribute__((vector_size(32)));

static int all_finite(const void *x, uint64_t bytes, uint64_t exponent, uint64_t one)
{
	const char *p = x;
	uint64_t sign = (exponent + one) & ~exponent, bad, at = 0;
	words w, sums = {0};
	for (; bytes - at >= sizeof w; at += sizeof w) {
		memcpy(&w, p + at, sizeof w);
		sums |= (w & exponent) + one;
	}
	bad = sums[0] | sums[1] | sums[2] | sums[3];
	for (; at < bytes; at += sizeof bad) {
		uint64_t last = 0;
		memcpy(&last, p + at, bytes - at < sizeof last ? bytes - at : sizeof last);
		bad |= (last & exponent) + one;
	}
	return !(bad & sign);
}

static int all_finite_of(const void *x, uint64_t n, uint32_t dtype)
{
	static const uint64_t each16 = UINT64_C(0x0001000100010001), each32 = UINT64_C(0x0000000100000001);
	return dtype == CWP_F32 ? all_finite(x, n * 4, 0x7f800000 * each32, 0x800000 * each32)
		: dtype == CWP_BF16 ? all_finite(x, n * 2, 0x7f80 * each16, 0x80 * each16)
		: all_finite(x, n * 2, 0x7c00 * each16, 0x400 * each16);
}

uint64_t cwe_tensor_row(const struct cwe_tensor *t)
{
	return t->rank > 1 ? t->shape[1] : 1;
}

int cwe_model_check_finite(const struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, const void *x, uint32_t dtype,
	uint64_t n, struct cwb_err *err)
{
	if (all_finite_of(x, n, dtype)) {
		return 0;
	}
	uint64_t width = dtype == CWP_F32 ? sizeof(float) : sizeof(uint16_t);
	for (uint64_t i = 0; i < n; i++) {
		float v;
		cwe_f32_from_dtype(&v, (const char *)x + i * width, dtype, 1);
		if (!isfinite(v)) {
			return cwb_err_set(err, CWP_ENUMBER, "%s: tensor %s holds %f at element %" PRIu64
				"; repair the checkpoint", m->source->path, t->name, (double)v, row * cwe_tensor_row(t) + i);
		}
	}
	return 0;
}

uint64_t cwe_model_step_rows(const struct cwe_tensor *t, uint64_t rows, uint64_t bytes)
{
	uint64_t step = bytes > 0 && bytes < CWE_STEP ? CWE_STEP / bytes : 1;
	step = t->dtype == CWP_F32 ? (step + TOGETHER - 1) / TOGETHER * TOGETHER : step;
	return t->whole || step > rows ? rows : step;
}

static int read_host(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *x, struct cwb_err *err)
{
	int r = cwe_weights_read_f32(m->weights, t, row, rows, x, err);
	return r == 0 ? cwe_model_check_finite(m, t, row, x, CWP_F32, rows * cwe_tensor_row(t), err) : r;
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
	int r = read_host(s->m, s->t, s->row + at, n, s->x + at * cwe_tensor_row(s->t), &s->err[i]);
	s->err[i].code = r;
}

int cwe_model_read_host(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *x, struct cwb_err *err)
{
	struct steps s = {.m = m, .t = t, .row = row, .rows = rows, .x = x, .step = cwe_model_step_rows(t, rows, cwe_tensor_row(t) * sizeof *x)};
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
