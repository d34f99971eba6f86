/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Bounds of the backend's own memory: they hold what they say they hold, and never wrap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plugins/backends/cuda/copies.h"
#include "plugins/backends/cuda/needs.h"

/* A layer of 7.6 billion parameters, pieces of 8192 tokens. */
static const struct cwp_backend_use use = {.size = sizeof use, .weights = 233046016, .tokens = 8192, .width = 18944, .sum = 29696};

static void test_parts(void **state)
{
	(void)state;
	struct cuda_needs n;
	cuda_needs_find(&use, 1, &n);
	assert_int_equal(n.workspace, CUDA_WORKSPACE);
	assert_true(n.table >= (use.tokens + 1) * sizeof(uint64_t));
	assert_true(n.scratch >= use.tokens * use.width * 8);
	assert_true(n.copies >= 2 * use.weights + 2 * cuda_copies_bytes(use.tokens, use.width));
	uint64_t own = n.workspace + n.loading + CUDA_TABLES * n.table + n.scratch + n.copies;
	assert_int_equal(cuda_needs_own(&n), own);
	assert_int_equal(cuda_needs_sum(&n), own + n.context + CUDA_PAGE);
	cuda_needs_find(&use, 0, &n);
	assert_int_equal(n.copies, 0);
}

/* One matrix as large as the layer, with rows that are no multiple of 8, and its operands find room together. */
static void test_copies_fit(void **state)
{
	(void)state;
	struct cuda_needs n;
	cuda_needs_find(&use, 1, &n);
	struct cuda_copies *c = cuda_copies_new();
	assert_non_null(c);
	assert_int_equal(cuda_copies_region(c, 1 << 20, n.copies), 0);
	const struct cuda_source weights = {UINT64_C(1) << 40, use.weights / 4001, 4001, 4001},
		x = {UINT64_C(1) << 44, use.tokens, use.width - 1, use.width - 1},
		y = {UINT64_C(1) << 45, use.tokens, use.width - 1, use.width - 1};
	assert_non_null(cuda_copies_make(c, &weights, 0));
	assert_non_null(cuda_copies_make(c, &x, 0));
	assert_non_null(cuda_copies_make(c, &y, 0));
	cuda_copies_destroy(c);
}

static void test_no_wrap(void **state)
{
	(void)state;
	const struct cwp_backend_use most = {sizeof most, 0, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX},
		wide = {sizeof wide, 0, 1, UINT64_C(1) << 33, UINT64_C(1) << 33, 1, 2};
	struct cuda_needs n;
	cuda_needs_find(&most, 1, &n);
	assert_int_equal(cuda_needs_sum(&n), UINT64_MAX);
	cuda_needs_find(&wide, 1, &n);
	assert_int_equal(cuda_needs_own(&n), UINT64_MAX);
}

/* More use never needs less. */
static void test_monotonous(void **state)
{
	(void)state;
	uint64_t before = 0;
	for (uint64_t i = 0; i < 40; i++) {
		struct cwp_backend_use u = {sizeof u, 0, i * 1000003, i * 37, i * 101, i * 303, i / 10};
		struct cuda_needs n;
		cuda_needs_find(&u, 1, &n);
		assert_true(cuda_needs_sum(&n) >= before);
		before = cuda_needs_sum(&n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_copies_fit),
		cmocka_unit_test(test_no_wrap),
		cmocka_unit_test(test_monotonous),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
