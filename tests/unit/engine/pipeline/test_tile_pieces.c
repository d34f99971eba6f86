/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tiles by pieces: the bytes and the digest of a tile are those of its numbers, whoever writes and reads how many at a time. */
#include <errno.h>
#include <fcntl.h>
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
#include "engine/format/dtype.h"
#include "engine/pipeline/tiles.h"
#include "engine/plugin/pool.h"

enum { PIECE = 1 << 20, N = 5 * PIECE / 4 + 1001, CUTS = 4 };

static char folder[64];
static const char identity[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
static float *x, *y;
static struct cwe_pool *pool;
static int striped;

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof folder, "/tmp/cwe-pieces-XXXXXX");
	x = malloc(N * sizeof *x);
	y = malloc(N * sizeof *y);
	for (uint32_t i = 0; x != NULL && i < N; i++) {
		x[i] = cwe_f32_from_bf16((uint16_t)(i * 2654435761u >> 18)); /* as it is in both forms */
	}
	return mkdtemp(folder) != NULL && x != NULL && y != NULL ? cwe_pool_new(3, &pool, NULL) : -1;
}

static int tear_down(void **state)
{
	(void)state;
	free(x);
	free(y);
	cwe_pool_free(pool);
	return cwb_file_remove_tree(AT_FDCWD, folder, NULL);
}

static void open_tiles(struct cwe_tiles *t, int bf16, struct cwe_pool *with)
{
	const struct cwe_tiles_key key = {folder, identity, 1, 2, bf16, striped, with};
	assert_int_equal(cwe_tiles_open(&key, t, NULL), 0);
}

/* All numbers, so many at a time. */
static void write_tile(struct cwe_tiles *t, uint32_t layer, uint64_t step, char digest[65])
{
	struct cwe_tile tile;
	assert_int_equal(cwe_tile_create(t, layer, 0, &tile, NULL), 0);
	for (uint64_t at = 0; at < N; at += step) {
		assert_int_equal(cwe_tile_write(&tile, x + at, N - at < step ? N - at : step, NULL), 0);
	}
	assert_int_equal(cwe_tile_finish(&tile, 1, digest, NULL), 0);
}

static void read_tile(struct cwe_tiles *t, uint32_t layer, uint64_t step, char digest[65])
{
	struct cwe_tile tile;
	memset(y, 0xff, N * sizeof *y);
	assert_int_equal(cwe_tile_open(t, layer, 0, &tile, NULL), 0);
	for (uint64_t at = 0; at < N; at += step) {
		assert_int_equal(cwe_tile_read(&tile, y + at, N - at < step ? N - at : step, NULL), 0);
	}
	assert_memory_equal(x, y, N * sizeof *x);
	assert_int_equal(cwe_tile_finish(&tile, 0, digest, NULL), 0);
}

static char *stripe_path(const struct cwe_tiles *t, uint32_t layer, int stripe)
{
	char name[64];
	cwe_tile_stripe_name(t, layer, 0, stripe, name, sizeof name);
	return cwe_tiles_path(t, name);
}

/* The digest over those of a tile's pieces, which go round its files. */
static void digest_file(const struct cwe_tiles *t, uint32_t layer, char ret[65])
{
	struct cwb_digest all, one;
	uint8_t digest[CWB_DIGEST_SIZE];
	char *text[CWE_TILE_STRIPES] = {0};
	size_t length[CWE_TILE_STRIPES] = {0}, n = (size_t)cwe_tile_stripes(t, 0), sum = 0;
	assert_int_equal(n, striped ? CWE_TILE_STRIPES : 1);
	for (size_t i = 0; i < n; i++) {
		char *path = stripe_path(t, layer, (int)i);
		assert_int_equal(cwb_file_read(path, 64u << 20, &text[i], &length[i], NULL), 0);
		free(path);
		sum += length[i];
	}
	assert_int_equal(sum, N * (t->bf16 ? 2 : 4));
	assert_int_equal(cwb_digest_begin(&all), 0);
	for (size_t k = 0; k * PIECE < sum; k++) {
		size_t at = k / n * PIECE, left = length[k % n] - at;
		assert_int_equal(cwb_digest_begin(&one), 0);
		cwb_digest_update(&one, text[k % n] + at, left < PIECE ? left : PIECE);
		assert_int_equal(cwb_digest_end(&one, digest), 0);
		cwb_digest_update(&all, digest, sizeof digest);
	}
	assert_int_equal(cwb_digest_end_hex(&all, ret), 0);
	for (size_t i = 0; i < n; i++) {
		free(text[i]);
	}
}

static void in_any_cut(int bf16)
{
	const uint64_t step[CUTS] = {N, 77777, PIECE / (bf16 ? 2 : 4), 3 * PIECE / 4 - 1};
	char want[65], digest[65];
	struct cwe_tiles t;
	for (int threads = 0; threads < 2; threads++) {
		open_tiles(&t, bf16, threads ? pool : NULL);
		for (int i = 0; i < CUTS; i++) {
			write_tile(&t, 0, step[i], digest);
			digest_file(&t, 0, want);
			assert_string_equal(digest, want);
			read_tile(&t, 0, step[(i + 1) % CUTS], digest);
			assert_string_equal(digest, want);
		}
		cwe_tiles_close(&t);
	}
}

static void singles(void **state)
{
	(void)state;
	in_any_cut(0);
}

static void halves(void **state)
{
	(void)state;
	in_any_cut(1);
}

static void flip_byte(const char *path, uint64_t at)
{
	uint8_t byte;
	int fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	(void)close(fd);
}

/* What is left of a tile is read for its digest, and one byte that changed is seen in any piece, in whichever file it is. */
static void damaged_form(int bf16)
{
	char digest[65], other[65];
	struct cwe_tiles t;
	struct cwe_tile tile;
	open_tiles(&t, bf16, pool);
	write_tile(&t, 0, N, digest);
	assert_int_equal(cwe_tile_open(&t, 0, 0, &tile, NULL), 0);
	assert_int_equal(cwe_tile_read(&tile, y, 300000, NULL), 0);
	assert_int_equal(cwe_tile_drain(&tile, NULL), 0);
	assert_int_equal(cwe_tile_drain(&tile, NULL), 0); /* nothing is left */
	assert_int_equal(cwe_tile_finish(&tile, 0, other, NULL), 0);
	assert_string_equal(digest, other);
	for (uint64_t piece = 0, files = (uint64_t)cwe_tile_stripes(&t, 0); piece * PIECE + 5 < N * (bf16 ? 2 : 4); piece++) {
		uint64_t at = piece / files * PIECE + 5;
		char *path = stripe_path(&t, 0, (int)(piece % files));
		flip_byte(path, at);
		assert_int_equal(cwe_tile_open(&t, 0, 0, &tile, NULL), 0);
		assert_int_equal(cwe_tile_read(&tile, y, N, NULL), 0);
		assert_int_equal(cwe_tile_finish_checked(&tile, digest, 0, NULL), CWP_EDIGEST);
		flip_byte(path, at);
		free(path);
	}
	cwe_tiles_close(&t);
}

static void damaged(void **state)
{
	(void)state;
	damaged_form(0);
	damaged_form(1);
}

/* A file that is too short, and one that cannot be written: the first piece that failed tells, and nothing is counted. */
static void fails(void **state)
{
	struct cwb_err err = {0};
	struct cwe_tiles t;
	struct cwe_tile tile;
	char digest[65];
	(void)state;
	for (int bf16 = 0; bf16 < 2; bf16++) {
		open_tiles(&t, bf16, pool);
		write_tile(&t, 1, N, digest);
		char name[64];
		cwe_tile_stripe_name(&t, 1, 0, 0, name, sizeof name);
		char *path = cwe_tiles_path(&t, name);
		assert_int_equal(truncate(path, PIECE + 3), 0);
		free(path);
		assert_int_equal(cwe_tile_open(&t, 1, 0, &tile, NULL), 0);
		assert_int_equal(cwe_tile_read(&tile, y, 10, NULL), 0);
		assert_int_equal(cwe_tile_read(&tile, y, N - 10, &err), CWP_EFORMAT);
		assert_non_null(strstr(err.message, name));
		assert_int_equal(tile.at, 10 * (bf16 ? 2 : 4));
		cwb_err_clear(&err);
		assert_int_equal(cwe_tile_write(&tile, x, N, &err), -EBADF); /* opened for reading */
		cwb_err_clear(&err);
		cwe_tile_abort(&tile);
		cwe_tiles_close(&t);
		assert_int_equal(cwb_file_remove_tree(AT_FDCWD, folder, NULL), 0);
		assert_int_equal(mkdir(folder, 0700), 0);
	}
}

/* A combined tile: its pieces go round several files, and every place is written and read alone or in order. */
static void round_files(void **state)
{
	const uint64_t share = N / 7 + 1;
	struct cwb_err err = {0};
	struct cwe_tiles t;
	struct cwe_tile tile;
	struct stat st;
	(void)state;
	open_tiles(&t, 1, pool); /* f32 all the same */
	assert_int_equal(cwe_tile_create(&t, 1, CWE_TILE_COMBINED, &tile, NULL), 0);
	for (uint64_t i = 7; i-- > 0;) {
		assert_int_equal(cwe_tile_write_at(&tile, x + i * share, i * share, N - i * share < share ? N - i * share : share, NULL), 0);
	}
	assert_int_equal(cwe_tile_finish(&tile, 0, NULL, NULL), 0);
	char *path = cwe_tiles_path(&t, "combined-1.f32"), *second = cwe_tiles_path(&t, "combined-1.f32.1"), *sixth = cwe_tiles_path(&t, "combined-1.f32.5");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, PIECE);
	assert_int_equal(stat(second, &st), 0);
	assert_int_equal(st.st_size, PIECE);
	assert_int_equal(stat(sixth, &st), 0);
	assert_int_equal(st.st_size, N * sizeof *x - 5 * PIECE);
	assert_int_equal(cwe_tile_open(&t, 1, CWE_TILE_COMBINED, &tile, NULL), 0);
	assert_int_equal(cwe_tile_read(&tile, y, 1000, NULL), 0);
	assert_int_equal(cwe_tile_read_at(&tile, y + N / 2, N / 2 - 1000, N - N / 2, NULL), 0);
	assert_int_equal(cwe_tile_read(&tile, y + 1000, N / 2 - 1000, NULL), 0);
	assert_memory_equal(x, y, N * sizeof *x);
	assert_int_equal(cwe_tile_read(&tile, y, N, &err), CWP_EFORMAT); /* they are over */
	cwb_err_clear(&err);
	cwe_tile_abort(&tile);
	/* In order, by all threads, more than once round: what was there before is gone. */
	assert_int_equal(cwe_tile_create(&t, 1, CWE_TILE_COMBINED, &tile, NULL), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(cwe_tile_write(&tile, x, N, NULL), 0);
	}
	assert_int_equal(cwe_tile_finish(&tile, 0, NULL, NULL), 0);
	assert_int_equal(cwe_tile_open(&t, 1, CWE_TILE_COMBINED, &tile, NULL), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(cwe_tile_read(&tile, y, N, NULL), 0);
		assert_memory_equal(x, y, N * sizeof *x);
	}
	cwe_tile_abort(&tile);
	assert_int_equal(unlink(second), 0);
	assert_int_equal(cwe_tile_open(&t, 1, CWE_TILE_COMBINED, &tile, &err), -ENOENT);
	assert_non_null(strstr(err.message, "combined-1.f32.1"));
	free(path);
	free(second);
	free(sixth);
	cwe_tiles_close(&t);
}

static int set_up_stripes(void **state)
{
	striped = 1;
	return set_up(state);
}

static int tear_down_stripes(void **state)
{
	striped = 0;
	return tear_down(state);
}

/* A layer is gone on from when all files of its tiles are there and whole, whichever it is. */
static void journal_of_stripes(void **state)
{
	struct cwe_tiles t;
	(void)state;
	for (int i = -1; i < CWE_TILE_STRIPES; i++) {
		for (int shorter = 0; shorter < 2; shorter++) {
			open_tiles(&t, 0, pool);
			write_tile(&t, 1, N, t.layer[1].digest[0]);
			assert_int_equal(cwe_tiles_commit(&t, 1, NULL), 0);
			char *path = i >= 0 ? stripe_path(&t, 1, i) : NULL;
			struct stat st = {0};
			assert_int_equal(path != NULL ? stat(path, &st) : 0, 0);
			if (path != NULL && (!shorter || st.st_size == 0)) {
				assert_int_equal(unlink(path), 0);
			} else if (path != NULL) {
				assert_int_equal(truncate(path, st.st_size - 1), 0);
			}
			free(path);
			cwe_tiles_close(&t);
			open_tiles(&t, 0, pool);
			assert_int_equal(t.layer[1].done, i < 0);
			for (int k = 0; k < CWE_TILE_STRIPES; k++) {
				path = stripe_path(&t, 1, k);
				assert_int_equal(access(path, F_OK), i < 0 ? 0 : -1); /* nothing of it stays */
				free(path);
			}
			assert_int_equal(cwe_tile_remove(&t, 1, 0, NULL), 0);
			path = stripe_path(&t, 1, CWE_TILE_STRIPES - 1);
			assert_int_equal(access(path, F_OK), -1);
			free(path);
			assert_int_equal(cwe_tiles_restart(&t, identity, NULL), 0);
			cwe_tiles_close(&t);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(singles, set_up_stripes, tear_down_stripes),
		cmocka_unit_test_setup_teardown(halves, set_up_stripes, tear_down_stripes),
		cmocka_unit_test_setup_teardown(damaged, set_up_stripes, tear_down_stripes),
		cmocka_unit_test_setup_teardown(journal_of_stripes, set_up_stripes, tear_down_stripes),
		cmocka_unit_test_setup_teardown(singles, set_up, tear_down),
		cmocka_unit_test_setup_teardown(halves, set_up, tear_down), cmocka_unit_test_setup_teardown(damaged, set_up, tear_down),
		cmocka_unit_test_setup_teardown(fails, set_up, tear_down), cmocka_unit_test_setup_teardown(round_files, set_up, tear_down)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
