/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Files on a machine that misbehaves: every system call fails once, transfers are short and
 * interrupted. The linker sends base's calls through the functions below. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/digest.h"
#include "base/file.h"

ssize_t __real_read(int fd, void *buffer, size_t size);
ssize_t __real_write(int fd, const void *buffer, size_t size);
ssize_t __real_pread(int fd, void *buffer, size_t size, off_t offset);
ssize_t __real_pwrite(int fd, const void *buffer, size_t size, off_t offset);
int __real_openat(int folder, const char *name, int flags, mode_t mode);
int __real_fsync(int fd);
int __real_close(int fd);
int __real_renameat(int from, const char *old, int to, const char *new);
int __real_unlinkat(int folder, const char *name, int flags);
ssize_t __wrap_read(int fd, void *buffer, size_t size);
ssize_t __wrap_write(int fd, const void *buffer, size_t size);
ssize_t __wrap_pread(int fd, void *buffer, size_t size, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *buffer, size_t size, off_t offset);
int __wrap_openat(int folder, const char *name, int flags, mode_t mode);
int __wrap_fsync(int fd);
int __wrap_close(int fd);
int __wrap_renameat(int from, const char *old, int to, const char *new);
int __wrap_unlinkat(int folder, const char *name, int flags);

static long left = -1; /* calls until the one that fails with EIO; negative: none does */
static int choppy;     /* transfers are short, and every third is interrupted */
static unsigned turn;
static const char *failed; /* the call that failed */

static int fails(const char *call)
{
	if (left < 0) {
		return 0;
	}
	left--;
	if (left >= 0) {
		return 0;
	}
	failed = call;
	errno = EIO;
	return 1;
}

/* -1 for an interruption, else how many of the bytes are done this time. */
static ssize_t chop(size_t size)
{
	if (!choppy) {
		return (ssize_t)size;
	}
	turn++;
	if (turn % 3 == 0) {
		errno = EINTR;
		return -1;
	}
	return (ssize_t)(size > turn % 7 + 1 ? turn % 7 + 1 : size);
}

ssize_t __wrap_read(int fd, void *buffer, size_t size)
{
	ssize_t n = fails("read") ? -1 : chop(size);
	return n < 0 ? n : __real_read(fd, buffer, (size_t)n);
}

ssize_t __wrap_write(int fd, const void *buffer, size_t size)
{
	ssize_t n = fails("write") ? -1 : chop(size);
	return n < 0 ? n : __real_write(fd, buffer, (size_t)n);
}

ssize_t __wrap_pread(int fd, void *buffer, size_t size, off_t offset)
{
	ssize_t n = fails("pread") ? -1 : chop(size);
	return n < 0 ? n : __real_pread(fd, buffer, (size_t)n, offset);
}

ssize_t __wrap_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	ssize_t n = fails("pwrite") ? -1 : chop(size);
	return n < 0 ? n : __real_pwrite(fd, buffer, (size_t)n, offset);
}

int __wrap_openat(int folder, const char *name, int flags, mode_t mode)
{
	return fails("openat") ? -1 : __real_openat(folder, name, flags, mode);
}

int __wrap_fsync(int fd)
{
	return fails("fsync") ? -1 : __real_fsync(fd);
}

/* As in Linux, a close that fails has closed all the same. */
int __wrap_close(int fd)
{
	int rc = __real_close(fd);
	return fails("close") ? -1 : rc;
}

int __wrap_renameat(int from, const char *old, int to, const char *new)
{
	return fails("renameat") ? -1 : __real_renameat(from, old, to, new);
}

int __wrap_unlinkat(int folder, const char *name, int flags)
{
	return fails("unlinkat") ? -1 : __real_unlinkat(folder, name, flags);
}

static char folder_path[64];
static int folder = -1;

static int set_up(void **state)
{
	(void)state;
	snprintf(folder_path, sizeof(folder_path), "/tmp/cwb-faults-XXXXXX");
	if (mkdtemp(folder_path) == NULL) {
		return -1;
	}
	folder = open(folder_path, O_RDONLY | O_DIRECTORY);
	return folder >= 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	left = -1;
	choppy = 0;
	close(folder);
	return cwb_file_remove_tree(AT_FDCWD, folder_path, NULL);
}

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL) {
		count++;
	}
	closedir(dir);
	return count;
}

static int count_entries(void)
{
	DIR *dir = opendir(folder_path);
	int count = -2; /* . and .. */

	assert_non_null(dir);
	while (readdir(dir) != NULL) {
		count++;
	}
	closedir(dir);
	return count;
}

/* Whatever call fails: an error is reported, the file is the old or the new one and never a
 * mixture, and neither a temporary file nor a descriptor stays. */
static void replacing_is_all_or_nothing(void **state)
{
	int failures = 0, descriptors = count_descriptors();

	(void)state;
	for (long n = 0;; n++) {
		struct cwb_err err = {0};
		char *data;
		size_t length;

		left = -1;
		assert_int_equal(cwb_file_replace(folder, "a", "old", 3, 0600, NULL), 0);
		left = n;
		int rc = cwb_file_replace(folder, "a", "the new text", 12, 0600, &err);
		int done = left >= 0;
		left = -1;
		assert_int_equal(cwb_file_read_at(folder, "a", 100, &data, &length, NULL), 0);
		assert_int_equal(count_entries(), 1);
		assert_int_equal(count_descriptors(), descriptors);
		if (done) {
			assert_int_equal(rc, 0);
			assert_string_equal(data, "the new text");
			free(data);
			break;
		}
		failures++;
		if (rc == 0) {
			/* Only the folder's descriptor, open for reading, may fail to close without
			 * harm. */
			assert_string_equal(failed, "close");
			assert_string_equal(data, "the new text");
		} else {
			assert_int_equal(rc, -EIO);
			assert_non_null(strstr(err.message, "a: "));
			assert_true(strcmp(data, "old") == 0 || strcmp(data, "the new text") == 0);
		}
		free(data);
	}
	/* openat, write, fsync, close, renameat, openat, fsync, close */
	assert_int_equal(failures, 8);
}

static void reading_reports_every_failure(void **state)
{
	int descriptors = count_descriptors(), failures = 0;

	(void)state;
	assert_int_equal(cwb_file_replace(folder, "a", "text", 4, 0600, NULL), 0);
	for (long n = 0;; n++) {
		struct cwb_err err = {0};
		char *data = NULL;
		size_t length;

		left = n;
		int rc = cwb_file_read_at(folder, "a", 100, &data, &length, &err);
		int done = left >= 0;
		left = -1;
		assert_int_equal(count_descriptors(), descriptors);
		assert_true((rc == 0) == (data != NULL));
		if (rc == 0) {
			assert_string_equal(data, "text");
		} else {
			assert_int_equal(rc, -EIO);
		}
		free(data);
		if (done) {
			break;
		}
		failures++;
	}
	assert_int_equal(failures, 4); /* openat, read, read at the end, close */
}

static void removing_stops_at_a_failure_and_can_go_on(void **state)
{
	int failures = 0, descriptors = count_descriptors();
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/t/x/y", folder_path);
	for (long n = 0;; n++) {
		left = -1;
		assert_int_equal(cwb_file_make_folders(path, 0700, NULL), 0);
		int inner = open(path, O_RDONLY | O_DIRECTORY);
		assert_int_equal(cwb_file_replace(inner, "f", "", 0, 0600, NULL), 0);
		close(inner);
		left = n;
		int rc = cwb_file_remove_tree(folder, "t", NULL);
		int done = left >= 0;
		left = -1;
		assert_int_equal(count_descriptors(), descriptors);
		if (done) {
			assert_int_equal(rc, 0);
			break;
		}
		failures++;
		assert_int_equal(rc, -EIO);
		assert_int_equal(cwb_file_remove_tree(folder, "t", NULL), 0);
		assert_int_equal(count_entries(), 0);
	}
	assert_int_equal(failures, 7); /* three folders to open, four names to unlink */
}

/* Short and interrupted transfers are finished. */
static void transfers_are_complete(void **state)
{
	char bytes[1000], back[1000], hex[CWB_DIGEST_HEX], expected[CWB_DIGEST_HEX], path[128];
	char *data;
	size_t length;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (char)(i * 31 + i / 256);
	}
	assert_int_equal(cwb_digest_buffer(bytes, sizeof(bytes), expected), 0);
	choppy = 1;
	assert_int_equal(cwb_file_replace(folder, "a", bytes, sizeof(bytes), 0600, NULL), 0);
	assert_int_equal(cwb_file_read_at(folder, "a", 1000, &data, &length, NULL), 0);
	assert_int_equal(length, sizeof(bytes));
	assert_memory_equal(data, bytes, sizeof(bytes));
	free(data);
	int fd = openat(folder, "a", O_RDWR);
	assert_int_equal(cwb_file_pread(fd, back, 990, 10, "a", NULL), 0);
	assert_memory_equal(back, bytes + 10, 990);
	assert_int_equal(cwb_file_pwrite(fd, bytes, 500, 500, "a", NULL), 0);
	assert_int_equal(cwb_file_pread(fd, back, 1000, 0, "a", NULL), 0);
	assert_memory_equal(back, bytes, 500);
	assert_memory_equal(back + 500, bytes, 500);
	assert_int_equal(cwb_file_pwrite(fd, bytes + 500, 500, 500, "a", NULL), 0);
	close(fd);
	snprintf(path, sizeof(path), "%s/a", folder_path);
	assert_int_equal(cwb_digest_file(path, hex, NULL, NULL), 0);
	assert_string_equal(hex, expected);
	choppy = 0;
	left = 0;
	struct cwb_err err = {0};
	assert_int_equal(cwb_digest_file(path, hex, NULL, &err), -EIO);
	assert_non_null(strstr(err.message, "cannot read"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(replacing_is_all_or_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(reading_reports_every_failure, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			removing_stops_at_a_failure_and_can_go_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(transfers_are_complete, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
