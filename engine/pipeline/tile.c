/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One score tile: opened, at any place without its digest, ended. tile_pieces.c has what goes in order. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/pipeline/tiles.h"

int cwe_tile_open_named(const struct cwe_tiles *t, const char *name, int flags, struct cwe_tile *ret, struct cwb_err *err)
{
	struct cwe_tile tile = {.fd = -1, .pool = t->pool};
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

/* The further files of a combined tile: its name and a number each. */
static int open_others(const struct cwe_tiles *t, int flags, struct cwe_tile *tile, struct cwb_err *err)
{
	char name[sizeof tile->name + 8];
	int r = 0;
	for (int i = 1; r == 0 && i < CWE_TILE_STRIPES; i++) {
		(void)snprintf(name, sizeof name, "%s.%d", tile->name, i);
		char *path = cwe_tiles_path(t, name);
		if (path == NULL) {
			return cwb_err_set(err, -ENOMEM, "no memory for a path");
		}
		if (flags & O_CREAT) {
			(void)unlink(path); /* most often there is none */
		}
		int fd = open(path, flags | O_CLOEXEC, 0600);
		r = fd >= 0 ? 0 : cwb_err_errno(err, "scratch: %s", path);
		free(path);
		if (r == 0) {
			tile->others[tile->n_others++] = fd;
		}
	}
	return r;
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
		r = open_others(t, flags, ret, err);
		if (r != 0) {
			cwe_tile_abort(ret);
		}
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

int cwe_tile_file(const struct cwe_tile *tile, uint64_t at, uint64_t *ret_at, uint64_t *ret_left)
{
	uint64_t files = (uint64_t)tile->n_others + 1, piece = at / CWE_TILE_PIECE, within = at % CWE_TILE_PIECE, k = piece % files;
	*ret_at = files == 1 ? at : piece / files * CWE_TILE_PIECE + within;
	*ret_left = files == 1 ? UINT64_MAX : CWE_TILE_PIECE - within;
	return k == 0 ? tile->fd : tile->others[k - 1];
}

/* Bytes at a place of a tile, from file to file. */
static int move_at(const struct cwe_tile *tile, uint8_t *x, int write, uint64_t at, uint64_t bytes, struct cwb_err *err)
{
	uint64_t place, n;
	int r = 0;
	for (uint64_t done = 0; r == 0 && done < bytes; done += n) {
		int fd = cwe_tile_file(tile, at + done, &place, &n);
		n = n < bytes - done ? n : bytes - done;
		r = write ? cwb_file_pwrite(fd, x + done, n, place, tile->name, err) : cwb_file_pread(fd, x + done, n, place, tile->name, err);
	}
	return r;
}

int cwe_tile_write_at(const struct cwe_tile *tile, const float *x, uint64_t at, uint64_t n, struct cwb_err *err)
{
	return move_at(tile, (uint8_t *)(uintptr_t)x, 1, tile->at + at * sizeof *x, n * sizeof *x, err);
}

int cwe_tile_read_at(const struct cwe_tile *tile, float *x, uint64_t at, uint64_t n, struct cwb_err *err)
{
	return move_at(tile, (uint8_t *)x, 0, tile->at + at * sizeof *x, n * sizeof *x, err);
}

int cwe_tile_skip(struct cwe_tile *tile, uint64_t n)
{
	tile->at += n * (tile->bf16 ? sizeof(uint16_t) : sizeof(float));
	return 0;
}

int cwe_tile_finish(struct cwe_tile *tile, int sync, char *ret_digest, struct cwb_err *err)
{
	char hex[65];
	int r = tile->digesting ? cwe_tile_last_piece(tile) : ret_digest != NULL ? -EINVAL : 0;
	if (r == 0 && tile->digesting) {
		r = cwb_digest_end_hex(&tile->digest, hex);
		tile->digesting = 0;
	}
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
	cwb_digest_cancel(&tile->piece);
	if (tile->fd >= 0) {
		(void)close(tile->fd);
	}
	while (tile->n_others > 0) {
		(void)close(tile->others[--tile->n_others]);
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
