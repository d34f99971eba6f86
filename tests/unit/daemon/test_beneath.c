/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Paths that stay beneath a folder and paths that do not: links in every direction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "daemon/beneath.h"

/* top/secret, top/root/dir/file and links. */
static char top[] = "/tmp/cwd-beneath-XXXXXX", root[64];

static void make_link(const char *target, const char *name)
{
	char path[128];

	snprintf(path, sizeof path, "%s/%s", root, name);
	assert_int_equal(symlink(target, path), 0);
}

static void make_file(const char *folder, const char *name)
{
	char path[128];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
}

static int set_up(void **state)
{
	char path[128];

	(void)state;
	assert_non_null(mkdtemp(top));
	snprintf(root, sizeof root, "%s/root", top);
	snprintf(path, sizeof path, "%s/dir", root);
	assert_int_equal(mkdir(root, 0755), 0);
	assert_int_equal(mkdir(path, 0755), 0);
	make_file(top, "secret");
	make_file(path, "file");
	make_link("dir/file", "in");
	make_link("in", "twice");
	make_link("dir", "folder");
	make_link("../../root/dir/file", "dir/out-and-back");
	make_link("../dir/./file", "dir/round");
	make_link("../secret", "out");
	make_link("dir/../../secret", "out-by-a-folder");
	make_link("/etc/passwd", "far");
	make_link("/proc/self/root/etc/passwd", "magic");
	snprintf(path, sizeof path, "%s/dir/file", root);
	make_link(path, "near");
	make_link("loop", "loop");
	make_link("nothing", "dangling");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return cwb_file_remove_tree(AT_FDCWD, top, NULL);
}

/* errno, or 0 where what was opened is the file `same` of top. */
static int try_path(const char *from, const char *rest, int links, const char *same)
{
	char path[PATH_MAX];
	struct stat found, wanted;

	int fd = cwd_beneath_open(from, rest, links);
	if (fd < 0) {
		return errno;
	}
	assert_int_equal(fstat(fd, &found), 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(close(fd), 0);
	assert_non_null(same);
	snprintf(path, sizeof path, "%s/%s", top, same);
	assert_int_equal(stat(path, &wanted), 0);
	assert_int_equal(found.st_ino, wanted.st_ino);
	assert_int_equal(found.st_dev, wanted.st_dev);
	return 0;
}

static void test_beneath(void **state)
{
	static const struct {
		const char *rest;
		int links, code;
		const char *same;
	} cases[] = {
		{".", 0, 0, "root"},
		{"", 0, 0, "root"},
		{"dir", 0, 0, "root/dir"},
		{"dir/file", 0, 0, "root/dir/file"},
		{"dir//./file", 0, 0, "root/dir/file"},
		{"dir/../dir/file", 0, 0, "root/dir/file"},
		{"dir/..", 0, 0, "root"},
		{"..", 1, EXDEV, NULL},
		{"../secret", 1, EXDEV, NULL},
		{"dir/../../secret", 1, EXDEV, NULL},
		{"nothing", 1, ENOENT, NULL},
		{"dir/file/x", 1, ENOTDIR, NULL},
		{"in", 1, 0, "root/dir/file"},
		{"twice", 1, 0, "root/dir/file"},
		{"folder/file", 1, 0, "root/dir/file"},
		{"folder/../dir/file", 1, 0, "root/dir/file"},
		{"dir/round", 1, 0, "root/dir/file"},
		{"in", 0, ELOOP, NULL},
		{"folder/file", 0, ELOOP, NULL},
		{"dangling", 0, ELOOP, NULL},
		{"out", 1, EXDEV, NULL},
		{"out-by-a-folder", 1, EXDEV, NULL},
		{"dir/out-and-back", 1, EXDEV, NULL},
		{"far", 1, EXDEV, NULL},
		{"magic", 1, EXDEV, NULL},
		{"near", 1, EXDEV, NULL},
		{"loop", 1, ELOOP, NULL},
		{"dangling", 1, ENOENT, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int code = try_path(root, cases[i].rest, cases[i].links, cases[i].same);
		if (code != cases[i].code) {
			fail_msg("%s: %s", cases[i].rest, strerror(code));
		}
	}
	assert_int_equal(try_path("/nonexistent", ".", 1, NULL), ENOENT);
	assert_int_equal(try_path("/etc/passwd", ".", 1, NULL), ENOTDIR);
}

/* Nothing lies outside of the whole file system. */
static void test_whole(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof path, "%s/near", root);
	assert_int_equal(try_path("/", path + 1, 1, "root/dir/file"), 0);
	assert_int_equal(try_path("/", path + 1, 0, NULL), ELOOP);
	snprintf(path, sizeof path, "%s/out", root);
	assert_int_equal(try_path("/", path + 1, 1, "secret"), 0);
	snprintf(path, sizeof path, "../../%s/secret", top);
	assert_int_equal(try_path("/", path, 1, "secret"), 0);
}

static void test_lengths(void **state)
{
	static char path[2 * PATH_MAX];
	char name[32], target[32];

	(void)state;
	memset(path, 'x', NAME_MAX + 1);
	path[NAME_MAX + 1] = '\0';
	assert_int_equal(try_path(root, path, 1, NULL), ENAMETOOLONG);
	path[NAME_MAX] = '\0';
	assert_int_equal(try_path(root, path, 1, NULL), ENOENT);
	memset(path, '/', sizeof path - 1);
	assert_int_equal(try_path(root, path, 1, NULL), ENAMETOOLONG);
	path[PATH_MAX - 1] = '\0';
	assert_int_equal(try_path(root, path, 1, "root"), 0);
	/* What a link adds is counted too. */
	for (size_t i = 0; i < PATH_MAX - 1; i++) {
		path[i] = i % 2 == 0 ? '/' : 'x';
	}
	memcpy(path, "in", 2);
	assert_int_equal(try_path(root, path, 1, NULL), ENAMETOOLONG);
	/* Forty links in a row may be followed, one more not. */
	make_link("dir/file", "l1");
	for (int i = 2; i <= 41; i++) {
		snprintf(name, sizeof name, "l%d", i);
		snprintf(target, sizeof target, "l%d", i - 1);
		make_link(target, name);
	}
	assert_int_equal(try_path(root, "l40", 1, "root/dir/file"), 0);
	assert_int_equal(try_path(root, "l41", 1, NULL), ELOOP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_beneath), cmocka_unit_test(test_whole), cmocka_unit_test(test_lengths)};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
