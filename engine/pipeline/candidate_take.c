/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The candidates of a layer whose sets are complete. A module's scores are cut into shares, whatever the number of threads: these
 * are counted for the floor, then for what reaches it, so that each knows where its candidates go. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "engine/pipeline/candidate_file.h"
#include "engine/pipeline/combining.h"
#include "engine/plugin/pool.h"

/* Weights of a share. All of them together fit into a block of candidates. */
#define SHARE 65536u
_Static_assert(SHARE <= CWE_CANDIDATE_BLOCK, "a share fits into a block");

struct taking {
	struct cwe_candidates *c;
	struct cwe_candidate_layer *layer;
	struct cwe_tile tile;
	struct cwe_candidate *block; /* [CWE_CANDIDATE_BLOCK] */
	uint64_t *count;             /* [shares of the largest module] of a share */
	/* Of the module at hand. */
	const float *score;
	uint64_t n;
	float floor;
	/* Of the shares that are gathered at a time. */
	size_t first;
	uint64_t *start; /* [shares of the largest module] in the block */
};

static size_t shares_of(uint64_t n)
{
	return (size_t)((n + SHARE - 1) / SHARE);
}

static uint64_t share_end(const struct taking *t, size_t i)
{
	return t->n - i * SHARE < SHARE ? t->n : (i + 1) * SHARE;
}

static void count_for_floor(void *arg, size_t i)
{
	struct taking *t = arg;
	t->count[i] = 0;
	for (uint64_t k = i * (uint64_t)SHARE; k < share_end(t, i); k++) {
		if (cwe_candidate_reaches(t->score[k], t->floor)) {
			t->count[i] += cwe_floor_count(&t->c->floor, &t->score[k], 1);
		}
	}
}

static void count_candidates(void *arg, size_t i)
{
	struct taking *t = arg;
	t->count[i] = 0;
	for (uint64_t k = i * (uint64_t)SHARE; k < share_end(t, i); k++) {
		t->count[i] += (uint64_t)cwe_candidate_reaches(t->score[k], t->floor);
	}
}

static void gather(void *arg, size_t i)
{
	struct taking *t = arg;
	size_t share = t->first + i;
	struct cwe_candidate *to = t->block + t->start[share];
	for (uint64_t k = share * (uint64_t)SHARE; k < share_end(t, share); k++) {
		if (cwe_candidate_reaches(t->score[k], t->floor)) {
			*to++ = (struct cwe_candidate){(uint32_t)k, t->score[k]};
		}
	}
}

static uint64_t sum(const uint64_t *x, size_t n)
{
	uint64_t s = 0;
	for (size_t i = 0; i < n; i++) {
		s += x[i];
	}
	return s;
}

/* As many shares from t->first on as a block takes; returns the first one that it does not. */
static size_t write_block(struct taking *t, size_t shares, struct cwb_err *err, int *ret_code)
{
	uint64_t n = 0;
	size_t i = t->first;
	for (; i < shares && n + t->count[i] <= CWE_CANDIDATE_BLOCK; i++) {
		t->start[i] = n;
		n += t->count[i];
	}
	cwe_pool_run(t->c->tiles->pool, i - t->first, gather, t);
	*ret_code = cwe_tile_write_bytes(&t->tile, t->block, n * sizeof *t->block, err);
	return i;
}

/* The finished scores of one module. */
static int take_module(void *arg, const struct cwe_run_module *m, const float *score, uint64_t n, struct cwb_err *err)
{
	struct taking *t = arg;
	struct cwe_floor *floor = &t->c->floor;
	size_t shares = shares_of(n);
	(void)m;
	t->score = score;
	t->n = n;
	t->floor = cwe_floor_value(floor);
	cwe_pool_run(t->c->tiles->pool, shares, count_for_floor, t);
	cwe_floor_raise(floor, sum(t->count, shares));
	t->floor = cwe_floor_value(floor);
	cwe_pool_run(t->c->tiles->pool, shares, count_candidates, t);
	uint64_t count = sum(t->count, shares);
	t->layer->count += count;
	int r = cwe_tile_write_bytes(&t->tile, &count, sizeof count, err);
	for (t->first = 0; r == 0 && t->first < shares;) {
		t->first = write_block(t, shares, err, &r);
	}
	return r;
}

int cwe_candidate_file_write(struct cwe_candidates *c, uint32_t layer, const struct cwe_combine *combine, struct cwb_err *err)
{
	struct taking t = {.c = c, .layer = &c->layer[layer], .tile.fd = -1};
	size_t shares = shares_of(c->run->largest);
	t.block = malloc(CWE_CANDIDATE_BLOCK * sizeof *t.block);
	t.count = calloc(shares + 1, sizeof *t.count);
	t.start = calloc(shares + 1, sizeof *t.start);
	int r = t.block != NULL && t.count != NULL && t.start != NULL
		? cwe_candidate_file_open(c, layer, t.layer->generation, O_RDWR | O_CREAT | O_TRUNC, &t.tile, err)
		: cwb_err_set(err, -ENOMEM, "no memory for candidates");
	if (r == 0) {
		uint64_t before = c->run->nonpositive;
		c->combining.combine = combine;
		c->combining.take = take_module;
		c->combining.arg = &t;
		r = cwe_combining_layer(&c->combining, layer, err);
		t.layer->nonpositive += c->run->nonpositive - before;
		if (r == 0) {
			r = cwe_tile_finish(&t.tile, 1, t.layer->digest, err);
		} else {
			cwe_tile_abort(&t.tile);
		}
	}
	free(t.block);
	free(t.count);
	free(t.start);
	return r;
}
