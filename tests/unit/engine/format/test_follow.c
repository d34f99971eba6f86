/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Digests by threads that were started from a thread with one processor only, such as one of a pinned pool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "engine/format/follow.h"

/* Threads of this process that may use all of these processors. */
static int count_free(const cpu_set_t *cpus)
{
	DIR *folder = opendir("/proc/self/task");
	const struct dirent *entry;
	int n = 0;

	assert_non_null(folder);
	while ((entry = readdir(folder)) != NULL) {
		pid_t id = (pid_t)strtol(entry->d_name, NULL, 10);
		cpu_set_t set;

		n += id > 0 && sched_getaffinity(id, sizeof(set), &set) == 0 && CPU_EQUAL(&set, cpus);
	}
	closedir(folder);
	return n;
}

static void test_not_confined(void **state)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	char path[] = "/tmp/cwp-follow-XXXXXX";
	struct cwe_follow *f = NULL;
	cpu_set_t all, one;
	int fd, cpu = 0;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	if (CPU_COUNT(&all) < 2) {
		skip();
	}
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(cwb_file_write(fd, "abc", 3, path, NULL), 0);
	assert_int_equal(cwe_follow_new(1, &f, NULL), 0);
	cwe_follow_file(f, 0, fd, path, 3);
	while (!CPU_ISSET(cpu, &all)) {
		cpu++;
	}
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(count_free(&all), 0);
	cwe_follow_whole(f, 0, 2);
	for (int tries = 0; count_free(&all) == 0 && tries < 30000; tries++) {
		(void)nanosleep(&pause, NULL);
	}
	assert_int_equal(count_free(&all), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	assert_int_equal(cwe_follow_finish(f, NULL), 0);
	assert_string_equal(cwe_follow_hex(f, 0), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	cwe_follow_free(f);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_not_confined)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
