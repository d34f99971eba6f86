/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Score tiles on scratch: per layer and set a file of f32 or bf16, or several, with a digest, and a journal that says which are
 * complete. They are the checkpoint for resume and the input of the exact selection. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"

struct cwe_pool;

/* How their digests are made of their bytes; to be raised when that changes. */
#define CWE_TILES_FORM 3

struct cwe_tile_layer {
	int done;
	int cached;           /* taken from the cache, not measured by this job */
	char next[65];        /* digest of what the next layer goes on from: calibrate.h's layer_done */
	char (*digest)[65];   /* [sets] */
	double *sum;          /* [sets] importance summed over the layer */
	double *loss;         /* [sets] mean loss of the samples, NaN where it is not known */
	json_t *note;         /* object that its line keeps for the caller; NULL: none */
};

/* Whose tiles they are, and of what kind. */
struct cwe_tiles_key {
	const char *scratch;  /* folder */
	const char *identity; /* a job's, its score.store included */
	uint32_t sets, layers;
	int bf16;             /* the sets' tiles are; combined ones are f32 always */
	int striped;          /* the sets' tiles lie in several files each; combined ones always do */
	struct cwe_pool *pool; /* whose threads write and read them; NULL: the caller alone */
};

struct cwe_tiles {
	char *scratch;
	uint32_t sets, layers;
	int bf16, striped;
	struct cwe_pool *pool;
	struct cwe_tile_layer *layer; /* [layers] */
	char (*boundary)[65]; /* [layers + 1] digests of the inputs of layers that are kept (calibrate/kept.h), "": none */
	char head[65];        /* digest of the gradient at the last layer's output, "" until the head is done */
	double *head_loss;    /* [sets] mean losses that it found */
	uint64_t passes;      /* all samples through one layer or the head, in all attempts; the caller counts */
	json_t *note;         /* object that the journal keeps for the caller, of no layer; NULL: none */
	int journal;          /* descriptor, appended and synced */
};

/* Opens or starts the tiles of this identity in a scratch folder; tiles of another identity are removed,
 * and so are all of them when one that the journal names is missing or has another size. */
int cwe_tiles_open(const struct cwe_tiles_key *key, struct cwe_tiles *ret, struct cwb_err *err);
void cwe_tiles_close(struct cwe_tiles *t);
/* Begins anew: no layer is done. */
int cwe_tiles_restart(struct cwe_tiles *t, const char *identity, struct cwb_err *err);

/* Path of a file on scratch, to be freed; NULL: no memory. */
char *cwe_tiles_path(const struct cwe_tiles *t, const char *name);
/* How many files a tile lies in, and the name of each from 0 on. */
int cwe_tile_stripes(const struct cwe_tiles *t, uint32_t set);
void cwe_tile_stripe_name(const struct cwe_tiles *t, uint32_t layer, uint32_t set, int stripe, char *name, size_t size);
/* Bytes of a tile in an open folder, -1 when there is none or a file of it is missing. */
json_int_t cwe_tile_bytes_in(const struct cwe_tiles *t, int folder, uint32_t layer, uint32_t set);
/* What the journal says of a layer's sets: [{digest, sum, loss, bytes}, ..]; NULL when memory ran out. */
json_t *cwe_tiles_sets_json(const struct cwe_tiles *t, uint32_t layer);

/* A tile being written, or read with its digest. Where it lies in several files, a piece of one after the other holds the next
 * numbers: a file system lets one thread at a time write to a file. */
#define CWE_TILE_STRIPES 8
struct cwe_tile {
	int fd;
	int others[CWE_TILE_STRIPES - 1]; /* descriptors of the further files */
	int n_others;
	char name[64];
	uint64_t at; /* bytes */
	int bf16;
	struct cwe_pool *pool;
	struct cwb_digest digest; /* of the digests of pieces */
	struct cwb_digest piece;  /* of the piece at hand, where it has begun */
	int digesting;
};

/* set: CWE_TILE_COMBINED for the combined score, which has no digest: it is made and used within one attempt. */
#define CWE_TILE_COMBINED UINT32_MAX
int cwe_tile_create(struct cwe_tiles *t, uint32_t layer, uint32_t set, struct cwe_tile *ret, struct cwb_err *err);
int cwe_tile_open(struct cwe_tiles *t, uint32_t layer, uint32_t set, struct cwe_tile *ret, struct cwb_err *err);
/* Threads share the work by pieces of the file; the tile's digest is over theirs. A tile of bf16 takes each value rounded to
 * nearest, ties to even. [worker] */
int cwe_tile_write(struct cwe_tile *tile, const float *x, uint64_t n, struct cwb_err *err);
int cwe_tile_read(struct cwe_tile *tile, float *x, uint64_t n, struct cwb_err *err);
/* Reads what is left of it, for its digest. */
int cwe_tile_drain(struct cwe_tile *tile, struct cwb_err *err);
/* For tile.c and tile_pieces.c. What digests are made of, and what lies together in a file: another size is another CWE_TILES_FORM. */
#define CWE_TILE_PIECE (1u << 20)
/* The piece at hand is complete. */
int cwe_tile_last_piece(struct cwe_tile *tile);
/* The descriptor of the file with a tile's byte `at`, the place there, and how many follow in a row. */
int cwe_tile_file(const struct cwe_tile *tile, uint64_t at, uint64_t *ret_at, uint64_t *ret_left);
/* Tells the system of bytes of a tile, at least, in all files that they are in. */
void cwe_tile_hint(const struct cwe_tile *tile, uint64_t at, uint64_t bytes, void (*hint)(int fd, uint64_t offset, uint64_t length));
/* Bytes of all files. */
int cwe_tile_bytes(const struct cwe_tile *tile, uint64_t *ret, struct cwb_err *err);
/* A file of another name and form, and bytes to and from it, likewise by pieces. flags: of open(2). */
int cwe_tile_open_named(const struct cwe_tiles *t, const char *name, int flags, struct cwe_tile *ret, struct cwb_err *err);
int cwe_tile_write_bytes(struct cwe_tile *tile, const void *data, uint64_t bytes, struct cwb_err *err);
int cwe_tile_read_bytes(struct cwe_tile *tile, void *data, uint64_t bytes, struct cwb_err *err);
/* A set's tile that nobody needs any more. */
int cwe_tile_remove(const struct cwe_tiles *t, uint32_t layer, uint32_t set, struct cwb_err *err);
/* n f32 at this many numbers behind where the tile is, without its digest. [any-thread] */
int cwe_tile_write_at(const struct cwe_tile *tile, const float *x, uint64_t at, uint64_t n, struct cwb_err *err);
int cwe_tile_read_at(const struct cwe_tile *tile, float *x, uint64_t at, uint64_t n, struct cwb_err *err);
/* Passes over n numbers; the digest is of no use afterwards. */
int cwe_tile_skip(struct cwe_tile *tile, uint64_t n);
/* Ends a tile: digest (NULL: not wanted); a written one is synced when sync is not 0. Closes in every case. */
int cwe_tile_finish(struct cwe_tile *tile, int sync, char *ret_digest, struct cwb_err *err);
void cwe_tile_abort(struct cwe_tile *tile);
/* Ends a tile that was read as a whole; r: how that went. r where it is not 0; CWP_EDIGEST when its digest is not the one
 * that is wanted. */
int cwe_tile_finish_checked(struct cwe_tile *tile, const char *want, int r, struct cwb_err *err);
/* The same of a set's tile, whose digest the journal has. */
int cwe_tile_verify(const struct cwe_tiles *t, uint32_t layer, uint32_t set, struct cwe_tile *tile, int r, struct cwb_err *err);

/* Keeps a note (taken over; NULL: memory ran out) in the journal. Durable on return. */
int cwe_tiles_note(struct cwe_tiles *t, json_t *note, struct cwb_err *err);
/* Notes that the input of a layer is kept, or the gradient at the last layer's output. Durable on return. */
int cwe_tiles_boundary(struct cwe_tiles *t, uint32_t layer, const char *digest, struct cwb_err *err);
int cwe_tiles_head(struct cwe_tiles *t, const char *digest, const double *loss, struct cwb_err *err);
/* For tiles.c: 1 where a line of the journal is one of these, 0: it is another, -1: it is neither. */
int cwe_tiles_take_forward(struct cwe_tiles *t, const json_t *line);
/* A line (taken over; NULL: memory ran out) of the journal. Durable on return. */
int cwe_tiles_append(struct cwe_tiles *t, json_t *line, struct cwb_err *err);
/* Notes in the journal that all sets of a layer are complete (t->layer[layer] filled by the caller). Durable on return. */
int cwe_tiles_commit(struct cwe_tiles *t, uint32_t layer, struct cwb_err *err);
