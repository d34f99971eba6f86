/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Entries appear whole, go by age and by use within the size, and stay while they are in use. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cache.h"
#include "base/file.h"

struct place {
	char path[64];
	struct cwb_cache cache;
};

static int set_up(void **state)
{
	static struct place place;

	snprintf(place.path, sizeof place.path, "/tmp/cwb-cache-XXXXXX");
	if (mkdtemp(place.path) == NULL) {
		return -1;
	}
	*state = &place;
	return cwb_cache_open(place.path, 1000, 0, &place.cache, NULL);
}

static int tear_down(void **state)
{
	struct place *p = *state;

	cwb_cache_close(&p->cache);
	return cwb_file_remove_tree(AT_FDCWD, p->path, NULL);
}

/* 64 times one digit. */
static const char *key(char digit)
{
	static char keys[2][CWB_DIGEST_HEX];
	static int turn;
	char *k = keys[turn ^= 1];

	memset(k, digit, 64);
	k[64] = '\0';
	return k;
}

static int is_there(const struct place *p, char digit)
{
	return faccessat(p->cache.folder, key(digit), F_OK, 0) == 0;
}

static int start(struct place *p, char digit, size_t bytes, struct cwb_cache_new *ret)
{
	char *data = calloc(1, bytes);
	int rc = cwb_cache_begin(&p->cache, key(digit), bytes, ret, NULL);

	if (rc == 0) {
		rc = cwb_file_replace(ret->fd, "data", data, bytes, 0600, NULL);
	}
	free(data);
	return rc;
}

/* Makes an entry that was used `seconds` ago and is in use by nobody. */
static int make(struct place *p, char digit, size_t bytes, int seconds)
{
	struct cwb_cache_new e = {.fd = -1};
	struct timespec times[2];
	int fd = -1, rc = start(p, digit, bytes, &e);

	if (rc != 0) {
		return rc;
	}
	assert_int_equal(cwb_cache_commit(&p->cache, &e, &fd, NULL), 0);
	assert_int_equal(e.fd, -1);
	clock_gettime(CLOCK_REALTIME, &times[0]);
	times[0].tv_sec -= seconds;
	times[1] = times[0];
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
	return 0;
}

static void whole_or_not_at_all(void **state)
{
	struct place *p = *state;
	struct cwb_cache_new e;
	int fd = -1;

	assert_int_equal(cwb_cache_take(&p->cache, key('a'), &fd, NULL), -ENOENT);
	assert_int_equal(start(p, 'a', 100, &e), 0);
	assert_int_equal(cwb_cache_take(&p->cache, key('a'), &fd, NULL), -ENOENT);
	cwb_cache_abort(&p->cache, &e);
	cwb_cache_abort(&p->cache, &e);
	assert_int_equal(cwb_cache_measure(p->cache.folder, "."), 0);
	assert_int_equal(make(p, 'a', 100, 50), 0);
	assert_int_equal(cwb_cache_take(&p->cache, key('a'), &fd, NULL), 0);
	assert_int_equal(cwb_cache_measure(fd, "."), 100);
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(time(NULL) - st.st_mtime < 30); /* used just now */
	close(fd);
}

static void first_one_stays(void **state)
{
	struct place *p = *state;
	struct cwb_cache_new e, f;
	int one = -1, two = -1;
	struct stat a, b;

	assert_int_equal(start(p, 'a', 100, &e), 0);
	assert_int_equal(start(p, 'a', 200, &f), 0);
	assert_int_equal(cwb_cache_commit(&p->cache, &e, &one, NULL), 0);
	assert_int_equal(cwb_cache_commit(&p->cache, &f, &two, NULL), 0);
	assert_int_equal(fstat(one, &a), 0);
	assert_int_equal(fstat(two, &b), 0);
	assert_true(a.st_ino == b.st_ino);
	close(one);
	close(two);
	/* Nothing is left of the second. */
	assert_int_equal(cwb_cache_trim(&p->cache, 900, NULL), 0);
	assert_true(is_there(p, 'a'));
}

static void least_recently_used_goes(void **state)
{
	struct place *p = *state;

	assert_int_equal(make(p, 'a', 300, 10), 0);
	assert_int_equal(make(p, 'b', 300, 30), 0);
	assert_int_equal(make(p, 'c', 300, 20), 0);
	assert_int_equal(make(p, 'd', 300, 0), 0);
	assert_true(is_there(p, 'a') && !is_there(p, 'b') && is_there(p, 'c') && is_there(p, 'd'));
	assert_int_equal(cwb_cache_trim(&p->cache, 400, NULL), 0);
	assert_true(is_there(p, 'a') && !is_there(p, 'c') && is_there(p, 'd'));
	/* More than all of it: what is there need not go. */
	assert_int_equal(cwb_cache_trim(&p->cache, 1001, NULL), -ENOSPC);
	assert_true(is_there(p, 'a') && is_there(p, 'd'));
	p->cache.size = 500;
	assert_int_equal(cwb_cache_trim(&p->cache, 0, NULL), 0);
	assert_true(!is_there(p, 'a') && is_there(p, 'd'));
	assert_int_equal(cwb_cache_shrink(&p->cache, 1), 300);
	assert_int_equal(cwb_cache_shrink(&p->cache, 1), 0);
}

static void used_one_stays(void **state)
{
	struct place *p = *state;
	struct cwb_cache_new e, f;
	int fd = -1;

	assert_int_equal(make(p, 'a', 600, 30), 0);
	assert_int_equal(cwb_cache_take(&p->cache, key('a'), &fd, NULL), 0);
	assert_int_equal(make(p, 'b', 500, 0), -ENOSPC);
	p->cache.age = 1;
	struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	assert_int_equal(futimens(fd, old), 0);
	assert_int_equal(cwb_cache_trim(&p->cache, 0, NULL), 0);
	assert_int_equal(cwb_cache_shrink(&p->cache, 600), 0);
	assert_true(is_there(p, 'a'));
	close(fd);
	assert_int_equal(cwb_cache_trim(&p->cache, 0, NULL), 0);
	assert_false(is_there(p, 'a'));
	/* What is set aside counts before it is there. */
	assert_int_equal(cwb_cache_begin(&p->cache, key('c'), 700, &e, NULL), 0);
	assert_int_equal(cwb_cache_begin(&p->cache, key('d'), 301, &f, NULL), -ENOSPC);
	assert_int_equal(cwb_cache_begin(&p->cache, key('d'), 300, &f, NULL), 0);
	cwb_cache_abort(&p->cache, &e);
	cwb_cache_abort(&p->cache, &f);
}

static void too_old_goes(void **state)
{
	struct place *p = *state;

	assert_int_equal(make(p, 'a', 10, 100), 0);
	assert_int_equal(make(p, 'b', 10, 0), 0);
	assert_int_equal(cwb_cache_trim(&p->cache, 0, NULL), 0);
	assert_true(is_there(p, 'a')); /* age 0: for ever */
	p->cache.age = 50;
	assert_int_equal(cwb_cache_trim(&p->cache, 0, NULL), 0);
	assert_true(!is_there(p, 'a') && is_there(p, 'b'));
}

static void dropped_is_the_one_that_was_taken(void **state)
{
	struct place *p = *state;
	int fd = -1, other = -1;

	assert_int_equal(make(p, 'a', 10, 0), 0);
	assert_int_equal(cwb_cache_take(&p->cache, key('a'), &fd, NULL), 0);
	assert_int_equal(cwb_cache_take(&p->cache, key('a'), &other, NULL), 0);
	cwb_cache_drop(&p->cache, key('a'), &fd);
	assert_int_equal(fd, -1);
	assert_false(is_there(p, 'a'));
	/* The second holder of the damaged one does not take the new one away. */
	assert_int_equal(make(p, 'a', 20, 0), 0);
	cwb_cache_drop(&p->cache, key('a'), &other);
	assert_true(is_there(p, 'a'));
}

static void dead_makers_leave_nothing(void **state)
{
	struct place *p = *state;
	int status;
	pid_t child = fork();

	if (child == 0) {
		struct cwb_cache_new e;

		_exit(start(p, 'a', 800, &e) == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(mkdirat(p->cache.folder, "another's", 0700), 0);
	assert_int_equal(mkdirat(p->cache.folder, ".new-12", 0700), 0);
	assert_int_equal(make(p, 'b', 900, 0), 0);
	assert_true(is_there(p, 'b'));
	/* What is not a name of ours stays. */
	assert_int_equal(faccessat(p->cache.folder, "another's", F_OK, 0), 0);
	assert_int_equal(faccessat(p->cache.folder, ".new-12", F_OK, 0), 0);
}

/* Of a key by one at a time, another process included; it ends with who has it. */
static void one_maker(void **state)
{
	struct place *p = *state;
	int a = -1, b = -1, c = -1, status;

	assert_int_equal(cwb_cache_claim(&p->cache, key('a'), &a, NULL), 0);
	assert_int_equal(cwb_cache_claim(&p->cache, key('a'), &c, NULL), -EAGAIN);
	assert_int_equal(cwb_cache_claim(&p->cache, key('b'), &b, NULL), 0);
	(void)close(a);
	(void)close(b);
	int told[2];
	assert_int_equal(pipe(told), 0);
	pid_t child = fork();
	if (child == 0) {
		int r = cwb_cache_claim(&p->cache, key('a'), &a, NULL);
		(void)!write(told[1], "x", 1);
		(void)pause();
		_exit(r == 0 ? 0 : 1);
	}
	char x;
	assert_int_equal(read(told[0], &x, 1), 1);
	assert_int_equal(cwb_cache_claim(&p->cache, key('a'), &c, NULL), -EAGAIN);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(cwb_cache_claim(&p->cache, key('a'), &c, NULL), 0);
	(void)close(c);
	(void)close(told[0]);
	(void)close(told[1]);
	/* No link is followed. */
	assert_int_equal(unlinkat(p->cache.folder, ".making", 0), 0);
	assert_int_equal(symlinkat("elsewhere", p->cache.folder, ".making"), 0);
	assert_int_equal(cwb_cache_claim(&p->cache, key('a'), &c, NULL), -ELOOP);
}

static void refusals(void **state)
{
	struct place *p = *state;
	struct cwb_cache other = {.folder = -1};
	struct cwb_err err = {0};
	int fd = -1;

	assert_int_equal(chmod(p->path, 0720), 0);
	assert_int_equal(cwb_cache_open(p->path, 1000, 0, &other, &err), CWP_EDENIED);
	assert_non_null(strstr(err.message, p->path));
	assert_int_equal(chmod(p->path, 0702), 0);
	assert_int_equal(cwb_cache_open(p->path, 1000, 0, &other, NULL), CWP_EDENIED);
	assert_int_equal(chmod(p->path, 0755), 0);
	assert_int_equal(cwb_cache_open(p->path, 1000, 0, &other, NULL), 0);
	cwb_cache_close(&other);
	cwb_cache_close(&other);
	assert_int_equal(cwb_cache_open("/dev/null", 1000, 0, &other, NULL), -ENOTDIR);
	/* An entry is a folder, and no link to one. */
	assert_int_equal(mkdirat(p->cache.folder, "elsewhere", 0700), 0);
	assert_int_equal(symlinkat("elsewhere", p->cache.folder, key('a')), 0);
	assert_true(cwb_cache_take(&p->cache, key('a'), &fd, NULL) < 0);
	assert_int_equal(cwb_cache_begin(&p->cache, key('b'), UINT64_MAX, &(struct cwb_cache_new){.fd = -1}, NULL), -ENOSPC);
	p->cache.age = 1;
	struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	assert_int_equal(utimensat(p->cache.folder, key('a'), old, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(cwb_cache_trim(&p->cache, 0, NULL), 0);
	assert_false(is_there(p, 'a'));
	assert_int_equal(faccessat(p->cache.folder, "elsewhere", F_OK, 0), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(whole_or_not_at_all),
		TEST(first_one_stays),
		TEST(least_recently_used_goes),
		TEST(used_one_stays),
		TEST(too_old_goes),
		TEST(dropped_is_the_one_that_was_taken),
		TEST(dead_makers_leave_nothing),
		TEST(one_maker),
		TEST(refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
