/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Codes and overlays of modules that several blocks of rows make up: threads write the bytes that one does, every protected value
 * is where its mask says, and of several failures the first one is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/format/checkpoint.h"
#include "engine/format/overlay.h"
#include "engine/plugin/pool.h"
#include "tests/unit/engine/output/toy.h"

enum { MODULES = 3 };

/* Rows end within a block; 700 columns have gaps that need escapes; 90 end within a byte of the mask. */
static const struct cwe_safetensors_plan shapes[MODULES] = {
	{"model.layers.0.self_attn.q_proj.weight", CWE_DTYPE_BF16, 2, {203, 704}},
	{"model.layers.0.mlp.up_proj.weight", CWE_DTYPE_BF16, 2, {130, 90}},
	{"model.layers.0.mlp.down_proj.weight", CWE_DTYPE_BF16, 2, {64, 160}},
};
static const char *const modules[MODULES] = {
	"model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj"};

static struct cwe_pool *pool;

static void begin(struct toy_world *x, double fraction, int carrier)
{
	const struct cwp_grid grid = toy_grid(CWP_CODE_INT, 4, 0, 0, CWP_ACT_NONE);

	x->model = toy_folder();
	toy_weights(x->model, shapes, MODULES, 7);
	toy_begin_modules(x, modules, MODULES, &grid, fraction, carrier);
}

static struct cwe_writer *open_writer(struct toy_world *x, struct cwe_pool *threads)
{
	struct cwe_writer *w;

	toy_remove(x->out);
	assert_int_equal(mkdir(x->out, 0755), 0);
	assert_int_equal(cwe_writer_new(x->source, &x->options, x->module, MODULES, &w, NULL), 0);
	if (threads)
		cwe_writer_threads(w, threads);
	return w;
}

static int put(struct cwe_writer *w, const struct toy_result *r, struct cwb_err *err)
{
	return cwe_writer_module(w, &r->module, r->codes, r->scales, r->zeros, r->mask, r->stride, err);
}

static void write_all(struct toy_world *x, struct cwe_pool *threads)
{
	struct cwe_writer *w = open_writer(x, threads);
	size_t i;

	for (i = 0; i < MODULES; i++) {
		assert_int_equal(put(w, &x->result[i], NULL), 0);
		assert_int_equal(cwe_writer_protected(w, x->result[i].name), x->result[i].module.protected_weights);
	}
	assert_int_equal(cwe_writer_finish(w, NULL), 0);
	cwe_writer_free(w);
}

/* What the file says of a module is its mask, and the source's values there. */
static void check_module(struct toy_world *x, const struct cwe_overlay *o, const struct toy_result *r, int values)
{
	const struct cwe_overlay_module *m = cwe_overlay_find(o, r->name);
	uint64_t rows = r->module.rows, cols = r->module.cols, i, c;
	uint8_t *bits = malloc(rows * r->stride);
	float *got = calloc(rows * cols, sizeof *got), *want = malloc(rows * cols * sizeof *want);
	char name[80];

	(void)snprintf(name, sizeof name, "%s.weight", r->name);
	assert_non_null(m);
	assert_int_equal(cwe_overlay_values(m), r->module.protected_weights);
	assert_int_equal(cwe_overlay_check(m, rows, cols, NULL), 0);
	assert_int_equal(cwe_overlay_mask(m, rows, cols, 0, rows, bits, NULL), 0);
	assert_memory_equal(bits, r->mask, rows * r->stride);
	assert_int_equal(cwe_weights_read_f32(x->source->weights, cwe_weights_find(x->source->weights, name), 0, rows, want, NULL), 0);
	if (values)
		assert_int_equal(cwe_overlay_apply(m, rows, cols, 0, rows, got, NULL), 0);
	for (i = 0; i < rows && values; i++)
		for (c = 0; c < cols; c++)
			assert_true(got[i * cols + c] == (r->mask[i * r->stride + (c >> 3)] >> (c & 7) & 1 ? want[i * cols + c] : 0));
	free(bits);
	free(got);
	free(want);
}

static void same_bytes(double fraction, int carrier, const char *file)
{
	struct cwe_overlay *o = NULL;
	struct toy_world x;
	char *one[2], *all[2];
	size_t n[2], m[2], i;

	begin(&x, fraction, carrier);
	write_all(&x, NULL);
	one[0] = toy_read(x.out, "model.safetensors", &n[0]);
	one[1] = toy_read(x.out, file, &n[1]);
	write_all(&x, pool);
	all[0] = toy_read(x.out, "model.safetensors", &m[0]);
	all[1] = toy_read(x.out, file, &m[1]);
	for (i = 0; i < 2; i++) {
		assert_int_equal(n[i], m[i]);
		assert_memory_equal(one[i], all[i], n[i]);
		free(one[i]);
		free(all[i]);
	}
	assert_int_equal((carrier == CWJ_CARRIER_OVERLAY ? cwe_overlay_open : cwe_overlay_open_mask)(x.out, &o, NULL), 0);
	for (i = 0; i < MODULES; i++)
		check_module(&x, o, &x.result[i], carrier == CWJ_CARRIER_OVERLAY);
	cwe_overlay_close(o);
	toy_end(&x);
}

static void test_same_bytes(void **state)
{
	(void)state;
	same_bytes(0.003, CWJ_CARRIER_OVERLAY, CWE_OVERLAY_FILE); /* escapes */
	same_bytes(0.05, CWJ_CARRIER_OVERLAY, CWE_OVERLAY_FILE);
	same_bytes(0.4, CWJ_CARRIER_OVERLAY, CWE_OVERLAY_FILE);   /* bitmaps */
	same_bytes(0.05, CWJ_CARRIER_DENSE, CWE_MASK_FILE);
}

/* No value is protected: no piece, no file. */
static void test_nothing(void **state)
{
	struct toy_world x;
	size_t i;
	char *path;

	(void)state;
	begin(&x, 0.05, CWJ_CARRIER_OVERLAY);
	for (i = 0; i < MODULES; i++) {
		memset(x.result[i].mask, 0, x.result[i].module.rows * x.result[i].stride);
		x.result[i].module.protected_weights = 0;
	}
	write_all(&x, pool);
	path = toy_path(x.out, CWE_OVERLAY_FILE);
	assert_int_equal(access(path, F_OK), -1);
	free(path);
	toy_end(&x);
}

/* Values that the dtype cannot hold, in several blocks: the first one in the order of rows is told, every time. */
static void test_first_failure(void **state)
{
	struct cwb_err err = {0};
	struct toy_result r;
	struct cwe_writer *w;
	struct toy_world x;
	float *exact;
	int turn;

	(void)state;
	begin(&x, 0.05, CWJ_CARRIER_OVERLAY);
	r = x.result[0];
	exact = calloc(r.module.rows * r.module.cols, sizeof *exact);
	for (uint64_t row = 70; row < r.module.rows; row += 64) {
		exact[row * r.module.cols + 9] = 3.4e38f;
		r.mask[row * r.stride + 1] |= 2;
	}
	r.module.exact = exact;
	for (turn = 0; turn < 8; turn++) {
		w = open_writer(&x, turn % 2 ? pool : NULL);
		cwb_err_clear(&err);
		assert_int_equal(put(w, &r, &err), CWP_ENUMBER);
		assert_non_null(strstr(err.message, "[70, 9] became "));
		assert_false(cwe_writer_has(w, r.name));
		cwe_writer_free(w);
	}
	free(exact);
	toy_end(&x);
}

static int set_up(void **state)
{
	(void)state;
	return cwe_pool_new(4, &pool, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	cwe_pool_free(pool);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_nothing), cmocka_unit_test(test_first_failure)};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
