/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing that is complete, bounded and, where it replaces a file, atomic. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

int cwb_file_pread(
	int fd, void *dst, size_t length, uint64_t offset, const char *path, struct cwb_err *err)
{
	char *p = dst;
	uint64_t end;

	if (__builtin_add_overflow(offset, (uint64_t)length, &end) || end > INT64_MAX) {
		return cwb_err_set(err, CWP_EFORMAT,
			"%s: %zu bytes at offset %" PRIu64 " are beyond any file", path, length,
			offset);
	}
	while (length > 0) {
		ssize_t n = pread(fd, p, length, (off_t)offset);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return cwb_err_errno(
				err, "%s: cannot read at offset %" PRIu64, path, offset);
		}
		if (n == 0) {
			return cwb_err_set(err, CWP_EFORMAT,
				"%s: ends at offset %" PRIu64 ", %zu bytes too early", path, offset,
				length);
		}
		p += n;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

int cwb_file_pwrite(int fd, const void *src, size_t length, uint64_t offset, const char *path,
	struct cwb_err *err)
{
	const char *p = src;
	uint64_t end;

	if (__builtin_add_overflow(offset, (uint64_t)length, &end) || end > INT64_MAX) {
		return cwb_err_set(err, CWP_ELIMIT,
			"%s: %zu bytes at offset %" PRIu64 " are beyond any file", path, length,
			offset);
	}
	while (length > 0) {
		ssize_t n = pwrite(fd, p, length, (off_t)offset);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return cwb_err_errno(
				err, "%s: cannot write at offset %" PRIu64, path, offset);
		}
		p += n;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

void cwb_file_write_behind(int fd, uint64_t offset, uint64_t length)
{
	if (length > 0 && offset <= INT64_MAX && length <= INT64_MAX - offset) {
		(void)sync_file_range(fd, (off_t)offset, (off_t)length, SYNC_FILE_RANGE_WRITE);
	}
}

void cwb_file_read_ahead(int fd, uint64_t offset, uint64_t length)
{
	if (length > 0 && offset <= INT64_MAX && length <= INT64_MAX - offset) {
		(void)posix_fadvise(fd, (off_t)offset, (off_t)length, POSIX_FADV_WILLNEED);
	}
}

int cwb_file_write(int fd, const void *src, size_t length, const char *path, struct cwb_err *err)
{
	const char *p = src;

	while (length > 0) {
		ssize_t n = write(fd, p, length);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return cwb_err_errno(err, "%s: cannot write", path);
		}
		p += n;
		length -= (size_t)n;
	}
	return 0;
}

/* Reads until the end rather than st_size bytes: a file may grow or shrink meanwhile, and those of
 * /proc say 0. */
static int read_all(int fd, const char *name, size_t limit, size_t expected, char **ret_data,
	size_t *ret_length, struct cwb_err *err)
{
	size_t capacity = expected + 1, length = 0;
	char *data = malloc(capacity + 1);

	if (data == NULL) {
		return cwb_err_set(err, -ENOMEM, "%s: no memory for %zu bytes", name, capacity);
	}
	for (;;) {
		if (length == capacity) {
			size_t larger = capacity * 2 <= limit ? capacity * 2 : limit + 1;
			char *grown = realloc(data, larger + 1);
			if (grown == NULL) {
				free(data);
				return cwb_err_set(
					err, -ENOMEM, "%s: no memory for %zu bytes", name, larger);
			}
			data = grown;
			capacity = larger;
		}
		ssize_t n = read(fd, data + length, capacity - length);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			int rc = cwb_err_errno(err, "%s: cannot read", name);
			free(data);
			return rc;
		}
		if (n == 0) {
			break;
		}
		length += (size_t)n;
		if (length > limit) {
			free(data);
			return cwb_err_set(
				err, CWP_ELIMIT, "%s: is longer than %zu bytes", name, limit);
		}
	}
	data[length] = '\0';
	*ret_data = data;
	*ret_length = length;
	return 0;
}

int cwb_file_read_at(int folder, const char *name, size_t limit, char **ret_data,
	size_t *ret_length, struct cwb_err *err)
{
	struct stat st;
	int rc;
	/* O_NONBLOCK: opening a fifo must not wait for a writer; regular files ignore it. */
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		return cwb_err_errno(err, "%s: cannot open", name);
	}
	if (fstat(fd, &st) < 0) {
		rc = cwb_err_errno(err, "%s: cannot inspect", name);
	} else if (!S_ISREG(st.st_mode)) {
		rc = cwb_err_set(err, CWP_EFORMAT, "%s: is not a regular file", name);
	} else if ((uint64_t)st.st_size > limit || limit > SIZE_MAX / 2 - 2) {
		rc = cwb_err_set(err, CWP_ELIMIT,
			"%s: has %" PRIu64 " bytes, at most %zu are allowed", name,
			(uint64_t)st.st_size, limit);
	} else {
		rc = read_all(fd, name, limit, (size_t)st.st_size, ret_data, ret_length, err);
	}
	close(fd);
	return rc;
}

int cwb_file_read(
	const char *path, size_t limit, char **ret_data, size_t *ret_length, struct cwb_err *err)
{
	return cwb_file_read_at(AT_FDCWD, path, limit, ret_data, ret_length, err);
}

int cwb_file_temp_open(
	int folder, const char *name, mode_t mode, struct cwb_file_temp *ret, struct cwb_err *err)
{
	struct cwb_file_temp t = {.folder = folder, .fd = -1};

	/* Room for the dot, ".tmp-", 16 digits and NUL within NAME_MAX. */
	if (name[0] == '\0' || strchr(name, '/') != NULL || strlen(name) > sizeof(t.temp) - 24) {
		return cwb_err_set(err, CWP_EVALUE, "%s: cannot be the name of a new file", name);
	}
	snprintf(t.name, sizeof(t.name), "%s", name);
	for (int attempt = 0; attempt < 100; attempt++) {
		uint64_t random;
		if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
			return cwb_err_errno(
				err, "%s: no random number for a temporary name", name);
		}
		snprintf(t.temp, sizeof(t.temp), ".%.200s.tmp-%016" PRIx64, name, random);
		t.fd = openat(
			folder, t.temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
		if (t.fd >= 0) {
			*ret = t;
			return 0;
		}
		if (errno != EEXIST && errno != EINTR) {
			break;
		}
	}
	return cwb_err_errno(err, "%s: cannot make a temporary file beside it", name);
}

int cwb_file_temp_commit(struct cwb_file_temp *t, struct cwb_err *err)
{
	int rc = 0;

	/* A failed fsync is final: the kernel may have dropped the pages already, so another try
	 * would lie. */
	if (fsync(t->fd) < 0) {
		rc = cwb_err_errno(err, "%s: cannot bring it to the disk", t->name);
	}
	if (close(t->fd) < 0 && rc == 0) {
		rc = cwb_err_errno(err, "%s: cannot close", t->name);
	}
	t->fd = -1;
	if (rc == 0 && renameat(t->folder, t->temp, t->folder, t->name) < 0) {
		rc = cwb_err_errno(err, "%s: cannot rename into place", t->name);
	}
	if (rc < 0) {
		(void)unlinkat(t->folder, t->temp, 0); /* the first error is the one to report */
		return rc;
	}
	return cwb_file_sync_folder(t->folder, t->name, err);
}

void cwb_file_temp_abort(struct cwb_file_temp *t)
{
	if (t->fd >= 0) {
		close(t->fd);
		t->fd = -1;
		(void)unlinkat(t->folder, t->temp,
			0); /* nothing to report to; the name says that it is rubbish */
	}
}

int cwb_file_replace(int folder, const char *name, const void *data, size_t length, mode_t mode,
	struct cwb_err *err)
{
	struct cwb_file_temp t;
	int rc = cwb_file_temp_open(folder, name, mode, &t, err);

	if (rc < 0) {
		return rc;
	}
	rc = cwb_file_write(t.fd, data, length, name, err);
	if (rc < 0) {
		cwb_file_temp_abort(&t);
		return rc;
	}
	return cwb_file_temp_commit(&t, err);
}

int cwb_file_replace_path(
	const char *path, const void *data, size_t length, mode_t mode, struct cwb_err *err)
{
	const char *slash = strrchr(path, '/');
	char *parent;
	int rc;

	if (slash == NULL) {
		parent = strdup(".");
	} else {
		parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	}
	if (parent == NULL) {
		return cwb_err_set(err, -ENOMEM, "%s: no memory for its name", path);
	}
	int folder = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0) {
		rc = cwb_err_errno(err, "%s: cannot open the folder of %s", parent, path);
	} else {
		rc = cwb_file_replace(
			folder, slash != NULL ? slash + 1 : path, data, length, mode, err);
		close(folder);
	}
	free(parent);
	return rc;
}
