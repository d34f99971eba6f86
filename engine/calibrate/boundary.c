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
#include "engine/calibrate/boundary_p.h"
#include "engine/calibrate/kept.h"
#include "engine/format/dtype.h"

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

/* Host memory: of the device's fastest kind where there is one. */
static char *new_memory(struct cwe_device *device, uint64_t bytes)
{
	bytes = bytes > 0 ? bytes : 1;
	return cwe_device_remote(device) ? device->ops->host_alloc(device->b, bytes) : malloc(bytes);
}

int cwe_boundary_new(struct cwe_device *device, const struct cwe_boundary_size *size, uint64_t budget, const char *directory,
	struct cwe_boundary *ret, struct cwb_err *err)
{
	struct cwe_boundary b = {.slots = size->slots, .floats = size->floats, .dtype = size->dtype, .fd = -1, .device = device,
		.width = size->dtype == CWP_F32 ? sizeof(float) : sizeof(uint16_t)};
	uint64_t bytes;
	if (__builtin_mul_overflow(b.floats, (uint64_t)b.slots * b.width, &bytes)) {
		return cwb_err_set(err, CWP_ELIMIT, "boundaries of %" PRIu64 " numbers do not fit any disk", b.floats);
	}
	int r = cwe_device_remote(device) ? cwe_transfers_new(&b, size->piece, err) : 0;
	bytes -= b.on_device * b.floats * b.width;
	if (r == 0 && b.on_device < b.slots && (bytes <= budget || directory == NULL)) {
		b.memory = new_memory(device, bytes);
		r = b.memory != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " bytes of boundaries", bytes);
	} else if (r == 0 && b.on_device < b.slots) {
		b.fd = cwe_boundary_scratch(directory, err);
		r = b.fd < 0 ? b.fd : cwe_boundary_kept(&b, err);
	}
	if (r != 0) {
		cwe_boundary_free(&b);
		return r;
	}
	*ret = b;
	return 0;
}

void cwe_boundary_free(struct cwe_boundary *b)
{
	cwe_transfers_free(b);
	cwe_kept_close(b);
	if (b->memory != NULL && cwe_device_remote(b->device)) {
		b->device->ops->host_free(b->device->b, b->memory);
	} else {
		free(b->memory);
	}
	if (b->device != NULL && b->fd >= 0) {
		(void)close(b->fd);
	}
	memset(b, 0, sizeof *b);
	b->fd = -1;
}

int cwe_boundary_kept(struct cwe_boundary *b, struct cwb_err *err)
{
	return b->transfers != NULL ? cwe_transfers_to_files(b, err) : 0;
}

int cwe_boundary_in_memory(const struct cwe_boundary *b, uint32_t slot)
{
	return slot < b->on_device || b->memory != NULL;
}

char *cwe_boundary_host(const struct cwe_boundary *b, uint32_t slot, uint64_t at)
{
	return b->memory != NULL && slot >= b->on_device ? b->memory + ((slot - b->on_device) * b->floats + at) * b->width : NULL;
}

int cwe_boundary_wants_file(const struct cwe_boundary *b, uint32_t slot)
{
	return !cwe_boundary_in_memory(b, slot) || (b->kept != NULL && b->kept->file[slot].fd >= 0);
}

int cwe_boundary_to_file(struct cwe_boundary *b, uint32_t slot, uint64_t at, const void *raw, uint64_t n, struct cwb_err *err)
{
	if (b->kept != NULL) {
		return cwe_kept_write(b, slot, at, raw, n, err);
	}
	if (cwe_boundary_in_memory(b, slot)) {
		return 0;
	}
	uint64_t place = (slot * b->floats + at) * b->width;
	int r = cwb_file_pwrite(b->fd, raw, n * b->width, place, "scratch (boundary activations)", err);
	cwb_file_write_behind(b->fd, place, n * b->width);
	return r;
}

int cwe_boundary_from_file(struct cwe_boundary *b, uint32_t slot, uint64_t at, void *raw, uint64_t n, struct cwb_err *err)
{
	uint64_t left = b->floats - at - n;
	int fd = b->kept != NULL ? b->kept->file[slot].fd : b->fd;
	uint64_t place = b->kept != NULL ? at : slot * b->floats + at;
	int r = cwb_file_pread(fd, raw, n * b->width, place * b->width, "scratch (boundary activations)", err);
	/* The next piece is read next, and most pieces are of about one size. */
	cwb_file_read_ahead(fd, (place + n) * b->width, (n < left ? n : left) * b->width);
	return r;
}

int cwe_boundary_place(struct cwe_boundary *b, uint32_t slot, uint64_t at, const void *raw, uint64_t n, struct cwb_err *err)
{
	if (slot < b->on_device) {
		return cwe_transfers_write(b, slot, at, raw, n, err);
	}
	char *host = cwe_boundary_host(b, slot, at);
	if (host != NULL) {
		memcpy(host, raw, n * b->width);
	}
	return 0;
}

/* Elements as they are kept. */
static int write_raw(struct cwe_boundary *b, uint32_t slot, uint64_t at, const void *raw, uint64_t n, struct cwb_err *err)
{
	int r = cwe_boundary_place(b, slot, at, raw, n, err);
	return r == 0 ? cwe_boundary_to_file(b, slot, at, raw, n, err) : r;
}

static int read_raw(struct cwe_boundary *b, uint32_t slot, uint64_t at, void *raw, uint64_t n, struct cwb_err *err)
{
	const char *host = cwe_boundary_host(b, slot, at);
	if (host != NULL) {
		memcpy(raw, host, n * b->width);
		return 0;
	}
	return slot < b->on_device ? cwe_transfers_read(b, slot, at, raw, n, err) : cwe_boundary_from_file(b, slot, at, raw, n, err);
}

/* Elements that were narrowed, or are to be widened. */
static void *new_narrow(const struct cwe_boundary *b, uint64_t n, struct cwb_err *err)
{
	void *p = malloc(n * b->width + 1);
	if (p == NULL) {
		(void)cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " activations", n);
	}
	return p;
}

int cwe_boundary_write(struct cwe_boundary *b, uint32_t slot, uint64_t at, const float *x, uint64_t n, struct cwb_err *err)
{
	int r = cwe_boundary_settle(b, err);
	if (r != 0 || b->dtype == CWP_F32) {
		return r != 0 ? r : write_raw(b, slot, at, x, n, err);
	}
	void *raw = new_narrow(b, n, err);
	if (raw == NULL) {
		return -ENOMEM;
	}
	cwe_f32_to_dtype(raw, x, b->dtype, n);
	r = write_raw(b, slot, at, raw, n, err);
	free(raw);
	return r;
}

int cwe_boundary_read(struct cwe_boundary *b, uint32_t slot, uint64_t at, float *x, uint64_t n, struct cwb_err *err)
{
	int r = cwe_boundary_settle(b, err);
	if (r != 0 || b->dtype == CWP_F32) {
		return r != 0 ? r : read_raw(b, slot, at, x, n, err);
	}
	void *raw = new_narrow(b, n, err);
	if (raw == NULL) {
		return -ENOMEM;
	}
	r = read_raw(b, slot, at, raw, n, err);
	if (r == 0) {
		cwe_f32_from_dtype(x, raw, b->dtype, n);
	}
	free(raw);
	return r;
}

int cwe_boundary_put(struct cwe_boundary *b, uint32_t slot, uint64_t at, const float *d_x, uint64_t n, struct cwb_err *err)
{
	return b->transfers != NULL ? cwe_transfers_put(b, slot, at, d_x, n, err) : cwe_boundary_write(b, slot, at, d_x, n, err);
}

int cwe_boundary_get(struct cwe_boundary *b, uint32_t slot, uint64_t at, float *d_x, uint64_t n, struct cwb_err *err)
{
	return b->transfers != NULL ? cwe_transfers_get(b, slot, at, d_x, n, err) : cwe_boundary_read(b, slot, at, d_x, n, err);
}

int cwe_boundary_expect(struct cwe_boundary *b, uint32_t slot, uint64_t at, uint64_t n, struct cwb_err *err)
{
	return b->transfers != NULL ? cwe_transfers_expect(b, slot, at, n, err) : 0;
}

int cwe_boundary_settle(struct cwe_boundary *b, struct cwb_err *err)
{
	return b->transfers != NULL ? cwe_transfers_settle(b, err) : 0;
}
