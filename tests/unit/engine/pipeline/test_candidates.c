/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Files of candidates: read back as dense scores, written anew without what fell below the floor, and each thing that a
 * damaged one may hold, told with one code. */
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
#include "engine/pipeline/candidate_file.h"
#include "tests/unit/engine/pipeline/candidate_threshold.h"

/* Two layers of two matrices each, of which one is not quantized. */
#define ROWS 40
#define COLS 50
#define WEIGHTS (ROWS * COLS)
#define LAYERS 2

static char folder[64];
static struct cwe_run_module module[2 * LAYERS];
static size_t layer_at[LAYERS + 1] = {0, 2, 4};
static struct cwj_job job = {.fraction = 0.05, .scale_pilot = 1};
static struct cwe_run run;
static const char identity[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof folder, "/tmp/cwe-candidates-XXXXXX");
	for (uint32_t i = 0; i < 2 * LAYERS; i++) {
		module[i] = (struct cwe_run_module){.layer = i / 2, .rows = ROWS, .cols = COLS, .quantized = i % 2 == 0};
	}
	run = (struct cwe_run){.job = &job, .module = module, .modules = 2 * LAYERS, .layer_at = layer_at,
		.weights = (uint64_t)LAYERS * WEIGHTS, .model.arch.layers = LAYERS, .sets = 1};
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	return cwb_file_remove_tree(AT_FDCWD, folder, NULL);
}

static int exists(const char *name)
{
	char path[160];
	(void)snprintf(path, sizeof path, "%s/%s", folder, name);
	return access(path, F_OK) == 0;
}

static void open_tiles(struct cwe_tiles *t)
{
	struct cwe_tiles_key key = {folder, identity, 1, LAYERS, 0, 0, NULL};
	assert_int_equal(cwe_tiles_open(&key, t, NULL), 0);
}

/* A layer's file of these bytes, with its line in the journal; claimed: candidates that the line speaks of. */
static void write_layer(struct cwe_tiles *t, uint32_t layer, const void *bytes, size_t length, uint64_t claimed)
{
	char name[64], digest[65];
	struct cwe_tile tile;
	(void)snprintf(name, sizeof name, "candidates-%u-0", layer);
	assert_int_equal(cwe_tile_open_named(t, name, O_RDWR | O_CREAT | O_TRUNC, &tile, NULL), 0);
	assert_int_equal(cwe_tile_write_bytes(&tile, bytes, length, NULL), 0);
	assert_int_equal(cwe_tile_finish(&tile, 1, digest, NULL), 0);
	memset(t->layer[layer].digest[0], 'b', 64);
	json_decref(t->layer[layer].note);
	t->layer[layer].note = json_pack("{s:{s:i,s:I,s:i,s:s}}", "candidates", "generation", 0, "count", (json_int_t)claimed,
		"nonpositive", 3, "digest", digest);
	assert_int_equal(cwe_tiles_commit(t, layer, NULL), 0);
}

/* count candidates, every `step`-th weight from `first` on, scores falling from `most` by a factor each. */
struct file {
	uint64_t count;
	struct cwe_candidate c[500];
};

static size_t fill(struct file *f, uint64_t count, uint32_t first, uint32_t step, double most, double factor)
{
	f->count = count;
	for (uint32_t i = 0; i < count; i++) {
		f->c[i] = (struct cwe_candidate){first + i * step, (float)(most * pow(factor, i))};
	}
	return sizeof f->count + count * sizeof f->c[0];
}

static int descending(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x < y) - (x > y);
}

static void kept_and_renewed(void **state)
{
	static struct file f[LAYERS];
	static float all[1000], score[WEIGHTS];
	struct cwe_tiles t;
	struct cwe_candidates c;
	struct cwe_scores s;
	uint64_t n = 0, k = 200; /* 5 % of 4,000 */
	(void)state;
	open_tiles(&t);
	size_t length[LAYERS] = {fill(&f[0], 300, 1, 5, 10, 0.98), fill(&f[1], 250, 0, 8, 30, 0.97)};
	for (uint32_t l = 0; l < LAYERS; l++) {
		write_layer(&t, l, &f[l], length[l], f[l].count);
		for (uint64_t i = 0; i < f[l].count; i++) {
			all[n++] = f[l].c[i].score;
		}
	}
	qsort(all, n, sizeof *all, descending);
	cwe_tiles_close(&t);
	/* By what the journal says alone. */
	open_tiles(&t);
	assert_int_equal(cwe_candidates_open(&run, &t, &c, NULL), 0);
	assert_int_equal(c.total, n);
	assert_int_equal(c.layer[1].nonpositive, 3);
	assert_true(threshold_of(&c, k) == all[k - 1]);
	float floor = cwe_floor_value(&c.floor);
	assert_true(floor <= all[k - 1] && floor > all[k + 5]);
	/* More than k + k/4: both files are written anew, and the choice is the same. */
	assert_int_equal(cwe_candidates_compact(&c, NULL), 0);
	assert_true(exists("candidates-0-1") && exists("candidates-1-1"));
	assert_false(exists("candidates-0-0") || exists("candidates-1-0"));
	assert_true(c.total >= k && c.total < k + 5);
	assert_int_equal(c.total, c.floor.kept);
	assert_true(threshold_of(&c, k) == all[k - 1]);
	/* There is nothing more to gain. */
	assert_int_equal(cwe_candidates_compact(&c, NULL), 0);
	assert_true(exists("candidates-0-1") && !exists("candidates-0-2"));
	cwe_candidates_close(&c);
	cwe_tiles_close(&t);
	open_tiles(&t);
	assert_int_equal(cwe_candidates_open(&run, &t, &c, NULL), 0);
	assert_int_equal(c.layer[0].generation, 1);
	assert_true(threshold_of(&c, k) == all[k - 1]);
	/* As the quantizer reads them. */
	assert_int_equal(cwe_scores_open(&run, &t, 1, &s, NULL), 0);
	assert_int_equal(cwe_scores_read(&s, score, WEIGHTS, NULL), 0);
	cwe_scores_close(&s);
	for (uint32_t i = 0; i < WEIGHTS; i++) {
		int candidate = i % 8 == 0 && i / 8 < 250 && f[1].c[i / 8].score >= floor;
		assert_true(candidate ? score[i] == f[1].c[i / 8].score : score[i] == -INFINITY);
	}
	assert_int_equal(cwe_scores_open(&run, &t, 1, &s, NULL), 0);
	assert_int_equal(cwe_scores_skip(&s, WEIGHTS, NULL), 0);
	assert_int_equal(s.tile.at, sizeof(uint64_t) + c.layer[1].count * sizeof(struct cwe_candidate));
	cwe_scores_close(&s);
	/* Forgotten, they come again. */
	assert_int_equal(cwe_candidates_restart(&c, NULL), 0);
	assert_int_equal(c.total, 0);
	assert_false(exists("candidates-0-1"));
	assert_true(cwe_floor_value(&c.floor) == -INFINITY);
	cwe_candidates_close(&c);
	cwe_tiles_close(&t);
}

/* Ties at the threshold beyond what was stated. */
static void ties(void **state)
{
	static struct file f;
	struct cwe_tiles t;
	struct cwe_candidates c;
	struct cwb_err err = {0};
	(void)state;
	open_tiles(&t);
	size_t length = fill(&f, 400, 0, 1, 2, 1);
	write_layer(&t, 1, &f, length, 400);
	assert_int_equal(cwe_candidates_open(&run, &t, &c, NULL), 0);
	assert_int_equal(cwe_candidates_compact(&c, &err), CWP_EVALUE);
	assert_non_null(strstr(err.message, "400 weights share the score of the last one, about 2, where 200 are to be protected: use score.scale: exact"));
	cwe_candidates_close(&c);
	cwe_tiles_close(&t);
}

static void refuses(const void *bytes, size_t length, const char *text)
{
	struct cwe_tiles t;
	struct cwe_candidates c;
	struct cwb_err err = {0};
	open_tiles(&t);
	write_layer(&t, 1, bytes, length, 2);
	assert_int_equal(cwe_candidates_open(&run, &t, &c, &err), CWP_EDIGEST);
	if (strstr(err.message, text) == NULL) {
		fail_msg("'%s' lacks '%s'", err.message, text);
	}
	cwe_tiles_close(&t);
}

static void damages(void **state)
{
	static const char whole[] = "candidates-1-0 is not what was written";
	struct {
		uint64_t count;
		struct cwe_candidate c[2];
	} f = {2, {{4, 1}, {5, 2}}};
	struct cwe_tiles t;
	struct cwe_candidates c;
	struct cwb_err err = {0};
	(void)state;
	refuses(&f, sizeof f - 1, whole);
	refuses(&f, 5, whole);
	refuses(&f, 0, whole);
	f.count = WEIGHTS + 1;
	refuses(&f, sizeof f, whole);
	f.count = UINT64_MAX;
	refuses(&f, sizeof f, whole);
	f.count = 2;
	f.c[1].index = 4; /* twice the same */
	refuses(&f, sizeof f, whole);
	f.c[1].index = WEIGHTS;
	refuses(&f, sizeof f, whole);
	f.c[1] = (struct cwe_candidate){5, 0};
	refuses(&f, sizeof f, whole);
	f.c[1].score = NAN;
	refuses(&f, sizeof f, whole);
	f.c[1].score = INFINITY;
	refuses(&f, sizeof f, whole);
	/* Fine by itself, but not what the journal says. */
	f.c[1].score = 3;
	open_tiles(&t);
	write_layer(&t, 1, &f, sizeof f, 2);
	json_object_set_new(json_object_get(t.layer[1].note, "candidates"), "digest", json_string(identity));
	assert_int_equal(cwe_candidates_open(&run, &t, &c, &err), CWP_EDIGEST);
	assert_non_null(strstr(err.message, "candidates-1-0 changed on disk"));
	cwb_err_clear(&err);
	/* Nothing said, nonsense said, and no file. */
	json_object_set_new(json_object_get(t.layer[1].note, "candidates"), "generation", json_integer(-1));
	assert_int_equal(cwe_candidates_open(&run, &t, &c, &err), CWP_EDIGEST);
	assert_non_null(strstr(err.message, "the journal lacks the candidates of layer 1"));
	cwb_err_clear(&err);
	json_decref(t.layer[1].note);
	t.layer[1].note = NULL;
	assert_int_equal(cwe_candidates_open(&run, &t, &c, &err), CWP_EDIGEST);
	cwb_err_clear(&err);
	t.layer[1].note = json_pack("{s:{s:i,s:i,s:i,s:s}}", "candidates", "generation", 7, "count", 2, "nonpositive", 0, "digest", identity);
	assert_int_equal(cwe_candidates_open(&run, &t, &c, &err), CWP_EDIGEST);
	assert_non_null(strstr(err.message, "candidates-1-7"));
	cwe_tiles_close(&t);
}

/* Scratch of another job is cleared of candidates too. */
static void another_job(void **state)
{
	static struct file f;
	struct cwe_tiles t;
	(void)state;
	open_tiles(&t);
	size_t length = fill(&f, 10, 0, 1, 2, 0.5);
	write_layer(&t, 1, &f, length, 10);
	json_t *note = json_pack("{s:[s]}", "pilot", "0x1p+3");
	assert_int_equal(cwe_tiles_note(&t, note, NULL), 0);
	cwe_tiles_close(&t);
	open_tiles(&t);
	assert_string_equal(json_string_value(json_array_get(json_object_get(t.note, "pilot"), 0)), "0x1p+3");
	cwe_tiles_close(&t);
	struct cwe_tiles_key key = {folder, "another", 1, LAYERS, 0, 0, NULL};
	assert_int_equal(cwe_tiles_open(&key, &t, NULL), 0);
	assert_null(t.note);
	assert_false(exists("candidates-1-0"));
	cwe_tiles_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(kept_and_renewed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ties, set_up, tear_down),
		cmocka_unit_test_setup_teardown(damages, set_up, tear_down),
		cmocka_unit_test_setup_teardown(another_job, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
