/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Option tables and the values of a job file against them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "engine/plugin/settings.h"

#define ROW(type, name, standard, range) {sizeof(struct cwp_option), type, name, standard, range, NULL, "help"}

static const struct cwp_option table[] = {
	ROW(CWP_OPTION_BOOL, "symmetric", "true", NULL),
	ROW(CWP_OPTION_INT, "bits", "8", "8|2|3|4"),
	ROW(CWP_OPTION_INT, "group", "128", "8..65536"),
	ROW(CWP_OPTION_INT, "any", "-3", NULL),
	ROW(CWP_OPTION_FLOAT, "threshold", "6.0", "0..1e4"),
	ROW(CWP_OPTION_ENUM, "algorithm", "rtn", "rtn|gptq|awq"),
	ROW(CWP_OPTION_STRING, "note", "", NULL),
};

static const struct cwp_plugin plugin = {.size = sizeof(plugin), .id = "demo", .n_options = 7, .options = table};
static const struct cwp_plugin bare = {.size = sizeof(bare), .id = "bare"};

/* As the job file's reader hands it over. */
static struct cwj_option given(const char *name, const char *value, int line)
{
	return (struct cwj_option){(char *)name, (char *)value, line, 7};
}

static void test_defaults(void **state)
{
	struct cwp_setting *s = NULL;

	(void)state;
	assert_int_equal(cwe_settings_make(&plugin, "quantize", NULL, 0, &s, NULL), 0);
	assert_int_equal(s[0].integer, 1);
	assert_int_equal(s[1].integer, 8);
	assert_true(s[1].number == 8.0);
	assert_int_equal(s[2].integer, 128);
	assert_int_equal(s[3].integer, -3);
	assert_true(s[4].number == 6.0);
	assert_int_equal(s[5].integer, 0);
	assert_string_equal(s[5].string, "rtn");
	assert_string_equal(s[6].string, "");
	for (int i = 0; i < 7; i++) {
		assert_int_equal(s[i].size, sizeof(*s));
		assert_int_equal(s[i].type, table[i].type);
	}
	cwe_settings_free(&plugin, s);
	assert_int_equal(cwe_settings_make(&bare, "score", NULL, 0, &s, NULL), 0);
	cwe_settings_free(&bare, s);
	cwe_settings_free(&bare, NULL);
}

static void test_given(void **state)
{
	struct cwj_option o[] = {given("bits", "4", 3), given("algorithm", "awq", 4), given("symmetric", "false", 5),
		given("note", "a b", 6), given("threshold", "1.5e3", 7), given("group", "+64", 8)};
	struct cwp_setting *s = NULL;
	struct cwb_err err = {0};

	(void)state;
	assert_int_equal(cwe_settings_make(&plugin, "quantize", o, 6, &s, &err), 0);
	assert_int_equal(s[0].integer, 0);
	assert_int_equal(s[1].integer, 4);
	assert_int_equal(s[2].integer, 64);
	assert_true(s[4].number == 1500.0);
	assert_int_equal(s[5].integer, 2);
	assert_string_equal(s[5].string, "awq");
	assert_string_equal(s[6].string, "a b");
	cwe_settings_free(&plugin, s);
	assert_int_equal(cwe_settings_index(&plugin, "group"), 2);
	assert_int_equal(cwe_settings_index(&plugin, "groups"), -1);
}

/* One option given with a value that must be refused. */
static void refuses(const struct cwp_plugin *p, const char *name, const char *value, int code, const char *text, const char *nearest)
{
	struct cwj_option o = given(name, value, 12);
	struct cwp_setting *s = NULL;
	struct cwb_err err = {0};
	char field[64];

	assert_int_equal(cwe_settings_make(p, "score", &o, 1, &s, &err), code);
	assert_null(s);
	if (strstr(err.message, text) == NULL || strstr(err.message, name) == NULL) {
		fail_msg("'%s' lacks '%s'", err.message, text);
	}
	snprintf(field, sizeof(field), "score.options.%s", name);
	assert_string_equal(err.field, field);
	assert_int_equal(err.line, 12);
	assert_int_equal(err.column, 7);
	assert_string_equal(err.nearest, nearest);
}

static void test_refusals(void **state)
{
	static const char *const not_numbers[] = {"", " 8", "8 ", "0x8", "8.0", "eight", "99999999999999999999", "-", "+"};
	static const char *const not_floats[] = {"", "nan", "inf", "0x1p3", "1.5x", "1e999", "-0.1", "10001", "1 "};

	(void)state;
	refuses(&plugin, "bitz", "4", CWP_EUNKNOWN, "no option 'bitz'; did you mean 'bits'?", "bits");
	refuses(&plugin, "quite-different", "4", CWP_EUNKNOWN, "no option", "");
	refuses(&bare, "bits", "4", CWP_EUNKNOWN, "it has none", "");
	refuses(&plugin, "bits", "5", CWP_EVALUE, "'5' is not one of 8|2|3|4", "");
	refuses(&plugin, "group", "7", CWP_EVALUE, "'7' is not a whole number in 8..65536", "");
	refuses(&plugin, "group", "65537", CWP_EVALUE, "8..65536", "");
	refuses(&plugin, "any", "x", CWP_EVALUE, "'x' is not a whole number", "");
	refuses(&plugin, "algorithm", "gtpq", CWP_EVALUE, "'gtpq' is not one of rtn|gptq|awq", "gptq");
	refuses(&plugin, "algorithm", "rtn|gptq", CWP_EVALUE, "not one of", "");
	refuses(&plugin, "algorithm", "", CWP_EVALUE, "not one of", "");
	refuses(&plugin, "symmetric", "yes", CWP_EVALUE, "'yes' is not true or false", "");
	for (size_t i = 0; i < sizeof(not_numbers) / sizeof(not_numbers[0]); i++) {
		refuses(&plugin, "group", not_numbers[i], CWP_EVALUE, "whole number", "");
	}
	for (size_t i = 0; i < sizeof(not_floats) / sizeof(not_floats[0]); i++) {
		refuses(&plugin, "threshold", not_floats[i], CWP_EVALUE, "not a number in 0..1e4", "");
	}
}

static void test_twice(void **state)
{
	struct cwj_option o[] = {given("bits", "4", 3), given("bits", "3", 4)};
	struct cwp_setting *s = NULL;
	struct cwb_err err = {0};

	(void)state;
	assert_int_equal(cwe_settings_make(&plugin, "quantize", o, 2, &s, &err), CWP_EVALUE);
	assert_non_null(strstr(err.message, "twice"));
	assert_int_equal(err.line, 4);
	char longer[5000];
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	struct cwj_option big = given("note", longer, 1);
	cwb_err_clear(&err);
	assert_int_equal(cwe_settings_make(&plugin, "quantize", &big, 1, &s, &err), CWP_EVALUE);
	assert_non_null(strstr(err.message, "4095"));
}

static void test_tables(void **state)
{
	static const struct {
		struct cwp_option o;
		const char *text;
	} bad[] = {
		{{8, CWP_OPTION_BOOL, "a", "true", NULL, NULL, "h"}, "size field"},
		{ROW(CWP_OPTION_BOOL, NULL, "true", NULL), "(none)"},
		{ROW(CWP_OPTION_BOOL, "", "true", NULL), "lower-case"},
		{ROW(CWP_OPTION_BOOL, "Upper", "true", NULL), "lower-case"},
		{ROW(CWP_OPTION_BOOL, "9a", "true", NULL), "lower-case"},
		{ROW(0, "a", "true", NULL), "unknown type 0"},
		{ROW(6, "a", "true", NULL), "unknown type 6"},
		{ROW(CWP_OPTION_BOOL, "a", "true", "true|false"), "does not fit its type bool"},
		{ROW(CWP_OPTION_INT, "a", "1", "1.."), "does not fit its type int"},
		{ROW(CWP_OPTION_INT, "a", "1", "9..1"), "does not fit"},
		{ROW(CWP_OPTION_INT, "a", "1", "1|x"), "does not fit"},
		{ROW(CWP_OPTION_INT, "a", "1", "1||2"), "does not fit"},
		{ROW(CWP_OPTION_FLOAT, "a", "1", "1|2"), "does not fit its type float"},
		{ROW(CWP_OPTION_ENUM, "a", "x", NULL), "(none)"},
		{ROW(CWP_OPTION_ENUM, "a", "x", "x|"), "does not fit its type enum"},
		{ROW(CWP_OPTION_STRING, "a", "x", "x"), "does not fit its type string"},
		{ROW(CWP_OPTION_BOOL, "a", NULL, NULL), "no default"},
		{{sizeof(struct cwp_option), CWP_OPTION_BOOL, "a", "true", NULL, NULL, NULL}, "no help"},
		{ROW(CWP_OPTION_INT, "a", "9", "1..8"), "the default of option a: '9'"},
		{ROW(CWP_OPTION_ENUM, "a", "z", "x|y"), "the default of option a: 'z'"},
		{ROW(CWP_OPTION_FLOAT, "a", "nan", NULL), "the default"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		assert_int_equal(cwe_option_check(&table[i], NULL), 0);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct cwb_err err = {0};
		assert_int_equal(cwe_option_check(&bad[i].o, &err), CWP_EPLUGIN);
		if (strstr(err.message, bad[i].text) == NULL) {
			fail_msg("%zu: '%s' lacks '%s'", i, err.message, bad[i].text);
		}
	}
	assert_string_equal(cwe_option_type_name(CWP_OPTION_STRING), "string");
	assert_null(cwe_option_type_name(0));
	assert_null(cwe_option_type_name(6));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_given),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
