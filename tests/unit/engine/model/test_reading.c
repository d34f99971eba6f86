/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows that several threads read and one takes: all of them once, in their order, with any number of threads; the first error
 * in the order of the rows, whoever is first; nothing is taken behind one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/model/reading.h"

enum { ROW = 3 };

struct table {
	uint64_t first, rows;
	uint64_t at;             /* row that is taken next */
	uint64_t bad_fill, bad_use, later; /* rows whose step fails, and one that fails sooner in time */
};

static void number(uint64_t row, uint64_t col, uint64_t *ret)
{
	*ret = row * 1000003 + col;
}

static int fill(void *arg, uint64_t row, uint64_t n, void *raw, struct cwb_err *err)
{
	const struct table *t = arg;
	uint64_t *x = raw;
	assert_true(row >= t->first && n > 0 && row + n <= t->first + t->rows);
	for (uint64_t i = 0; i < n * ROW; i++) {
		number(row + i / ROW, i % ROW, &x[i]);
	}
	if (t->bad_fill >= row && t->bad_fill < row + n) {
		(void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
		return cwb_err_set(err, CWP_ENUMBER, "row %llu", (unsigned long long)t->bad_fill);
	}
	return t->later >= row && t->later < row + n ? cwb_err_set(err, CWP_EFORMAT, "later") : 0;
}

static int use(void *arg, uint64_t row, uint64_t n, const void *raw, struct cwb_err *err)
{
	struct table *t = arg;
	const uint64_t *x = raw;
	assert_int_equal(row, t->at);
	for (uint64_t i = 0; i < n * ROW; i++) {
		uint64_t want;
		number(row + i / ROW, i % ROW, &want);
		assert_int_equal(x[i], want);
	}
	t->at += n;
	return t->bad_use >= row && t->bad_use < row + n ? cwb_err_set(err, CWP_EPLUGIN, "used") : 0;
}

static int run(struct table *t, uint64_t step, uint32_t threads, struct cwb_err *err)
{
	const struct cwe_reading r = {.first = t->first, .rows = t->rows, .step = step, .row_bytes = ROW * sizeof(uint64_t),
		.threads = threads, .arg = t, .fill = fill, .use = use};
	t->at = t->first;
	return cwe_reading_run(&r, err);
}

#define NONE UINT64_MAX

static void all_in_order(void **state)
{
	static const uint64_t rows[] = {0, 1, 2, 7, 100, 1001}, steps[] = {1, 3, 100, 5000};
	static const uint32_t threads[] = {0, 1, 2, 5, 64};
	struct cwb_err err = {0};
	(void)state;
	for (size_t i = 0; i < 6 * 4 * 5; i++) {
		struct table t = {.first = 11 * (i % 2), .rows = rows[i / 20], .bad_fill = NONE, .bad_use = NONE, .later = NONE};
		assert_int_equal(run(&t, steps[i / 5 % 4], threads[i % 5], &err), 0);
		assert_int_equal(t.at, t.first + t.rows);
	}
}

static void errors(void **state)
{
	static const uint32_t threads[] = {1, 2, 8};
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct cwb_err err = {0};
		struct table t = {.rows = 200, .bad_fill = 90, .bad_use = NONE, .later = 95};
		assert_int_equal(run(&t, 2, threads[i], &err), CWP_ENUMBER);
		assert_string_equal(err.message, "row 90");
		assert_int_equal(t.at, 90);
		err = (struct cwb_err){0};
		t = (struct table){.rows = 200, .bad_fill = NONE, .bad_use = 50, .later = 150};
		assert_int_equal(run(&t, 2, threads[i], &err), CWP_EPLUGIN);
		assert_int_equal(t.at, 52);
	}
	struct cwb_err err = {0};
	struct table t = {.rows = 4, .bad_fill = NONE, .bad_use = NONE, .later = NONE};
	const struct cwe_reading r = {.rows = 4, .step = 2, .row_bytes = UINT64_MAX / 2, .threads = 2, .arg = &t, .fill = fill, .use = use};
	assert_int_equal(cwe_reading_run(&r, &err), -ENOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(all_in_order), cmocka_unit_test(errors)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
