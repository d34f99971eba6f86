/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The progress bar: what fits into a width, what is not known, and what a broken daemon may say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <locale.h>

#include "cli/bar.h"

static void assert_bar(const char *json, size_t width, const char *expected)
{
	json_t *object = json_loads(json, 0, NULL);
	struct cwc_progress progress;
	struct cwc_text text = {0};

	assert_non_null(object);
	cwc_progress_read(object, &progress);
	cwc_bar_render(&progress, width, &text);
	assert_string_equal(cwc_text_get(&text), expected);
	assert_true(cwc_text_columns(cwc_text_get(&text)) <= width);
	cwc_text_free(&text);
	json_decref(object);
}

static const char half[] =
	"{\"stage\": \"calibrate\", \"done\": 15, \"total\": 30, \"unit\": \"layers\","
	" \"fraction\": 0.2, \"rate\": 1.2345, \"eta\": 12.3}";

static void test_widths(void **state)
{
	(void)state;
	assert_bar(half, 100,
		"calibrate  [================>               ]  50%  15/30 layers  1.23/s  ETA 12 "
		"s");
	assert_bar(
		half, 70, "calibrate  [==========>         ]  50%  15/30 layers  1.23/s  ETA 12 s");
	/* From the right: the ETA goes first, then the rate, then the counts. */
	assert_bar(half, 57, "calibrate  [========>        ]  50%  15/30 layers  1.23/s");
	assert_bar(half, 47, "calibrate  [=======>       ]  50%  15/30 layers");
	assert_bar(half, 30, "calibrate  [======>     ]  50%");
	assert_bar(half, 12, "calibrate ");
	assert_bar(half, 6, "calib~");
}

static void test_ends(void **state)
{
	(void)state;
	assert_bar("{\"stage\": \"open\", \"done\": 0, \"total\": 4, \"unit\": \"\"}", 40,
		"open       [>                ]   0%  0/4");
	assert_bar("{\"stage\": \"write\", \"done\": 4, \"total\": 4, \"unit\": \"files\", "
		   "\"eta\": 0}",
		60, "write      [===============================] 100%  4/4 files");
	/* Never 100 % before the end. */
	assert_bar("{\"stage\": \"score\", \"done\": 9999, \"total\": 10000, \"unit\": \"tiles\"}",
		48, "score      [===========>]  99%  9999/10000 tiles");
}

static void test_unknown(void **state)
{
	(void)state;
	assert_bar("{\"stage\": \"open\", \"done\": 3, \"total\": 0, \"unit\": \"files\"}", 80,
		"open        3 files");
	assert_bar("{}", 80, "waiting   ");
	assert_bar("{\"stage\": 7, \"done\": \"x\", \"total\": [], \"rate\": \"fast\"}", 80,
		"waiting   ");
	assert_bar("{\"stage\": \"a\\u001b[2J\", \"done\": 5, \"total\": 3, \"unit\": "
		   "\"b\\u0007\", \"eta\": -5}",
		60, "a\\x1b[2J   [===============================] 100%  5/3 b\\x07");
}

static void assert_words(const char *json, const char *expected)
{
	json_t *object = json_loads(json, 0, NULL);
	struct cwc_progress progress;
	struct cwc_text text = {0};

	cwc_progress_read(object, &progress);
	cwc_bar_words(&progress, &text);
	assert_string_equal(cwc_text_get(&text), expected);
	cwc_text_free(&text);
	json_decref(object);
}

static void test_words(void **state)
{
	(void)state;
	assert_words(half, "calibrate: 15/30 layers (50%), 1.23/s, ETA 12 s");
	assert_words("{\"stage\": \"open\", \"done\": 3, \"total\": 0, \"unit\": \"files\"}",
		"open: 3 files");
	assert_words("{\"stage\": \"score\", \"done\": 0, \"total\": 0, \"unit\": \"\"}", "score");
	assert_words(
		"{\"stage\": \"calibrate\", \"done\": 1, \"total\": 4, \"unit\": \"token layers\"}",
		"calibrate: 1/4 token layers (25%)");
	assert_words("{}", "waiting");
}

static void test_absent(void **state)
{
	struct cwc_progress progress;

	(void)state;
	cwc_progress_read(NULL, &progress);
	assert_true(cwc_progress_share(&progress) < 0);
	assert_true(progress.eta < 0);
	assert_string_equal(progress.stage, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_widths),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_absent),
	};

	if (!setlocale(LC_CTYPE, "C.UTF-8")) {
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
