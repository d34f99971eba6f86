/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the backend takes for itself stays below what it says beforehand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <cwp/quantizer.h>
#include <cwp/scorer.h>

#include "tests/kernels/support.h"

static const struct cwp_backend *const be = &cpu_backend;

static uint64_t taken(const struct cpu *b)
{
	uint64_t bytes = b->shared.size;
	for (size_t i = 0; i < b->slots; i++) {
		bytes += b->scratch[i].size;
	}
	return bytes;
}

struct sides {
	uint64_t tokens, width;
};

static void products(void *b, const struct sides *s, const float *x, float *y)
{
	uint64_t t = s->tokens, w = s->width;
	assert_int_equal(be->matmul(b, 0, 1, t, w, w, x, w, x, w, 0, y, w), 0);
	assert_int_equal(be->matmul(b, 0, 0, t, w, w, x, w, x, w, 0, y, w), 0);
	assert_int_equal(be->matmul(b, 1, 0, w, w, t, x, w, x, w, 0, y, w), 0);
	assert_int_equal(be->matmul(b, 0, 1, w, t, w, x, w, x, w, 0, y, t), 0);
	assert_int_equal(be->matmul(b, 0, 1, w < 16 ? w : 16, w, w, x, w, x, w, 0, y, w), 0);
}

/* All tokens in one sample, then each in one of its own. */
static void statistics(void *b, const struct sides *s, const float *x, float *y)
{
	uint64_t *start = calloc(s->tokens + 1, sizeof(*start));
	assert_non_null(start);
	start[1] = s->tokens;
	struct cwp_grad_stats g = {.size = sizeof(g),
		.rows = s->width,
		.cols = s->width,
		.samples = {1, start},
		.d_x = x,
		.ldx = s->width,
		.d_dy = x,
		.lddy = s->width,
		.d_sum = y,
		.d_abs = y + s->width * s->width,
		.d_sq = y + 2 * s->width * s->width};
	assert_int_equal(be->grad_stats(b, &g), 0);
	for (uint64_t i = 0; i <= s->tokens; i++) {
		start[i] = i;
	}
	g.samples.count = s->tokens;
	assert_int_equal(be->grad_stats(b, &g), 0);
	free(start);
}

static void attention(void *b, const struct sides *s, const float *x, float *y)
{
	const uint64_t start[] = {0, s->tokens};
	const struct cwp_attention a = {.size = sizeof(a), .heads = 1, .kv_heads = 1, .head_dim = (uint32_t)s->width, .scale = 0.1F,
		.sequences = {1, start}};
	uint64_t n = s->tokens * s->width;
	assert_int_equal(be->attention(b, &a, x, x, x, y, y + n), 0);
	assert_int_equal(be->attention_backward(b, &a, x, x, x, y, y + n, x, y + 2 * n, y + 3 * n, y + 4 * n), 0);
}

static void others(void *b, const struct sides *s, const float *x, float *y)
{
	uint64_t *count = calloc(CWP_HISTOGRAM_BINS, sizeof(*count));
	const struct cwp_activation a = {.size = sizeof(a), .kind = CWP_ACT_INT8_OUTLIER, .threshold = 1.0F};
	assert_non_null(count);
	assert_int_equal(be->act_histogram(b, x, s->tokens, s->width, s->width, count), 0);
	assert_int_equal(be->fake_quant(b, &a, x, s->tokens, s->width, y), 0);
	free(count);
}

static void one_use(const char *precision, uint32_t threads, const struct sides *s)
{
	static void (*const each[])(void *b, const struct sides *s, const float *x, float *y) = {
		products, statistics, attention, others};
	struct test_host h;
	uint64_t seed = 1, side = s->tokens > s->width ? s->tokens : s->width;
	float *x = test_normal(&seed, side * side, 0.1F), *y = test_filled(5 * side * side + side, 0.0F);
	const struct cwp_backend_use use = {.size = sizeof(use), .tokens = s->tokens, .width = s->width};
	for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
		void *b = test_open_precision(&h, threads, precision);
		uint64_t said = be->overhead(b, &use);
		each[i](b, s, x, y);
		if (taken(b) > said) {
			fail_msg("%s, %u threads, %llu tokens, width %llu: operations %zu took %llu bytes, said %llu", precision, threads,
				(unsigned long long)s->tokens, (unsigned long long)s->width, i, (unsigned long long)taken(b),
				(unsigned long long)said);
		}
		be->close(b);
	}
	free(x);
	free(y);
}

static void test_overhead(void **state)
{
	(void)state;
	static const struct sides sides[] = {{1, 1}, {40, 30}, {30, 200}, {700, 40}};
	static const char *const precisions[] = {"f32", "bf16", TEST_PLAIN_TILES};
	for (size_t i = 0; i < 12; i++) {
		if (i % 3 < 2 || test_has_plain_tiles()) {
			one_use(precisions[i % 3], i % 2 ? 1 : 3, &sides[i / 3]);
		}
	}
}

/* The largest numbers do not wrap around; many small samples of a wide matrix go in batches. */
static void test_large(void **state)
{
	(void)state;
	struct test_host h;
	void *b = test_open_precision(&h, 16, "bf16");
	const struct cwp_backend_use use = {.size = sizeof(use), .tokens = UINT64_MAX, .width = UINT64_MAX};
	const struct cwp_backend_use real = {.size = sizeof(real), .tokens = 2048, .width = 28672};
	assert_true(be->overhead(b, &use) > UINT64_C(1) << 48);
	assert_true(be->overhead(b, &real) < UINT64_C(1) << 29);
	be->close(b);
}

/* Large transfers go in pieces. */
static void test_moves(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 1000, (size_t)4 << 20, ((size_t)5 << 20) + 3};
	struct test_host h;
	void *b = test_open(&h, 3);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t n = sizes[i];
		unsigned char *x = malloc(n + 1), *y = malloc(n + 1), *d = be->alloc(b, n + 1), *e = be->alloc(b, n + 1);
		assert_true(x && y && d && e);
		for (size_t j = 0; j <= n; j++) {
			x[j] = (unsigned char)(j * 7 + j / 4096 + 1);
			y[j] = d[j] = e[j] = 0xee;
		}
		assert_int_equal(be->upload(b, d, x, n), 0);
		assert_int_equal(be->copy(b, e, d, n), 0);
		assert_int_equal(be->download(b, y, e, n), 0);
		assert_memory_equal(x, y, n);
		assert_int_equal(be->zero(b, d, n), 0);
		size_t set = 0;
		for (size_t j = 0; j < n; j++) {
			set += d[j] != 0;
		}
		assert_int_equal(set, 0);
		assert_true(d[n] == 0xee && e[n] == 0xee && y[n] == 0xee);
		be->free(b, d);
		be->free(b, e);
		free(x);
		free(y);
	}
	be->close(b);
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overhead),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_moves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return test_each_tier(group) != 0;
}
