/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Copies are found by their matrix alone, die with what is written, and go in the right order when room is short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plugins/backends/cuda/copies.h"

enum { ROWS = 4, COLS = 64, BYTES = ROWS * COLS * 2 /* of a copy: two units of an arena */ };

static const uint64_t REGION = 1 << 20, SOURCE = UINT64_C(1) << 32;

static struct cuda_source source(uint64_t i)
{
	return (struct cuda_source){SOURCE + i * 0x10000, ROWS, COLS, COLS};
}

/* Room for n copies. */
static struct cuda_copies *make(uint64_t n)
{
	struct cuda_copies *c = cuda_copies_new();
	assert_non_null(c);
	assert_int_equal(cuda_copies_region(c, REGION, n * BYTES), 0);
	return c;
}

static const struct cuda_copy *put(struct cuda_copies *c, uint64_t i)
{
	struct cuda_source s = source(i);
	const struct cuda_copy *p = cuda_copies_make(c, &s, 1);
	assert_non_null(p);
	return p;
}

static int has(struct cuda_copies *c, uint64_t i)
{
	struct cuda_source s = source(i);
	return cuda_copies_find(c, &s) != NULL;
}

static void test_found_exactly(void **state)
{
	(void)state;
	struct cuda_copies *c = make(4);
	uint64_t at = put(c, 0)->at;
	assert_int_equal(at, REGION);
	struct cuda_source s = source(0), other[] = {s, s, s, s};
	assert_int_equal(cuda_copies_find(c, &s)->at, at);
	other[0].from += 4;
	other[1].rows--;
	other[2].cols -= 8;
	other[3].ld++;
	for (size_t i = 0; i < 4; i++) {
		assert_null(cuda_copies_find(c, &other[i]));
	}
	/* One row has no distance to another. */
	struct cuda_source row = {SOURCE + 0x100000, 1, COLS, COLS}, wide = {SOURCE + 0x100000, 1, COLS, 999};
	assert_non_null(cuda_copies_make(c, &row, 0));
	assert_non_null(cuda_copies_find(c, &wide));
	assert_int_equal(cuda_copies_count(c), 2);
	cuda_copies_destroy(c);
}

static void test_sizes(void **state)
{
	(void)state;
	assert_int_equal(cuda_copies_ld(1), 8);
	assert_int_equal(cuda_copies_ld(8), 8);
	assert_int_equal(cuda_copies_ld(9), 16);
	assert_int_equal(cuda_copies_bytes(3, 9), 96);
	assert_int_equal(cuda_copies_bytes(UINT64_C(1) << 40, UINT64_C(1) << 40), UINT64_MAX);
	assert_int_equal(cuda_copies_bytes(1, UINT64_MAX), UINT64_MAX);
	assert_int_equal(cuda_copies_bytes(UINT64_C(3) << 32, 8), UINT64_C(3) << 36);
	struct cuda_copies *c = make(1);
	struct cuda_source s = {SOURCE, UINT64_C(1) << 40, UINT64_C(1) << 40, UINT64_C(1) << 40};
	assert_null(cuda_copies_make(c, &s, 1));
	cuda_copies_destroy(c);
	cuda_copies_destroy(NULL);
}

/* Each byte of the source's range, and none beside it. */
static void test_written(void **state)
{
	(void)state;
	struct cuda_source s = {SOURCE, 3, 5, 10}; /* 25 numbers from the first to the last */
	struct {
		uint64_t begin, end;
		int dies;
	} write[] = {{0, 1, 1}, {99, 100, 1}, {100, 200, 0}, {24, 28, 1}, {0, 1000, 1}};
	for (size_t i = 0; i < sizeof write / sizeof *write; i++) {
		struct cuda_copies *c = make(4);
		assert_non_null(cuda_copies_make(c, &s, 0));
		uint64_t free = cuda_copies_free(c);
		cuda_copies_wrote(c, SOURCE + write[i].begin, SOURCE + write[i].end);
		assert_int_equal(cuda_copies_find(c, &s) == NULL, write[i].dies);
		assert_int_equal(cuda_copies_free(c) > free, write[i].dies);
		cuda_copies_destroy(c);
	}
	struct cuda_copies *c = make(4);
	assert_non_null(cuda_copies_make(c, &s, 0));
	cuda_copies_wrote(c, SOURCE - 8, SOURCE);
	assert_non_null(cuda_copies_find(c, &s));
	cuda_copies_wrote(c, SOURCE - 8, SOURCE + 1);
	assert_null(cuda_copies_find(c, &s));
	assert_int_equal(cuda_copies_free(c), cuda_copies_size(c));
	cuda_copies_destroy(c);
}

static void test_longest_unused_goes(void **state)
{
	(void)state;
	struct cuda_copies *c = make(4);
	for (uint64_t i = 0; i < 4; i++) {
		(void)put(c, i);
	}
	struct cuda_source next = source(9);
	assert_null(cuda_copies_make(c, &next, 0)); /* nothing goes unasked */
	assert_int_equal(cuda_copies_count(c), 4);
	assert_true(has(c, 0)); /* used again: 1 is the next to go */
	(void)put(c, 4);
	assert_false(has(c, 1));
	assert_true(has(c, 0) && has(c, 2) && has(c, 3) && has(c, 4));
	cuda_copies_destroy(c);
}

/* Two operands of a product: the first one stays while the second is made, even with nothing else to give. */
static void test_last_one_stays(void **state)
{
	(void)state;
	struct cuda_copies *c = make(2);
	(void)put(c, 0);
	(void)put(c, 1);
	assert_true(has(c, 0));
	(void)put(c, 2);
	assert_true(has(c, 0) && has(c, 2) && !has(c, 1));
	cuda_copies_destroy(c);
	c = make(1);
	(void)put(c, 0);
	struct cuda_source s = source(1);
	assert_null(cuda_copies_make(c, &s, 1));
	assert_true(has(c, 0));
	cuda_copies_destroy(c);
}

/* Activations go before weights, old weights after them. */
static void test_loaded_stay(void **state)
{
	(void)state;
	struct cuda_copies *c = make(4);
	for (uint64_t i = 0; i < 2; i++) {
		cuda_copies_loaded(c, source(i).from, source(i).from + 0x1000);
		assert_true(put(c, i)->loaded);
	}
	for (uint64_t i = 2; i < 5; i++) {
		assert_false(put(c, i)->loaded);
	}
	assert_true(has(c, 0) && has(c, 1) && has(c, 3) && has(c, 4) && !has(c, 2));
	/* Loaded over: no longer true. */
	cuda_copies_loaded(c, source(1).from, source(1).from + 0x1000);
	assert_false(has(c, 1));
	assert_true(put(c, 1)->loaded);
	/* Weights alone: the one used longest ago. */
	cuda_copies_loaded(c, source(3).from, source(4).from + 0x1000);
	(void)put(c, 3);
	(void)put(c, 4);
	assert_true(has(c, 1));
	(void)put(c, 7);
	assert_false(has(c, 0));
	/* Memory that is somebody else's now. */
	cuda_copies_gone(c, source(3).from, source(3).from + 0x1000);
	assert_false(has(c, 3));
	assert_false(put(c, 3)->loaded);
	cuda_copies_destroy(c);
}

static void test_parts(void **state)
{
	(void)state;
	struct cuda_copies *c = make(8);
	struct cuda_source all = {SOURCE, 8, 48, 50};
	uint64_t ld = cuda_copies_ld(48), at = 0, base = 0;
	base = cuda_copies_make(c, &all, 0)->at;
	struct {
		uint64_t row, col, rows, cols, ld;
		int inside;
	} part[] = {{0, 0, 8, 48, 50, 1}, {2, 8, 3, 16, 50, 1}, {7, 40, 1, 8, 50, 1}, {2, 8, 3, 41, 50, 0}, {2, 4, 3, 16, 50, 0},
		{6, 8, 3, 16, 50, 0}, {2, 8, 3, 16, 49, 0}, {2, 8, 1, 16, 7, 1}, {0, 48, 1, 1, 50, 0}};
	for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
		struct cuda_source s = {SOURCE + (part[i].row * 50 + part[i].col) * 4, part[i].rows, part[i].cols, part[i].ld};
		assert_int_equal(cuda_copies_inside(c, &s, &at) != NULL, part[i].inside);
		if (part[i].inside) {
			assert_int_equal(at, base + (part[i].row * ld + part[i].col) * 2);
		}
	}
	struct cuda_source before = {SOURCE - 4, 1, 8, 50}, odd = {SOURCE + 2, 1, 8, 50}, behind = {SOURCE + 7 * 200 + 192, 1, 1, 50};
	assert_null(cuda_copies_inside(c, &before, &at));
	assert_null(cuda_copies_inside(c, &odd, &at));
	assert_null(cuda_copies_inside(c, &behind, &at));
	cuda_copies_destroy(c);
}

static void test_regions(void **state)
{
	(void)state;
	struct cuda_copies *c = make(1);
	(void)put(c, 0);
	assert_int_equal(cuda_copies_region(c, REGION + 0x100000, BYTES), 0);
	assert_int_equal(put(c, 1)->at, REGION + 0x100000);
	cuda_copies_wrote(c, source(1).from, source(1).from + 4);
	assert_int_equal(cuda_copies_free(c), BYTES);
	assert_int_equal(cuda_copies_size(c), 2 * BYTES);
	cuda_copies_clear(c);
	assert_int_equal(cuda_copies_size(c), 0);
	struct cuda_source s = source(0);
	assert_null(cuda_copies_find(c, &s));
	assert_null(cuda_copies_make(c, &s, 1));
	cuda_copies_destroy(c);
}

static int wished(const struct cuda_copies *c, uint64_t i, uint64_t n, uint64_t rows)
{
	struct cuda_source s;
	if (!cuda_copies_wished(c, source(i).from, n, &s)) {
		return 0;
	}
	assert_int_equal(s.from, source(i).from);
	assert_true(s.rows == rows && s.cols == COLS && s.ld == COLS);
	return 1;
}

static void fulfil(struct cuda_copies *c, uint64_t i)
{
	struct cuda_source s = source(i);
	put(c, i);
	cuda_copies_fulfilled(c, &s);
}

/* What products had to wait for is made beside its source, as long as it is of use. */
static void test_wishes(void **state)
{
	(void)state;
	struct cuda_copies *c = make(8);
	struct cuda_source s = source(0), odd = source(1), apart = source(2);
	assert_false(wished(c, 0, ROWS * COLS, ROWS));
	cuda_copies_wish(c, &s);
	odd.cols = odd.ld = COLS - 1;
	apart.ld++;
	cuda_copies_wish(c, &odd);
	cuda_copies_wish(c, &apart);
	assert_false(wished(c, 1, ROWS * COLS, ROWS));
	assert_false(wished(c, 2, ROWS * COLS, ROWS));
	assert_true(wished(c, 0, ROWS * COLS, ROWS));
	assert_true(wished(c, 0, COLS, 1)); /* any number of whole rows */
	assert_false(wished(c, 0, COLS + 1, 0));
	assert_false(wished(c, 0, 0, 0));
	/* Of use: nothing changes. */
	for (int i = 0; i < 10; i++) {
		fulfil(c, 0);
		assert_true(has(c, 0));
		assert_true(has(c, 0));
		cuda_copies_wrote(c, s.from, s.from + 4);
		assert_true(wished(c, 0, ROWS * COLS, ROWS));
	}
	/* Every other time: still worth it. */
	for (int i = 0; i < 20; i++) {
		fulfil(c, 0);
		assert_true(i % 2 == 1 || has(c, 0));
		cuda_copies_wrote(c, s.from, s.from + 4);
		assert_true(wished(c, 0, ROWS * COLS, ROWS));
	}
	/* In vain, written over or evicted: no more. */
	for (int i = 0; wished(c, 0, ROWS * COLS, ROWS); i++) {
		assert_true(i < 4);
		fulfil(c, 0);
		if (i % 2 == 0) {
			cuda_copies_wrote(c, s.from, s.from + 4);
		} else {
			for (uint64_t other = 10; other < 19; other++) {
				put(c, other);
			}
			assert_false(has(c, 0));
		}
	}
	/* Until somebody waits for it again. Others take the place of the oldest. */
	cuda_copies_wish(c, &s);
	assert_true(wished(c, 0, ROWS * COLS, ROWS));
	for (uint64_t i = 1; i <= 256; i++) {
		struct cuda_source other = source(i);
		cuda_copies_wish(c, &other);
	}
	assert_false(wished(c, 0, ROWS * COLS, ROWS));
	assert_true(wished(c, 1, ROWS * COLS, ROWS) && wished(c, 256, ROWS * COLS, ROWS));
	cuda_copies_destroy(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_exactly),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_written),
		cmocka_unit_test(test_longest_unused_goes),
		cmocka_unit_test(test_last_one_stays),
		cmocka_unit_test(test_loaded_stay),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_regions),
		cmocka_unit_test(test_wishes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
