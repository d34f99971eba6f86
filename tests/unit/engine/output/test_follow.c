/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Digests of files that grow: in steps of any size, several at once, begun again, given up, and cut while they are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cwp/error.h>

#include "engine/format/follow.h"

enum { FILES = 3, SIZE = 3000000 };

struct grown {
	FILE *file;
	uint8_t *data;
	uint64_t size, written;
};

static uint64_t number(uint64_t below)
{
	static uint64_t state = 1;

	state = state * 6364136223846793005u + 1442695040888963407u;
	return (state >> 33) % below;
}

static struct grown grow_new(uint64_t size)
{
	struct grown g = {.file = tmpfile(), .data = malloc(size), .size = size};

	assert_non_null(g.file);
	assert_non_null(g.data);
	for (uint64_t i = 0; i < size; i++)
		g.data[i] = (uint8_t)number(256);
	assert_int_equal(ftruncate(fileno(g.file), (off_t)size), 0);
	return g;
}

static void grow(struct grown *g, uint64_t n)
{
	n = g->size - g->written < n ? g->size - g->written : n;
	assert_int_equal(pwrite(fileno(g->file), g->data + g->written, n, (off_t)g->written), n);
	g->written += n;
}

static void grow_free(struct grown *g)
{
	fclose(g->file);
	free(g->data);
}

static void check(const struct cwe_follow *f, size_t i, const struct grown *g)
{
	char hex[CWB_DIGEST_HEX];

	assert_int_equal(cwb_digest_buffer(g->data, g->size, hex), 0);
	assert_string_equal(cwe_follow_hex(f, i), hex);
}

static struct cwe_follow *begin(struct grown *g, size_t n)
{
	struct cwe_follow *f = NULL;

	assert_int_equal(cwe_follow_new(n, &f, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		g[i] = grow_new(1 + number(SIZE));
		cwe_follow_file(f, i, fileno(g[i].file), "grown", g[i].size);
	}
	return f;
}

static void grow_all(struct cwe_follow *f, struct grown *g, size_t n, uint64_t step)
{
	size_t left = n;

	while (left) {
		left = 0;
		for (size_t i = 0; i < n; i++) {
			grow(&g[i], 1 + number(step));
			cwe_follow_whole(f, i, g[i].written);
			left += g[i].written < g[i].size;
		}
	}
}

static void test_steps(void **state)
{
	(void)state;
	for (size_t files = 1; files <= FILES; files++)
		for (uint64_t step = 1000; step < (uint64_t)2 * SIZE; step *= 20) {
			struct grown g[FILES];
			struct cwe_follow *f = begin(g, files);

			grow_all(f, g, files, step);
			assert_int_equal(cwe_follow_finish(f, NULL), 0);
			for (size_t i = 0; i < files; i++) {
				check(f, i, &g[i]);
				grow_free(&g[i]);
			}
			cwe_follow_free(f);
		}
}

/* What was followed changes: nothing that was read before counts. */
static void test_again(void **state)
{
	struct grown g[FILES];
	struct cwe_follow *f = begin(g, FILES);

	(void)state;
	grow_all(f, g, FILES, 100000);
	for (size_t i = 0; i < FILES; i += 2) {
		cwe_follow_again(f, i);
		g[i].data[0] ^= 1;
		g[i].written = 0;
		grow(&g[i], 1);
		cwe_follow_whole(f, i, g[i].size); /* not before the end */
	}
	assert_int_equal(cwe_follow_finish(f, NULL), 0);
	for (size_t i = 0; i < FILES; i++) {
		check(f, i, &g[i]);
		grow_free(&g[i]);
	}
	cwe_follow_free(f);
}

static void test_cut(void **state)
{
	struct cwb_err err = {0};
	struct grown g[FILES];
	struct cwe_follow *f = begin(g, FILES);

	(void)state;
	assert_int_equal(ftruncate(fileno(g[1].file), 0), 0);
	assert_true(cwe_follow_finish(f, &err) < 0);
	assert_non_null(strstr(err.message, "grown"));
	cwe_follow_free(f);
	for (size_t i = 0; i < FILES; i++)
		grow_free(&g[i]);
}

static void test_given_up(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++) {
		struct grown g[FILES];
		struct cwe_follow *f = begin(g, FILES);

		grow_all(f, g, FILES, 1 + number(SIZE));
		cwe_follow_free(f);
		for (size_t k = 0; k < FILES; k++)
			grow_free(&g[k]);
	}
	cwe_follow_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
