/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Operations on rows and columns of a backend against the CPU's: norms, rotary embedding, statistics of inputs, cross entropy. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cwp/scorer.h>

#include "tests/cuda/pair.h"

static const uint64_t matrices[][2] = {{1, 1}, {3, 7}, {5, 64}, {17, 576}, {33, 577}, {130, 48}, {9, 1536}, {70, 128}, {21, 320}, {0, 8},
	{2048, 1536}, {2000, 3584}, {64, 9216}, {8, 49152}};

static size_t count_matrices(void)
{
	return sizeof(matrices) / sizeof(*matrices) - (pair.sizes == PAIR_LARGE ? 0 : 4);
}

struct norm {
	uint64_t rows, cols;
	float offset;
	int accumulate, in_place, dw;
	struct cwp_sequences samples;
};

static int call_norm(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct norm *n = arg;
	return ops->rmsnorm(b, p[0], p[1], n->offset, 1e-5F, n->rows, n->cols, p[2], p[3]);
}

static int call_norm_backward(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct norm *n = arg;
	return ops->rmsnorm_backward(b, n->in_place ? p[4] : p[3], p[0], p[1], n->offset, p[2], n->rows, n->cols, n->accumulate, p[4],
		n->dw ? &n->samples : NULL, n->dw ? p[5] : NULL);
}

static void norms_of(struct norm *n, size_t shift)
{
	uint64_t seed = n->rows + n->cols;
	size_t all = n->rows * n->cols;
	float *x = pair_normal(&seed, all, 2.0F), *w = pair_normal(&seed, n->cols, 1.0F), *dy = pair_normal(&seed, all, 1.0F);
	float *y = test_filled(all, 0.0F), *rstd = test_filled(n->rows, 0.0F), *dx = pair_normal(&seed, all, 1.0F);
	const uint64_t start[] = {0, n->rows / 3, n->rows / 3, n->rows - n->rows / 4, n->rows};
	n->samples = (struct cwp_sequences){4, start};
	const struct pair_array f[] = {{.n = all, .data = x, .shift = shift}, {.n = n->cols, .data = w, .shift = shift},
		{.role = PAIR_OUT, .n = all, .bound = 2e-6, .shift = shift}, {.role = PAIR_OUT, .n = n->rows, .bound = 2e-6, .shift = shift}};
	n->offset = 0.0F;
	pair_check("rmsnorm", f, 4, call_norm, n);
	n->offset = 1.0F;
	pair_check("rmsnorm 1 + w", f, 4, call_norm, n);
	assert_int_equal(cpu_backend.rmsnorm(pair.reference, x, w, 1.0F, 1e-5F, n->rows, n->cols, y, rstd), 0);
	for (int v = 0; v < 6; v++) {
		n->in_place = v >= 4; /* dx is dy */
		n->accumulate = v < 4 && v & 1;
		n->dw = v < 4 ? v >> 1 : v & 1;
		const struct pair_array g[] = {f[0], f[1], {.n = n->rows, .data = rstd, .shift = shift}, {.n = all, .data = dy, .shift = shift},
			{.role = n->accumulate || n->in_place ? PAIR_BOTH : PAIR_OUT, .n = all, .data = dx, .bound = 5e-6, .shift = shift, .unit = 1.0},
			{.role = PAIR_OUT, .n = n->dw ? 4 * n->cols : 0, .bound = 1e-5, .shift = shift, .unit = 1.0}};
		pair_check(n->in_place ? "rmsnorm_backward in place" : "rmsnorm_backward", g, 6, call_norm_backward, n);
	}
	float *memory[] = {x, w, dy, y, rstd, dx};
	for (size_t i = 0; i < sizeof(memory) / sizeof(*memory); i++) {
		free(memory[i]);
	}
}

static void test_norms(void **state)
{
	(void)state;
	for (size_t i = 0; i < count_matrices(); i++) {
		struct norm n = {.rows = matrices[i][0], .cols = matrices[i][1]};
		norms_of(&n, i % 4);
	}
}

struct rope {
	uint64_t rows, ld;
	uint32_t heads, head_dim, rotary;
	int inverse;
};

static int call_rope(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct rope *r = arg;
	return ops->rope(b, p[0], r->rows, r->ld, r->heads, r->head_dim, r->rotary, p[1], p[2], p[3], r->inverse);
}

static void test_rope(void **state)
{
	(void)state;
	static const struct rope list[] = {{1, 64, 1, 64, 64, 0}, {7, 200, 3, 64, 64, 1}, {40, 961, 10, 96, 96, 0}, {513, 640, 5, 128, 32, 1},
		{33, 80, 1, 80, 80, 0}, {5, 256, 1, 256, 2, 0}, {9, 66, 11, 6, 6, 1}, {0, 8, 1, 8, 8, 0}, {3, 8, 1, 8, 0, 0}, {2048, 3584, 28, 128, 128, 0}};
	enum { POSITIONS = 700 };
	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
		uint64_t seed = i;
		const struct rope *r = &list[i];
		size_t n = r->rows * r->ld, table = POSITIONS * (size_t)(r->rotary / 2);
		float *x = pair_normal(&seed, n, 1.0F), *cosine = test_filled(table, 0.0F), *sine = test_filled(table, 0.0F);
		uint32_t *position = malloc(r->rows * sizeof(*position) + 4);
		assert_non_null(position);
		for (size_t k = 0; k < table; k++) {
			float angle = (float)k * 0.37F;
			cosine[k] = cosf(angle);
			sine[k] = sinf(angle);
		}
		for (uint64_t t = 0; t < r->rows; t++) {
			position[t] = (uint32_t)(test_random(&seed) % POSITIONS);
		}
		const struct pair_array a[] = {{.role = PAIR_BOTH, .n = n, .data = x, .bound = 1e-6, .shift = i % 4},
			{.n = table, .data = cosine, .shift = i % 3}, {.n = table, .data = sine, .shift = i % 3},
			{.kind = PAIR_U32, .n = r->rows, .data = position, .shift = 1}};
		char what[64];
		snprintf(what, sizeof(what), "rope %zu", i);
		pair_check(what, a, 4, call_rope, r);
		free(x);
		free(cosine);
		free(sine);
		free(position);
	}
}

struct inputs {
	uint64_t rows, cols, ld;
	int wanted;
};

static int call_stats(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct inputs *s = arg;
	return ops->act_stats(b, p[0], s->rows, s->cols, s->ld, s->wanted & 1 ? p[1] : NULL, s->wanted & 2 ? p[2] : NULL,
		s->wanted & 4 ? p[3] : NULL);
}

static int call_abs(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct inputs *s = arg;
	return ops->act_abs(b, p[0], s->rows, s->cols, s->ld, p[1]);
}

static int call_histogram(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct inputs *s = arg;
	return ops->act_histogram(b, p[0], s->rows, s->cols, s->ld, p[1]);
}

static void inputs_of(struct inputs *s, size_t shift)
{
	uint64_t seed = s->rows * 3 + s->cols;
	size_t n = s->rows * s->ld;
	float *x = pair_normal(&seed, n, 1.0F), *absmax = test_filled(s->cols, 0.5F);
	double *sums = calloc(s->cols + 1, sizeof(*sums));
	uint64_t *count = calloc(CWP_HISTOGRAM_BINS, sizeof(*count));
	assert_true(sums && count);
	for (uint64_t c = 0; c < s->cols; c++) {
		sums[c] = (double)c;
	}
	count[3] = (uint64_t)1 << 40;
	for (size_t i = 0; i < n; i += 11) {
		x[i] *= i % 2 ? 1e-9F : 1e9F; /* both ends of the histogram */
	}
	double unit = 1e3 * (double)(s->rows + 1);
	const struct pair_array a[] = {{.n = n, .data = x, .shift = shift},
		{.kind = PAIR_F64, .role = PAIR_BOTH, .n = s->cols, .data = sums, .bound = 1e-10, .shift = shift, .unit = unit},
		{.kind = PAIR_F64, .role = PAIR_BOTH, .n = s->cols, .data = sums, .bound = 1e-10, .shift = shift, .unit = unit},
		{.role = PAIR_BOTH, .n = s->cols, .data = absmax, .shift = shift}};
	for (s->wanted = 0; s->wanted < 8; s->wanted++) {
		pair_check("act_stats", a, 4, call_stats, s);
	}
	pair_check("act_abs", a, 2, call_abs, s);
	if (n > 20) {
		x[3] = NAN;
		x[5] = -INFINITY;
		x[7] = -0.0F;
	}
	const struct pair_array h[] = {a[0], {.kind = PAIR_U64, .role = PAIR_BOTH, .n = CWP_HISTOGRAM_BINS, .data = count}};
	pair_check("act_histogram", h, 2, call_histogram, s);
	free(x);
	free(absmax);
	free(sums);
	free(count);
}

static void test_inputs(void **state)
{
	(void)state;
	for (size_t i = 0; i < count_matrices(); i++) {
		struct inputs s = {.rows = matrices[i][0], .cols = matrices[i][1], .ld = matrices[i][1] + (i % 2 ? 5 : 0)};
		inputs_of(&s, i % 4);
	}
}

enum { MOST_SLICES = 4 };

struct xent {
	uint64_t rows, ld;
	uint64_t n[MOST_SLICES]; /* columns of each slice; slices lie one after another in memory */
	size_t slices;
};

static uint64_t vocabulary(const struct xent *x)
{
	uint64_t n = 0;
	for (size_t i = 0; i < x->slices; i++) {
		n += x->n[i];
	}
	return n;
}

/* p: logits, targets, max, sum, target's logit, best, best token. */
static int call_xent(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct xent *x = arg;
	uint64_t first = 0;
	int rc = ops->xent_begin(b, x->rows, p[2], p[3], p[4], p[5], p[6]);
	for (size_t i = 0; !rc && i < x->slices; first += x->n[i++]) {
		rc = ops->xent_slice(b, (const float *)p[0] + i * x->rows * x->ld, x->rows, x->ld, x->n[i], (uint32_t)first, p[1], p[2], p[3], p[4],
			p[5], p[6]);
	}
	return rc;
}

/* p: logits, targets, weights, logarithms of the sums. */
static int call_xent_backward(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct xent *x = arg;
	uint64_t first = 0;
	int rc = 0;
	for (size_t i = 0; !rc && i < x->slices; first += x->n[i++]) {
		rc = ops->xent_backward(b, (float *)p[0] + i * x->rows * x->ld, x->rows, x->ld, x->n[i], (uint32_t)first, p[1], p[2], p[3]);
	}
	return rc;
}

static void special(float *logits, const struct xent *x)
{
	if (x->rows < 6 || x->n[0] < 6) {
		return;
	}
	float *slice = logits + (x->slices - 1) * x->rows * x->ld;
	logits[2] = logits[4] = slice[1] = 20.0F;              /* row 0: equal bests, in other slices too: the first counts */
	logits[x->ld + 1] = NAN;                               /* row 1 */
	for (uint64_t c = 0; c < x->n[0]; c++) {
		logits[2 * x->ld + c] = -INFINITY;                 /* row 2: a slice without any */
	}
	logits[3 * x->ld + 3] = 1e4F;                          /* row 3: far above the rest */
	slice[4 * x->ld] = INFINITY;                           /* row 4 */
}

static void xent_of(const struct xent *x, size_t shift)
{
	uint64_t seed = x->rows + x->ld, n = x->slices * x->rows * x->ld, rows = x->rows;
	float *logits = pair_normal(&seed, n, 4.0F), *weight = pair_normal(&seed, rows, 1.0F), *f32[3];
	uint32_t *target = malloc(rows * sizeof(*target) + 4), *token = malloc(rows * sizeof(*token) + 4);
	double *sum = calloc(rows + 1, sizeof(*sum)), *lse = calloc(rows + 1, sizeof(*lse));
	assert_true(target && token && sum && lse);
	for (int i = 0; i < 3; i++) {
		f32[i] = test_filled(rows, 0.0F);
	}
	for (uint64_t t = 0; t < rows; t++) {
		target[t] = (uint32_t)(test_random(&seed) % vocabulary(x));
		weight[t] = t % 5 == 4 ? 0.0F : weight[t];
	}
	special(logits, x);
	const struct pair_array a[] = {{.n = n, .data = logits, .shift = shift}, {.kind = PAIR_U32, .n = rows, .data = target, .shift = 1},
		{.role = PAIR_OUT, .n = rows, .shift = shift}, {.kind = PAIR_F64, .role = PAIR_OUT, .n = rows, .bound = 1e-6},
		{.role = PAIR_OUT, .n = rows}, {.role = PAIR_OUT, .n = rows, .shift = shift}, {.kind = PAIR_U32, .role = PAIR_OUT, .n = rows}};
	char what[64];
	snprintf(what, sizeof(what), "xent_slice %llu rows, %zu slices, ld %llu", (unsigned long long)rows, x->slices, (unsigned long long)x->ld);
	pair_check(what, a, 7, call_xent, x);
	void *p[] = {logits, target, f32[0], sum, f32[1], f32[2], token};
	assert_int_equal(call_xent(&cpu_backend, pair.reference, p, x), 0);
	for (uint64_t t = 0; t < rows; t++) {
		lse[t] = (double)f32[0][t] + log(sum[t]);
	}
	const struct pair_array g[] = {{.role = PAIR_BOTH, .n = n, .data = logits, .bound = 1e-6, .shift = shift}, a[1],
		{.n = rows, .data = weight, .shift = shift}, {.kind = PAIR_F64, .n = rows, .data = lse}};
	pair_check("xent_backward", g, 4, call_xent_backward, x);
	void *memory[] = {logits, weight, target, token, sum, lse, f32[0], f32[1], f32[2]};
	for (size_t i = 0; i < sizeof(memory) / sizeof(*memory); i++) {
		free(memory[i]);
	}
}

static void test_xent(void **state)
{
	(void)state;
	static const struct xent list[] = {{1, 1, {1}, 1}, {8, 50, {50}, 1}, {9, 37, {37, 20, 8}, 3}, {33, 577, {577, 577, 576, 1}, 4}, {0, 4, {4}, 1},
		{6, 1000, {999, 1000}, 2}, {20, 8192, {8192, 5000}, 2}, {512, 49152, {49152}, 1}, {256, 65536, {65536, 65536, 20992}, 3}};
	for (size_t i = 0; i < sizeof(list) / sizeof(*list) - (pair.sizes == PAIR_LARGE ? 0 : pair.sizes == PAIR_TINY ? 3 : 2); i++) {
		xent_of(&list[i], i % 4);
	}
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_norms),
		cmocka_unit_test(test_rope),
		cmocka_unit_test(test_inputs),
		cmocka_unit_test(test_xent),
	};
	return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}

int main(void)
{
	return pair_main(group, 0);
}
