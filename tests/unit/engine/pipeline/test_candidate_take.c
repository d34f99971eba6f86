/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Candidates of matrices of many shares and blocks: those that a walk over all scores finds one by one, whatever the number of
 * threads, and the k largest stay through every renewal. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "cwp/scorer.h"
#include "engine/pipeline/candidate_file.h"
#include "engine/plugin/host.h"
#include "engine/plugin/registry.h"
#include "tests/unit/engine/pipeline/candidate_threshold.h"

/* More weights than a block has candidates, and no whole number of shares. */
#define ROWS 1300
#define COLS 1000
#define WEIGHTS (ROWS * COLS)
#define LAYERS 3

static char folder[64];
static float *score[LAYERS];
static const char identity[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

static int set_up(void **state)
{
	uint64_t random = 11;
	(void)state;
	(void)snprintf(folder, sizeof folder, "/tmp/cwe-take-XXXXXX");
	for (int l = 0; l < LAYERS; l++) {
		score[l] = malloc(WEIGHTS * sizeof(float));
		for (int i = 0; score[l] != NULL && i < WEIGHTS; i++) {
			random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
			uint32_t which = random >> 59;
			/* Layers differ in size; some are zero, some below, and some are the same. */
			score[l][i] = which == 0 ? 0 : which == 1 ? -1.0f : which == 2 ? 0.5f
				: ldexpf((float)(random >> 40 & 0xffffff) + 1, (int)(random >> 20 & 15) - 30 + l);
		}
	}
	return mkdtemp(folder) != NULL && score[LAYERS - 1] != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	for (int l = 0; l < LAYERS; l++) {
		free(score[l]);
	}
	return cwb_file_remove_tree(AT_FDCWD, folder, NULL);
}

/* A run of layers of one matrix each, whose scores are the importances of its only set. */
struct fake {
	struct cwe_run run;
	struct cwe_run_module module[LAYERS];
	size_t layer_at[LAYERS + 1];
	struct cwj_job job;
	struct cwe_pipeline p;
	struct cwe_host host;
	struct cwp_scorer scorer;
	struct cwe_plugin plugin;
	struct cwe_tiles tiles;
	struct cwe_pool *pool;
};

static void open_fake(struct fake *f, double fraction, uint32_t threads)
{
	memset(f, 0, sizeof *f);
	assert_int_equal(cwe_pool_new(threads, &f->pool, NULL), 0);
	cwe_host_init(&f->host, f->pool, 0);
	f->job = (struct cwj_job){.fraction = fraction, .scale_pilot = 1};
	f->p = (struct cwe_pipeline){.job = &f->job, .host = &f->host};
	f->plugin.interface = &f->scorer;
	for (uint32_t l = 0; l < LAYERS; l++) {
		f->module[l] = (struct cwe_run_module){.layer = l, .rows = ROWS, .cols = COLS, .quantized = 1, .first = 1, .last = 1};
		f->layer_at[l + 1] = l + 1;
	}
	f->run = (struct cwe_run){.job = &f->job, .p = &f->p, .scorer = &f->plugin, .module = f->module, .modules = LAYERS,
		.layer_at = f->layer_at, .weights = (uint64_t)LAYERS * WEIGHTS, .model.arch.layers = LAYERS, .sets = 1,
		.largest = WEIGHTS, .tallest = ROWS, .widest = COLS};
	const struct cwe_tiles_key key = {folder, identity, 1, LAYERS, 0, 0, f->pool};
	assert_int_equal(cwe_tiles_open(&key, &f->tiles, NULL), 0);
}

static void close_fake(struct fake *f)
{
	cwe_tiles_close(&f->tiles);
	cwe_pool_free(f->pool);
}

static void take_layer(struct fake *f, struct cwe_candidates *c, uint32_t layer)
{
	struct cwb_err err = {0};
	const struct cwe_combine combine = {.sets = 1, .factor = (double[]){1}};
	struct cwe_tile tile;
	assert_int_equal(cwe_tile_create(&f->tiles, layer, 0, &tile, NULL), 0);
	assert_int_equal(cwe_tile_write(&tile, score[layer], WEIGHTS, NULL), 0);
	assert_int_equal(cwe_tile_finish(&tile, 1, f->tiles.layer[layer].digest[0], NULL), 0);
	if (cwe_candidates_take(c, layer, &combine, &err) != 0 || cwe_tiles_commit(&f->tiles, layer, &err) != 0) {
		fail_msg("%s", err.message);
	}
}

/* What a layer's file must hold: all that reach the floor that all scores up to it, one after another, give. */
static void check_layer(struct fake *f, const struct cwe_candidates *c, uint32_t layer, struct cwe_floor *floor)
{
	uint64_t count = 0, nonpositive = 0;
	float *read = malloc(WEIGHTS * sizeof *read);
	struct cwe_scores s;
	assert_non_null(read);
	for (int i = 0; i < WEIGHTS; i++) {
		if (score[layer][i] > 0) {
			cwe_floor_raise(floor, cwe_floor_count(floor, &score[layer][i], 1));
		}
	}
	float least = cwe_floor_value(floor);
	assert_true(cwe_floor_value(&c->floor) == least);
	assert_int_equal(c->floor.kept, floor->kept);
	assert_int_equal(cwe_scores_open(&f->run, &f->tiles, layer, &s, NULL), 0);
	assert_int_equal(cwe_scores_read(&s, read, WEIGHTS, NULL), 0);
	cwe_scores_close(&s);
	for (int i = 0; i < WEIGHTS; i++) {
		int stays = score[layer][i] > 0 && score[layer][i] >= least;
		count += (uint64_t)stays;
		nonpositive += score[layer][i] <= 0;
		assert_true(read[i] == (stays ? score[layer][i] : -INFINITY));
	}
	assert_int_equal(c->layer[layer].count, count);
	assert_int_equal(c->layer[layer].nonpositive, nonpositive);
	free(read);
}

static int descending(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x < y) - (x > y);
}

/* The k-th largest of all scores above 0. */
static float kth(uint64_t k)
{
	uint64_t n = 0;
	float *all = malloc(LAYERS * WEIGHTS * sizeof *all);
	assert_non_null(all);
	for (int l = 0; l < LAYERS; l++) {
		for (int i = 0; i < WEIGHTS; i++) {
			if (score[l][i] > 0) {
				all[n++] = score[l][i];
			}
		}
	}
	qsort(all, n, sizeof *all, descending);
	assert_true(k <= n);
	float value = all[k - 1];
	free(all);
	return value;
}

static void take_all(double fraction, uint32_t threads, char digest[LAYERS][65])
{
	struct fake f;
	struct cwe_candidates c;
	struct cwe_floor floor;
	open_fake(&f, fraction, threads);
	uint64_t k = cwe_fraction_count(fraction, f.run.weights);
	assert_int_equal(cwe_candidates_open(&f.run, &f.tiles, &c, NULL), 0);
	assert_int_equal(cwe_floor_begin(&floor, k, NULL), 0);
	for (uint32_t l = 0; l < LAYERS; l++) {
		take_layer(&f, &c, l);
		check_layer(&f, &c, l, &floor);
		memcpy(digest[l], c.layer[l].digest, sizeof digest[l]);
		uint64_t total = c.total;
		assert_int_equal(cwe_candidates_compact(&c, NULL), 0);
		assert_true(c.total <= total && c.total >= (c.floor.kept < k ? c.floor.kept : k));
	}
	float want = kth(k);
	assert_true(threshold_of(&c, k) == want);
	cwe_candidates_close(&c);
	cwe_floor_end(&floor);
	cwe_tiles_close(&f.tiles);
	/* Gone on from what is on disk. */
	const struct cwe_tiles_key key = {folder, identity, 1, LAYERS, 0, 0, f.pool};
	assert_int_equal(cwe_tiles_open(&key, &f.tiles, NULL), 0);
	assert_int_equal(cwe_candidates_open(&f.run, &f.tiles, &c, NULL), 0);
	assert_true(threshold_of(&c, k) == want);
	cwe_candidates_close(&c);
	assert_int_equal(cwe_tiles_restart(&f.tiles, identity, NULL), 0);
	close_fake(&f);
}

static void any_threads(void **state)
{
	(void)state;
	/* Nearly all of them, in more than one block, and few. */
	for (int i = 0; i < 2; i++) {
		double fraction = i == 0 ? 0.8 : 0.03;
		char one[LAYERS][65], three[LAYERS][65];
		take_all(fraction, 1, one);
		take_all(fraction, 3, three);
		assert_memory_equal(one, three, sizeof one);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(any_threads, set_up, tear_down)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
