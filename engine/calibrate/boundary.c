/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Boundary activations in memory or on scratch. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/calibrate/boundary.h"
#include "engine/calibrate/kept.h"
#include "engine/model/ops.h"

int cwe_boundary_scratch(const char *directory, struct cwb_err *err)
{
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0) {
		return fd;
	}
	/* File systems without O_TMPFILE. */
	char path[4096];
	if ((size_t)snprintf(path, sizeof path, "%s/boundary-XXXXXX", directory) >= sizeof path) {
		return cwb_err_set(err, -ENAMETOOLONG, "scratch folder %.200s: the path is too long", directory);
	}
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0) {
		return cwb_err_errno(err, "scratch folder %s: no file can be made", directory);
	}
	(void)unlink(path);
	return fd;
}

int cwe_boundary_new(struct cwe_device *device, uint32_t slots, uint64_t floats, uint64_t budget, const char *directory,
	struct cwe_boundary *ret, struct cwb_err *err)
{
	struct cwe_boundary b = {.slots = slots, .floats = floats, .fd = -1, .device = device};
	uint64_t bytes;
	if (__builtin_mul_overflow(floats, (uint64_t)slots * sizeof(float), &bytes)) {
		return cwb_err_set(err, CWP_ELIMIT, "boundaries of %" PRIu64 " numbers do not fit any disk", floats);
	}
	if (bytes <= budget || directory == NULL) {
		b.memory = malloc(bytes > 0 ? bytes : 1);
		if (b.memory == NULL) {
			return cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " bytes of boundaries", bytes);
		}
	} else {
		b.fd = cwe_boundary_scratch(directory, err);
		if (b.fd < 0) {
			/* cppcheck-suppress memleak ; this branch has taken no memory */
			return b.fd;
		}
	}
	*ret = b;
	return 0;
}

void cwe_boundary_free(struct cwe_boundary *b)
{
	cwe_kept_close(b);
	free(b->memory);
	if (b->device != NULL && b->fd >= 0) {
		(void)close(b->fd);
	}
	memset(b, 0, sizeof *b);
	b->fd = -1;
}

int cwe_boundary_write(struct cwe_boundary *b, uint32_t slot, uint64_t at, const float *x, uint64_t n, struct cwb_err *err)
{
	uint64_t place = slot * b->floats + at;
	if (b->memory != NULL) {
		memcpy(b->memory + place, x, n * sizeof *x);
	}
	if (b->kept != NULL) {
		return cwe_kept_write(b, slot, at, x, n, err);
	}
	if (b->memory != NULL) {
		return 0;
	}
	int r = cwb_file_pwrite(b->fd, x, n * sizeof *x, place * sizeof *x, "scratch (boundary activations)", err);
	cwb_file_write_behind(b->fd, place * sizeof *x, n * sizeof *x);
	return r;
}

int cwe_boundary_read(struct cwe_boundary *b, uint32_t slot, uint64_t at, float *x, uint64_t n, struct cwb_err *err)
{
	uint64_t place = slot * b->floats + at;
	if (b->memory != NULL) {
		memcpy(x, b->memory + place, n * sizeof *x);
		return 0;
	}
	uint64_t left = b->floats - at - n;
	int fd = b->kept != NULL ? b->kept->file[slot].fd : b->fd;
	place = b->kept != NULL ? at : place;
	int r = cwb_file_pread(fd, x, n * sizeof *x, place * sizeof *x, "scratch (boundary activations)", err);
	/* The next piece is read next, and most pieces are of about one size. */
	cwb_file_read_ahead(fd, (place + n) * sizeof *x, (n < left ? n : left) * sizeof *x);
	return r;
}

int cwe_boundary_put(struct cwe_boundary *b, uint32_t slot, uint64_t at, const float *d_x, uint64_t n, struct cwb_err *err)
{
	if (b->device->ops->flags & CWP_BACKEND_HOST_MEMORY) {
		return cwe_boundary_write(b, slot, at, d_x, n, err);
	}
	if (b->memory != NULL && b->kept == NULL) {
		return CWE_OP(b->device, download, b->memory + slot * b->floats + at, d_x, n * sizeof *d_x);
	}
	float *host = malloc(n * sizeof *host);
	int r = host != NULL ? CWE_OP(b->device, download, host, d_x, n * sizeof *d_x) : cwb_err_set(err, -ENOMEM, "no memory");
	r = r == 0 ? cwe_boundary_write(b, slot, at, host, n, err) : r;
	free(host);
	return r;
}

int cwe_boundary_get(struct cwe_boundary *b, uint32_t slot, uint64_t at, float *d_x, uint64_t n, struct cwb_err *err)
{
	if (b->device->ops->flags & CWP_BACKEND_HOST_MEMORY) {
		return cwe_boundary_read(b, slot, at, d_x, n, err);
	}
	if (b->memory != NULL) {
		return CWE_OP(b->device, upload, d_x, b->memory + slot * b->floats + at, n * sizeof *d_x);
	}
	float *host = malloc(n * sizeof *host);
	int r = host != NULL ? cwe_boundary_read(b, slot, at, host, n, err) : cwb_err_set(err, -ENOMEM, "no memory");
	r = r == 0 ? CWE_OP(b->device, upload, d_x, host, n * sizeof *host) : r;
	free(host);
	return r;
}
