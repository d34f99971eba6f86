/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Model files read with pread. */
#include "engine/format/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

int cwe_input_fd(const char *path, struct cwb_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? cwb_err_errno(err, "%s: cannot be opened", path) : fd;
}

int cwe_input_adopt(int fd, const char *path, struct cwe_input *ret, struct cwb_err *err)
{
	struct stat st;
	int rc;

	if (fstat(fd, &st)) {
		rc = cwb_err_errno(err, "%s: cannot be examined", path);
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		rc = cwb_err_set(err, CWP_EFORMAT, "%s: not a regular file", path);
		goto fail;
	}
	ret->path = strdup(path);
	if (!ret->path) {
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", path);
		goto fail;
	}
	ret->fd = fd;
	ret->size = (uint64_t)st.st_size;
	return 0;
fail:
	close(fd);
	return rc;
}

void cwe_input_close(struct cwe_input *in)
{
	if (in->fd >= 0)
		close(in->fd);
	free(in->path);
	in->fd = -1;
	in->path = NULL;
}

int cwe_input_read(const struct cwe_input *in, uint64_t offset, void *dst, uint64_t bytes, struct cwb_err *err)
{
	return cwb_file_pread(in->fd, dst, bytes, offset, in->path, err);
}
