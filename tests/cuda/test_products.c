/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Matrix products of a backend against those of the CPU. With bf16 the reference gets operands that are already rounded, so
 * that what remains is the order of f32 sums. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/cuda/pair.h"

struct product {
	int trans_a, trans_b, accumulate;
	uint64_t m, n, k, lda, ldb, ldc;
};

static int call_product(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct product *g = arg;
	return ops->matmul(b, g->trans_a, g->trans_b, g->m, g->n, g->k, p[0], g->lda, p[1], g->ldb, g->accumulate, p[2], g->ldc);
}

/* extra: elements between rows; shift: elements after an aligned address. */
static void one_product(int flags, uint64_t m, uint64_t n, uint64_t k, const unsigned *extra, size_t shift)
{
	struct product g = {.trans_a = flags & 1, .trans_b = flags >> 1 & 1, .accumulate = flags >> 2 & 1, .m = m, .n = n, .k = k};
	uint64_t seed = m * 131 + n * 17 + k + (uint64_t)flags;
	g.lda = (g.trans_a ? m : k) + extra[0];
	g.ldb = (g.trans_b ? k : n) + extra[1];
	g.ldc = n + extra[2];
	size_t na = (g.trans_a ? k : m) * g.lda, nb = (g.trans_b ? n : k) * g.ldb, nc = m * g.ldc;
	float *a = pair_normal(&seed, na, 1.0F), *x = pair_normal(&seed, nb, 1.0F), *c = pair_normal(&seed, nc, 1.0F);
	float *ra = pair_rounded(a, na), *rx = pair_rounded(x, nb);
	/* What a product's deviation is, so that few elements do not make a small largest. */
	double unit = sqrt((double)k) + 1.0;
	const struct pair_array arrays[] = {{.role = PAIR_IN, .n = na, .data = a, .reference = ra, .shift = shift},
		{.role = PAIR_IN, .n = nb, .data = x, .reference = rx, .shift = shift},
		{.role = g.accumulate ? PAIR_BOTH : PAIR_OUT, .n = nc, .data = c, .bound = pair_product_bound(k), .shift = shift, .unit = unit}};
	char what[160];
	snprintf(what, sizeof(what), "matmul %s%s%s %llu x %llu x %llu, ld +%u +%u +%u, shift %zu", g.trans_a ? "A^T" : "A",
		g.trans_b ? "B^T" : "B", g.accumulate ? " accumulated" : "", (unsigned long long)m, (unsigned long long)n,
		(unsigned long long)k, extra[0], extra[1], extra[2], shift);
	pair_check(what, arrays, 3, call_product, &g);
	float *all[] = {a, x, c, ra, rx};
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		free(all[i]);
	}
}

static void test_shapes(void **state)
{
	(void)state;
	static const uint64_t small[][3] = {{1, 1, 1}, {1, 577, 64}, {1, 3, 0}, {2, 300, 65}, {5, 7, 3}, {17, 33, 129}, {16, 130, 256},
		{64, 64, 64}, {257, 130, 31}, {130, 200, 70}, {3, 1, 500}, {0, 5, 5}, {5, 0, 5}, {96, 192, 576}, {2048, 300, 72}};
	static const unsigned extra[][3] = {{0, 0, 0}, {3, 1, 5}, {8, 16, 4}};
	for (size_t s = 0; s < sizeof(small) / sizeof(*small); s++) {
		for (int flags = 0; flags < 8; flags++) {
			one_product(flags, small[s][0], small[s][1], small[s][2], extra[s % 3], s % 3 == 1 ? 1 + s % 2 : 0);
		}
		if (pair.sizes == PAIR_TINY && s == 6) {
			return;
		}
	}
}

/* Every alignment of addresses and of rows. */
static void test_alignment(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		const unsigned extra[] = {i & 1 ? 1 : 0, i & 2 ? 3 : 0, i & 4 ? 2 : 0};
		for (size_t shift = 0; shift < 4; shift++) {
			one_product((int)(i + shift) % 8, 24, 40, 48, extra, shift);
		}
	}
}

static void test_large(void **state)
{
	(void)state;
	static const uint64_t large[][3] = {{512, 576, 1536}, {2048, 1536, 576}, {512, 49152, 576}, {2000, 777, 1111}, {1, 18944, 3584},
		{16, 3584, 18944}, {4096, 3584, 3584}};
	static const unsigned extra[] = {0, 0, 0}, odd[] = {1, 7, 3};
	if (pair.sizes != PAIR_LARGE) {
		skip();
	}
	for (size_t s = 0; s < sizeof(large) / sizeof(*large); s++) {
		one_product(2, large[s][0], large[s][1], large[s][2], extra, 0);
		one_product(s == 2 ? 4 : 1, large[s][0], large[s][1], large[s][2], s % 2 ? odd : extra, 0);
		one_product(0, large[s][0], large[s][1], large[s][2], extra, 0);
	}
}


enum { ALONE = 70 }; /* rows */

/* Rows by B^T: to the last bit what each row gives alone, up to 16 at once; above that, where the backend says so, what it
 * gives among any others. */
static void few(uint64_t n, uint64_t k)
{
	const struct cwp_backend *be = pair.ops;
	const size_t row = n * sizeof(float);
	const uint64_t most = be->rows_alone(pair.b) ? ALONE : 16;
	uint64_t seed = 5;
	float *a = pair_normal(&seed, ALONE * k, 1.0F), *w = pair_normal(&seed, n * k, 1.0F);
	float *want = test_filled(ALONE * n, 0.0F), *all = test_filled(ALONE * n, 0.0F);
	float *d_a = be->alloc(pair.b, ALONE * k * sizeof(*a)), *d_w = be->alloc(pair.b, n * k * sizeof(*w)), *d_c = be->alloc(pair.b, ALONE * row);
	assert_true(d_a && d_w && d_c);
	assert_int_equal(be->upload(pair.b, d_a, a, ALONE * k * sizeof(*a)), 0);
	assert_int_equal(be->upload(pair.b, d_w, w, n * k * sizeof(*w)), 0);
	for (uint64_t r = 0; r < 16; r++) {
		assert_int_equal(be->matmul(pair.b, 0, 1, 1, n, k, d_a + r * k, k, d_w, k, 0, d_c + r * n, n), 0);
	}
	assert_int_equal(be->download(pair.b, want, d_c, 16 * row), 0);
	for (uint64_t m = 1; m <= most; m += m < 18 ? 1 : 13) {
		if (m == 17) {
			assert_int_equal(be->matmul(pair.b, 0, 1, ALONE, n, k, d_a, k, d_w, k, 0, d_c, n), 0);
			assert_int_equal(be->download(pair.b, want, d_c, ALONE * row), 0);
		}
		assert_int_equal(be->zero(pair.b, d_c, ALONE * row), 0);
		assert_int_equal(be->matmul(pair.b, 0, 1, m, n, k, d_a, k, d_w, k, 0, d_c, n), 0);
		assert_int_equal(be->download(pair.b, all, d_c, m * row), 0);
		if (memcmp(all, want, m * row) != 0) {
			fail_msg("%llu rows by %llu x %llu: not what each row gives in other company", (unsigned long long)m, (unsigned long long)n,
				(unsigned long long)k);
		}
	}
	be->free(pair.b, d_a);
	be->free(pair.b, d_w);
	be->free(pair.b, d_c);
	float *host[] = {a, w, want, all};
	for (size_t i = 0; i < 4; i++) {
		free(host[i]);
	}
}

static void test_few(void **state)
{
	(void)state;
	static const uint64_t shapes[][2] = {{1, 1}, {3, 17}, {67, 12}, {130, 577}, {200, 64}, {576, 1536}, {1536, 576}};
	for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes) - (pair.sizes == PAIR_TINY ? 3 : 0); s++) {
		few(shapes[s][0], shapes[s][1]);
	}
}

/* NaN and infinity come through, and only where they belong. */
static void test_no_number(void **state)
{
	(void)state;
	enum { N = 32 };
	struct product g = {.trans_b = 1, .m = N, .n = N, .k = N, .lda = N, .ldb = N, .ldc = N};
	uint64_t seed = 1;
	float *a = pair_normal(&seed, N * N, 1.0F), *x = pair_normal(&seed, N * N, 1.0F);
	float *keep = a;
	a[3 * N + 4] = NAN;
	a[5 * N + 6] = INFINITY;
	x[7 * N + 1] = -INFINITY;
	float *ra = pair_rounded(a, N * N), *rx = pair_rounded(x, N * N);
	const struct pair_array arrays[] = {{.role = PAIR_IN, .n = N * N, .data = a, .reference = ra},
		{.role = PAIR_IN, .n = N * N, .data = x, .reference = rx}, {.role = PAIR_OUT, .n = N * N, .bound = 1e-5}};
	pair_check("matmul with NaN and infinity", arrays, 3, call_product, &g);
	free(keep);
	free(x);
	free(ra);
	free(rx);
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_few),
		cmocka_unit_test(test_no_number),
	};
	return cmocka_run_group_tests_name("products", tests, NULL, NULL);
}

int main(void)
{
	return pair_main(group, 1);
}
