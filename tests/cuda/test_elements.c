/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Operations on elements of a backend against the CPU's: types, sums, gates, soft limits, rows by number, quantized inputs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cwp/quantizer.h>

#include "tests/cuda/pair.h"

struct work {
	uint64_t n, rows, cols;
	uint32_t kind; /* of type or activation */
	float cap;
	int in_place, index, factor;
	struct cwp_activation a;
};

static const uint64_t lengths[] = {0, 1, 3, 4, 31, 255, 1024, 4099, 65537, (4 << 20) + 3};

static size_t count_lengths(void)
{
	return sizeof(lengths) / sizeof(*lengths) - (pair.sizes == PAIR_LARGE ? 0 : pair.sizes == PAIR_TINY ? 2 : 1);
}

static int call_convert(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct work *w = arg;
	return ops->convert(b, p[1], p[0], w->kind, w->n);
}

static int call_narrow(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct work *w = arg;
	return ops->narrow(b, p[1], w->kind, p[0], w->n);
}

static int call_load(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct work *w = arg;
	/* The source is in host memory: what the device holds is brought back first. */
	size_t bytes = w->n * (w->kind == CWP_F32 ? 4 : 2);
	void *source = malloc(bytes + 1);
	int rc = source ? ops->download(b, source, p[0], bytes) : -1;
	rc = rc ? rc : ops->load_begin(b);
	rc = rc ? rc : ops->load(b, p[1], source, w->kind, w->n);
	memset(source, 0x5A, bytes);
	rc = rc ? rc : ops->load_wait(b);
	free(source);
	return rc;
}

/* All values of 16 bits, many times over. */
static void test_types(void **state)
{
	(void)state;
	static const uint32_t types[] = {CWP_BF16, CWP_F16, CWP_F32};
	for (size_t i = 0; i < count_lengths(); i++) {
		struct work w = {.n = lengths[i]};
		uint64_t seed = lengths[i];
		uint16_t *half = malloc(w.n * sizeof(*half) + 2);
		float *x = pair_normal(&seed, w.n, 1.0F);
		assert_non_null(half);
		for (uint64_t k = 0; k < w.n; k++) {
			half[k] = (uint16_t)(k * 40503);
			/* Every exponent, and values beside ties. */
			uint32_t bits = (uint32_t)(test_random(&seed) & 0xFFFFFFFF);
			bits = k % 3 == 0 ? (bits & 0xFFFF0000U) | 0x8000U : k % 3 == 1 ? (bits & 0xFFFFE000U) | 0x1000U : bits;
			memcpy(&x[k], &bits, sizeof(bits));
		}
		for (size_t t = 0; t < 3; t++) {
			w.kind = types[t];
			size_t shift = i % 3;
			enum pair_kind kind = w.kind == CWP_F32 ? PAIR_F32 : w.kind == CWP_BF16 ? PAIR_BF16 : PAIR_F16;
			const struct pair_array a[] = {{.kind = kind, .n = w.n, .data = kind == PAIR_F32 ? (void *)x : (void *)half, .shift = shift},
				{.role = PAIR_OUT, .n = w.n, .shift = shift}};
			pair_check("convert", a, 2, call_convert, &w);
			pair_check("load", a, 2, call_load, &w);
			const struct pair_array n[] = {{.n = w.n, .data = x, .shift = shift},
				{.kind = kind, .role = PAIR_OUT, .n = w.n, .shift = shift}};
			pair_check("narrow", n, 2, call_narrow, &w);
		}
		free(half);
		free(x);
	}
}

static int call_add(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	return ops->add(b, p[1], p[0], ((const struct work *)arg)->n);
}

static int call_copy(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	return ops->copy(b, p[1], p[0], ((const struct work *)arg)->n * sizeof(float));
}

static int call_zero(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	return ops->zero(b, p[1], ((const struct work *)arg)->n * sizeof(float));
}

static int call_glu(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct work *w = arg;
	return ops->glu(b, w->kind, p[0], p[1], w->n, p[2]);
}

static int call_glu_backward(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct work *w = arg;
	return w->in_place ? ops->glu_backward(b, w->kind, p[1], p[2], p[0], w->n, p[1], p[2])
			   : ops->glu_backward(b, w->kind, p[1], p[2], p[0], w->n, p[3], p[4]);
}

static int call_softcap(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct work *w = arg;
	return ops->softcap(b, p[1], w->n, w->cap);
}

static int call_softcap_backward(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct work *w = arg;
	return ops->softcap_backward(b, p[1], p[0], w->n, w->cap);
}

static void glu_of(struct work *w, float *const *x, size_t shift)
{
	for (w->kind = CWP_GLU_SILU; w->kind <= CWP_GLU_GELU_TANH; w->kind++) {
		const struct pair_array in[] = {{.n = w->n, .data = x[0], .shift = shift}, {.n = w->n, .data = x[1], .shift = shift},
			{.n = w->n, .data = x[2], .shift = shift}, {.role = PAIR_OUT, .n = w->n, .bound = 2e-6, .shift = shift},
			{.role = PAIR_OUT, .n = w->n, .bound = 2e-6, .shift = shift}};
		const struct pair_array forward[] = {in[0], in[1], in[3]};
		pair_check("glu", forward, 3, call_glu, w);
		w->in_place = 0;
		pair_check("glu_backward", in, 5, call_glu_backward, w);
		w->in_place = 1;
		struct pair_array over[] = {in[0], in[1], in[2]};
		over[1].role = over[2].role = PAIR_BOTH;
		over[1].bound = over[2].bound = 2e-6;
		pair_check("glu_backward in place", over, 3, call_glu_backward, w);
	}
}

static void test_elements(void **state)
{
	(void)state;
	for (size_t i = 0; i < count_lengths(); i++) {
		struct work w = {.n = lengths[i], .cap = 30.0F};
		uint64_t seed = lengths[i] + 1;
		float *x[3], *limited = pair_normal(&seed, w.n, 12.0F);
		size_t shift = i % 4;
		for (int k = 0; k < 3; k++) {
			x[k] = pair_normal(&seed, w.n, 3.0F);
		}
		if (w.n > 255) {
			x[0][7] = 80.0F; /* exp of it and of its negative */
			x[0][8] = -95.0F;
			x[1][9] = NAN;
			x[0][10] = -INFINITY;
			x[1][11] = INFINITY;
		}
		const struct pair_array add[] = {{.n = w.n, .data = x[0], .shift = shift}, {.role = PAIR_BOTH, .n = w.n, .data = x[1], .shift = i % 3}};
		pair_check("add", add, 2, call_add, &w);
		pair_check("copy", add, 2, call_copy, &w);
		pair_check("zero", add, 2, call_zero, &w);
		glu_of(&w, x, shift);
		const struct pair_array cap[] = {{.n = w.n, .data = limited, .shift = shift},
			{.role = PAIR_BOTH, .n = w.n, .data = x[1], .bound = 2e-6, .shift = shift}};
		pair_check("softcap", cap, 2, call_softcap, &w);
		pair_check("softcap_backward", cap, 2, call_softcap_backward, &w);
		free(limited);
		for (int k = 0; k < 3; k++) {
			free(x[k]);
		}
	}
}

static int call_bias(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct work *w = arg;
	return ops->add_bias(b, p[1], p[0], w->rows, w->cols);
}

static int call_gather(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct work *w = arg;
	return ops->gather_rows(b, p[w->in_place ? 3 : 0], w->index ? p[1] : NULL, w->factor ? p[2] : NULL, w->rows, w->cols, p[3]);
}

static int call_scatter(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct work *w = arg;
	return ops->scatter_rows(b, p[0], w->index ? p[1] : NULL, w->factor ? p[2] : NULL, w->rows, w->cols, p[3]);
}

static int call_dot(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct work *w = arg;
	return ops->dot_rows(b, p[0], p[1], w->rows, w->cols, p[2]);
}

static const uint64_t matrices[][2] = {{1, 1}, {3, 7}, {5, 64}, {17, 576}, {64, 577}, {130, 48}, {300, 3}, {0, 8}, {1, 49152}, {2048, 1536},
	{2048, 3584}};

static size_t count_matrices(void)
{
	return sizeof(matrices) / sizeof(*matrices) - (pair.sizes == PAIR_LARGE ? 0 : 2);
}

static void numbered(struct work *w, uint64_t *seed, size_t shift)
{
	size_t n = w->rows * w->cols, room = w->rows * 2 + 1;
	float *x = pair_normal(seed, room * w->cols, 1.0F), *y = pair_normal(seed, room * w->cols, 1.0F), *factor = pair_normal(seed, w->rows, 1.0F);
	uint32_t *index = malloc(w->rows * sizeof(*index) + 4);
	assert_non_null(index);
	for (uint64_t i = 0; i < w->rows; i++) {
		index[i] = (uint32_t)(room - 1 - 2 * i); /* none twice */
	}
	for (int f = 0; f < 4; f++) {
		w->index = f & 1;
		w->factor = f >> 1;
		w->in_place = 0;
		const struct pair_array g[] = {{.n = room * w->cols, .data = x, .shift = shift}, {.kind = PAIR_U32, .n = w->rows, .data = index, .shift = 1},
			{.n = w->rows, .data = factor, .shift = 1}, {.role = PAIR_OUT, .n = n, .shift = shift}};
		pair_check("gather_rows", g, 4, call_gather, w);
		const struct pair_array s[] = {g[0], g[1], g[2], {.role = PAIR_BOTH, .n = room * w->cols, .data = y, .bound = 1e-6, .shift = shift}};
		pair_check("scatter_rows", s, 4, call_scatter, w);
		w->in_place = !w->index;
		if (w->in_place) {
			pair_check("gather_rows in place", s, 4, call_gather, w);
		}
	}
	const struct pair_array bias[] = {{.n = w->cols, .data = x, .shift = shift}, {.role = PAIR_BOTH, .n = n, .data = y, .shift = shift}};
	pair_check("add_bias", bias, 2, call_bias, w);
	const struct pair_array dot[] = {{.n = n, .data = x, .shift = shift}, {.n = n, .data = y, .shift = shift},
		{.role = PAIR_OUT, .n = w->rows, .bound = 1e-5, .shift = shift, .unit = sqrt((double)w->cols)}};
	pair_check("dot_rows", dot, 3, call_dot, w);
	free(x);
	free(y);
	free(factor);
	free(index);
}

static void test_numbered(void **state)
{
	(void)state;
	for (size_t i = 0; i < count_matrices(); i++) {
		struct work w = {.rows = matrices[i][0], .cols = matrices[i][1]};
		uint64_t seed = i;
		numbered(&w, &seed, i % 4);
	}
}

static int call_fake(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct work *w = arg;
	return ops->fake_quant(b, &w->a, p[w->in_place ? 1 : 0], w->rows, w->cols, p[1]);
}

static void fake(struct work *w, const float *x, size_t shift)
{
	static const uint64_t start[] = {0, 0, 3, 4, 12};
	const struct cwp_activation list[] = {{.kind = CWP_ACT_INT8_TOKEN}, {.kind = CWP_ACT_FP8_TOKEN},
		{.kind = CWP_ACT_FP8_GROUP, .group = (uint32_t)w->cols}, {.kind = CWP_ACT_FP8_GROUP, .group = w->cols % 128 == 0 ? 128 : 1},
		{.kind = CWP_ACT_INT8_TENSOR, .scale = 0.0078125F}, {.kind = CWP_ACT_INT8_TENSOR, .scale = 0.02F, .zero = -100},
		{.kind = CWP_ACT_FP8_TENSOR, .scale = 0.00390625F}, {.kind = CWP_ACT_INT8_OUTLIER, .threshold = 6.0F}, {.kind = CWP_ACT_INT8_OUTLIER},
		{.kind = CWP_ACT_INT8_OUTLIER, .threshold = 2.0F, .sequences = {4, start}}};
	size_t n = w->rows * w->cols;
	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
		char what[96];
		w->a = list[i];
		w->a.size = sizeof(w->a);
		w->in_place = 0;
		if (list[i].sequences.count && w->rows != 12) {
			continue;
		}
		snprintf(what, sizeof(what), "fake_quant %zu, kind %u, [%llu, %llu]", i, list[i].kind, (unsigned long long)w->rows,
			(unsigned long long)w->cols);
		const struct pair_array a[] = {{.n = n, .data = x, .shift = shift}, {.role = PAIR_OUT, .n = n, .shift = shift}};
		pair_check(what, a, 2, call_fake, w);
		if (list[i].kind != CWP_ACT_INT8_OUTLIER) {
			struct pair_array over[] = {a[0], a[1]};
			over[1].role = PAIR_BOTH;
			over[1].data = x;
			w->in_place = 1;
			pair_check(what, over, 2, call_fake, w);
		}
	}
}

static void test_fake_quant(void **state)
{
	(void)state;
	static const uint64_t shapes[][2] = {{12, 128}, {12, 517}, {1, 1}, {3, 2}, {7, 1536}, {40, 576}, {0, 4}, {300, 3584}};
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes) - (pair.sizes == PAIR_LARGE ? 0 : 1); i++) {
		struct work w = {.rows = shapes[i][0], .cols = shapes[i][1]};
		uint64_t n = w.rows * w.cols, seed = i + 9;
		float *x = pair_normal(&seed, n, 2.0F);
		if (n > 1000) {
			memset(x + w.cols, 0, w.cols * sizeof(*x));
			for (uint64_t k = 2 * w.cols; k < 3 * w.cols; k++) {
				x[k] *= 1e-40F;
			}
			for (uint64_t k = 3 * w.cols; k < 4 * w.cols; k++) { /* ties of every kind: codes and halves */
				x[k] = (float)(int)(k % 511) * 0.5F - 127.5F;
			}
			x[3 * w.cols] = 127.5F;
			x[4 * w.cols + 1] = NAN;
			x[5 * w.cols + 2] = INFINITY;
			x[5 * w.cols + 3] = 70000.0F; /* beyond F16 */
			x[5] = 7.0F;
		}
		fake(&w, x, i % 4);
		free(x);
	}
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_elements),
		cmocka_unit_test(test_numbered),
		cmocka_unit_test(test_fake_quant),
	};
	return cmocka_run_group_tests_name("elements", tests, NULL, NULL);
}

int main(void)
{
	return pair_main(group, 0);
}
