/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Files that are read within bounds, appear whole or not at all, and trees that are removed without
 * following links. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <signal.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"

struct place {
	char path[64];
	int folder;
};

static int set_up(void **state)
{
	static struct place place;
	struct place *p = &place;

	snprintf(p->path, sizeof(p->path), "/tmp/cwb-file-XXXXXX");
	if (mkdtemp(p->path) == NULL) {
		return -1;
	}
	p->folder = open(p->path, O_RDONLY | O_DIRECTORY);
	*state = p;
	return p->folder >= 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	struct place *p = *state;
	int rc;

	close(p->folder);
	rc = cwb_file_remove_tree(AT_FDCWD, p->path, NULL);
	return rc;
}

static void make(const struct place *p, const char *name, const char *text)
{
	assert_int_equal(cwb_file_replace(p->folder, name, text, strlen(text), 0600, NULL), 0);
}

static int count_entries(const struct place *p)
{
	DIR *dir = opendir(p->path);
	int count = -2; /* . and .. */

	assert_non_null(dir);
	while (readdir(dir) != NULL) {
		count++;
	}
	closedir(dir);
	return count;
}

static void reads_whole_files_within_a_limit(void **state)
{
	struct place *p = *state;
	struct cwb_err err = {0};
	char *data = NULL;
	size_t length = 0;

	make(p, "a", "hello");
	assert_int_equal(cwb_file_read_at(p->folder, "a", 5, &data, &length, &err), 0);
	assert_int_equal(length, 5);
	assert_string_equal(data, "hello"); /* with its NUL */
	free(data);
	data = NULL;
	assert_int_equal(cwb_file_read_at(p->folder, "a", 4, &data, &length, &err), CWP_ELIMIT);
	assert_null(data);
	make(p, "empty", "");
	assert_int_equal(cwb_file_read_at(p->folder, "empty", 0, &data, &length, &err), 0);
	assert_int_equal(length, 0);
	free(data);
	/* A file that says 0 bytes and has some. */
	assert_int_equal(cwb_file_read("/proc/self/status", 1 << 16, &data, &length, &err), 0);
	assert_true(length > 100);
	assert_int_equal(strlen(data), length);
	free(data);
	assert_int_equal(cwb_file_read("/proc/self/status", 100, &data, &length, NULL), CWP_ELIMIT);
}

static void reads_regular_files_only(void **state)
{
	struct place *p = *state;
	struct cwb_err err = {0};
	char *data = NULL;
	size_t length = 0;

	assert_int_equal(cwb_file_read(p->path, 100, &data, &length, &err), CWP_EFORMAT);
	assert_int_equal(mkfifoat(p->folder, "fifo", 0600), 0);
	assert_int_equal(
		cwb_file_read_at(p->folder, "fifo", 100, &data, &length, NULL), CWP_EFORMAT);
	assert_int_equal(cwb_file_read("/dev/zero", 100, &data, &length, NULL), CWP_EFORMAT);
	assert_int_equal(
		cwb_file_read_at(p->folder, "nothing", 100, &data, &length, NULL), -ENOENT);
	assert_null(data);
}

static void reads_exactly_what_was_asked(void **state)
{
	struct place *p = *state;
	struct cwb_err err = {0};
	char bytes[8];

	make(p, "a", "0123456789");
	int fd = openat(p->folder, "a", O_RDWR);
	assert_int_equal(cwb_file_pread(fd, bytes, 4, 6, "a", &err), 0);
	assert_memory_equal(bytes, "6789", 4);
	assert_int_equal(cwb_file_pread(fd, bytes, 5, 6, "a", &err), CWP_EFORMAT);
	assert_string_equal(err.message, "a: ends at offset 10, 1 bytes too early");
	assert_int_equal(cwb_file_pread(fd, bytes, 1, UINT64_MAX, "a", NULL), CWP_EFORMAT);
	assert_int_equal(cwb_file_pread(fd, bytes, 1, INT64_MAX, "a", NULL), CWP_EFORMAT);
	assert_int_equal(cwb_file_pread(fd, bytes, 0, 10, "a", NULL), 0);
	assert_int_equal(cwb_file_pwrite(fd, "xy", 2, 9, "a", NULL), 0);
	assert_int_equal(cwb_file_pread(fd, bytes, 3, 8, "a", NULL), 0);
	assert_memory_equal(bytes, "8xy", 3);
	assert_true(cwb_file_pwrite(fd, "xy", 2, INT64_MAX, "a", NULL) < 0);
	/* Hints change nothing, wherever they point. */
	static const uint64_t places[] = {0, 4, 11, INT64_MAX, UINT64_MAX};
	for (int i = 0; i < 5; i++) {
		cwb_file_write_behind(fd, places[i], places[4 - i]);
		cwb_file_read_ahead(fd, places[i], places[4 - i]);
	}
	assert_int_equal(cwb_file_pread(fd, bytes, 8, 3, "a", NULL), 0);
	assert_memory_equal(bytes, "345678xy", 8);
	close(fd);
	assert_true(cwb_file_pread(fd, bytes, 1, 0, "a", NULL) < 0);
	assert_true(cwb_file_write(fd, "x", 1, "a", NULL) < 0);
}

static void replaces_files_whole(void **state)
{
	struct place *p = *state;
	char path[128];
	char *data;
	size_t length;

	make(p, "a", "old");
	make(p, "a", "new and longer");
	assert_int_equal(cwb_file_read_at(p->folder, "a", 100, &data, &length, NULL), 0);
	assert_string_equal(data, "new and longer");
	free(data);
	assert_int_equal(count_entries(p), 1);
	snprintf(path, sizeof(path), "%s/b", p->path);
	assert_int_equal(cwb_file_replace_path(path, "B", 1, 0644, NULL), 0);
	assert_int_equal(cwb_file_read(path, 100, &data, &length, NULL), 0);
	assert_string_equal(data, "B");
	free(data);
	snprintf(path, sizeof(path), "%s/no/b", p->path);
	assert_int_equal(cwb_file_replace_path(path, "B", 1, 0644, NULL), -ENOENT);
	assert_true(cwb_file_replace(p->folder, "x/y", "B", 1, 0644, NULL) < 0);
	assert_true(cwb_file_replace(p->folder, "", "B", 1, 0644, NULL) < 0);
}

static void leaves_nothing_behind_when_it_fails(void **state)
{
	struct place *p = *state;
	struct cwb_file_temp t;
	struct cwb_err err = {0};

	make(p, "a", "old");
	assert_int_equal(cwb_file_temp_open(p->folder, "a", 0600, &t, &err), 0);
	assert_int_equal(count_entries(p), 2);
	assert_int_equal(cwb_file_write(t.fd, "half", 4, "a", &err), 0);
	cwb_file_temp_abort(&t);
	cwb_file_temp_abort(&t);
	assert_int_equal(count_entries(p), 1);
	/* A folder in the way: the rename fails after everything was written. */
	assert_int_equal(mkdirat(p->folder, "d", 0700), 0);
	assert_true(cwb_file_replace(p->folder, "d", "x", 1, 0600, &err) < 0);
	assert_non_null(strstr(err.message, "d: cannot rename into place"));
	assert_int_equal(count_entries(p), 2);
	/* A full disk, as a limit of file size says it. */
	struct rlimit before, small;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 4096;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	char *large = calloc(1, 10000);
	cwb_err_clear(&err);
	int rc = cwb_file_replace(p->folder, "a", large, 10000, 0600, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	free(large);
	assert_int_equal(rc, -EFBIG);
	assert_int_equal(count_entries(p), 2);
	char *data;
	size_t length;
	assert_int_equal(cwb_file_read_at(p->folder, "a", 100, &data, &length, NULL), 0);
	assert_string_equal(data, "old");
	free(data);
}

static void makes_folders(void **state)
{
	struct place *p = *state;
	struct cwb_err err = {0};
	struct stat st;
	char path[128];

	snprintf(path, sizeof(path), "%s/x//y/z/", p->path);
	assert_int_equal(cwb_file_make_folders(path, 0750, &err), 0);
	assert_int_equal(cwb_file_make_folders(path, 0750, &err), 0);
	assert_int_equal(fstatat(p->folder, "x/y/z", &st, 0), 0);
	assert_true(S_ISDIR(st.st_mode));
	make(p, "file", "");
	snprintf(path, sizeof(path), "%s/file/z", p->path);
	assert_int_equal(cwb_file_make_folders(path, 0750, &err), -ENOTDIR);
	assert_non_null(strstr(err.message, "/file: exists and is not a folder"));
}

static void removes_trees_and_follows_no_links(void **state)
{
	struct place *p = *state;
	char path[128];

	make(p, "outside", "kept");
	assert_int_equal(mkdirat(p->folder, "precious", 0700), 0);
	snprintf(path, sizeof(path), "%s/precious", p->path);
	int precious = open(path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(cwb_file_replace(precious, "kept", "", 0, 0600, NULL), 0);
	snprintf(path, sizeof(path), "%s/t/a/b/c", p->path);
	assert_int_equal(cwb_file_make_folders(path, 0700, NULL), 0);
	assert_int_equal(symlinkat("../precious", p->folder, "t/link"), 0);
	assert_int_equal(symlinkat("../outside", p->folder, "t/a/file"), 0);
	assert_int_equal(symlinkat("nowhere", p->folder, "t/a/b/dangling"), 0);
	assert_int_equal(cwb_file_remove_tree(p->folder, "t", NULL), 0);
	assert_int_equal(faccessat(p->folder, "t", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	assert_int_equal(faccessat(precious, "kept", F_OK, 0), 0);
	assert_int_equal(faccessat(p->folder, "outside", F_OK, 0), 0);
	close(precious);
	/* A link itself, a file, nothing at all. */
	assert_int_equal(symlinkat("precious", p->folder, "link"), 0);
	assert_int_equal(cwb_file_remove_tree(p->folder, "link", NULL), 0);
	assert_int_equal(cwb_file_remove_tree(p->folder, "outside", NULL), 0);
	assert_int_equal(cwb_file_remove_tree(p->folder, "outside", NULL), 0);
	assert_int_equal(count_entries(p), 1);
	assert_true(cwb_file_remove_tree(p->folder, "", NULL) < 0);
	assert_true(cwb_file_remove_tree(p->folder, ".", NULL) < 0);
	assert_true(cwb_file_remove_tree(p->folder, "..", NULL) < 0);
}

static int is_log(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && strcmp(name + n - 4, ".log") == 0;
}

static void removes_what_is_wanted(void **state)
{
	struct place *p = *state;
	struct cwb_err err = {0};
	char path[512];

	snprintf(path, sizeof(path), "%s/old.log/inside", p->path);
	assert_int_equal(cwb_file_make_folders(path, 0700, NULL), 0);
	assert_int_equal(cwb_file_replace(p->folder, ".new.log", "x", 1, 0600, NULL), 0);
	assert_int_equal(cwb_file_replace(p->folder, "log", "x", 1, 0600, NULL), 0);
	assert_int_equal(cwb_file_remove_matching(p->folder, is_log, "folder", NULL), 0);
	assert_int_equal(faccessat(p->folder, "log", F_OK, 0), 0);
	assert_int_equal(count_entries(p), 1);
	assert_int_equal(cwb_file_remove_matching(p->folder, is_log, "folder", NULL), 0);
	assert_int_equal(cwb_file_remove_matching(-1, is_log, "the place", &err), -EBADF);
	assert_non_null(strstr(err.message, "the place"));
}

static void refuses_endless_trees(void **state)
{
	struct place *p = *state;
	struct cwb_err err = {0};
	int folder = dup(p->folder);

	for (int i = 0; i < 140; i++) {
		assert_int_equal(mkdirat(folder, "d", 0700), 0);
		int next = openat(folder, "d", O_RDONLY | O_DIRECTORY);
		close(folder);
		folder = next;
	}
	close(folder);
	assert_int_equal(cwb_file_remove_tree(p->folder, "d", &err), CWP_ELIMIT);
	/* From the middle on it is not too deep; then the rest goes as well. */
	folder = openat(
		p->folder, "d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", O_RDONLY | O_DIRECTORY);
	assert_int_equal(cwb_file_remove_tree(folder, "d", NULL), 0);
	close(folder);
	assert_int_equal(cwb_file_remove_tree(p->folder, "d", NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			reads_whole_files_within_a_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(reads_regular_files_only, set_up, tear_down),
		cmocka_unit_test_setup_teardown(reads_exactly_what_was_asked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(replaces_files_whole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			leaves_nothing_behind_when_it_fails, set_up, tear_down),
		cmocka_unit_test_setup_teardown(makes_folders, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			removes_trees_and_follows_no_links, set_up, tear_down),
		cmocka_unit_test_setup_teardown(removes_what_is_wanted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refuses_endless_trees, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
