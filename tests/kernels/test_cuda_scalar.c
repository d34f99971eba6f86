/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the CUDA kernels compute for one number against the CPU backend's plain C, to the last bit. No GPU is needed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cwp/scorer.h>

#include "plugins/backends/cuda/scalar.h"
#include "tests/kernels/support.h"

static const struct cwp_backend *const be = &cpu_backend;

/* Numbers of f32: around every rounding that keeps few bits, for all exponents, and others. */
struct numbers {
	float *x;
	size_t n;
};

enum { FEW = 6, PATTERNS = 64 };

static struct numbers interesting(uint32_t kept)
{
	static const uint32_t most = 1U << 23;
	struct numbers r = {calloc((size_t)512 * (PATTERNS + 1) * FEW, sizeof(float)), 0};
	uint64_t random = kept;
	uint32_t rest = 1U << (23 - kept);
	const uint32_t low[FEW] = {0, 1, rest / 2 - 1, rest / 2, rest / 2 + 1, rest - 1};
	assert_non_null(r.x);
	for (uint32_t high = 0; high < 512; high++) {
		for (uint32_t p = 0; p <= PATTERNS; p++) {
			/* The first and the last, then some between. */
			uint32_t top = p < 8 ? p * rest : p < 16 ? most - (p - 7) * rest : (uint32_t)test_random(&random) % most;
			for (size_t i = 0; i < FEW; i++) {
				uint32_t m = p == PATTERNS ? (uint32_t)test_random(&random) % most : top / rest * rest + low[i];
				r.x[r.n++] = scalar_float(high << 23 | m % most);
			}
		}
	}
	return r;
}

/* Equal bits; of two NaN, any. */
static void same(const char *what, float got, float want, float of)
{
	if (scalar_bits(got) != scalar_bits(want) && !(isnan(got) && isnan(want))) {
		fail_msg("%s of %a (%08x): %a (%08x) instead of %a (%08x)", what, (double)of, scalar_bits(of), (double)got,
			scalar_bits(got), (double)want, scalar_bits(want));
	}
}

static struct kernels plain(void)
{
	struct kernels k;
	kernels_scalar(&k);
	return k;
}

static void test_widening(void **state)
{
	(void)state;
	struct kernels k = plain();
	for (uint32_t i = 0; i < 65536; i++) {
		uint16_t x = (uint16_t)i;
		float want = 0.0F;
		k.bf16(&want, &x, 1);
		assert_int_equal(scalar_bits(scalar_from_bf16(x)), scalar_bits(want));
		k.f16(&want, &x, 1);
		assert_int_equal(scalar_bits(scalar_from_f16(x)), scalar_bits(want));
	}
}

static void narrowing(uint32_t dtype, uint32_t kept, uint16_t (*f)(float x))
{
	struct test_host host;
	void *b = test_open(&host, 2);
	struct numbers v = interesting(kept);
	uint16_t *want = calloc(v.n, sizeof(*want));
	assert_non_null(want);
	assert_int_equal(be->narrow(b, want, dtype, v.x, v.n), 0);
	for (size_t i = 0; i < v.n; i++) {
		if (f(v.x[i]) != want[i]) {
			fail_msg("type %u of %a: %04x instead of %04x", dtype, (double)v.x[i], f(v.x[i]), want[i]);
		}
	}
	free(want);
	free(v.x);
	be->close(b);
}

static void test_narrowing(void **state)
{
	(void)state;
	narrowing(CWP_BF16, 7, scalar_to_bf16);
	narrowing(CWP_F16, 10, scalar_to_f16);
	/* Subnormal numbers of F16 lose more bits. */
	for (uint32_t kept = 0; kept < 10; kept++) {
		narrowing(CWP_F16, kept, scalar_to_f16);
	}
}

static void test_e4m3(void **state)
{
	(void)state;
	static const float scales[] = {1.0F, 0.37F, 3.0e-5F, 0x1p-126F, 1.7e4F, 1.0e37F};
	struct kernels k = plain();
	struct numbers v = interesting(3);
	float *want = calloc(v.n, sizeof(*want));
	assert_non_null(want);
	for (size_t s = 0; s < sizeof(scales) / sizeof(scales[0]); s++) {
		k.fake_e4m3(v.x, scales[s], v.n, want);
		for (size_t i = 0; i < v.n; i++) {
			same("E4M3", scalar_fake_e4m3(v.x[i], scales[s]), want[i], v.x[i]);
		}
	}
	free(want);
	free(v.x);
}

static void test_int8(void **state)
{
	(void)state;
	static const float scales[] = {1.0F, 0.25F, 0.0123F, 7.0e-20F, 1.0e36F}, zeros[] = {0.0F, -128.0F, 127.0F, 3.0F};
	struct kernels k = plain();
	struct numbers v = interesting(7);
	float *want = calloc(v.n, sizeof(*want));
	assert_non_null(want);
	for (size_t s = 0; s < 20; s++) {
		float scale = scales[s / 4], zero = zeros[s % 4];
		k.fake_int8(v.x, scale, zero, v.n, want);
		for (size_t i = 0; i < v.n; i++) {
			same("int8", scalar_fake_int8(v.x[i], scale, zero), want[i], v.x[i]);
		}
		for (int half = -600; half <= 600; half++) { /* ties and their neighbours */
			float x[3] = {(float)half * 0.5F * scale}, y[3];
			x[1] = nextafterf(x[0], INFINITY);
			x[2] = nextafterf(x[0], -INFINITY);
			k.fake_int8(x, scale, zero, 3, y);
			for (int i = 0; i < 3; i++) {
				same("int8", scalar_fake_int8(x[i], scale, zero), y[i], x[i]);
			}
		}
	}
	free(want);
	free(v.x);
}

static void test_outliers(void **state)
{
	(void)state;
	struct kernels k = plain();
	struct numbers v = interesting(10);
	for (size_t i = 0; i < v.n; i++) {
		float x = v.x[i], column = 0.0F, y = 0.0F, h = fabsf(scalar_round_f16(x));
		float most = k.outliers(&x, 6.0F, 1, &column);
		same("F16", h, column, x);
		same("largest", h >= 6.0F ? 0.0F : h, most, x);
		/* A power of two hides nothing of the rounding to F16. */
		k.fake_outliers(&x, 0x1p24F, 0x1p-24F, INFINITY, &column, 1, &y);
		same("no outlier", scalar_fake_outlier(x, 0x1p24F, 0x1p-24F, INFINITY, column), y, x);
		k.fake_outliers(&x, 0.7F, 1.3F, 6.0F, &column, 1, &y);
		same("outlier", scalar_fake_outlier(x, 0.7F, 1.3F, 6.0F, column), y, x);
	}
	free(v.x);
}

static void test_bins(void **state)
{
	(void)state;
	struct test_host host;
	void *b = test_open(&host, 2);
	struct numbers v = interesting(6);
	uint64_t *want = calloc(CWP_HISTOGRAM_BINS, sizeof(*want)), *got = calloc(CWP_HISTOGRAM_BINS, sizeof(*got));
	assert_non_null(want);
	assert_non_null(got);
	assert_int_equal(be->act_histogram(b, v.x, 1, v.n, v.n, want), 0);
	for (size_t i = 0; i < v.n; i++) {
		got[scalar_bin(v.x[i], CWP_HISTOGRAM_FIRST, CWP_HISTOGRAM_BINS)]++;
	}
	assert_memory_equal(got, want, CWP_HISTOGRAM_BINS * sizeof(*want));
	free(want);
	free(got);
	free(v.x);
	be->close(b);
}

/* Gates of all sizes, infinite and NaN too. */
static void test_glu(void **state)
{
	(void)state;
	struct kernels k = plain();
	struct numbers v = interesting(2);
	float up = 1.7F, dh = -0.6F;
	for (size_t i = 0; i < v.n; i++) {
		float g = v.x[i], h = 0.0F, want[2] = {0.0F, 0.0F}, got[2] = {0.0F, 0.0F};
		k.silu(&g, &up, 1, &h);
		same("SILU", scalar_silu(g, up), h, g);
		k.gelu(&g, &up, 1, &h);
		same("GELU", scalar_gelu(g, up), h, g);
		k.silu_backward(&g, &up, &dh, 1, &want[0], &want[1]);
		scalar_silu_backward(g, up, dh, &got[0], &got[1]);
		same("dgate of SILU", got[0], want[0], g);
		same("dup of SILU", got[1], want[1], g);
		k.gelu_backward(&g, &up, &dh, 1, &want[0], &want[1]);
		scalar_gelu_backward(g, up, dh, &got[0], &got[1]);
		same("dgate of GELU", got[0], want[0], g);
		same("dup of GELU", got[1], want[1], g);
	}
	free(v.x);
}

static void test_softcap(void **state)
{
	(void)state;
	struct test_host host;
	void *b = test_open(&host, 1);
	struct kernels k = plain();
	struct numbers v = interesting(2);
	for (size_t i = 0; i < v.n; i++) {
		float y = v.x[i], dx = 0.3F;
		(void)k.scores(&y, 1, 1.0F, 30.0F);
		same("soft limit", scalar_softcap(v.x[i], 30.0F), y, v.x[i]);
		assert_int_equal(be->softcap_backward(b, &dx, &y, 1, 30.0F), 0);
		same("its derivative", scalar_softcap_backward(0.3F, y, 30.0F), dx, y);
	}
	free(v.x);
	be->close(b);
}

/* Of all pairs the one that CPU code which passes over what is not larger keeps. */
static void test_ranks(void **state)
{
	(void)state;
	static const float values[] = {-INFINITY, -3.0e38F, -1.0F, -1.0e-45F, -0.0F, 0.0F, 1.0e-45F, 1.0F, 3.0e38F, INFINITY};
	static const uint32_t places[] = {0, 1, 77, UINT32_MAX - 1};
	enum { VALUES = sizeof(values) / sizeof(values[0]) };
	for (size_t i = 0; i < (size_t)VALUES * 4; i++) {
		float v = values[i / 4];
		uint32_t p = places[i % 4];
		uint64_t rank = scalar_rank(v, p);
		assert_true(scalar_rank_value(rank) == v);
		assert_int_equal(scalar_rank_place(rank), p);
		assert_true(rank > 0); /* what a thread without a number brings */
		for (size_t j = 0; j < (size_t)VALUES * 4; j++) {
			float w = values[j / 4];
			uint32_t q = places[j % 4];
			int first = v > w || (v == w && p < q);
			assert_int_equal(rank > scalar_rank(w, q), first);
		}
	}
}

/* Sums that belong to different maxima, brought to one. */
static void test_rescaling(void **state)
{
	(void)state;
	uint64_t random = 5;
	for (int round = 0; round < 200; round++) {
		float m[2] = {-INFINITY, -INFINITY}, x[2][9], most;
		double sum = 0.0, want = 0.0, part[2] = {0.0, 0.0};
		for (int i = 0; i < 18; i++) {
			x[i / 9][i % 9] = test_uniform(&random, -40.0F, 40.0F);
			m[i / 9] = fmaxf(m[i / 9], x[i / 9][i % 9]);
		}
		most = fmaxf(m[0], m[1]);
		for (int i = 0; i < 18; i++) {
			part[i / 9] += exp((double)x[i / 9][i % 9] - (double)scalar_shift(m[i / 9]));
			want += exp((double)x[i / 9][i % 9] - (double)most);
		}
		sum = scalar_rescaled(part[0], m[0], most) + scalar_rescaled(part[1], m[1], most);
		assert_true(fabs(sum - want) <= 1e-13 * want);
	}
	assert_true(scalar_rescaled(0.0, -INFINITY, 5.0F) == 0.0);
	assert_true(scalar_rescaled(0.0, -INFINITY, -INFINITY) == 0.0);
	assert_true(scalar_rescaled(3.0, 2.0F, INFINITY) == 0.0);
	assert_true(isnan(scalar_rescaled((double)NAN, -INFINITY, 1.0F)));
	assert_true(isnan(scalar_rescaled(1.0, INFINITY, INFINITY)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_widening),
		cmocka_unit_test(test_narrowing),
		cmocka_unit_test(test_e4m3),
		cmocka_unit_test(test_int8),
		cmocka_unit_test(test_outliers),
		cmocka_unit_test(test_bins),
		cmocka_unit_test(test_glu),
		cmocka_unit_test(test_softcap),
		cmocka_unit_test(test_ranks),
		cmocka_unit_test(test_rescaling),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
