/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Cleaned text, columns, numbers with units. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <locale.h>
#include <math.h>

#include "cli/text.h"

static void assert_clean(const char *from, size_t length, int lines, const char *expected)
{
	struct cwc_text text = {0};

	cwc_text_clean(&text, from, length, lines);
	assert_string_equal(cwc_text_get(&text), expected);
	cwc_text_free(&text);
}

#define CLEAN(from, lines, expected) assert_clean(from, sizeof(from) - 1, lines, expected)

static void test_clean(void **state)
{
	(void)state;
	CLEAN("plain", 0, "plain");
	CLEAN("", 0, "");
	CLEAN("\033[2J", 0, "\\x1b[2J");
	CLEAN("a\rb\bc\177", 0, "a\\x0db\\x08c\\x7f");
	CLEAN("a\nb\tc", 0, "a\\x0ab\\x09c");
	CLEAN("a\nb\tc\r", 1, "a\nb\tc\\x0d");
	CLEAN("nul\0here", 0, "nul\\x00here");
	CLEAN("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\x8d", 0,
		"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\x8d");
}

static void test_clean_is_strict(void **state)
{
	(void)state;
	/* C1: 0x9b begins a control sequence on some terminals, alone and as U+009B. */
	CLEAN("\x9b"
	      "1m",
		0, "\\x9b1m");
	CLEAN("\xc2\x9b"
	      "1m",
		0, "\\u{9b}1m");
	/* Right-to-left override, and the isolates. */
	CLEAN("a\xe2\x80\xae"
	      "b",
		0, "a\\u{202e}b");
	CLEAN("\xe2\x81\xa6", 0, "\\u{2066}");
	/* Overlong, surrogate, above U+10FFFF, cut short, and a lone continuation byte. */
	CLEAN("\xc0\xaf", 0, "\\xc0\\xaf");
	CLEAN("\xe0\x80\xaf", 0, "\\xe0\\x80\\xaf");
	CLEAN("\xed\xa0\x80", 0, "\\xed\\xa0\\x80");
	CLEAN("\xf4\x90\x80\x80", 0, "\\xf4\\x90\\x80\\x80");
	CLEAN("\xe2\x82", 0, "\\xe2\\x82");
	CLEAN("\x80", 0, "\\x80");
}

static void test_columns(void **state)
{
	struct cwc_text text = {0};

	(void)state;
	assert_int_equal(cwc_text_columns(""), 0);
	assert_int_equal(cwc_text_columns("abc"), 3);
	assert_int_equal(cwc_text_columns("\xc3\xbc"), 1);
	/* Two columns each, and a combining accent of none. */
	assert_int_equal(cwc_text_columns("\xe6\x97\xa5\xe6\x9c\xac"), 4);
	assert_int_equal(cwc_text_columns("e\xcc\x81"), 1);

	cwc_text_add_columns(&text, "abcdef", 6);
	assert_string_equal(cwc_text_get(&text), "abcdef");
	text.length = 0;
	cwc_text_add_columns(&text, "abcdef", 5);
	assert_string_equal(cwc_text_get(&text), "abcd~");
	text.length = 0;
	/* Half of a wide character is never shown. */
	cwc_text_add_columns(&text, "\xe6\x97\xa5\xe6\x9c\xac", 3);
	assert_string_equal(cwc_text_get(&text), "\xe6\x97\xa5~");
	text.length = 0;
	cwc_text_add_columns(&text, "\xe6\x97\xa5\xe6\x9c\xac", 2);
	assert_string_equal(cwc_text_get(&text), "~");
	cwc_text_free(&text);
	cwc_text_add_columns(&text, "abc", 0);
	assert_string_equal(cwc_text_get(&text), "");
}

static void assert_size(uint64_t bytes, const char *expected)
{
	struct cwc_text text = {0};

	cwc_text_size(&text, bytes);
	assert_string_equal(cwc_text_get(&text), expected);
	cwc_text_free(&text);
}

static void test_size(void **state)
{
	(void)state;
	assert_size(0, "0 B");
	assert_size(1023, "1023 B");
	assert_size(1024, "1.0 KiB");
	assert_size(1536, "1.5 KiB");
	assert_size((1u << 20) - 1, "1.0 MiB");
	assert_size(UINT64_C(4) << 30, "4.0 GiB");
	assert_size(UINT64_MAX, "16.0 EiB");
}

static void assert_duration(double seconds, const char *expected)
{
	struct cwc_text text = {0};

	cwc_text_duration(&text, seconds);
	assert_string_equal(cwc_text_get(&text), expected);
	cwc_text_free(&text);
}

static void test_duration(void **state)
{
	(void)state;
	assert_duration(0, "0.0 s");
	assert_duration(9.94, "9.9 s");
	assert_duration(9.96, "10 s");
	assert_duration(99, "99 s");
	assert_duration(100, "1 min 40 s");
	assert_duration(3599.4, "59 min 59 s");
	assert_duration(3599.6, "1 h 00 min");
	assert_duration(86400 + 4 * 3600, "1 d 04 h");
	assert_duration(-1, "-");
	assert_duration(NAN, "-");
	assert_duration(INFINITY, "-");
}

static void assert_number(double value, const char *expected)
{
	struct cwc_text text = {0};

	cwc_text_number(&text, value);
	assert_string_equal(cwc_text_get(&text), expected);
	cwc_text_free(&text);
}

static void test_number(void **state)
{
	(void)state;
	assert_number(0, "0");
	assert_number(0.1234, "0.123");
	assert_number(1.234, "1.23");
	assert_number(0.9996, "1.00");
	assert_number(12.34, "12.3");
	assert_number(99.96, "100");
	assert_number(-67.21, "-67.2");
	assert_number(123456, "123456");
	assert_number(12345678, "1.23e+07");
	assert_number(0.00012, "1.20e-04");
	assert_number(NAN, "-");
}

static void test_time(void **state)
{
	struct cwc_text text = {0};

	(void)state;
	setenv("TZ", "UTC", 1);
	tzset();
	cwc_text_time(&text, 1763795738.9);
	assert_string_equal(cwc_text_get(&text), "2025-11-22 07:15");
	text.length = 0;
	cwc_text_time(&text, 0);
	cwc_text_time(&text, 1e300);
	cwc_text_time(&text, NAN);
	assert_string_equal(cwc_text_get(&text), "---");
	cwc_text_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_clean_is_strict),
		cmocka_unit_test(test_columns),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_number),
		cmocka_unit_test(test_time),
	};

	/* As cwpctl does. */
	if (!setlocale(LC_CTYPE, "C.UTF-8")) {
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
