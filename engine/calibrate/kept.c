/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Boundaries in files of their own. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/calibrate/kept.h"

#define CHUNK (1u << 18) /* elements */
#define LABEL "scratch (boundary activations)"

static void name_of(uint32_t layer, char name[32])
{
	(void)snprintf(name, 32, "forward-%" PRIu32, layer);
}

int cwe_kept_new(struct cwe_boundary *b, const char *scratch, struct cwb_err *err)
{
	struct cwe_kept *k = calloc(1, sizeof *k + b->slots * sizeof k->file[0]);
	if (k == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the list of boundaries");
	}
	k->folder = open(scratch, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (k->folder < 0) {
		free(k);
		return cwb_err_errno(err, "scratch folder %s", scratch);
	}
	for (uint32_t s = 0; s < b->slots; s++) {
		k->file[s].fd = -1;
	}
	if (b->fd >= 0) {
		(void)close(b->fd);
		b->fd = -1;
	}
	b->kept = k;
	return cwe_boundary_kept(b, err);
}

static void close_file(struct cwe_kept_file *f)
{
	if (f->digesting) {
		cwb_digest_cancel(&f->digest);
	}
	if (f->fd >= 0) {
		(void)close(f->fd);
	}
	*f = (struct cwe_kept_file){.fd = -1};
}

void cwe_kept_close(struct cwe_boundary *b)
{
	if (b->kept == NULL) {
		return;
	}
	for (uint32_t s = 0; s < b->slots; s++) {
		close_file(&b->kept->file[s]);
	}
	(void)close(b->kept->folder);
	free(b->kept);
	b->kept = NULL;
}

int cwe_kept_begin(struct cwe_boundary *b, uint32_t slot, uint32_t layer, int durable, struct cwb_err *err)
{
	int r = cwe_boundary_settle(b, err);
	if (r != 0 || b->kept == NULL || (cwe_boundary_in_memory(b, slot) && !durable)) {
		return r;
	}
	struct cwe_kept_file *f = &b->kept->file[slot];
	char name[32];
	name_of(layer, name);
	close_file(f);
	(void)unlinkat(b->kept->folder, name, 0); /* most often there is none */
	f->fd = openat(b->kept->folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (f->fd < 0) {
		return cwb_err_errno(err, "scratch: %s cannot be made", name);
	}
	f->layer = layer;
	if (durable && cwb_digest_begin(&f->digest) != 0) {
		return cwb_err_set(err, -ENOMEM, "no memory for the digest of %s", name);
	}
	f->digesting = durable;
	return 0;
}

int cwe_kept_write(struct cwe_boundary *b, uint32_t slot, uint64_t at, const void *x, uint64_t n, struct cwb_err *err)
{
	struct cwe_kept_file *f = &b->kept->file[slot];
	if (f->fd < 0 && cwe_boundary_in_memory(b, slot)) {
		return 0; /* there alone */
	}
	int r = cwb_file_pwrite(f->fd, x, n * b->width, at * b->width, LABEL, err);
	cwb_file_write_behind(f->fd, at * b->width, n * b->width);
	if (r == 0 && f->digesting) {
		cwb_digest_update(&f->digest, x, n * b->width);
		/* A digest is of bytes in order. */
		r = at == f->at ? 0 : cwb_err_set(err, -EINVAL, LABEL ": piece %" PRIu64 " comes where %" PRIu64 " is due", at, f->at);
		f->at = at + n;
	}
	return r;
}

int cwe_kept_end(struct cwe_boundary *b, uint32_t slot, char ret_digest[CWB_DIGEST_HEX], struct cwb_err *err)
{
	struct cwe_kept_file *f = &b->kept->file[slot];
	int r = cwe_boundary_settle(b, err);
	if (r != 0) {
		return r;
	}
	ret_digest[0] = '\0';
	if (!f->digesting) {
		return 0; /* nobody will want it */
	}
	f->digesting = 0;
	if (cwb_digest_end_hex(&f->digest, ret_digest) != 0) {
		return cwb_err_set(err, -ENOMEM, "no memory for a digest");
	}
	r = fdatasync(f->fd) == 0 ? 0 : cwb_err_errno(err, LABEL ": cannot be written");
	if (cwe_boundary_in_memory(b, slot)) {
		close_file(f);
	}
	return r;
}

/* The whole file, into memory where boundaries are there, with its digest. */
static int read_all(struct cwe_boundary *b, uint32_t slot, int fd, char ret_digest[CWB_DIGEST_HEX], struct cwb_err *err)
{
	struct cwb_digest digest;
	char *buffer = malloc(CHUNK * b->width);
	if (buffer == NULL || cwb_digest_begin(&digest) != 0) {
		free(buffer);
		return cwb_err_set(err, -ENOMEM, "no memory for checking boundaries");
	}
	int r = 0;
	for (uint64_t at = 0, n; r == 0 && at < b->floats; at += n) {
		n = b->floats - at < CHUNK ? b->floats - at : CHUNK;
		r = cwb_file_pread(fd, buffer, n * b->width, at * b->width, LABEL, err);
		cwb_file_read_ahead(fd, (at + n) * b->width, n * b->width);
		r = r == 0 ? cwe_boundary_place(b, slot, at, buffer, n, err) : r;
		if (r == 0) {
			cwb_digest_update(&digest, buffer, n * b->width);
		}
	}
	free(buffer);
	if (r != 0) {
		cwb_digest_cancel(&digest);
		return r;
	}
	return cwb_digest_end_hex(&digest, ret_digest) == 0 ? 0 : cwb_err_set(err, -ENOMEM, "no memory for a digest");
}

int cwe_kept_take(struct cwe_boundary *b, uint32_t slot, uint32_t layer, const char *digest, struct cwb_err *err)
{
	struct cwe_kept_file *f = &b->kept->file[slot];
	struct cwb_err reading = {0};
	struct stat st;
	char name[32], found[CWB_DIGEST_HEX] = "";
	name_of(layer, name);
	close_file(f);
	int fd = openat(b->kept->folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		return errno == ENOENT ? 0 : cwb_err_errno(err, "scratch: %s", name);
	}
	int r = fstat(fd, &st) != 0 ? cwb_err_errno(&reading, "scratch: %s", name)
		: (uint64_t)st.st_size != b->floats * b->width ? CWP_EFORMAT : read_all(b, slot, fd, found, &reading);
	int same = r == 0 && strcmp(found, digest) == 0;
	if (same && !cwe_boundary_in_memory(b, slot)) {
		f->fd = fd;
		f->layer = layer;
		return 1;
	}
	(void)close(fd);
	/* Cut short, or on a bad block: it is made again. */
	return r == 0 || r == CWP_EFORMAT || r == -EIO ? same : cwb_err_set(err, r, "%s", reading.message);
}

void cwe_kept_drop(struct cwe_boundary *b, uint32_t slot, uint32_t layer)
{
	char name[32];
	if (b->kept == NULL) {
		return;
	}
	name_of(layer, name);
	if (b->kept->file[slot].layer == layer) {
		close_file(&b->kept->file[slot]);
	}
	(void)unlinkat(b->kept->folder, name, 0); /* best effort: the scratch folder goes as a whole at the end */
}
