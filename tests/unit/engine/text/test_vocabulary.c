/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Texts and ids both ways: many of them, of any length, added one by one or with room for all
 * beforehand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/text/component.h"
#include "engine/text/vocabulary.h"

#define COUNT 20000

static size_t make_text(char *out, unsigned i)
{
	return (size_t)sprintf(out, "%x", i * 2654435761u % 1000003u * 7u);
}

static void check_many(int reserved)
{
	struct cwe_vocabulary *v = NULL;
	struct cwb_err err = {0};
	char text[32];
	size_t bytes = 0;
	for (unsigned i = 0; i < COUNT; i++)
		bytes += make_text(text, i);
	assert_int_equal(cwe_vocabulary_new(&v, &err), 0);
	if (reserved)
		assert_int_equal(cwe_vocabulary_reserve(v, COUNT, bytes, "place", &err), 0);
	/* Ids from the last to the first, every third one. */
	for (unsigned i = 0; i < COUNT; i++) {
		size_t n = make_text(text, i);
		if (cwe_vocabulary_add(v, text, n, 3 * (COUNT - 1 - i), "place", &err) < 0)
			fail_msg("%s", err.message);
	}
	assert_int_equal(cwe_vocabulary_count(v), COUNT);
	assert_int_equal(cwe_vocabulary_size(v), 3 * (COUNT - 1) + 1);
	for (unsigned i = 0; i < COUNT; i++) {
		size_t n = make_text(text, i);
		size_t length = 0;
		uint32_t id = 3 * (COUNT - 1 - i);
		const char *back = cwe_vocabulary_text(v, id, &length);
		assert_int_equal(cwe_vocabulary_id(v, text, n), id);
		assert_non_null(back);
		assert_int_equal(length, n);
		assert_memory_equal(back, text, n);
		assert_null(cwe_vocabulary_text(v, id + 1, &length));
		text[n++] = '!';
		assert_int_equal(cwe_vocabulary_id(v, text, n), -1);
	}
	cwe_vocabulary_free(v);
}

static void test_many(void **state)
{
	(void)state;
	check_many(0);
	check_many(1);
}

/* Without its table of texts a vocabulary is slower, and the same; an addition makes the table
 * anew. */
static void test_forget(void **state)
{
	(void)state;
	static const char *const texts[] = {"a", "", "ab", "b", "abc"};
	struct cwe_vocabulary *v = NULL;
	struct cwb_err err = {0};
	assert_int_equal(cwe_vocabulary_new(&v, &err), 0);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(
			cwe_vocabulary_add(v, texts[i], strlen(texts[i]), 9 - 2 * i, "place", &err),
			0);
	for (int round = 0; round < 2; round++) {
		cwe_vocabulary_forget(v);
		for (uint32_t i = 0; i < 5; i++)
			assert_int_equal(
				cwe_vocabulary_id(v, texts[i], strlen(texts[i])), 9 - 2 * i);
		assert_int_equal(cwe_vocabulary_id(v, "c", 1), -1);
		assert_int_equal(cwe_vocabulary_id(v, "abcd", 4), -1);
	}
	assert_int_equal(cwe_vocabulary_add(v, "abc", 3, 20, "place", &err), CWP_EVALUE);
	assert_int_equal(cwe_vocabulary_add(v, "c", 1, 20, "place", NULL), 0);
	assert_int_equal(cwe_vocabulary_id(v, "c", 1), 20);
	assert_int_equal(cwe_vocabulary_id(v, "ab", 2), 5);
	cwe_vocabulary_free(v);
	/* Nothing was ever added. */
	assert_int_equal(cwe_vocabulary_new(&v, &err), 0);
	cwe_vocabulary_forget(v);
	assert_int_equal(cwe_vocabulary_id(v, "", 0), -1);
	cwe_vocabulary_free(v);
}

/* Lengths whose digits are more than one byte; bytes of any value. */
static void test_lengths(void **state)
{
	(void)state;
	static const size_t lengths[] = {
		0, 1, 2, 3, 4, 5, 7, 8, 9, 126, 127, 128, 129, 16383, 16384, 100000};
	size_t n = sizeof(lengths) / sizeof(*lengths);
	struct cwe_vocabulary *v = NULL;
	struct cwb_err err = {0};
	char *text = malloc(100000);
	assert_non_null(text);
	for (size_t i = 0; i < 100000; i++)
		text[i] = (char)(i % 251);
	assert_int_equal(cwe_vocabulary_new(&v, &err), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(
			cwe_vocabulary_add(v, text, lengths[i], (uint32_t)i, "place", &err), 0);
	for (size_t i = 0; i < n; i++) {
		size_t length = 77;
		const char *back = cwe_vocabulary_text(v, (uint32_t)i, &length);
		assert_int_equal(length, lengths[i]);
		if (length > 0)
			assert_memory_equal(back, text, length);
		assert_int_equal(cwe_vocabulary_id(v, text, lengths[i]), i);
	}
	assert_int_equal(cwe_vocabulary_id(v, text, 6), -1);
	cwe_vocabulary_free(v);
	free(text);
}

static void test_refusals(void **state)
{
	(void)state;
	struct cwe_vocabulary *v = NULL;
	struct cwb_err err = {0};
	size_t length;
	assert_int_equal(cwe_vocabulary_new(&v, &err), 0);
	assert_int_equal(cwe_vocabulary_add(v, "ab", 2, 5, "here", &err), 0);
	assert_int_equal(cwe_vocabulary_add(v, "xyz", 3, 5, "here", &err), CWP_EVALUE);
	assert_string_equal(err.message, "here: id 5 of token \"xyz\" is also that of \"ab\"");
	assert_string_equal(err.field, "here");
	cwb_err_clear(&err);
	assert_int_equal(cwe_vocabulary_add(v, "abc", 2, 6, "here", &err), CWP_EVALUE);
	assert_string_equal(err.message, "here: token \"ab\" is there twice");
	cwb_err_clear(&err);
	/* What was refused left nothing. */
	assert_int_equal(cwe_vocabulary_count(v), 1);
	assert_int_equal(cwe_vocabulary_size(v), 6);
	assert_int_equal(cwe_vocabulary_id(v, "xyz", 3), -1);
	assert_null(cwe_vocabulary_text(v, 6, &length));
	assert_int_equal(
		cwe_vocabulary_reserve(v, (size_t)CWE_ID_LIMIT + 1, 0, "here", &err), CWP_ELIMIT);
	cwe_vocabulary_free(v);
	/* The largest id. */
	cwb_err_clear(&err);
	assert_int_equal(cwe_vocabulary_new(&v, &err), 0);
	assert_int_equal(cwe_vocabulary_add(v, "z", 1, CWE_ID_LIMIT - 1, "here", &err), 0);
	assert_int_equal(cwe_vocabulary_id(v, "z", 1), CWE_ID_LIMIT - 1);
	assert_int_equal(cwe_vocabulary_size(v), CWE_ID_LIMIT);
	cwe_vocabulary_free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests_name("vocabulary", tests, NULL, NULL);
}
