/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One score tile: written and read in order with its digest, or at any place without. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/format/dtype.h"
#include "engine/pipeline/tiles.h"

/* Values of bf16 that are converted at a time. */
#define PIECE 16384

int cwe_tile_open_named(const struct cwe_tiles *t, const char *name, int flags, struct cwe_tile *ret, struct cwb_err *err)
{
	struct cwe_tile tile = {.fd = -1};
	(void)snprintf(tile.name, sizeof tile.name, "%s", name);
	char *path = cwe_tiles_path(t, tile.name);
	if (path == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for a path");
	}
	tile.fd = open(path, flags | O_CLOEXEC, 0600);
	int r = tile.fd >= 0 ? cwb_digest_begin(&tile.digest) : cwb_err_errno(err, "scratch: %s", path);
	free(path);
	if (r != 0) {
		if (tile.fd >= 0) {
			(void)close(tile.fd);
		}
		return cwb_err_set(err, r, "scratch: %s: %s", tile.name, cwb_err_text(r));
	}
	tile.digesting = 1;
	*ret = tile;
	return 0;
}

static int open_tile(struct cwe_tiles *t, uint32_t layer, uint32_t set, int flags, struct cwe_tile *ret,
	struct cwb_err *err)
{
	char name[64];
	cwe_tile_name(t, layer, set, name, sizeof name);
	int r = cwe_tile_open_named(t, name, flags, ret, err);
	if (r == 0) {
		ret->bf16 = t->bf16 && set != CWE_TILE_COMBINED;
	}
	if (r == 0 && set == CWE_TILE_COMBINED) {
		cwb_digest_cancel(&ret->digest);
		ret->digesting = 0;
	}
	return r;
}

int cwe_tile_remove(const struct cwe_tiles *t, uint32_t layer, uint32_t set, struct cwb_err *err)
{
	char name[64];
	cwe_tile_name(t, layer, set, name, sizeof name);
	char *path = cwe_tiles_path(t, name);
	int r = path == NULL ? cwb_err_set(err, -ENOMEM, "no memory for a path")
		: unlink(path) == 0 || errno == ENOENT ? 0 : cwb_err_errno(err, "scratch: %s", path);
	free(path);
	return r;
}

/* A file of this name may be a link to what the cache keeps: it is replaced, never written to. */
int cwe_tile_create(struct cwe_tiles *t, uint32_t layer, uint32_t set, struct cwe_tile *ret, struct cwb_err *err)
{
	char name[64];
	cwe_tile_name(t, layer, set, name, sizeof name);
	char *path = cwe_tiles_path(t, name);
	if (path != NULL) {
		(void)unlink(path); /* most often there is none */
	}
	free(path);
	return open_tile(t, layer, set, O_RDWR | O_CREAT | O_EXCL, ret, err);
}

int cwe_tile_open(struct cwe_tiles *t, uint32_t layer, uint32_t set, struct cwe_tile *ret, struct cwb_err *err)
{
	return open_tile(t, layer, set, O_RDONLY, ret, err);
}

int cwe_tile_write_bytes(struct cwe_tile *tile, const void *data, uint64_t bytes, struct cwb_err *err)
{
	int r = cwb_file_pwrite(tile->fd, data, bytes, tile->at, tile->name, err);
	if (r == 0 && tile->digesting) {
		cwb_digest_update(&tile->digest, data, bytes);
	}
	tile->at += r == 0 ? bytes : 0;
	return r;
}

int cwe_tile_read_bytes(struct cwe_tile *tile, void *data, uint64_t bytes, struct cwb_err *err)
{
	int r = cwb_file_pread(tile->fd, data, bytes, tile->at, tile->name, err);
	if (r == 0 && tile->digesting) {
		cwb_digest_update(&tile->digest, data, bytes);
	}
	tile->at += r == 0 ? bytes : 0;
	return r;
}

int cwe_tile_write(struct cwe_tile *tile, const float *x, uint64_t n, struct cwb_err *err)
{
	uint16_t piece[PIECE];
	const uint64_t from = tile->at;
	int r = tile->bf16 ? 0 : cwe_tile_write_bytes(tile, x, n * sizeof *x, err);
	for (uint64_t at = 0; tile->bf16 && r == 0 && at < n; at += PIECE) {
		uint64_t m = n - at < PIECE ? n - at : PIECE;
		cwe_f32_to_dtype(piece, x + at, CWP_BF16, m);
		r = cwe_tile_write_bytes(tile, piece, m * sizeof *piece, err);
	}
	if (r == 0) {
		cwb_file_write_behind(tile->fd, from, tile->at - from);
	}
	return r;
}

int cwe_tile_read(struct cwe_tile *tile, float *x, uint64_t n, struct cwb_err *err)
{
	uint16_t piece[PIECE];
	const uint64_t from = tile->at;
	int r = tile->bf16 ? 0 : cwe_tile_read_bytes(tile, x, n * sizeof *x, err);
	for (uint64_t at = 0; tile->bf16 && r == 0 && at < n; at += PIECE) {
		uint64_t m = n - at < PIECE ? n - at : PIECE;
		r = cwe_tile_read_bytes(tile, piece, m * sizeof *piece, err);
		if (r == 0) {
			cwe_f32_from_dtype(x + at, piece, CWP_BF16, m);
		}
	}
	if (r == 0) {
		cwb_file_read_ahead(tile->fd, tile->at, tile->at - from);
	}
	return r;
}

int cwe_tile_drain(struct cwe_tile *tile, struct cwb_err *err)
{
	char piece[PIECE];
	struct stat st;
	int r = fstat(tile->fd, &st) == 0 ? 0 : cwb_err_errno(err, "scratch: %s", tile->name);
	while (r == 0 && tile->at < (uint64_t)st.st_size) {
		uint64_t left = (uint64_t)st.st_size - tile->at;
		r = cwe_tile_read_bytes(tile, piece, left < sizeof piece ? left : sizeof piece, err);
	}
	return r;
}

int cwe_tile_write_at(const struct cwe_tile *tile, const float *x, uint64_t at, uint64_t n, struct cwb_err *err)
{
	return cwb_file_pwrite(tile->fd, x, n * sizeof *x, tile->at + at * sizeof *x, tile->name, err);
}

int cwe_tile_read_at(const struct cwe_tile *tile, float *x, uint64_t at, uint64_t n, struct cwb_err *err)
{
	return cwb_file_pread(tile->fd, x, n * sizeof *x, tile->at + at * sizeof *x, tile->name, err);
}

int cwe_tile_skip(struct cwe_tile *tile, uint64_t n)
{
	tile->at += n * (tile->bf16 ? sizeof(uint16_t) : sizeof(float));
	return 0;
}

int cwe_tile_finish(struct cwe_tile *tile, int sync, char *ret_digest, struct cwb_err *err)
{
	char hex[65];
	int r = tile->digesting ? cwb_digest_end_hex(&tile->digest, hex) : ret_digest != NULL ? -EINVAL : 0;
	tile->digesting = 0;
	if (r != 0) {
		cwb_err_set(err, r, "scratch: digest of %s", tile->name);
	} else if (sync && fdatasync(tile->fd) != 0) {
		r = cwb_err_errno(err, "scratch: writing %s", tile->name);
	}
	if (r == 0 && ret_digest != NULL) {
		memcpy(ret_digest, hex, sizeof hex);
	}
	cwe_tile_abort(tile);
	return r;
}

void cwe_tile_abort(struct cwe_tile *tile)
{
	if (tile->digesting) {
		cwb_digest_cancel(&tile->digest);
	}
	if (tile->fd >= 0) {
		(void)close(tile->fd);
	}
	memset(tile, 0, sizeof *tile);
	tile->fd = -1;
}

int cwe_tile_finish_checked(struct cwe_tile *tile, const char *want, int r, struct cwb_err *err)
{
	char digest[65], name[sizeof tile->name];
	if (r != 0) {
		cwe_tile_abort(tile);
		return r;
	}
	memcpy(name, tile->name, sizeof name);
	r = cwe_tile_finish(tile, 0, digest, err);
	if (r == 0 && strcmp(digest, want) != 0) {
		r = cwb_err_set(err, CWP_EDIGEST, "scratch: %s changed on disk; run the job again", name);
	}
	return r;
}

int cwe_tile_verify(const struct cwe_tiles *t, uint32_t layer, uint32_t set, struct cwe_tile *tile, int r, struct cwb_err *err)
{
	return cwe_tile_finish_checked(tile, t->layer[layer].digest[set], r, err);
}
