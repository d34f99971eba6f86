/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sizes and times: what is read, what is refused, and that printing and reading agree. */
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cwp/error.h>

#include "base/quantity.h"

static void reads_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {{"4GiB", UINT64_C(4) << 30}, {"5GB", UINT64_C(5000000000)}, {"1KiB", 1024},
		{"1KB", 1000}, {"2MiB", 2 << 20}, {"3MB", 3000000}, {"7B", 7}, {"0", 0}, {"0B", 0},
		{"1.5GiB", UINT64_C(3) << 29}, {"0.5KiB", 512}, {"0.001KB", 1}, {"007B", 7},
		{"9223372036854775807B", INT64_MAX}, {"8589934591GiB", UINT64_C(8589934591) << 30}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = 12345;
		assert_int_equal(cwb_size_parse(cases[i].text, &bytes), 0);
		assert_int_equal(bytes, cases[i].bytes);
	}
}

static void refuses_other_texts(void **state)
{
	static const char *const wrong[] = {"", "4", "GiB", "4 GiB", " 4GiB", "4GiB ", "4gib", "4G",
		"4Gib", "-4GiB", "+4GiB", "4e3KB", "0x4KB", "1.GiB", ".5GiB", "1.5.5GiB", "1,5GiB",
		"0.3KiB", "0.5B", "4TiBs", "2h", "inf", "nan", "99999999999999999999999",
		"1_000KB"};
	static const char *const large[] = {"9223372036854775808B", "8589934592GiB",
		"99999999999999999999999B", "18446744073709551616GB",
		"1.00000000000000000000000000000001GiB"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint64_t bytes = 12345;
		assert_int_equal(cwb_size_parse(wrong[i], &bytes), CWP_EVALUE);
		assert_int_equal(bytes, 12345);
	}
	for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
		uint64_t bytes = 12345;
		assert_int_equal(cwb_size_parse(large[i], &bytes), CWP_ELIMIT);
		assert_int_equal(bytes, 12345);
	}
}

static void reads_times(void **state)
{
	uint64_t seconds = 1;

	(void)state;
	assert_int_equal(cwb_time_parse("2h", &seconds), 0);
	assert_int_equal(seconds, 7200);
	assert_int_equal(cwb_time_parse("90s", &seconds), 0);
	assert_int_equal(seconds, 90);
	assert_int_equal(cwb_time_parse("1.5h", &seconds), 0);
	assert_int_equal(seconds, 5400);
	assert_int_equal(cwb_time_parse("0", &seconds), 0);
	assert_int_equal(seconds, 0);
	static const char *const wrong[] = {
		"", "90", "2 h", "2H", "1m30s", "-1s", "0.5s", "2GiB", "1d"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(cwb_time_parse(wrong[i], &seconds), CWP_EVALUE);
	}
	assert_int_equal(cwb_time_parse("9999999999999999h", &seconds), CWP_ELIMIT);
	assert_int_equal(seconds, 0);
}

static void prints_what_it_reads(void **state)
{
	static const struct {
		uint64_t value;
		const char *size, *time;
	} cases[] = {{0, "0B", "0s"}, {7, "7B", "7s"}, {90, "90B", "90s"}, {7200, "7200B", "2h"},
		{1024, "1KiB", "1024s"}, {UINT64_C(5000000000), "5GB", "5000000000s"},
		{UINT64_C(3) << 29, "1536MiB", NULL}, {1000000, "1MB", "1000000s"},
		{INT64_MAX, "9223372036854775807B", "9223372036854775807s"}};
	char text[CWB_QUANTITY_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cwb_size_print(cases[i].value, text);
		assert_string_equal(text, cases[i].size);
		if (cases[i].time != NULL) {
			cwb_time_print(cases[i].value, text);
			assert_string_equal(text, cases[i].time);
		}
	}
	/* Round trips over numbers of all lengths. */
	for (uint64_t value = 1, step = 1; value < UINT64_C(1) << 62;
		value += step, step = step * 3 / 2 + 1) {
		uint64_t back = 0;
		cwb_size_print(value, text);
		assert_int_equal(cwb_size_parse(text, &back), 0);
		assert_int_equal(back, value);
		cwb_time_print(value, text);
		assert_int_equal(cwb_time_parse(text, &back), 0);
		assert_int_equal(back, value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_sizes),
		cmocka_unit_test(refuses_other_texts),
		cmocka_unit_test(reads_times),
		cmocka_unit_test(prints_what_it_reads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
