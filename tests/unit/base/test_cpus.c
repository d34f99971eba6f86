/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Lists of processors: what is read, what is refused, what is printed, and the nodes of invented machines. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <cwp/error.h>

#include "base/cpus.h"
#include "base/file.h"

static void reads_lists(void **state)
{
	static const struct {
		const char *text, *printed;
		int count;
	} cases[] = {{"0", "0", 1}, {"0-7,16-23", "0-7,16-23", 16}, {"5,3,4", "3-5", 3}, {"1,1-2,0-1", "0-2", 3}, {"7-7", "7", 1},
		{"0-1023", "0-1023", 1024}, {"1023", "1023", 1}, {"007", "7", 1}, {"0,2,4", "0,2,4", 3}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[CWB_CPUS_TEXT];
		cpu_set_t cpus;

		assert_int_equal(cwb_cpus_parse(cases[i].text, &cpus, NULL), 0);
		assert_int_equal(CPU_COUNT(&cpus), cases[i].count);
		cwb_cpus_print(&cpus, text);
		assert_string_equal(text, cases[i].printed);
	}
}

static void refuses_other_texts(void **state)
{
	static const char *const wrong[] = {"", ",", "0,", ",0", "0,,1", "0-", "-1", "3-2", "0-1-2", "1024", "0-1024",
		"4294967296", "99999999999999999999", "0x1", "a", "0 ", " 0", "0, 1", "0-7:2/4", "+1", "1.5"};
	struct cwb_err err = {0};
	cpu_set_t cpus, same;

	(void)state;
	CPU_ZERO(&cpus);
	CPU_SET(5, &cpus);
	same = cpus;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		cwb_err_clear(&err);
		assert_int_equal(cwb_cpus_parse(wrong[i], &cpus, &err), CWP_EVALUE);
		assert_non_null(strstr(err.message, wrong[i]));
		assert_non_null(strstr(err.message, "no list of processors"));
		assert_true(CPU_EQUAL(&cpus, &same));
	}
	assert_int_equal(cwb_cpus_parse("0\n", &cpus, NULL), CWP_EVALUE);
}

static void prints_the_longest(void **state)
{
	char text[CWB_CPUS_TEXT];
	cpu_set_t cpus, back;

	(void)state;
	CPU_ZERO(&cpus);
	cwb_cpus_print(&cpus, text);
	assert_string_equal(text, "");
	for (int step = 2; step <= 3; step++) { /* alone, and in pairs */
		CPU_ZERO(&cpus);
		for (int i = 0; i < CPU_SETSIZE; i++) {
			if (i % step != 0) {
				CPU_SET(i, &cpus);
			}
		}
		cwb_cpus_print(&cpus, text);
		assert_true(strlen(text) + 1 < sizeof(text));
		assert_int_equal(cwb_cpus_parse(text, &back, NULL), 0);
		assert_true(CPU_EQUAL(&cpus, &back));
	}
}

static void put(const char *root, const char *name, const char *text)
{
	char path[512];
	struct cwb_err err = {0};

	(void)snprintf(path, sizeof(path), "%s/node/%s", root, name);
	if (cwb_file_make_folders(path, 0700, &err) != 0) {
		fail_msg("%s", err.message);
	}
	(void)snprintf(path, sizeof(path), "%s/node/%s/cpulist", root, name);
	assert_int_equal(cwb_file_replace_path(path, text, strlen(text), 0600, &err), 0);
}

static void finds_nodes(void **state)
{
	char root[] = "/tmp/cwp-cpus-XXXXXX", path[512], *huge = malloc(100000);
	uint16_t node[CPU_SETSIZE];
	cpu_set_t cpus;

	(void)state;
	assert_non_null(huge);
	assert_non_null(mkdtemp(root));
	/* Nothing is told: one node. */
	cwb_cpus_nodes(root, node);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		assert_int_equal(node[i], 0);
	}
	put(root, "node0", "0-3,8\n");
	put(root, "node2", "4-7\n");
	put(root, "node9", "\n");         /* memory alone */
	put(root, "node5", "3,20\n");     /* 3 is of two */
	put(root, "node1023", "30\n");
	put(root, "node6", "21-\n");      /* none of these is a list or a node */
	put(root, "node1024", "22\n");
	put(root, "node07", "23\n");
	put(root, "node", "24\n");
	put(root, "node8x", "25\n");
	put(root, "other", "26\n");
	memset(huge, '1', 99999);
	huge[99999] = '\0';
	put(root, "node4", huge);
	free(huge);
	cwb_cpus_nodes(root, node);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		assert_int_equal(node[i], i >= 4 && i <= 7 ? 2 : i == 20 ? 5 : i == 30 ? 1023 : 0);
	}
	(void)snprintf(path, sizeof(path), "%s/node/node9/cpulist", root);
	assert_int_equal(cwb_cpus_read(path, &cpus), 0);
	assert_int_equal(CPU_COUNT(&cpus), 0);
	(void)snprintf(path, sizeof(path), "%s/node/node7/cpulist", root);
	assert_true(cwb_cpus_read(path, &cpus) < 0);
	assert_int_equal(cwb_file_remove_tree(AT_FDCWD, root, NULL), 0);
}

static void refuses_a_list_with_nul(void **state)
{
	char path[] = "/tmp/cwp-cpus-XXXXXX";
	cpu_set_t cpus;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(cwb_file_write(fd, "1\0,2\n", 5, path, NULL), 0);
	assert_int_equal(cwb_cpus_read(path, &cpus), CWP_EVALUE);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_lists),
		cmocka_unit_test(refuses_other_texts),
		cmocka_unit_test(prints_the_longest),
		cmocka_unit_test(finds_nodes),
		cmocka_unit_test(refuses_a_list_with_nul),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
