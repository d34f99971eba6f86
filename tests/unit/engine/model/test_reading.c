/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows that several threads read: all of them once, with any number of threads; the first error in the order of parts and rows,
 * whoever is first; nothing is begun behind one. And numbers that are none. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/model/model_p.h"
#include "engine/model/reading.h"

enum { ROW = 3, PARTS = 3, MOST = 1100 };

#define NONE UINT64_MAX

struct table {
	uint64_t first, rows, step;
	atomic_int seen[MOST];
	atomic_int *wrong;
	uint64_t slow, fast; /* rows whose step fails: late, and at once */
	atomic_int begun;
};

static int run_rows(void *arg, uint64_t row, uint64_t n, void *raw, struct cwb_err *err)
{
	struct table *t = arg;
	uint64_t *x = raw;
	if (n == 0 || n > t->step || row < t->first || row + n > t->first + t->rows) {
		atomic_store(t->wrong, 1);
		return 0;
	}
	atomic_fetch_add(&t->begun, 1);
	/* The memory is this thread's own, and all of it is there. */
	for (uint64_t i = 0; i < n * ROW; i++) {
		x[i] = row * 1000003 + i;
	}
	for (uint64_t i = 0; i < n; i++) {
		atomic_fetch_add(&t->seen[row - t->first + i], 1);
	}
	for (uint64_t i = 0; i < n * ROW; i++) {
		if (x[i] != row * 1000003 + i) {
			atomic_store(t->wrong, 1);
		}
	}
	if (t->slow >= row && t->slow < row + n) {
		(void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
		return cwb_err_set(err, CWP_ENUMBER, "row %llu", (unsigned long long)t->slow);
	}
	return t->fast >= row && t->fast < row + n ? cwb_err_set(err, CWP_EFORMAT, "later") : 0;
}

static int run(struct table *t, size_t parts, uint32_t threads, struct cwb_err *err)
{
	struct cwe_reading_part part[PARTS];
	atomic_int wrong = 0;
	for (size_t i = 0; i < parts; i++) {
		part[i] = (struct cwe_reading_part){t[i].first, t[i].rows, t[i].step, ROW * sizeof(uint64_t), &t[i]};
		t[i].wrong = &wrong;
	}
	const struct cwe_reading r = {.part = part, .parts = parts, .threads = threads, .run = run_rows};
	int code = cwe_reading_run(&r, err);
	assert_int_equal(atomic_load(&wrong), 0);
	return code;
}

static void all_once(void **state)
{
	static const uint64_t rows[] = {0, 1, 2, 7, 100, 1001}, steps[] = {1, 3, 100, 5000};
	static const uint32_t threads[] = {0, 1, 2, 5, 64};
	static struct table t[PARTS];
	struct cwb_err err = {0};
	(void)state;
	for (size_t i = 0; i < 6 * 4 * 5; i++) {
		memset(t, 0, sizeof t);
		for (size_t k = 0; k < PARTS; k++) {
			t[k].first = 11 * (i % 2) + k;
			t[k].rows = rows[(i / 20 + k) % 6];
			t[k].step = steps[(i / 5 + k) % 4];
			t[k].slow = t[k].fast = NONE;
		}
		assert_int_equal(run(t, PARTS, threads[i % 5], &err), 0);
		for (size_t k = 0; k < PARTS; k++) {
			for (uint64_t row = 0; row < MOST; row++) {
				assert_int_equal(atomic_load(&t[k].seen[row]), row < t[k].rows);
			}
		}
	}
	assert_int_equal(run(t, 0, 4, &err), 0);
}

static void errors(void **state)
{
	static const uint32_t threads[] = {1, 2, 8};
	static struct table t[PARTS];
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct cwb_err err = {0};
		memset(t, 0, sizeof t);
		for (size_t k = 0; k < PARTS; k++) {
			t[k].rows = 200;
			t[k].step = 2;
			t[k].slow = t[k].fast = NONE;
		}
		t[1].slow = 90;
		t[1].fast = 95;
		assert_int_equal(run(t, PARTS, threads[i], &err), CWP_ENUMBER);
		assert_string_equal(err.message, "row 90");
		/* All before it, and no more than each thread may have had in hand. */
		for (uint64_t row = 0; row < 92; row++) {
			assert_int_equal(atomic_load(&t[1].seen[row]), 1);
		}
		assert_int_equal(atomic_load(&t[0].begun), 100);
		assert_true(threads[i] > 1 || atomic_load(&t[1].begun) == 46);
		assert_true(atomic_load(&t[2].begun) == 0 || threads[i] > 1);
	}
	struct cwb_err err = {0};
	const struct cwe_reading_part part = {0, 4, 2, UINT64_MAX / 2, t};
	const struct cwe_reading r = {.part = &part, .parts = 1, .threads = 2, .run = run_rows};
	assert_int_equal(cwe_reading_run(&r, &err), -ENOMEM);
}

static int check(const void *x, uint32_t dtype, uint64_t n, struct cwb_err *err)
{
	static char path[] = "here";
	struct cwe_source source = {.path = path};
	const struct cwe_model m = {.source = &source};
	const struct cwe_tensor t = {.name = "w", .dtype = dtype, .rank = 2, .shape = {100, 7}};
	*err = (struct cwb_err){0};
	return cwe_model_check_finite(&m, &t, 10, x, dtype, n, err);
}

/* Every number of 16 bits, alone and beside the largest; every place of short and long rows. */
static void no_numbers(void **state)
{
	static const uint32_t types[] = {CWP_BF16, CWP_F16};
	static const uint16_t largest[] = {0x7f7f, 0x7bff}, exponent[] = {0x7f80, 0x7c00};
	struct cwb_err err;
	(void)state;
	for (int k = 0; k < 2; k++) {
		for (uint32_t v = 0; v < 65536; v++) {
			uint16_t x[19];
			for (int i = 0; i < 19; i++) {
				x[i] = (uint16_t)(largest[k] | (i & 1) << 15);
			}
			x[v % 19] = (uint16_t)v;
			int bad = (v & exponent[k]) == exponent[k];
			assert_int_equal(check(x, types[k], 19, &err), bad ? CWP_ENUMBER : 0);
			assert_int_equal(check(&x[v % 19], types[k], 1, &err), bad ? CWP_ENUMBER : 0);
		}
	}
	for (uint64_t n = 1; n < 70; n++) {
		for (uint64_t i = 0; i < n; i++) {
			float x[70];
			char text[100];
			for (uint64_t j = 0; j < n; j++) {
				x[j] = j & 1 ? -3.4028234e38F : 1e-45F;
			}
			assert_int_equal(check(x, CWP_F32, n, &err), 0);
			x[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -INFINITY;
			assert_int_equal(check(x, CWP_F32, n, &err), CWP_ENUMBER);
			(void)snprintf(text, sizeof text, "here: tensor w holds %f at element %u; repair", (double)x[i], (unsigned)(70 + i));
			assert_non_null(strstr(err.message, text));
		}
		assert_int_equal(check(NULL, CWP_F32, 0, &err), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(all_once), cmocka_unit_test(errors), cmocka_unit_test(no_numbers)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
