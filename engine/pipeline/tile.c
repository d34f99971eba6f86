/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One score tile: opened, at any place without its digest, ended. tile_pieces.c has what goes in order. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/pipeline/tiles.h"
#include "engine/plugin/pool.h"

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

/* The files of a tile after the first one. */
static int open_others(const struct cwe_tiles *t, uint32_t layer, uint32_t set, int flags, struct cwe_tile *tile, struct cwb_err *err)
{
	char name[sizeof tile->name];
	int r = 0;
	for (int i = 1; r == 0 && i < cwe_tile_stripes(t, set); i++) {
		cwe_tile_stripe_name(t, layer, set, i, name, sizeof name);
		char *path = cwe_tiles_path(t, name);
		if (path == NULL) {
			return cwb_err_set(err, -ENOMEM, "no memory for a path");
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
	cwe_tile_stripe_name(t, layer, set, 0, name, sizeof name);
	int r = cwe_tile_open_named(t, name, flags, ret, err);
	if (r != 0) {
		return r;
	}
	ret->bf16 = t->bf16 && set != CWE_TILE_COMBINED;
	if (set == CWE_TILE_COMBINED) {
		cwb_digest_cancel(&ret->digest);
		ret->digesting = 0;
	}
	r = open_others(t, layer, set, flags, ret, err);
	if (r != 0) {
		cwe_tile_abort(ret);
	}
	return r;
}

int cwe_tile_remove(const struct cwe_tiles *t, uint32_t layer, uint32_t set, struct cwb_err *err)
{
	char name[64];
	int r = 0;
	for (int i = 0; r == 0 && i < cwe_tile_stripes(t, set); i++) {
		cwe_tile_stripe_name(t, layer, set, i, name, sizeof name);
		char *path = cwe_tiles_path(t, name);
		r = path == NULL ? cwb_err_set(err, -ENOMEM, "no memory for a path")
			: unlink(path) == 0 || errno == ENOENT ? 0 : cwb_err_errno(err, "scratch: %s", path);
		free(path);
	}
	return r;
}

/* A file of this name may be a link to what the cache keeps: it is replaced, never written to. */
int cwe_tile_create(struct cwe_tiles *t, uint32_t layer, uint32_t set, struct cwe_tile *ret, struct cwb_err *err)
{
	int r = cwe_tile_remove(t, layer, set, err); /* most often there is none */
	return r == 0 ? open_tile(t, layer, set, O_RDWR | O_CREAT | O_EXCL, ret, err) : r;
}

int cwe_tile_open(struct cwe_tiles *t, uint32_t layer, uint32_t set, struct cwe_tile *ret, struct cwb_err *err)
{
	return open_tile(t, layer, set, O_RDONLY, ret, err);
}

static int file_of(const struct cwe_tile *tile, size_t i)
{
	return i == 0 ? tile->fd : tile->others[i - 1];
}

int cwe_tile_file(const struct cwe_tile *tile, uint64_t at, uint64_t *ret_at, uint64_t *ret_left)
{
	uint64_t files = (uint64_t)tile->n_others + 1, piece = at / CWE_TILE_PIECE, within = at % CWE_TILE_PIECE, k = piece % files;
	*ret_at = files == 1 ? at : piece / files * CWE_TILE_PIECE + within;
	*ret_left = files == 1 ? UINT64_MAX : CWE_TILE_PIECE - within;
	return file_of(tile, k);
}

void cwe_tile_hint(const struct cwe_tile *tile, uint64_t at, uint64_t bytes, void (*hint)(int fd, uint64_t offset, uint64_t length))
{
	uint64_t files = (uint64_t)tile->n_others + 1, round = files * CWE_TILE_PIECE;
	uint64_t begin = at / round * CWE_TILE_PIECE, end = (at + bytes + round - 1) / round * CWE_TILE_PIECE;
	if (files == 1) {
		hint(tile->fd, at, bytes);
		return;
	}
	for (size_t i = 0; i < files; i++) {
		hint(file_of(tile, i), begin, end - begin);
	}
}

int cwe_tile_bytes(const struct cwe_tile *tile, uint64_t *ret, struct cwb_err *err)
{
	struct stat st;
	*ret = 0;
	for (size_t i = 0; i <= (size_t)tile->n_others; i++) {
		if (fstat(file_of(tile, i), &st) != 0) {
			return cwb_err_errno(err, "scratch: %s", tile->name);
		}
		*ret += (uint64_t)st.st_size;
	}
	return 0;
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

static int sync_file(void *arg, size_t i, struct cwb_err *err)
{
	const struct cwe_tile *tile = arg;
	return fdatasync(file_of(tile, i)) == 0 ? 0 : cwb_err_errno(err, "scratch: writing %s", tile->name);
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
	} else if (sync) {
		r = cwe_pool_try(tile->pool, (size_t)tile->n_others + 1, sync_file, tile, err);
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
