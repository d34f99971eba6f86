/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tables: alignment, width of a terminal, colours, and cells from strangers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <locale.h>

#include "cli/table.h"

static void fill(struct cwc_table *table)
{
	cwc_table_init(table, 3);
	cwc_table_column(table, 0, "ID", CWC_LEFT);
	cwc_table_column(table, 1, "N", CWC_RIGHT);
	cwc_table_column(table, 2, "NAME", CWC_LEFT);
	cwc_table_add(table, "a");
	cwc_table_addf(table, "%d", 5);
	cwc_table_add(table, "a rather long name");
	cwc_table_add_coloured(table, "bcd", CWC_RED);
	cwc_table_addf(table, "%d", 1234);
	cwc_table_add(table, NULL);
}

static void assert_render(size_t width, int colour, const char *expected)
{
	struct cwc_table table;
	struct cwc_text text = {0};

	fill(&table);
	cwc_table_render(&table, &text, width, colour);
	assert_string_equal(cwc_text_get(&text), expected);
	cwc_text_free(&text);
	cwc_table_free(&table);
}

static void test_plain(void **state)
{
	(void)state;
	assert_render(0, 0, "ID      N  NAME\na       5  a rather long name\nbcd  1234\n");
	/* Wide enough: the same. */
	assert_render(29, 0, "ID      N  NAME\na       5  a rather long name\nbcd  1234\n");
}

static void test_narrow(void **state)
{
	(void)state;
	assert_render(24, 0, "ID      N  NAME\na       5  a rather lon~\nbcd  1234\n");
	/* The elastic column stays readable; a still narrower terminal wraps. */
	assert_render(5, 0, "ID      N  NAME\na       5  a rathe~\nbcd  1234\n");
}

static void test_colour(void **state)
{
	(void)state;
	assert_render(0, 1,
		"\033[1mID\033[0m      \033[1mN\033[0m  \033[1mNAME\033[0m\n"
		"a       5  a rather long name\n\033[31mbcd\033[0m  1234\n");
}

static void test_strangers(void **state)
{
	struct cwc_table table;
	struct cwc_text text = {0};

	(void)state;
	cwc_table_init(&table, 2);
	cwc_table_add(&table, "evil\033]0;title\007");
	cwc_table_add(&table, "two\nlines");
	cwc_table_add(&table, "\xe6\x97\xa5");
	cwc_table_add(&table, "x");
	cwc_table_render(&table, &text, 0, 0);
	assert_string_equal(cwc_text_get(&text),
		"evil\\x1b]0;title\\x07  two\\x0alines\n\xe6\x97\xa5                    x\n");
	cwc_text_free(&text);
	cwc_table_free(&table);
}

static void test_empty(void **state)
{
	struct cwc_table table;
	struct cwc_text text = {0};

	(void)state;
	cwc_table_init(&table, 2);
	cwc_table_render(&table, &text, 80, 1);
	assert_string_equal(cwc_text_get(&text), "");
	cwc_table_column(&table, 0, "A", CWC_LEFT);
	cwc_table_column(&table, 1, "B", CWC_LEFT);
	cwc_table_render(&table, &text, 80, 0);
	assert_string_equal(cwc_text_get(&text), "A  B\n");
	cwc_text_free(&text);
	cwc_table_free(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_narrow),
		cmocka_unit_test(test_colour),
		cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_empty),
	};

	if (!setlocale(LC_CTYPE, "C.UTF-8")) {
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
