/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Attention of sequences that go on after rows of others, against the same sequences written out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/kernels/support.h"

static const struct cwp_backend *const be = &cpu_backend;

enum { ROWS = 190, LONGEST = 180 };

/* Rows of the packed matrices: sequence 0 is whole; 1 goes on after 25 rows of it; 2 after those and 5 of the own rows of 1, for
 * more rows than a block; 3 after all of 2, with one row. */
static const uint64_t start[] = {0, 40, 49, 189, 190};
static const uint64_t range[] = {0, 0, 1, 3, 6};
static const uint64_t first[] = {0, 0, 40, 0, 40, 49};
static const uint64_t count[] = {25, 25, 5, 25, 5, 100};

static uint64_t copy(float *to, const float *from, uint64_t at, uint64_t n, size_t width)
{
	memcpy(to, from + at * width, n * width * sizeof(*to));
	return n;
}

/* The rows of sequence s with what it goes on after; returns how many. */
static uint64_t write_out(const float *x, size_t width, uint64_t s, float *ret)
{
	uint64_t n = 0;
	for (uint64_t r = range[s]; r < range[s + 1]; r++) {
		n += copy(ret + n * width, x, first[r], count[r], width);
	}
	return n + copy(ret + n * width, x, start[s], start[s + 1] - start[s], width);
}

static void one(void *b, struct cwp_attention a)
{
	size_t wq = (size_t)a.heads * a.head_dim, wk = (size_t)a.kv_heads * a.head_dim;
	uint64_t seed = a.window + a.head_dim;
	float *q = test_normal(&seed, ROWS * wq, 1.0F), *k = test_normal(&seed, ROWS * wk, 1.0F), *v = test_normal(&seed, ROWS * wk, 1.0F);
	float *out = test_filled(ROWS * wq, 9.0F), *lse = test_filled((size_t)ROWS * a.heads, 9.0F);
	float *q1 = test_filled(LONGEST * wq, 0.0F), *k1 = test_filled(LONGEST * wk, 0.0F), *v1 = test_filled(LONGEST * wk, 0.0F);
	float *out1 = test_filled(LONGEST * wq, 9.0F), *lse1 = test_filled((size_t)LONGEST * a.heads, 9.0F);
	const struct cwp_prefixes p = {range, first, count};
	a.sequences = (struct cwp_sequences){4, start};
	a.prefixes = &p;
	assert_int_equal(be->attention(b, &a, q, k, v, out, lse), 0);
	a.prefixes = NULL;
	for (uint64_t s = 0; s < 4; s++) {
		uint64_t own = start[s + 1] - start[s];
		const uint64_t whole[] = {0, write_out(q, wq, s, q1)};
		assert_true(write_out(k, wk, s, k1) == whole[1] && write_out(v, wk, s, v1) == whole[1]);
		a.sequences = (struct cwp_sequences){1, whole};
		assert_int_equal(be->attention(b, &a, q1, k1, v1, out1, lse1), 0);
		double want;
		for (size_t i = 0; i < own * wq; i++) {
			want = (double)out1[(whole[1] - own) * wq + i];
			test_close("out", out + start[s] * wq + i, &want, 1, 2e-6);
		}
		for (size_t i = 0; i < own * a.heads; i++) {
			want = (double)lse1[i / own * whole[1] + whole[1] - own + i % own];
			test_close("lse", lse + i / own * ROWS + start[s] + i % own, &want, 1, 2e-6);
		}
	}
	float *all[] = {q, k, v, out, lse, q1, k1, v1, out1, lse1};
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		free(all[i]);
	}
}

static void test_prefixes(void **state)
{
	(void)state;
	struct test_host h;
	void *b = test_open(&h, 2);
	struct cwp_attention a = {.size = sizeof(a), .heads = 6, .kv_heads = 2, .head_dim = 10, .scale = 0.4F};
	one(b, a);
	a.window = 7;
	one(b, a);
	a.window = 60;
	a.softcap = 1.5F;
	one(b, a);
	a = (struct cwp_attention){.size = sizeof(a), .heads = 2, .kv_heads = 2, .head_dim = 64, .scale = 0.125F};
	one(b, a);
	be->close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_prefixes)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
