/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantized inputs of Linears against the definitions of backend.h, written out in f64 where that is exact. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cwp/quantizer.h>
#include <cwp/scorer.h>

#include "tests/kernels/support.h"

enum { ROWS = 9, GROUP = 47, COLS = 11 * GROUP, N = ROWS * COLS };

static const struct cwp_backend *const be = &cpu_backend;

/* Nearest of all E4M3 values, of two equally near ones that with an even mantissa. */
static double e4m3(double x)
{
	double best = 0.0, distance = fabs(x);
	for (int code = 1; code < 0x7F; code++) {
		int e = code >> 3, m = code & 7;
		double v = e ? ldexp(8 + m, e - 10) : ldexp(m, -9), d = fabs(fabs(x) - v);
		if (d < distance || (d == distance && code % 2 == 0)) {
			best = v;
			distance = d;
		}
	}
	return copysign(best, x);
}

/* The nearest F16 value, by its exponent. */
static double f16(double x)
{
	int e = 0;
	(void)frexp(x, &e);
	double step = ldexp(1.0, (e < -13 ? -13 : e) - 11), r = rint(x / step) * step;
	return fabs(r) > 65504.0 ? copysign(HUGE_VAL, x) : r;
}

static double limited(double v, double low, double high)
{
	return v < low ? low : v > high ? high : v;
}

static float absmax(const float *x, size_t n)
{
	float m = 0.0F;
	for (size_t i = 0; i < n; i++) {
		m = fmaxf(m, fabsf(x[i]));
	}
	return m;
}

static int is_fp8(uint32_t kind)
{
	return kind == CWP_ACT_FP8_TOKEN || kind == CWP_ACT_FP8_GROUP || kind == CWP_ACT_FP8_TENSOR;
}

static double one(const struct cwp_activation *a, float x, float scale)
{
	float v = x / scale;
	if (is_fp8(a->kind)) {
		return (double)((float)e4m3(limited((double)v, -448.0, 448.0)) * scale);
	}
	float q = (float)rint(limited((double)(v + (float)a->zero), -128.0, 127.0)) - (float)a->zero;
	return (double)(q * scale);
}

static void check_scales(void *b, const struct cwp_activation *a, const float *x)
{
	float *y = test_filled(N, 1.0F), top = is_fp8(a->kind) ? 448.0F : 127.5F;
	double *want = calloc(N, sizeof(*want));
	size_t width = a->kind == CWP_ACT_FP8_GROUP ? GROUP : COLS;
	assert_non_null(want);
	assert_int_equal(be->fake_quant(b, a, x, ROWS, COLS, y), 0);
	for (size_t at = 0; at < N; at += width) {
		float scale = a->scale > 0.0F ? a->scale : absmax(x + at, width) / top;
		for (size_t i = at; i < at + width; i++) {
			want[i] = scale > 0.0F ? one(a, x[i], scale) : 0.0;
		}
	}
	test_close("fake_quant", y, want, N, 0.0);
	/* In place. */
	memcpy(y, x, N * sizeof(*y));
	assert_int_equal(be->fake_quant(b, a, y, ROWS, COLS, y), 0);
	test_close("fake_quant in place", y, want, N, 0.0);
	free(y);
	free(want);
}

static void test_scales(void **state)
{
	(void)state;
	struct test_host h;
	void *b = test_open(&h, 2);
	uint64_t seed = 6;
	float *x = test_normal(&seed, N, 1.0F);
	const struct cwp_activation list[] = {{.kind = CWP_ACT_INT8_TOKEN}, {.kind = CWP_ACT_FP8_TOKEN},
		{.kind = CWP_ACT_FP8_GROUP, .group = GROUP}, {.kind = CWP_ACT_INT8_TENSOR, .scale = 0.0078125F},
		{.kind = CWP_ACT_INT8_TENSOR, .scale = 0.02F, .zero = -100}, {.kind = CWP_ACT_FP8_TENSOR, .scale = 0.00390625F}};
	memset(x + COLS, 0, COLS * sizeof(float));
	memset(x + 2 * COLS, 0, GROUP * sizeof(float));
	for (size_t i = 4 * COLS; i < 5 * COLS; i++) {
		x[i] *= 1e-40F; /* denormals */
	}
	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
		check_scales(b, &list[i], x);
	}
	free(x);
	be->close(b);
}

/* Where a scale follows from NaN or infinity, all that shares it is NaN; a scale that was given stays. */
static void test_no_number(void **state)
{
	(void)state;
	struct test_host h;
	void *b = test_open(&h, 2);
	float x[3 * 4] = {1.0F, NAN, 2.0F, 3.0F, 4.0F, INFINITY, -5.0F, 6.0F, 1.0F, 2.0F, 3.0F, 4.0F}, y[3 * 4];
	const struct cwp_activation token = {.kind = CWP_ACT_INT8_TOKEN}, group = {.kind = CWP_ACT_FP8_GROUP, .group = 2},
		tensor = {.kind = CWP_ACT_INT8_TENSOR, .scale = 1.0F}, outlier = {.kind = CWP_ACT_INT8_OUTLIER, .threshold = 6.0F};
	assert_int_equal(be->fake_quant(b, &token, x, 3, 4, y), 0);
	assert_true(isnan(y[0]) && isnan(y[3]) && isnan(y[4]) && isnan(y[7]) && !isnan(y[8]));
	assert_int_equal(be->fake_quant(b, &group, x, 3, 4, y), 0);
	assert_true(isnan(y[0]) && !isnan(y[2]) && isnan(y[4]) && !isnan(y[6]));
	assert_int_equal(be->fake_quant(b, &tensor, x, 3, 4, y), 0);
	assert_true(y[0] == 1.0F && isnan(y[1]) && y[5] == 127.0F && y[6] == -5.0F);
	assert_int_equal(be->fake_quant(b, &outlier, x, 3, 4, y), 0);
	assert_true(isnan(y[0]) && isnan(y[3]) && y[5] == INFINITY && y[7] == 6.0F && !isnan(y[4]) && !isnan(y[8]));
	be->close(b);
}

/* LLM.int8() of the rows [first, end), which are one sequence. */
static void outliers_of(const float *x, size_t first, size_t end, double threshold, double *want)
{
	for (size_t t = first; t < end; t++) {
		float most = 0.0F;
		for (size_t c = 0; c < COLS; c++) {
			double h = fabs(f16((double)x[t * COLS + c]));
			most = h < threshold ? fmaxf(most, (float)h) : most;
		}
		float inverse = most > 0.0F ? 1.0F / most * 127.0F : 0.0F;
		for (size_t c = 0; c < COLS; c++) {
			int outlier = 0;
			for (size_t s = first; s < end; s++) {
				outlier |= fabs(f16((double)x[s * COLS + c])) >= threshold;
			}
			float h = (float)f16((double)x[t * COLS + c]), q = (float)rint((double)(h * inverse));
			want[t * COLS + c] = outlier ? (double)x[t * COLS + c] : (double)(q * (most / 127.0F));
		}
	}
}

static void test_outliers(void **state)
{
	(void)state;
	struct test_host h;
	void *b = test_open(&h, 2);
	uint64_t seed = 8;
	float *x = test_normal(&seed, N, 2.0F), *y = test_filled(N, 1.0F);
	double *want = calloc(N, sizeof(*want));
	const uint64_t start[] = {0, 1, 1, 6, ROWS};
	struct cwp_activation a = {.kind = CWP_ACT_INT8_OUTLIER, .threshold = 6.0F, .sequences = {4, start}};
	assert_non_null(want);
	memset(x + 3 * COLS, 0, COLS * sizeof(float));
	x[4 * COLS] = 70000.0F;   /* more than F16 holds */
	x[7 * COLS + 5] = 5.999F; /* 6 as F16 */
	x[7 * COLS + 6] = 5.996F; /* not so */
	for (size_t c = 7; c < COLS; c++) {
		x[7 * COLS + c] *= 1e-7F; /* denormal in F16 */
	}
	assert_int_equal(be->fake_quant(b, &a, x, ROWS, COLS, y), 0);
	outliers_of(x, 0, 1, 6.0, want);
	outliers_of(x, 1, 6, 6.0, want);
	outliers_of(x, 6, ROWS, 6.0, want);
	test_close("outliers", y, want, N, 0.0);
	a.sequences.count = 0;
	assert_int_equal(be->fake_quant(b, &a, x, ROWS, COLS, y), 0);
	for (size_t t = 0; t < ROWS; t++) {
		outliers_of(x, t, t + 1, 6.0, want);
	}
	test_close("outliers of rows", y, want, N, 0.0);
	a.threshold = 0.0F;
	assert_int_equal(be->fake_quant(b, &a, x, ROWS, COLS, y), 0);
	for (size_t t = 0; t < ROWS; t++) {
		outliers_of(x, t, t + 1, HUGE_VAL, want);
	}
	test_close("no outliers", y, want, N, 0.0);
	free(x);
	free(y);
	free(want);
	be->close(b);
}

/* The bin of a magnitude, by its logarithm and what is left of it. */
static size_t bin_of(double v)
{
	int e = 0;
	double m = 2.0 * frexp(v, &e); /* 1 to 2, times 2^(e - 1) */
	double bin = isnan(v) || isinf(v) ? HUGE_VAL : v < 0x1p-24 ? 0.0 : 1.0 + 64.0 * (e - 1 + 24) + floor(64.0 * (m - 1.0));
	return bin < CWP_HISTOGRAM_BINS - 1 ? (size_t)bin : CWP_HISTOGRAM_BINS - 1;
}

static void test_histogram(void **state)
{
	(void)state;
	struct test_host h;
	void *b = test_open(&h, 2);
	uint64_t seed = 12, *got = calloc(CWP_HISTOGRAM_BINS, sizeof(*got)), *want = calloc(CWP_HISTOGRAM_BINS, sizeof(*want));
	float *x = test_normal(&seed, N, 1.0F);
	const float odd[] = {0.0F, -0.0F, 0x1p-24F, 0x1.fffffep-25F, 0x1p-149F, 1.0F, -1.0F, 0x1.03fffep0F, 0x1.04p0F, 1e30F, INFINITY, NAN};
	assert_true(got && want);
	memcpy(x, odd, sizeof(odd));
	for (size_t t = 0; t < ROWS; t++) {
		for (size_t c = 0; c < COLS - 2; c++) { /* rows lie apart */
			want[bin_of(fabs((double)x[t * COLS + c]))] += 2;
		}
	}
	assert_int_equal(be->act_histogram(b, x, ROWS, COLS - 2, COLS, got), 0);
	assert_int_equal(be->act_histogram(b, x, ROWS, COLS - 2, COLS, got), 0); /* added to */
	assert_int_equal(be->act_histogram(b, NULL, 0, COLS, COLS, got), 0);
	assert_memory_equal(got, want, CWP_HISTOGRAM_BINS * sizeof(*got));
	assert_int_equal(be->act_histogram(b, x, 1, 1, 1, NULL), CWP_EVALUE);
	free(got);
	free(want);
	free(x);
	be->close(b);
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scales),
		cmocka_unit_test(test_no_number),
		cmocka_unit_test(test_outliers),
		cmocka_unit_test(test_histogram),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return test_each_tier(group) != 0;
}
