/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Error texts: what they keep, cut and replace, and the exit codes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"

static void keeps_the_first_error(void **state)
{
	struct cwb_err err = {0};

	(void)state;
	assert_int_equal(
		cwb_err_set(&err, CWP_EFORMAT, "%s: header of %d bytes", "a.bin", 7), CWP_EFORMAT);
	assert_string_equal(err.message, "a.bin: header of 7 bytes");
	assert_int_equal(cwb_err_set(&err, CWP_EVALUE, "another"), CWP_EVALUE);
	assert_int_equal(err.code, CWP_EFORMAT);
	assert_string_equal(err.message, "a.bin: header of 7 bytes");
	cwb_err_clear(&err);
	assert_int_equal(err.code, 0);
	assert_string_equal(err.message, "");
	assert_int_equal(cwb_err_set(&err, CWP_EVALUE, "another"), CWP_EVALUE);
	assert_string_equal(err.message, "another");
}

static void works_without_a_place_for_the_text(void **state)
{
	(void)state;
	assert_int_equal(cwb_err_set(NULL, CWP_ESHAPE, "unused"), CWP_ESHAPE);
	errno = ENOENT;
	assert_int_equal(cwb_err_errno(NULL, "unused"), -ENOENT);
	assert_true(cwb_err_prefix(NULL, "unused") < 0);
	cwb_err_clear(NULL);
}

static void appends_the_text_of_errno(void **state)
{
	struct cwb_err err = {0};

	(void)state;
	errno = ENOENT;
	assert_int_equal(cwb_err_errno(&err, "%s: cannot open", "m"), -ENOENT);
	assert_string_equal(err.message, "m: cannot open: No such file or directory");
	assert_int_equal(errno, ENOENT);
	/* A caller that forgot to set errno still gets a failure. */
	cwb_err_clear(&err);
	errno = 0;
	assert_int_equal(cwb_err_errno(&err, "x"), -EIO);
}

static void puts_prefixes_in_front(void **state)
{
	struct cwb_err err = {0};

	(void)state;
	cwb_err_set(&err, CWP_EVALUE, "seed: \"x\" is no number");
	assert_int_equal(cwb_err_prefix(&err, "%s:%d", "job.yaml", 5), CWP_EVALUE);
	assert_string_equal(err.message, "job.yaml:5: seed: \"x\" is no number");
}

static void is_always_one_printable_line(void **state)
{
	struct cwb_err err = {0};

	(void)state;
	cwb_err_set(&err, CWP_EVALUE, "%s", "a\nb\tc\033[31md\177e");
	assert_string_equal(err.message, "a b c?[31md?e");
	/* Control characters of two bytes too. */
	cwb_err_clear(&err);
	cwb_err_set(&err, CWP_EVALUE, "%s", "a\xc2\x9b 31m \xc2\xa0");
	assert_string_equal(err.message, "a?? 31m \xc2\xa0");
	/* Valid UTF-8 stays; overlong forms, surrogates, bytes out of nowhere and beyond U+10FFFF
	 * do not. */
	cwb_err_clear(&err);
	cwb_err_set(&err, CWP_EVALUE, "%s",
		"\303\244 \342\202\254 "
		"\360\237\231\202|\300\257|\355\240\200|\200|\364\220\200\200|\303");
	assert_string_equal(err.message, "\303\244 \342\202\254 \360\237\231\202|??|???|?|????|?");
}

static void says_when_it_was_cut(void **state)
{
	struct cwb_err err = {0};
	char longest[2000];

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	cwb_err_set(&err, CWP_EVALUE, "%s", longest);
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
	assert_string_equal(err.message + sizeof(err.message) - 4, "...");
	cwb_err_prefix(&err, "%s", "front");
	assert_memory_equal(err.message, "front: xxx", 10);
	assert_string_equal(err.message + sizeof(err.message) - 4, "...");
	/* Two-byte characters at every possible cut: none is halved. */
	for (int shift = 0; shift < 4; shift++) {
		for (size_t i = 0; i < sizeof(longest) - 1; i++) {
			longest[i] = (int)i < shift                 ? 'x'
				     : (i - (size_t)shift) % 2 == 0 ? '\303'
								    : '\244';
		}
		cwb_err_clear(&err);
		cwb_err_set(&err, CWP_EVALUE, "%s", longest);
		assert_null(strchr(err.message, '?'));
		assert_non_null(strstr(err.message, "..."));
	}
}

static void knows_text_and_exit_of_each_code(void **state)
{
	(void)state;
	for (int code = CWP_EPROTO; code <= CWP_EFORMAT; code++) {
		assert_string_not_equal(cwb_err_text(code), "failed");
		assert_int_not_equal(cwb_err_exit(code), 0);
	}
	assert_int_equal(cwb_err_exit(0), 0);
	assert_int_equal(cwb_err_exit(CWP_EGATE), 2);
	assert_int_equal(cwb_err_exit(CWP_EVALUE), 65);
	assert_int_equal(cwb_err_exit(-ENOENT), 65);
	assert_int_equal(cwb_err_exit(-ENOSPC), 75);
	assert_int_equal(cwb_err_exit(-EACCES), 77);
	assert_int_equal(cwb_err_exit(CWP_EDENIED), 77);
	assert_int_equal(cwb_err_exit(CWP_EABI), 78);
	assert_int_equal(cwb_err_exit(CWP_ECANCELLED), 1);
	assert_int_equal(cwb_err_exit(-12345), 1);
	assert_string_equal(cwb_err_text(-12345), "failed");
	assert_string_equal(cwb_err_text(-ENOENT), "no such file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_the_first_error),
		cmocka_unit_test(works_without_a_place_for_the_text),
		cmocka_unit_test(appends_the_text_of_errno),
		cmocka_unit_test(puts_prefixes_in_front),
		cmocka_unit_test(is_always_one_printable_line),
		cmocka_unit_test(says_when_it_was_cut),
		cmocka_unit_test(knows_text_and_exit_of_each_code),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
