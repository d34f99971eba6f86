/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Files in the making: opened again or anew, with their room reserved, renamed at the end. */
#include "engine/format/partial.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

void cwe_partial_temp(const char *name, char *ret, size_t size)
{
	snprintf(ret, size, ".%s.tmp-partial", name);
}

/* Whether the unfinished file has this size and header. */
static int same_file(int fd, const void *header, size_t length, uint64_t size)
{
	struct stat st;
	char *old = malloc(length);
	int same;

	same = old && !fstat(fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size &&
	       !cwb_file_pread(fd, old, length, 0, "", NULL) && !memcmp(old, header, length);
	free(old);
	return same;
}

static int reserve(const struct cwe_partial *p, struct cwb_err *err)
{
	int rc;

	do
		rc = fallocate(p->fd, 0, 0, (off_t)p->size);
	while (rc && errno == EINTR);
	if (rc && (errno == EOPNOTSUPP || errno == ENOSYS))
		rc = ftruncate(p->fd, (off_t)p->size);
	if (!rc)
		return 0;
	if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
		return cwb_err_errno(err, "%s: there is no room for its %" PRIu64 " bytes: free some, or write elsewhere", p->name,
			p->size);
	return cwb_err_errno(err, "%s: %" PRIu64 " bytes cannot be reserved", p->name, p->size);
}

static int open_new(struct cwe_partial *p, const void *header, size_t length, struct cwb_err *err)
{
	int rc;

	if (unlinkat(p->folder, p->temp, 0) && errno != ENOENT)
		return cwb_err_errno(err, "%s: an old unfinished file cannot be removed", p->temp);
	p->fd = openat(p->folder, p->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (p->fd < 0)
		return cwb_err_errno(err, "%s: cannot be made", p->temp);
	rc = reserve(p, err);
	if (!rc)
		rc = cwb_file_pwrite(p->fd, header, length, 0, p->name, err);
	if (rc)
		cwe_partial_discard(p);
	return rc;
}

int cwe_partial_open(struct cwe_partial *p, int folder, const char *name, int resume, const void *header, size_t length,
	uint64_t size, int *ret_kept, struct cwb_err *err)
{
	size_t room = strlen(name) + sizeof ".." + sizeof "tmp-partial";
	int rc;

	*p = (struct cwe_partial){.folder = folder, .fd = -1, .size = size, .name = strdup(name), .temp = malloc(room)};
	if (!p->name || !p->temp) {
		cwe_partial_close(p);
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", name);
	}
	cwe_partial_temp(name, p->temp, room);
	*ret_kept = 0;
	if (resume) {
		p->fd = openat(folder, p->temp, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		*ret_kept = p->fd >= 0 && same_file(p->fd, header, length, size);
		if (*ret_kept)
			return 0;
		if (p->fd >= 0)
			close(p->fd);
		p->fd = -1;
	}
	rc = open_new(p, header, length, err);
	if (rc)
		cwe_partial_close(p);
	return rc;
}

int cwe_partial_write(const struct cwe_partial *p, const void *src, uint64_t bytes, uint64_t at, struct cwb_err *err)
{
	return cwb_file_pwrite(p->fd, src, bytes, at, p->name, err);
}

int cwe_partial_sync(const struct cwe_partial *p, struct cwb_err *err)
{
	return fdatasync(p->fd) ? cwb_err_errno(err, "%s: could not be brought to the disk", p->name) : 0;
}

int cwe_partial_publish(const struct cwe_partial *p, struct cwb_err *err)
{
	int rc = cwe_partial_sync(p, err);

	if (!rc && renameat(p->folder, p->temp, p->folder, p->name))
		rc = cwb_err_errno(err, "%s: could not be renamed from its temporary name", p->name);
	return rc;
}

void cwe_partial_unpublish(const struct cwe_partial *p)
{
	(void)renameat(p->folder, p->name, p->folder, p->temp);
}

void cwe_partial_discard(const struct cwe_partial *p)
{
	if (p->temp)
		(void)unlinkat(p->folder, p->temp, 0);
}

void cwe_partial_close(struct cwe_partial *p)
{
	if (p->fd >= 0)
		close(p->fd);
	free(p->name);
	free(p->temp);
	*p = (struct cwe_partial){.folder = -1, .fd = -1};
}
