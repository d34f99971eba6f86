/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Shares of invented machines. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpus.h"
#include "base/file.h"
#include "daemon/processors.h"

static cpu_set_t list(const char *text)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	if (text[0] != '\0') {
		assert_int_equal(cwb_cpus_parse(text, &cpus, NULL), 0);
	}
	return cpus;
}

/* Nodes of as many cores each; siblings, as of most machines, are as far apart as there are cores. */
static void invent(struct cwd_processors *all, unsigned nodes, unsigned cores, unsigned siblings, const char *allowed)
{
	cpu_set_t may = list(allowed);
	unsigned i, total = nodes * cores;

	all->n = 0;
	for (i = 0; i < total * siblings; i++) {
		if (CPU_ISSET(i, &may)) {
			all->p[all->n++] = (struct cwd_processor){(uint16_t)i, (uint16_t)(i % total / cores), (uint16_t)(i % total)};
		}
	}
}

static void gets(const struct cwd_processors *all, const char *taken, size_t n, const char *wanted)
{
	char text[CWB_CPUS_TEXT];
	cpu_set_t used = list(taken), share;

	assert_int_equal(cwd_processors_choose(all, &used, n, &share), 0);
	cwb_cpus_print(&share, text);
	assert_string_equal(text, wanted);
}

static void gets_none(const struct cwd_processors *all, const char *taken, size_t n)
{
	cpu_set_t used = list(taken), share;

	assert_int_equal(cwd_processors_choose(all, &used, n, &share), -1);
}

static void test_one(void **state)
{
	struct cwd_processors all;

	(void)state;
	invent(&all, 1, 1, 1, "0");
	gets(&all, "", 1, "0");
	gets_none(&all, "0", 1);
	gets_none(&all, "", 2);
	all.n = 0;
	gets_none(&all, "", 1);
}

/* Two nodes of four cores, two threads each: node 0 is 0-3,8-11, node 1 is 4-7,12-15. */
static void test_nodes(void **state)
{
	struct cwd_processors all;

	(void)state;
	invent(&all, 2, 4, 2, "0-15");
	gets(&all, "", 1, "0");
	gets(&all, "", 4, "0-3");             /* cores before siblings */
	gets(&all, "", 6, "0-3,8-9");
	gets(&all, "", 8, "0-3,8-11");        /* a node */
	gets(&all, "", 9, "0-4,8-11");        /* as little of the second as must be */
	gets(&all, "", 16, "0-15");
	gets(&all, "0", 2, "1-2");            /* the fuller node, as long as it has idle cores */
	gets(&all, "0-2", 2, "4-5");
	gets(&all, "0", 8, "4-7,12-15");      /* the node that has all */
	gets(&all, "0-3", 2, "4-5");          /* idle cores rather than siblings of another's */
	gets(&all, "0-7", 2, "8-9");          /* where there are none, siblings */
	gets(&all, "0-5", 4, "6-7,12-13");    /* all of a node, though not all idle */
	gets(&all, "0-4", 10, "5-10,12-15");  /* the node with more first */
	gets(&all, "0-3,8-11", 8, "4-7,12-15");
	gets(&all, "0-3,8-11,4-7,12-13", 2, "14-15");
	gets_none(&all, "0-3,8-11,4-7,12-13", 3);
	gets_none(&all, "0-15", 1);
	gets(&all, "20-30", 1, "0");          /* of which it knows nothing */
}

/* A second processor of another job's core before one of the share's own. */
static void test_siblings(void **state)
{
	struct cwd_processors all;

	(void)state;
	invent(&all, 1, 4, 2, "0-7");
	gets(&all, "0-1", 3, "2-4");
	gets(&all, "0-1", 5, "2-6");
	invent(&all, 1, 2, 4, "0-7");
	gets(&all, "", 3, "0-2");
	gets(&all, "0,2,4", 3, "1,3,5");
}

/* Some are offline or not allowed. */
static void test_holes(void **state)
{
	struct cwd_processors all;

	(void)state;
	invent(&all, 2, 4, 2, "1,3,6,9,11,14-15");
	gets(&all, "", 1, "6");
	gets(&all, "", 2, "6,15"); /* 14 is a sibling of 6 */
	gets(&all, "", 3, "6,14-15");
	gets(&all, "", 4, "1,3,9,11");
	gets(&all, "6", 2, "1,3");
	gets(&all, "1", 2, "6,15");
	gets(&all, "", 7, "1,3,6,9,11,14-15");
	gets(&all, "", 5, "1,3,6,9,11");
	gets_none(&all, "", 8);
	invent(&all, 4, 2, 1, "1,4-7");
	gets(&all, "", 1, "1");
	gets(&all, "", 2, "4-5");
	gets(&all, "4", 2, "6-7");
	gets(&all, "4", 3, "1,6-7");
}

/* Whatever is asked for in whatever order: shares are disjoint, and all are given before one is refused. */
static void test_all_are_given(void **state)
{
	struct cwd_processors all;
	cpu_set_t taken, share, both;
	uint64_t random = 88172645463325252u;

	(void)state;
	invent(&all, 3, 5, 2, "0-29");
	for (int round = 0; round < 200; round++) {
		size_t left = 30;

		CPU_ZERO(&taken);
		while (left > 0) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			size_t n = 1 + random % 12;
			int rc = cwd_processors_choose(&all, &taken, n, &share);

			assert_int_equal(rc, n <= left ? 0 : -1);
			if (rc == 0) {
				CPU_AND(&both, &taken, &share);
				assert_int_equal(CPU_COUNT(&both), 0);
				assert_int_equal(CPU_COUNT(&share), n);
				CPU_OR(&taken, &taken, &share);
				left -= n;
			}
		}
	}
}

static void put(const char *root, const char *folder, const char *name, const char *text)
{
	char path[512];

	(void)snprintf(path, sizeof path, "%s/%s", root, folder);
	assert_int_equal(cwb_file_make_folders(path, 0700, NULL), 0);
	(void)snprintf(path, sizeof path, "%s/%s/%s", root, folder, name);
	assert_int_equal(cwb_file_replace_path(path, text, strlen(text), 0600, NULL), 0);
}

static void test_describe(void **state)
{
	static const struct cwd_processor wanted[] = {{1, 0, 0}, {2, 1, 2}, {3, 1, 3}, {4, 1, 4}, {5, 0, 5}, {700, 0, 700}};
	char root[] = "/tmp/cwp-processors-XXXXXX";
	cpu_set_t allowed = list("1-5,700");
	struct cwd_processors all;

	(void)state;
	assert_non_null(mkdtemp(root));
	cwd_processors_describe(root, &allowed, &all); /* nothing is told */
	assert_int_equal(all.n, 6);
	for (size_t i = 0; i < all.n; i++) {
		assert_int_equal(all.p[i].node, 0);
		assert_int_equal(all.p[i].core, all.p[i].cpu);
	}
	put(root, "node/node0", "cpulist", "0-1\n");
	put(root, "node/node1", "cpulist", "2-4\n");
	put(root, "cpu/cpu1/topology", "thread_siblings_list", "0-1\n"); /* 0 is not allowed, and names the core */
	put(root, "cpu/cpu2/topology", "thread_siblings_list", "2,9\n");
	put(root, "cpu/cpu3/topology", "thread_siblings_list", "\n"); /* no lists of its core */
	put(root, "cpu/cpu4/topology", "thread_siblings_list", "0-3\n");
	put(root, "cpu/cpu5/topology", "thread_siblings_list", "many\n");
	cwd_processors_describe(root, &allowed, &all);
	assert_int_equal(all.n, 6);
	for (size_t i = 0; i < all.n; i++) {
		assert_int_equal(all.p[i].cpu, wanted[i].cpu);
		assert_int_equal(all.p[i].node, wanted[i].node);
		assert_int_equal(all.p[i].core, wanted[i].core);
	}
	assert_int_equal(cwb_file_remove_tree(AT_FDCWD, root, NULL), 0);
}

/* This machine: no more than asked for, of those that the process may use. */
static void test_find(void **state)
{
	struct cwd_processors all;
	cpu_set_t allowed;
	uint32_t n;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof allowed, &allowed), 0);
	n = (uint32_t)CPU_COUNT(&allowed);
	for (uint32_t threads = 1; threads <= n; threads++) {
		cwd_processors_find(threads, &all);
		assert_int_equal(all.n, threads);
		for (size_t i = 0; i < all.n; i++) {
			assert_true(CPU_ISSET(all.p[i].cpu, &allowed));
			assert_true(i == 0 || all.p[i].cpu > all.p[i - 1].cpu);
		}
	}
	cwd_processors_find(n + 1, &all);
	assert_int_equal(all.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_one), cmocka_unit_test(test_nodes), cmocka_unit_test(test_siblings),
		cmocka_unit_test(test_holes), cmocka_unit_test(test_all_are_given), cmocka_unit_test(test_describe),
		cmocka_unit_test(test_find)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
