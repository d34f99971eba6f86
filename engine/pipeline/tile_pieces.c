/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Numbers to and from a tile by pieces of its file, which threads share. Pieces begin at multiples of a fixed size, whatever is
 * asked for at a time, so that the digest over their digests depends on the bytes alone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/format/dtype.h"
#include "engine/pipeline/tiles.h"
#include "engine/plugin/pool.h"

#define PIECE CWE_TILE_PIECE
/* Values of bf16 that are converted at a time: few writes, for which threads wait in turn, and yet in the second-level cache. */
#define SOME 131072

struct moving {
	const struct cwe_tile *tile;
	void *x;        /* numbers; what is not of bf16 is moved as it is. NULL: read for the digest alone */
	int write;
	uint64_t from, to, first; /* bytes of the file; number of the first piece */
	size_t count;
	uint8_t (*digest)[CWB_DIGEST_SIZE]; /* [count] of pieces that end here */
	struct cwb_digest begun, open;      /* of the first piece, by what came before; of the last one, when more will come */
};

static void update(const struct moving *m, struct cwb_digest *digest, const void *data, uint64_t bytes)
{
	if (m->tile->digesting) {
		cwb_digest_update(digest, data, bytes);
	}
}

/* Numbers of bf16 or, without x, of anything: bytes of one piece. */
static int some_bytes(const struct moving *m, uint64_t at, uint64_t bytes, float *x, struct cwb_digest *digest, struct cwb_err *err)
{
	const struct cwe_tile *t = m->tile;
	uint16_t piece[SOME];
	if (m->write) {
		cwe_f32_to_dtype(piece, x, CWP_BF16, bytes / sizeof *piece);
	}
	int fd = cwe_tile_file(t, at, &at, &(uint64_t){0});
	int r = m->write ? cwb_file_pwrite(fd, piece, bytes, at, t->name, err) : cwb_file_pread(fd, piece, bytes, at, t->name, err);
	if (r == 0) {
		update(m, digest, piece, bytes);
	}
	if (r == 0 && !m->write && x != NULL) {
		cwe_f32_from_dtype(x, piece, CWP_BF16, bytes / sizeof *piece);
	}
	return r;
}

/* Bytes [at, end) of the file. */
static int transfer(const struct moving *m, uint64_t at, uint64_t end, struct cwb_digest *digest, struct cwb_err *err)
{
	const struct cwe_tile *t = m->tile;
	int r = 0;
	if (!t->bf16 && m->x != NULL) {
		uint64_t place;
		uint8_t *x = (uint8_t *)m->x + (at - m->from);
		int fd = cwe_tile_file(t, at, &place, &(uint64_t){0});
		r = m->write ? cwb_file_pwrite(fd, x, end - at, place, t->name, err) : cwb_file_pread(fd, x, end - at, place, t->name, err);
		if (r == 0) {
			update(m, digest, x, end - at);
		}
		return r;
	}
	uint64_t size = sizeof(uint16_t), n;
	float *x = m->x != NULL ? (float *)m->x + (at - m->from) / size : NULL;
	for (; r == 0 && at < end; at += n) {
		n = end - at < SOME * sizeof(uint16_t) ? end - at : SOME * sizeof(uint16_t);
		r = some_bytes(m, at, n, x, digest, err);
		x = x != NULL ? x + n / size : NULL;
	}
	return r;
}

static int take_piece(void *arg, size_t i, struct cwb_err *err)
{
	struct moving *m = arg;
	struct cwb_digest digest = i == 0 ? m->begun : (struct cwb_digest){0};
	uint64_t begin = (m->first + i) * PIECE, end = begin + PIECE;
	int ends = end <= m->to, r = 0;
	begin = begin > m->from ? begin : m->from;
	end = ends ? end : m->to;
	if (m->tile->digesting && digest.ctx == NULL) {
		r = cwb_digest_begin(&digest);
	}
	r = r == 0 ? transfer(m, begin, end, &digest, err) : cwb_err_set(err, r, "scratch: no memory for the digest of %s", m->tile->name);
	if (r == 0 && m->tile->digesting && ends && cwb_digest_end(&digest, m->digest[i]) != 0) {
		r = cwb_err_set(err, -ENOMEM, "scratch: no memory for the digest of %s", m->tile->name);
	}
	if (r != 0) {
		cwb_digest_cancel(&digest);
	} else if (m->tile->digesting && !ends) {
		m->open = digest;
	}
	return r;
}

/* Digests of pieces that are complete, in their order. */
static void add_digests(struct cwe_tile *tile, const struct moving *m)
{
	for (size_t i = 0; tile->digesting && i < m->count; i++) {
		if ((m->first + i + 1) * PIECE <= m->to) {
			cwb_digest_update(&tile->digest, m->digest[i], sizeof m->digest[i]);
		}
	}
}

static int move(struct cwe_tile *tile, void *x, int write, uint64_t bytes, struct cwb_err *err)
{
	struct moving m = {.tile = tile, .x = x, .write = write, .from = tile->at, .to = tile->at + bytes, .first = tile->at / PIECE,
		.begun = tile->piece};
	if (bytes == 0) {
		return 0;
	}
	m.count = (size_t)((m.to - 1) / PIECE - m.first + 1);
	m.digest = malloc(m.count * sizeof *m.digest);
	if (m.digest == NULL) {
		return cwb_err_set(err, -ENOMEM, "scratch: no memory for the digest of %s", tile->name);
	}
	tile->piece = (struct cwb_digest){0};
	int r = cwe_pool_try(tile->pool, m.count, take_piece, &m, err);
	if (r == 0) {
		add_digests(tile, &m);
		tile->piece = m.open;
		tile->at = m.to;
	} else {
		cwb_digest_cancel(&m.open);
	}
	free(m.digest);
	return r;
}

static uint64_t size_of(const struct cwe_tile *tile, uint64_t n)
{
	return n * (tile->bf16 ? sizeof(uint16_t) : sizeof(float));
}

int cwe_tile_write(struct cwe_tile *tile, const float *x, uint64_t n, struct cwb_err *err)
{
	uint64_t from = tile->at;
	int r = move(tile, (void *)(uintptr_t)x, 1, size_of(tile, n), err);
	if (r == 0) {
		cwe_tile_hint(tile, from, tile->at - from, cwb_file_write_behind);
	}
	return r;
}

int cwe_tile_read(struct cwe_tile *tile, float *x, uint64_t n, struct cwb_err *err)
{
	uint64_t from = tile->at;
	int r = move(tile, x, 0, size_of(tile, n), err);
	if (r == 0) {
		cwe_tile_hint(tile, tile->at, tile->at - from, cwb_file_read_ahead);
	}
	return r;
}

int cwe_tile_write_bytes(struct cwe_tile *tile, const void *data, uint64_t bytes, struct cwb_err *err)
{
	return move(tile, (void *)(uintptr_t)data, 1, bytes, err);
}

int cwe_tile_read_bytes(struct cwe_tile *tile, void *data, uint64_t bytes, struct cwb_err *err)
{
	return move(tile, data, 0, bytes, err);
}

int cwe_tile_drain(struct cwe_tile *tile, struct cwb_err *err)
{
	uint64_t bytes;
	int r = cwe_tile_bytes(tile, &bytes, err);
	return r == 0 && bytes > tile->at ? move(tile, NULL, 0, bytes - tile->at, err) : r;
}

int cwe_tile_last_piece(struct cwe_tile *tile)
{
	uint8_t digest[CWB_DIGEST_SIZE];
	if (tile->piece.ctx == NULL) {
		return 0;
	}
	int r = cwb_digest_end(&tile->piece, digest);
	if (r == 0) {
		cwb_digest_update(&tile->digest, digest, sizeof digest);
	}
	return r;
}
