/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Lexical normalization of paths. */
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "job/path.h"

static void normalizes(void **state)
{
	static const struct {
		const char *directory, *path, *expected;
	} cases[] = {
		{"/srv/jobs", "model", "/srv/jobs/model"},
		{"/srv/jobs", "/model", "/model"},
		{"/srv/jobs", "./a/../b", "/srv/jobs/b"},
		{"/srv/jobs", "../models/x", "/srv/models/x"},
		{"/srv/jobs", "..", "/srv"},
		{"/srv/jobs", "../..", "/"},
		{"/srv/jobs", "../../../../etc/passwd", "/etc/passwd"},
		{"/srv/jobs", ".", "/srv/jobs"},
		{"/srv/jobs", "", "/srv/jobs"},
		{"/srv//jobs/", "a//b///", "/srv/jobs/a/b"},
		{"/srv/./jobs/../x", "a", "/srv/x/a"},
		{"/", "a", "/a"},
		{"/", "", "/"},
		{"/", "/", "/"},
		{"/srv", "//a/./b/", "/a/b"},
		{"/srv", "...", "/srv/..."},
		{"/srv", ".hidden/..x", "/srv/.hidden/..x"},
		{"/srv", "a/..", "/srv"},
		{"/srv", "/..", "/"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *path = cwj_path_resolve(cases[i].directory, cases[i].path);
		assert_non_null(path);
		assert_string_equal(path, cases[i].expected);
		/* Once normalized, always the same. */
		char *again = cwj_path_resolve("/elsewhere", path);
		assert_string_equal(again, path);
		free(again);
		free(path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(normalizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
