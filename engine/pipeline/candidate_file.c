/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Candidates from disk, and anew without those that fell below the floor. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/pipeline/candidate_file.h"

static void name_of(uint32_t layer, uint32_t generation, char *name, size_t size)
{
	(void)snprintf(name, size, "candidates-%" PRIu32 "-%" PRIu32, layer, generation);
}

int cwe_candidate_file_open(const struct cwe_candidates *c, uint32_t layer, uint32_t generation, int flags, struct cwe_tile *ret,
	struct cwb_err *err)
{
	char name[64];
	name_of(layer, generation, name, sizeof name);
	return cwe_tile_open_named(c->tiles, name, flags, ret, err);
}

void cwe_candidate_file_remove(const struct cwe_candidates *c, uint32_t layer, uint32_t generation)
{
	char name[64], path[4200];
	name_of(layer, generation, name, sizeof name);
	if ((size_t)snprintf(path, sizeof path, "%s/%s", c->tiles->scratch, name) < sizeof path) {
		(void)unlink(path); /* best effort: the scratch folder goes as a whole at the end */
	}
}

/* A file being written: pairs are gathered in pieces. */
struct sink {
	const struct cwe_candidates *c;
	struct cwe_candidate_layer *layer;
	struct cwe_tile tile;
	struct cwe_candidate *piece;
	size_t n;
};

static int flush(struct sink *s, struct cwb_err *err)
{
	int r = s->n > 0 ? cwe_tile_write_bytes(&s->tile, s->piece, s->n * sizeof *s->piece, err) : 0;
	s->n = 0;
	return r;
}

static int add(struct sink *s, struct cwe_candidate candidate, struct cwb_err *err)
{
	s->piece[s->n++] = candidate;
	s->layer->count++;
	return s->n == CWE_CANDIDATE_PIECE ? flush(s, err) : 0;
}

static int begin(struct sink *s, uint32_t layer, struct cwb_err *err)
{
	s->piece = malloc(CWE_CANDIDATE_PIECE * sizeof *s->piece);
	if (s->piece == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for candidates");
	}
	return cwe_candidate_file_open(s->c, layer, s->layer->generation, O_RDWR | O_CREAT | O_TRUNC, &s->tile, err);
}

static int end(struct sink *s, int r, struct cwb_err *err)
{
	if (r == 0) {
		r = cwe_tile_finish(&s->tile, 1, s->layer->digest, err);
	} else {
		cwe_tile_abort(&s->tile);
	}
	free(s->piece);
	return r;
}

static int damaged(const struct cwe_tile *tile, struct cwb_err *err)
{
	return cwb_err_set(err, CWP_EDIGEST, "scratch: %s is not what was written; run the job again", tile->name);
}

/* A short file is a damaged one. */
static int get(struct cwe_tile *tile, void *data, uint64_t bytes, struct cwb_err *err)
{
	struct cwb_err reading = {0};
	int r = cwe_tile_read_bytes(tile, data, bytes, &reading);
	return r == CWP_EFORMAT ? damaged(tile, err) : r != 0 ? cwb_err_set(err, r, "%s", reading.message) : 0;
}

/* How many candidates a module of n weights has. */
static int get_count(struct cwe_tile *tile, uint64_t n, uint64_t *ret, struct cwb_err *err)
{
	int r = get(tile, ret, sizeof *ret, err);
	return r == 0 && *ret > n ? damaged(tile, err) : r;
}

/* The next candidates of a module of n weights, all of them checked; *after: the least index that may come. */
static int get_piece(struct cwe_tile *tile, struct cwe_candidate *piece, uint64_t m, uint64_t n, uint64_t *after, struct cwb_err *err)
{
	int r = get(tile, piece, m * sizeof *piece, err);
	for (uint64_t i = 0; r == 0 && i < m; i++) {
		if (piece[i].index < *after || piece[i].index >= n || !(piece[i].score > 0) || isinf(piece[i].score)) {
			return damaged(tile, err);
		}
		*after = (uint64_t)piece[i].index + 1;
	}
	return r;
}

/* One module's candidates; head: called with their number first. */
static int walk_module(struct cwe_tile *tile, uint64_t n, struct cwe_candidate *piece,
	int (*take)(void *arg, const struct cwe_candidate *candidate, size_t n), void *arg, struct cwb_err *err)
{
	uint64_t count = 0, after = 0;
	int r = get_count(tile, n, &count, err);
	for (uint64_t m; r == 0 && count > 0; count -= m) {
		m = count < CWE_CANDIDATE_PIECE ? count : CWE_CANDIDATE_PIECE;
		r = get_piece(tile, piece, m, n, &after, err);
		r = r == 0 ? take(arg, piece, m) : r;
	}
	return r;
}

static int open_checked(const struct cwe_candidates *c, uint32_t layer, struct cwe_tile *ret, struct cwb_err *err)
{
	struct cwb_err opening = {0};
	int r = cwe_candidate_file_open(c, layer, c->layer[layer].generation, O_RDONLY, ret, &opening);
	return r == 0 ? 0 : cwb_err_set(err, r == -ENOENT ? CWP_EDIGEST : r, "%s", opening.message);
}

int cwe_candidate_file_walk(const struct cwe_candidates *c, uint32_t layer,
	int (*take)(void *arg, const struct cwe_candidate *candidate, size_t n), void *arg, struct cwb_err *err)
{
	struct cwe_tile tile = {.fd = -1};
	struct cwe_candidate *piece = malloc(CWE_CANDIDATE_PIECE * sizeof *piece);
	int r = piece != NULL ? open_checked(c, layer, &tile, err) : cwb_err_set(err, -ENOMEM, "no memory for candidates");
	if (r != 0) {
		free(piece);
		return r;
	}
	for (size_t i = c->run->layer_at[layer]; r == 0 && i < c->run->layer_at[layer + 1]; i++) {
		const struct cwe_run_module *m = &c->run->module[i];
		r = m->quantized ? walk_module(&tile, m->rows * m->cols, piece, take, arg, err) : 0;
	}
	free(piece);
	return cwe_tile_finish_checked(&tile, c->layer[layer].digest, r, err);
}

/* A module's candidates once to count those that stay, once to copy them. */
struct copy {
	struct sink *sink;
	struct cwb_err *err;
	float floor;
	uint64_t count;
};

static int count_staying(void *arg, const struct cwe_candidate *c, size_t n)
{
	struct copy *copy = arg;
	for (size_t i = 0; i < n; i++) {
		copy->count += (uint64_t)cwe_candidate_reaches(c[i].score, copy->floor);
	}
	return 0;
}

static int copy_staying(void *arg, const struct cwe_candidate *c, size_t n)
{
	struct copy *copy = arg;
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = cwe_candidate_reaches(c[i].score, copy->floor) ? add(copy->sink, c[i], copy->err) : 0;
	}
	return r;
}

static int renew_module(struct cwe_tile *in, uint64_t n, struct cwe_candidate *piece, struct copy *copy, struct cwb_err *err)
{
	struct cwe_tile first = *in; /* counting leaves no trace in the digest */
	first.digest = first.piece = (struct cwb_digest){0};
	first.digesting = 0;
	copy->count = 0;
	int r = walk_module(&first, n, piece, count_staying, copy, err);
	r = r == 0 ? cwe_tile_write_bytes(&copy->sink->tile, &copy->count, sizeof copy->count, err) : r;
	r = r == 0 ? walk_module(in, n, piece, copy_staying, copy, err) : r;
	return r == 0 ? flush(copy->sink, err) : r;
}

int cwe_candidate_file_renew(const struct cwe_candidates *c, uint32_t layer, float floor, struct cwe_candidate_layer *ret,
	struct cwb_err *err)
{
	struct cwe_candidate_layer next = c->layer[layer];
	struct sink s = {.c = c, .layer = &next, .tile.fd = -1};
	struct copy copy = {.sink = &s, .err = err, .floor = floor};
	struct cwe_tile in = {.fd = -1};
	struct cwe_candidate *piece = malloc(CWE_CANDIDATE_PIECE * sizeof *piece);
	int r = piece != NULL ? open_checked(c, layer, &in, err) : cwb_err_set(err, -ENOMEM, "no memory for candidates");
	if (r != 0) {
		free(piece);
		return r;
	}
	next.generation++;
	next.count = 0;
	r = begin(&s, layer, err);
	for (size_t i = c->run->layer_at[layer]; r == 0 && i < c->run->layer_at[layer + 1]; i++) {
		const struct cwe_run_module *m = &c->run->module[i];
		r = m->quantized ? renew_module(&in, m->rows * m->cols, piece, &copy, err) : 0;
	}
	r = cwe_tile_finish_checked(&in, c->layer[layer].digest, r, err);
	r = end(&s, r, err);
	free(piece);
	if (r == 0) {
		*ret = next;
	}
	return r;
}

int cwe_scores_open(struct cwe_run *run, struct cwe_tiles *tiles, uint32_t layer, struct cwe_scores *ret, struct cwb_err *err)
{
	struct cwe_scores s = {.sparse = run->job->scale_pilot, .tile.fd = -1};
	char name[64];
	int r;
	if (s.sparse) {
		const json_t *note = json_object_get(tiles->layer[layer].note, "candidates");
		name_of(layer, (uint32_t)json_integer_value(json_object_get(note, "generation")), name, sizeof name);
		r = cwe_tile_open_named(tiles, name, O_RDONLY, &s.tile, err);
	} else {
		r = cwe_tile_open(tiles, layer, CWE_TILE_COMBINED, &s.tile, err);
	}
	if (r == 0) {
		*ret = s;
	}
	return r;
}

static int put_scores(void *arg, const struct cwe_candidate *c, size_t n)
{
	float *score = arg;
	for (size_t i = 0; i < n; i++) {
		score[c[i].index] = c[i].score;
	}
	return 0;
}

int cwe_scores_read(struct cwe_scores *s, float *score, uint64_t n, struct cwb_err *err)
{
	if (!s->sparse) {
		return cwe_tile_read(&s->tile, score, n, err);
	}
	struct cwe_candidate *piece = malloc(CWE_CANDIDATE_PIECE * sizeof *piece);
	if (piece == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for candidates");
	}
	for (uint64_t i = 0; i < n; i++) {
		score[i] = -INFINITY;
	}
	int r = walk_module(&s->tile, n, piece, put_scores, score, err);
	free(piece);
	return r;
}

int cwe_scores_skip(struct cwe_scores *s, uint64_t n, struct cwb_err *err)
{
	uint64_t count = 0;
	if (!s->sparse) {
		return cwe_tile_skip(&s->tile, n);
	}
	int r = get_count(&s->tile, n, &count, err);
	s->tile.at += r == 0 ? count * sizeof(struct cwe_candidate) : 0;
	return r;
}

void cwe_scores_close(struct cwe_scores *s)
{
	cwe_tile_abort(&s->tile);
}
