/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Score tiles: what is committed is found again, what was torn, cut, lost or of another run is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/pipeline/tiles.h"

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define LAYERS 3
#define SETS 2
#define FLOATS 100

static char folder[64];

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/cwp-tiles-XXXXXX");
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	return cwb_file_remove_tree(AT_FDCWD, folder, NULL);
}

static void open_tiles(const char *identity, struct cwe_tiles *t)
{
	struct cwb_err err = {0};
	if (cwe_tiles_open(&(struct cwe_tiles_key){folder, identity, SETS, LAYERS, 0, 0, NULL}, t, &err) != 0) {
		fail_msg("%s", err.message);
	}
}

static void write_tile(struct cwe_tiles *t, uint32_t layer, uint32_t set)
{
	struct cwe_tile tile;
	float x[FLOATS];
	for (unsigned i = 0; i < FLOATS; i++) {
		x[i] = (float)(layer * 1000 + set * 100 + i) / 7;
	}
	assert_int_equal(cwe_tile_create(t, layer, set, &tile, NULL), 0);
	assert_int_equal(cwe_tile_write(&tile, x, 40, NULL), 0);
	assert_int_equal(cwe_tile_write(&tile, x + 40, FLOATS - 40, NULL), 0);
	assert_int_equal(cwe_tile_finish(&tile, 1, t->layer[layer].digest[set], NULL), 0);
}

/* All sets of a layer, and their line in the journal. */
static void write_layer(struct cwe_tiles *t, uint32_t layer)
{
	for (uint32_t s = 0; s < SETS; s++) {
		write_tile(t, layer, s);
		t->layer[layer].sum[s] = 1.0 / (3 + layer + s);
	}
	memset(t->layer[layer].next, 'a' + (int)layer, 64);
	t->layer[layer].next[64] = '\0';
	assert_int_equal(cwe_tiles_commit(t, layer, NULL), 0);
}

static unsigned done(const struct cwe_tiles *t)
{
	unsigned bits = 0;
	for (uint32_t l = 0; l < LAYERS; l++) {
		bits |= (unsigned)t->layer[l].done << l;
	}
	return bits;
}

/* Layers 2 and 1 are complete. */
static void two_layers(void)
{
	struct cwe_tiles t;
	open_tiles("one", &t);
	assert_int_equal(done(&t), 0);
	write_layer(&t, 2);
	write_layer(&t, 1);
	assert_int_equal(done(&t), 6);
	cwe_tiles_close(&t);
}

static void path_of(const char *name, char *path, size_t size)
{
	(void)snprintf(path, size, "%s/%s", folder, name);
}

static void append(const char *name, const char *text)
{
	char path[128];
	path_of(name, path, sizeof path);
	FILE *f = fopen(path, "a");
	assert_non_null(f);
	int written = fputs(text, f) >= 0;
	int closed = fclose(f) == 0;
	assert_true(written && closed);
}

static int exists(const char *name)
{
	char path[128];
	path_of(name, path, sizeof path);
	return access(path, F_OK) == 0;
}

static void test_resume(void **state)
{
	(void)state;
	struct cwe_tiles t;
	struct cwe_tile tile;
	float x[FLOATS];
	char digest[65];
	two_layers();
	open_tiles("one", &t);
	assert_int_equal(done(&t), 6);
	assert_true(t.layer[1].sum[1] == 1.0 / 5); /* exactly */
	assert_int_equal(t.layer[1].next[63], 'b');
	assert_int_equal(cwe_tile_open(&t, 1, 1, &tile, NULL), 0);
	assert_int_equal(cwe_tile_read(&tile, x, 7, NULL), 0);
	assert_int_equal(cwe_tile_read(&tile, x + 7, FLOATS - 7, NULL), 0);
	assert_int_equal(cwe_tile_finish(&tile, 0, digest, NULL), 0);
	assert_string_equal(digest, t.layer[1].digest[1]);
	assert_true(x[99] == (float)1199 / 7);
	write_layer(&t, 0);
	cwe_tiles_close(&t);
	open_tiles("one", &t);
	assert_int_equal(done(&t), 7);
	cwe_tiles_close(&t);
}

static void test_torn_line(void **state)
{
	(void)state;
	struct cwe_tiles t;
	two_layers();
	append("journal", "{\"layer\":0,\"next\":\"");
	open_tiles("one", &t);
	assert_int_equal(done(&t), 6);
	/* The next line does not continue the torn one. */
	write_layer(&t, 0);
	cwe_tiles_close(&t);
	open_tiles("one", &t);
	assert_int_equal(done(&t), 7);
	cwe_tiles_close(&t);
}

static void test_other_identity(void **state)
{
	(void)state;
	struct cwe_tiles t;
	two_layers();
	open_tiles("two", &t);
	assert_int_equal(done(&t), 0);
	assert_false(exists("score-0-2.f32"));
	assert_false(exists("score-1-1.f32"));
	cwe_tiles_close(&t);
	open_tiles("one", &t);
	assert_int_equal(done(&t), 0);
	cwe_tiles_close(&t);
}

static void test_garbage(void **state)
{
	(void)state;
	static const char *const line[] = {"[]\n", "{\"layer\":7,\"next\":\"\",\"sets\":[]}\n", "\n", "{\"layer\":-1}\n",
		"{\"layer\":0,\"next\":\"\",\"sets\":[{\"digest\":\"x\",\"sum\":\"1\"},{}]}\n", "\xff\xfe\n",
		"{\"boundary\":1,\"digest\":\"x\"}\n", "{\"boundary\":4,\"digest\":\"" DIGEST "\"}\n",
		"{\"boundary\":-1,\"digest\":\"" DIGEST "\"}\n",
		"{\"head\":\"x\",\"loss\":[\"1\",\"2\"]}\n", "{\"head\":\"" DIGEST "\",\"loss\":[\"1\"]}\n",
		"{\"head\":\"" DIGEST "\",\"loss\":[\"1\",2]}\n", "{\"boundary\":1,\"digest\":\"" DIGEST "\",\"passes\":-1}\n"};
	for (size_t i = 0; i < sizeof line / sizeof *line; i++) {
		struct cwe_tiles t;
		two_layers();
		append("journal", line[i]);
		open_tiles("one", &t);
		assert_true(done(&t) == 0 || done(&t) == 6);
		write_layer(&t, 2);
		write_layer(&t, 1);
		write_layer(&t, 0);
		cwe_tiles_close(&t);
		open_tiles("one", &t);
		assert_int_equal(done(&t), 7);
		cwe_tiles_close(&t);
		assert_int_equal(tear_down(NULL), 0);
		assert_int_equal(mkdir(folder, 0700), 0);
	}
}

/* What is kept before the first layer is scored, and the count of passes. */
static void test_forward(void **state)
{
	(void)state;
	struct cwe_tiles t;
	open_tiles("one", &t);
	append("forward-1", "x");
	append("gradient-3", "x");
	t.passes = 1;
	assert_int_equal(cwe_tiles_boundary(&t, 1, DIGEST, NULL), 0);
	t.passes = 4;
	assert_int_equal(cwe_tiles_head(&t, DIGEST, (const double[SETS]){0.1, 1.0 / 3}, NULL), 0);
	cwe_tiles_close(&t);
	open_tiles("one", &t);
	assert_string_equal(t.boundary[1], DIGEST);
	assert_int_equal(t.boundary[2][0], '\0');
	assert_string_equal(t.head, DIGEST);
	assert_true(t.head_loss[0] == 0.1 && t.head_loss[1] == 1.0 / 3);
	assert_int_equal(t.passes, 4);
	t.passes = 5;
	write_layer(&t, 2);
	cwe_tiles_close(&t);
	open_tiles("one", &t);
	assert_int_equal(t.passes, 5);
	assert_int_equal(done(&t), 4);
	cwe_tiles_close(&t);
	/* Of no use to another job. */
	open_tiles("two", &t);
	assert_true(t.passes == 0 && t.head[0] == '\0' && t.boundary[1][0] == '\0');
	assert_false(exists("forward-1"));
	assert_false(exists("gradient-3"));
	cwe_tiles_close(&t);
}

/* A tile that is gone or cut takes the layers with it that were computed below it. */
static void test_lost_tile(void **state)
{
	(void)state;
	char path[128];
	struct cwe_tiles t;
	for (int cut = 0; cut < 2; cut++) {
		two_layers();
		path_of("score-0-2.f32", path, sizeof path);
		assert_int_equal(cut ? truncate(path, 12) : unlink(path), 0);
		open_tiles("one", &t);
		assert_int_equal(done(&t) & 4, 0);
		write_layer(&t, 2);
		write_layer(&t, 1);
		cwe_tiles_close(&t);
		open_tiles("one", &t);
		assert_int_equal(done(&t), 6);
		cwe_tiles_close(&t);
		assert_int_equal(tear_down(NULL), 0);
		assert_int_equal(mkdir(folder, 0700), 0);
	}
}

/* A changed tile has another digest, and one that is too short is refused while it is read. */
static void test_changed_tile(void **state)
{
	(void)state;
	char path[128], digest[65];
	struct cwe_tiles t;
	struct cwe_tile tile;
	struct cwb_err err = {0};
	float x[FLOATS + 1];
	two_layers();
	open_tiles("one", &t);
	path_of("score-1-2.f32", path, sizeof path);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "\1", 1, 17), 1);
	assert_int_equal(close(fd), 0);
	assert_int_equal(cwe_tile_open(&t, 2, 1, &tile, NULL), 0);
	assert_int_equal(cwe_tile_read(&tile, x, FLOATS, NULL), 0);
	assert_int_equal(cwe_tile_finish(&tile, 0, digest, NULL), 0);
	assert_string_not_equal(digest, t.layer[2].digest[1]);
	assert_int_equal(cwe_tile_open(&t, 2, 0, &tile, NULL), 0);
	assert_int_equal(cwe_tile_read(&tile, x, FLOATS + 1, &err), CWP_EFORMAT);
	assert_non_null(strstr(err.message, "score-0-2.f32"));
	cwe_tile_abort(&tile);
	cwe_tiles_close(&t);
}

static void test_no_folder(void **state)
{
	(void)state;
	struct cwe_tiles t;
	struct cwb_err err = {0};
	assert_int_equal(cwe_tiles_open(&(struct cwe_tiles_key){"/nowhere/at/all", "one", 1, 1, 0, 0, NULL}, &t, &err), -2);
	assert_non_null(strstr(err.message, "/nowhere/at/all"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_resume, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_torn_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_identity, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_garbage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_forward, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lost_tile, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_changed_tile, set_up, tear_down),
		cmocka_unit_test(test_no_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
