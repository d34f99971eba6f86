/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What a journal keeps beside digests, and gradient checkpoints that are lost, short or changed. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "engine/calibrate/checkpoint.h"
#include "engine/pipeline/tiles.h"

#define SETS 2
#define LAYERS 3

static char folder[64];
static const char identity[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof folder, "/tmp/cwe-tiles-XXXXXX");
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	return cwb_file_remove_tree(AT_FDCWD, folder, NULL);
}

static const char *path(const char *name)
{
	static char text[160];
	(void)snprintf(text, sizeof text, "%s/%s", folder, name);
	return text;
}

static void open_tiles(struct cwe_tiles *t, const char *whose)
{
	struct cwb_err err = {0};
	if (cwe_tiles_open(&(struct cwe_tiles_key){folder, whose, SETS, LAYERS, 0, 0, NULL}, t, &err) != 0) {
		fail_msg("%s", err.message);
	}
}

/* One layer's tiles, and its line. */
static void write_layer(struct cwe_tiles *t, uint32_t layer)
{
	const float x[5] = {1, 2, 3, 4, 5};
	struct cwb_err err = {0};
	for (uint32_t s = 0; s < SETS; s++) {
		struct cwe_tile tile;
		assert_int_equal(cwe_tile_create(t, layer, s, &tile, &err), 0);
		assert_int_equal(cwe_tile_write(&tile, x, 5, &err), 0);
		assert_int_equal(cwe_tile_finish(&tile, 1, t->layer[layer].digest[s], &err), 0);
		t->layer[layer].sum[s] = 0.1 * (layer + 1);
		t->layer[layer].loss[s] = s == 0 ? 1.0 / 3 : (double)NAN;
	}
	memset(t->layer[layer].next, 'c', 64);
	if (layer == 1) {
		t->layer[layer].note = json_pack("{s:[i,i]}", "unseen", 3, 4);
	}
	assert_int_equal(cwe_tiles_commit(t, layer, &err), 0);
}

static void write_all(void)
{
	struct cwe_tiles t;
	open_tiles(&t, identity);
	for (uint32_t l = LAYERS; l > 0; l--) {
		assert_int_equal(t.layer[l - 1].done, 0);
		write_layer(&t, l - 1);
	}
	cwe_tiles_close(&t);
}

static void comes_back(void **state)
{
	struct cwe_tiles t;
	(void)state;
	write_all();
	open_tiles(&t, identity);
	for (uint32_t l = 0; l < LAYERS; l++) {
		assert_int_equal(t.layer[l].done, 1);
		assert_true(t.layer[l].sum[1] == 0.1 * (l + 1));
		assert_true(t.layer[l].loss[0] == 1.0 / 3);
		assert_true(isnan(t.layer[l].loss[1]));
		assert_int_equal(strlen(t.layer[l].next), 64);
		assert_int_equal(t.layer[l].note != NULL, l == 1);
	}
	const json_t *note = json_object_get(t.layer[1].note, "unseen");
	assert_int_equal(json_array_size(note), 2);
	assert_int_equal(json_integer_value(json_array_get(note, 1)), 4);
	cwe_tiles_close(&t);
}

/* Tiles that a cache holds too, by links, are never written into; and what came from there is known again. */
static void cached(void **state)
{
	struct cwe_tiles t;
	struct cwb_err err = {0};
	char kept[160];
	float x[5];
	(void)state;
	write_all();
	(void)snprintf(kept, sizeof kept, "%s", path("kept"));
	assert_int_equal(link(path("score-1-2.f32"), kept), 0);
	open_tiles(&t, identity);
	assert_int_equal(t.layer[2].cached, 0);
	t.layer[2].cached = 1;
	assert_int_equal(cwe_tiles_commit(&t, 2, &err), 0);
	cwe_tiles_close(&t);
	open_tiles(&t, identity);
	assert_int_equal(t.layer[2].cached, 1);
	assert_int_equal(t.layer[1].cached, 0);
	struct cwe_tile tile;
	assert_int_equal(cwe_tile_create(&t, 2, 1, &tile, &err), 0);
	assert_int_equal(cwe_tile_write(&tile, (const float[5]){9, 9, 9, 9, 9}, 5, &err), 0);
	assert_int_equal(cwe_tile_finish(&tile, 1, NULL, &err), 0);
	int fd = open(kept, O_RDONLY);
	assert_int_equal(read(fd, x, sizeof x), sizeof x);
	(void)close(fd);
	assert_true(x[0] == 1 && x[4] == 5);
	assert_int_equal(cwe_tiles_restart(&t, identity, &err), 0);
	for (uint32_t l = 0; l < LAYERS; l++) {
		assert_true(!t.layer[l].done && !t.layer[l].cached);
	}
	assert_int_equal(access(path("score-0-0.f32"), F_OK), -1);
	assert_int_equal(access(kept, F_OK), 0);
	write_layer(&t, 0); /* the journal is open again */
	cwe_tiles_close(&t);
	open_tiles(&t, identity);
	assert_int_equal(t.layer[0].done, 1);
	cwe_tiles_close(&t);
}

static void gradients(void **state)
{
	float x[1000], y[1000];
	struct cwe_host host = {.pool = NULL};
	struct cwe_device device = {.host = &host};
	struct cwe_boundary b = {.device = &device, .slots = 1, .floats = 1000, .dtype = CWP_F32, .width = sizeof *x, .fd = -1,
		.memory = (char *)x};
	struct cwb_err err = {0};
	char digest[65];
	(void)state;
	for (int i = 0; i < 1000; i++) {
		x[i] = (float)i * 0.7f;
	}
	assert_int_equal(cwe_gradient_save(folder, 4, &b, digest, &err), 0);
	b.memory = (char *)y;
	assert_int_equal(cwe_gradient_load(folder, 4, digest, &b, &err), 0);
	assert_memory_equal(x, y, sizeof x);
	/* Missing, changed, and short: one code, by which a caller knows that beginning anew helps. */
	assert_int_equal(cwe_gradient_load(folder, 5, digest, &b, &err), CWP_EDIGEST);
	cwb_err_clear(&err);
	int fd = open(path("gradient-4"), O_WRONLY);
	assert_int_equal(pwrite(fd, "x", 1, 77), 1);
	(void)close(fd);
	assert_int_equal(cwe_gradient_load(folder, 4, digest, &b, &err), CWP_EDIGEST);
	assert_non_null(strstr(err.message, "gradient-4"));
	cwb_err_clear(&err);
	assert_int_equal(truncate(path("gradient-4"), 100), 0);
	assert_int_equal(cwe_gradient_load(folder, 4, digest, &b, &err), CWP_EDIGEST);
	cwe_gradient_remove(folder, 4);
	assert_int_equal(access(path("gradient-4"), F_OK), -1);
	cwe_gradient_remove(folder, 4);
}

/* One of many pieces, by several threads: each byte of it counts, and its digest is over those of its pieces. */
static void large_gradient(void **state)
{
	enum { N = 9 * (1 << 18) + 5, STEP = 1 << 20 };
	float *x = malloc(N * sizeof *x), *y = calloc(N, sizeof *y);
	struct cwe_host host;
	struct cwe_device device = {.host = &host};
	struct cwe_pool *pool;
	struct cwb_err err = {0};
	struct cwb_digest all, one;
	uint8_t piece[CWB_DIGEST_SIZE];
	char digest[65], want[65];
	(void)state;
	assert_true(x != NULL && y != NULL);
	for (int i = 0; i < N; i++) {
		x[i] = (float)i * 0.3f;
	}
	assert_int_equal(cwe_pool_new(3, &pool, NULL), 0);
	cwe_host_init(&host, pool, 0);
	struct cwe_boundary b = {.device = &device, .slots = 1, .floats = N, .dtype = CWP_F32, .width = sizeof *x, .fd = -1,
		.memory = (char *)x};
	assert_int_equal(cwe_gradient_save(folder, 2, &b, digest, &err), 0);
	assert_int_equal(cwb_digest_begin(&all), 0);
	for (size_t at = 0; at < N * sizeof *x; at += STEP) {
		assert_int_equal(cwb_digest_begin(&one), 0);
		cwb_digest_update(&one, (char *)x + at, N * sizeof *x - at < STEP ? N * sizeof *x - at : STEP);
		assert_int_equal(cwb_digest_end(&one, piece), 0);
		cwb_digest_update(&all, piece, sizeof piece);
	}
	assert_int_equal(cwb_digest_end_hex(&all, want), 0);
	assert_string_equal(digest, want);
	b.memory = (char *)y;
	assert_int_equal(cwe_gradient_load(folder, 2, digest, &b, &err), 0);
	assert_memory_equal(x, y, N * sizeof *x);
	for (off_t at = 100; at < (off_t)(N * sizeof *x); at += STEP) {
		int fd = open(path("gradient-2"), O_RDWR);
		char byte;
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 4;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_int_equal(cwe_gradient_load(folder, 2, digest, &b, &err), CWP_EDIGEST);
		cwb_err_clear(&err);
		byte ^= 4;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		(void)close(fd);
	}
	cwe_gradient_remove(folder, 2);
	cwe_pool_free(pool);
	free(x);
	free(y);
}

/* Tiles of bf16: half the bytes, values rounded to nearest with ties to even, combined scores as they are. */
static void halves(void **state)
{
	enum { N = 40000 };
	static float x[N], y[N];
	const float tie[4] = {1.00390625f, 1.01171875f, -1.00390625f, 3.3961775e38f};
	const float even[4] = {1.0f, 1.015625f, -1.0f, INFINITY};
	struct cwe_tiles_key key = {folder, identity, SETS, LAYERS, 1, 0, NULL};
	struct cwe_tiles t;
	struct cwe_tile tile;
	struct cwb_err err = {0};
	struct stat st;
	(void)state;
	write_all();
	for (int i = 0; i < N; i++) {
		x[i] = ldexpf(1.0f + (float)(i % 997) / 997, i % 60 - 30);
	}
	/* Another identity: nothing of the first is left, whatever its form. */
	key.identity = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
	assert_int_equal(access(path("score-1-2.f32"), F_OK), 0);
	assert_int_equal(cwe_tiles_open(&key, &t, &err), 0);
	assert_int_equal(access(path("score-1-2.f32"), F_OK), -1);
	assert_int_equal(cwe_tile_create(&t, 2, 1, &tile, &err), 0);
	assert_int_equal(cwe_tile_write(&tile, tie, 4, &err), 0);
	assert_int_equal(cwe_tile_write(&tile, x, N, &err), 0);
	assert_int_equal(cwe_tile_finish(&tile, 1, t.layer[2].digest[1], &err), 0);
	assert_int_equal(stat(path("score-1-2.bf16"), &st), 0);
	assert_int_equal(st.st_size, 2 * (N + 4));
	assert_int_equal(cwe_tile_open(&t, 2, 1, &tile, &err), 0);
	assert_int_equal(cwe_tile_read(&tile, y, 4, &err), 0);
	assert_memory_equal(y, even, sizeof even);
	assert_int_equal(cwe_tile_read(&tile, y, N, &err), 0);
	for (int i = 0; i < N; i++) {
		assert_true(fabsf(y[i] - x[i]) <= x[i] / 256);
	}
	assert_int_equal(cwe_tile_verify(&t, 2, 1, &tile, 0, &err), 0);
	assert_int_equal(cwe_tile_open(&t, 2, 1, &tile, &err), 0);
	assert_int_equal(cwe_tile_skip(&tile, 4 + 1000), 0);
	assert_int_equal(cwe_tile_read(&tile, x, 1, &err), 0);
	assert_true(x[0] == y[1000]);
	/* A part alone has another digest than the whole. */
	assert_int_equal(cwe_tile_verify(&t, 2, 1, &tile, 0, &err), CWP_EDIGEST);
	assert_non_null(strstr(err.message, "score-1-2.bf16 changed on disk"));
	cwb_err_clear(&err);
	assert_int_equal(cwe_tile_create(&t, 2, CWE_TILE_COMBINED, &tile, &err), 0);
	assert_int_equal(cwe_tile_write(&tile, tie, 4, &err), 0);
	assert_int_equal(cwe_tile_finish(&tile, 0, NULL, &err), 0);
	assert_int_equal(stat(path("combined-2.f32"), &st), 0);
	assert_int_equal(st.st_size, 16);
	/* Combined scores have no digest, and any place of them is written and read alone. */
	char digest[65];
	assert_int_equal(cwe_tile_create(&t, 2, CWE_TILE_COMBINED, &tile, &err), 0);
	assert_int_equal(cwe_tile_write_at(&tile, x + 7, 7, N - 7, &err), 0);
	assert_int_equal(cwe_tile_write_at(&tile, x, 0, 7, &err), 0);
	assert_int_equal(cwe_tile_skip(&tile, 100), 0);
	assert_int_equal(cwe_tile_read_at(&tile, y, 3, 50, &err), 0);
	assert_memory_equal(y, x + 103, 50 * sizeof *y);
	assert_int_not_equal(cwe_tile_finish(&tile, 0, digest, &err), 0);
	cwb_err_clear(&err);
	cwe_tiles_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(comes_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(cached, set_up, tear_down),
		cmocka_unit_test_setup_teardown(gradients, set_up, tear_down),
		cmocka_unit_test_setup_teardown(large_gradient, set_up, tear_down),
		cmocka_unit_test_setup_teardown(halves, set_up, tear_down)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
