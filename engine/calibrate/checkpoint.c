/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of boundaries in the scratch folder. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "engine/calibrate/checkpoint.h"
#include "engine/plugin/pool.h"

/* Floats of a piece, which one thread writes and digests, and pieces at a time. */
#define PIECE (1u << 18)
#define PIECES 8u

static int open_folder(const char *scratch, struct cwb_err *err)
{
	int fd = open(scratch, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? fd : cwb_err_errno(err, "scratch folder %s", scratch);
}

/* Floats [at, at + n) of a slot, on their way. */
struct streaming {
	int fd, save;
	const char *name;
	float *buffer; /* [PIECES] of [PIECE] */
	uint64_t at, n;
	uint8_t digest[PIECES][CWB_DIGEST_SIZE];
};

static int take_piece(void *arg, size_t i, struct cwb_err *err)
{
	struct streaming *s = arg;
	uint64_t from = i * PIECE, n = s->n - from < PIECE ? s->n - from : PIECE, bytes = n * sizeof *s->buffer;
	float *x = s->buffer + from;
	int r = s->save ? cwb_file_pwrite(s->fd, x, bytes, (s->at + from) * sizeof *x, s->name, err)
		: cwb_file_pread(s->fd, x, bytes, (s->at + from) * sizeof *x, s->name, err);
	struct cwb_digest digest;
	if (r != 0) {
		return r;
	}
	r = cwb_digest_begin(&digest);
	if (r == 0) {
		cwb_digest_update(&digest, x, bytes);
		r = cwb_digest_end(&digest, s->digest[i]);
	}
	return r != 0 ? cwb_err_set(err, r, "no memory for the digest of %s", s->name) : 0;
}

/* Some pieces by all threads; their digests are added in order. */
static int stream_some(struct streaming *s, struct cwe_boundary *b, uint32_t slot, struct cwb_digest *digest, struct cwb_err *err)
{
	size_t pieces = (size_t)((s->n + PIECE - 1) / PIECE);
	int r = s->save ? cwe_boundary_read(b, slot, s->at, s->buffer, s->n, err) : 0;
	r = r == 0 ? cwe_pool_try(b->device->host->pool, pieces, take_piece, s, err) : r;
	r = r == 0 && !s->save ? cwe_boundary_write(b, slot, s->at, s->buffer, s->n, err) : r;
	if (r == 0) {
		cwb_digest_update(digest, s->digest, pieces * sizeof s->digest[0]);
	}
	return r;
}

/* Streams a slot through a buffer to or from a file, with the digest over those of its pieces. */
static int stream(int fd, const char *name, struct cwe_boundary *b, uint32_t slot, int save, char ret_digest[65],
	struct cwb_err *err)
{
	struct streaming s = {.fd = fd, .save = save, .name = name, .buffer = malloc(PIECES * PIECE * sizeof *s.buffer)};
	struct cwb_digest digest;
	int r = s.buffer != NULL ? cwb_digest_begin(&digest) : -ENOMEM;
	if (r != 0) {
		free(s.buffer);
		return cwb_err_set(err, -ENOMEM, "no memory for a checkpoint");
	}
	for (; r == 0 && s.at < b->floats; s.at += s.n) {
		s.n = b->floats - s.at < PIECES * PIECE ? b->floats - s.at : PIECES * PIECE;
		r = stream_some(&s, b, slot, &digest, err);
	}
	free(s.buffer);
	if (r != 0) {
		cwb_digest_cancel(&digest);
		return r;
	}
	r = cwb_digest_end_hex(&digest, ret_digest);
	return r != 0 ? cwb_err_set(err, r, "no memory for the digest of %s", name) : 0;
}

int cwe_checkpoint_save(const char *scratch, const char *name, struct cwe_boundary *b, uint32_t slot, char ret_digest[65],
	struct cwb_err *err)
{
	struct cwb_file_temp temp;
	int folder = open_folder(scratch, err);
	if (folder < 0) {
		return folder;
	}
	int r = cwb_file_temp_open(folder, name, 0600, &temp, err);
	if (r == 0) {
		r = stream(temp.fd, name, b, slot, 1, ret_digest, err);
		if (r == 0) {
			r = cwb_file_temp_commit(&temp, err);
		} else {
			cwb_file_temp_abort(&temp);
		}
	}
	(void)close(folder);
	return r;
}

int cwe_checkpoint_load(const char *scratch, const char *name, const char *digest, struct cwe_boundary *b, uint32_t slot,
	struct cwb_err *err)
{
	char found[65] = "";
	struct cwb_err reading = {0};
	int folder = open_folder(scratch, err);
	if (folder < 0) {
		return folder;
	}
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	(void)close(folder);
	int r = fd >= 0 ? stream(fd, name, b, slot, 0, found, &reading) : cwb_err_errno(&reading, "%s", name);
	if (fd >= 0) {
		(void)close(fd);
	}
	if (r == -ENOENT || r == CWP_EFORMAT || (r == 0 && strcmp(found, digest) != 0)) {
		return cwb_err_set(err, CWP_EDIGEST, "checkpoint %s/%s is missing or not what was saved; run the job again", scratch, name);
	}
	return r != 0 ? cwb_err_set(err, r, "checkpoint %s: %s", scratch, reading.message) : 0;
}

void cwe_checkpoint_remove(const char *scratch, const char *name)
{
	char path[4200];
	if ((size_t)snprintf(path, sizeof path, "%s/%s", scratch, name) < sizeof path) {
		(void)unlink(path); /* best effort: the scratch folder goes as a whole at the end */
	}
}

#define NAME_SIZE 32

static const char *gradient_name(uint32_t layer, char name[NAME_SIZE])
{
	(void)snprintf(name, NAME_SIZE, "gradient-%u", layer);
	return name;
}

int cwe_gradient_save(const char *scratch, uint32_t layer, struct cwe_boundary *g, char ret_digest[65], struct cwb_err *err)
{
	char name[NAME_SIZE];
	return cwe_checkpoint_save(scratch, gradient_name(layer, name), g, 0, ret_digest, err);
}

int cwe_gradient_load(const char *scratch, uint32_t layer, const char *digest, struct cwe_boundary *g, struct cwb_err *err)
{
	char name[NAME_SIZE];
	return cwe_checkpoint_load(scratch, gradient_name(layer, name), digest, g, 0, err);
}

void cwe_gradient_remove(const char *scratch, uint32_t layer)
{
	char name[NAME_SIZE];
	cwe_checkpoint_remove(scratch, gradient_name(layer, name));
}
