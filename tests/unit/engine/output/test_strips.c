/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Modules written in strips of rows have the bytes of those written at once; tensors lie in the order in which they come; and
 * the digests that follow the writer are those of the files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/format/checkpoint.h"
#include "engine/format/manifest.h"
#include "engine/format/safetensors_writer.h"
#include "tests/unit/engine/output/toy.h"

enum { MODULES = 3 };

/* 203 rows end in the middle of a word of zero points; nothing is a multiple of the strip's 64 rows but the last. */
static const struct cwe_safetensors_plan shapes[] = {
	{"model.layers.0.self_attn.q_proj.weight", CWE_DTYPE_BF16, 2, {203, 64}},
	{"model.layers.0.mlp.up_proj.weight", CWE_DTYPE_BF16, 2, {72, 96}},
	{"model.layers.0.mlp.down_proj.weight", CWE_DTYPE_BF16, 2, {128, 160}},
	{"model.norm.weight", CWE_DTYPE_BF16, 1, {64}},
};

static void begin(struct toy_world *x, const struct cwp_grid *grid, uint64_t shard)
{
	static const char *const modules[MODULES] = {
		"model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj"};

	x->model = toy_folder();
	toy_weights(x->model, shapes, MODULES + 1, 3);
	toy_begin_modules(x, modules, MODULES, grid, 0, CWJ_CARRIER_NONE);
	x->options.shard = shard;
}

static struct cwe_writer *open_writer(struct toy_world *x)
{
	struct cwe_writer *w;

	assert_int_equal(cwe_writer_new(x->source, &x->options, x->module, MODULES, &w, NULL), 0);
	return w;
}

static int write_rows(struct cwe_writer *w, const struct toy_result *r, uint64_t row, uint64_t rows, struct cwb_err *err)
{
	uint64_t scales = cwe_grid_scales(&r->module.grid, r->module.cols);

	return cwe_writer_rows(w, r->name, row, rows, r->codes + row * r->module.cols, r->scales + row * scales,
		r->zeros ? r->zeros + row * scales : NULL, err);
}

/* Strips from the last to the first, of one or two tiles. */
static void write_strips(struct cwe_writer *w, const struct toy_result *r, uint64_t strip)
{
	uint64_t n = (r->module.rows + strip - 1) / strip, i;

	for (i = n; i-- > 0;)
		assert_int_equal(write_rows(w, r, i * strip, r->module.rows - i * strip < strip ? r->module.rows - i * strip : strip, NULL),
			0);
	assert_false(cwe_writer_has(w, r->name));
	assert_int_equal(cwe_writer_rows_end(w, r->name, NULL), 0);
	assert_true(cwe_writer_has(w, r->name));
}

static void write_whole(struct cwe_writer *w, const struct toy_result *r)
{
	assert_int_equal(cwe_writer_module(w, &r->module, r->codes, r->scales, r->zeros, NULL, 0, NULL), 0);
}

static void finish(struct cwe_writer *w, struct cwb_known *list)
{
	assert_int_equal(cwe_writer_copy(w, "model.norm.weight", NULL), 0);
	assert_int_equal(cwe_writer_finish(w, NULL), 0);
	assert_int_equal(cwe_writer_digests(w, list, NULL), 0);
	cwe_writer_free(w);
}

/* Every tensor file is known, with the digest of its bytes; and so says the manifest, which does not read it. */
static void check_digests(struct toy_world *x, struct cwb_known *list, size_t files)
{
	DIR *dir = opendir(x->out);
	const struct dirent *e;
	char *path, known[CWB_DIGEST_HEX], read[CWB_DIGEST_HEX], one[CWB_DIGEST_HEX], two[CWB_DIGEST_HEX];
	struct cwb_known_file file;
	struct stat st;
	size_t n = 0;
	json_t *facts = json_object();

	while ((e = readdir(dir)) != NULL) {
		if (!strstr(e->d_name, ".safetensors") || strstr(e->d_name, ".json"))
			continue;
		path = toy_path(x->out, e->d_name);
		assert_int_equal(stat(path, &st), 0);
		cwb_known_identify(&st, &file);
		assert_true(cwb_known_find(list, &file, known));
		assert_int_equal(cwb_digest_file(path, read, NULL, NULL), 0);
		assert_string_equal(known, read);
		free(path);
		n++;
	}
	closedir(dir);
	assert_int_equal(n, files);
	assert_int_equal(cwe_manifest_write_known(x->out, facts, list, one, NULL), 0);
	assert_int_equal(cwe_manifest_verify(x->out, NULL, NULL), 0);
	assert_int_equal(cwe_manifest_write(x->out, facts, two, NULL), 0);
	assert_string_equal(one, two);
	json_decref(facts);
}

static void same_output(const struct cwp_grid *grid, int format)
{
	struct cwb_known list = {0};
	struct cwe_writer *w;
	struct toy_world x;
	char *whole, *strips;
	size_t n, m, i;
	uint64_t tiles;

	begin(&x, grid, 1u << 30);
	x.options.format = format;
	assert_true(cwe_writer_takes_rows(&x.options, grid));
	w = open_writer(&x);
	for (i = 0; i < MODULES; i++)
		write_whole(w, &x.result[i]);
	finish(w, &list);
	whole = toy_read(x.out, "model.safetensors", &n);
	check_digests(&x, &list, 1);
	for (tiles = 1; tiles <= 2; tiles++) {
		toy_remove(x.out);
		assert_int_equal(mkdir(x.out, 0755), 0);
		cwb_known_clear(&list);
		w = open_writer(&x);
		for (i = 0; i < MODULES; i++)
			write_strips(w, &x.result[i], 64 * tiles);
		finish(w, &list);
		strips = toy_read(x.out, "model.safetensors", &m);
		assert_int_equal(n, m);
		assert_memory_equal(whole, strips, n);
		free(strips);
		check_digests(&x, &list, 1);
	}
	cwb_known_clear(&list);
	free(whole);
	toy_end(&x);
}

static void test_same_output(void **state)
{
	const struct cwp_grid grid[] = {toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE), toy_grid(CWP_CODE_INT, 4, 0, 32, CWP_ACT_NONE),
		toy_grid(CWP_CODE_INT, 8, 0, 32, CWP_ACT_NONE), toy_grid(CWP_CODE_INT, 4, 0, 0, CWP_ACT_NONE),
		toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TOKEN), toy_grid(CWP_CODE_INT, 8, 0, 0, CWP_ACT_NONE),
		toy_grid(CWP_CODE_E4M3, 8, 1, 0, CWP_ACT_FP8_TOKEN)};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof grid / sizeof *grid; i++)
		same_output(&grid[i], CWJ_FORMAT_COMPRESSED_TENSORS);
	same_output(&grid[4], CWJ_FORMAT_BITSANDBYTES);
}

/* Several files; an interrupted attempt; a module that comes twice, after its digest went over it. */
static void test_digests(void **state)
{
	const struct cwp_grid grid = toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TOKEN);
	struct cwb_known list = {0};
	struct cwe_writer *w;
	struct toy_world x;
	size_t i;

	(void)state;
	begin(&x, &grid, 10000);
	w = open_writer(&x);
	write_strips(w, &x.result[0], 64);
	cwe_writer_free(w);
	w = open_writer(&x);
	assert_true(cwe_writer_has(w, x.result[0].name)); /* it came to the journal, though no time passed */
	for (i = 1; i < MODULES; i++)
		write_strips(w, &x.result[i], 64);
	x.result[2].codes[5] = (uint8_t)(x.result[2].codes[5] ^ 1);
	write_whole(w, &x.result[2]);
	finish(w, &list);
	check_digests(&x, &list, 4);
	cwb_known_clear(&list);
	toy_end(&x);
}

/* Modules as they are named, codes first, then the rest; what would not be aligned goes by type and name. */
static void test_order(void **state)
{
	static const char *const aligned[] = {"model.layers.0.self_attn.q_proj.weight_packed",
		"model.layers.0.self_attn.q_proj.weight_scale", "model.layers.0.self_attn.q_proj.weight_shape"};
	const struct cwp_grid grid = toy_grid(CWP_CODE_INT, 4, 1, 16, CWP_ACT_NONE);
	struct cwe_safetensors *file;
	struct cwb_known list = {0};
	struct cwe_writer *w;
	struct toy_world x;
	char *path;
	uint64_t at[3] = {0};
	size_t i, k;

	(void)state;
	begin(&x, &grid, 1u << 30);
	w = open_writer(&x);
	for (i = 0; i < MODULES; i++)
		write_strips(w, &x.result[i], 64);
	finish(w, &list);
	path = toy_path(x.out, "model.safetensors");
	assert_int_equal(cwe_safetensors_open(path, &file, NULL), 0);
	for (i = 0; i < file->count; i++)
		for (k = 0; k < 3; k++)
			if (!strcmp(file->entries[i].name, aligned[k]))
				at[k] = file->entries[i].offset;
	assert_true(at[0] < at[1] && at[1] < at[2]);
	for (i = 0; i < file->count; i++)
		assert_true(!strncmp(file->entries[i].name, "model.layers.0.self_attn", 24) || file->entries[i].offset > at[2]);
	cwe_safetensors_close(file);
	free(path);
	cwb_known_clear(&list);
	toy_end(&x);
}

static void test_refusals(void **state)
{
	const struct cwp_grid grid = toy_grid(CWP_CODE_INT, 4, 0, 32, CWP_ACT_NONE);
	struct cwe_writer_options dense;
	struct cwp_grid tensor = grid;
	struct cwb_err err = {0};
	struct toy_result r;
	struct cwe_writer *w;
	struct toy_world x;

	(void)state;
	begin(&x, &grid, 1u << 30);
	w = open_writer(&x);
	r = x.result[0];
	assert_int_equal(write_rows(w, &r, 32, 64, &err), CWP_EVALUE);
	assert_non_null(strstr(err.message, "no strip"));
	assert_int_equal(write_rows(w, &r, 64, 63, &err), CWP_EVALUE);
	assert_int_equal(write_rows(w, &r, 192, 12, &err), CWP_EVALUE);
	assert_int_equal(write_rows(w, &r, 256, 64, &err), CWP_EVALUE);
	r.name = (char *)"model.layers.0.mlp.gate_proj";
	assert_int_equal(write_rows(w, &r, 0, 64, &err), CWP_EVALUE);
	assert_int_equal(cwe_writer_rows_end(w, r.name, &err), CWP_EVALUE);
	r = x.result[0];
	r.zeros = NULL;
	cwb_err_clear(&err);
	assert_int_equal(write_rows(w, &r, 0, 64, &err), CWP_EPLUGIN);
	assert_non_null(strstr(err.message, "zero points"));
	for (uint64_t i = 64 * 64; i < 128 * 64; i += 61) {
		uint8_t good = x.result[0].codes[i];

		cwb_err_clear(&err);
		x.result[0].codes[i] = i % 2 ? 8 : 0xf7; /* 8 and -9 */
		assert_int_equal(write_rows(w, &x.result[0], 64, 64, &err), CWP_EPLUGIN);
		assert_non_null(strstr(err.message, i % 2 ? "code 8 " : "code -9 "));
		x.result[0].codes[i] = good;
	}
	assert_int_equal(write_rows(w, &x.result[0], 64, 64, &err), 0);
	cwe_writer_free(w);
	dense = x.options;
	dense.carrier = CWJ_CARRIER_DENSE;
	assert_false(cwe_writer_takes_rows(&dense, &grid));
	dense = x.options;
	dense.format = CWJ_FORMAT_DENSE;
	assert_false(cwe_writer_takes_rows(&dense, &grid));
	tensor.granularity = CWP_PER_TENSOR;
	assert_false(cwe_writer_takes_rows(&x.options, &tensor));
	toy_end(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_output),
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
