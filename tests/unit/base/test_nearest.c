/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which names are near enough to be meant. */
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/nearest.h"

static const char *const keys[] = {
	"fraction", "scope", "unit", "carrier", NULL, "worse-by-at-most", "at-most"};

static const char *near_key(const char *name)
{
	return cwb_nearest(name, keys, sizeof(keys) / sizeof(keys[0]), sizeof(keys[0]));
}

static void finds_what_was_meant(void **state)
{
	(void)state;
	assert_string_equal(near_key("fracton"), "fraction");   /* left out */
	assert_string_equal(near_key("fractiion"), "fraction"); /* doubled */
	assert_string_equal(near_key("fractoin"), "fraction");  /* swapped */
	assert_string_equal(near_key("Fraction"), "fraction");
	assert_string_equal(near_key("scpoe"), "scope");
	assert_string_equal(near_key("nuit"), "unit");
	assert_string_equal(near_key("worse_by_at_most"), "worse-by-at-most");
	assert_string_equal(near_key("at_most"), "at-most");
}

static void completes_a_beginning(void **state)
{
	(void)state;
	assert_string_equal(near_key("frac"), "fraction");
	assert_string_equal(near_key("worse"), "worse-by-at-most");
	assert_null(near_key("wo")); /* two letters prove nothing */
	static const char *const two[] = {"compress", "compressed"};
	assert_null(cwb_nearest("comp", two, 2, sizeof(two[0])));
}

static void stays_silent_when_nothing_is_near(void **state)
{
	char endless[1000];

	(void)state;
	assert_null(near_key("zebra"));
	assert_null(near_key(""));
	assert_null(near_key("x"));
	assert_null(near_key("backend"));
	memset(endless, 'f', sizeof(endless) - 1);
	endless[sizeof(endless) - 1] = '\0';
	assert_null(near_key(endless));
	assert_null(cwb_nearest("fraction", keys, 0, sizeof(keys[0])));
}

static void walks_tables_of_structs(void **state)
{
	static const struct {
		int number;
		const char *name;
		double other;
	} table[] = {{1, "alpha", 0.5}, {2, "beta", 1.5}, {3, "gamma", 2.5}};

	(void)state;
	assert_string_equal(cwb_nearest("betta", &table[0].name, 3, sizeof(table[0])), "beta");
	assert_string_equal(cwb_nearest("gama", &table[0].name, 3, sizeof(table[0])), "gamma");
}

static void prefers_the_first_of_equals(void **state)
{
	static const char *const names[] = {"cat", "car", "cab"};

	(void)state;
	assert_string_equal(cwb_nearest("caz", names, 3, sizeof(names[0])), "cat");
	assert_string_equal(cwb_nearest("cab", names, 3, sizeof(names[0])), "cab");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_was_meant),
		cmocka_unit_test(completes_a_beginning),
		cmocka_unit_test(stays_silent_when_nothing_is_near),
		cmocka_unit_test(walks_tables_of_structs),
		cmocka_unit_test(prefers_the_first_of_equals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
