/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The writer: several files and groups, configuration, refusals, interrupted and resumed outputs, a full disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "engine/format/checkpoint.h"
#include "engine/format/dtype.h"
#include "engine/format/overlay.h"
#include "tests/unit/engine/output/toy.h"

static void begin(struct toy_world *x)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);

	toy_begin(x, CWP_BF16, &grid, 0.05, CWJ_CARRIER_OVERLAY);
}

/* Everything in a folder but hidden files: name, size and bytes, in name order. */
static char *folder_text(const char *folder, size_t *ret_length)
{
	struct dirent **list;
	char *all = malloc(1u << 20); /* the toy's outputs are smaller */
	size_t length = 0;
	int n = scandir(folder, &list, NULL, alphasort), i;

	for (i = 0; i < n; i++) {
		size_t size;
		char *data;

		if (list[i]->d_name[0] != '.') {
			data = toy_read(folder, list[i]->d_name, &size);
			assert_true(length + size + 256 <= 1u << 20);
			length += (size_t)snprintf(all + length, 256, "%s %zu\n", list[i]->d_name, size);
			memcpy(all + length, data, size);
			length += size;
			free(data);
		}
		free(list[i]);
	}
	free(list);
	*ret_length = length;
	return all;
}

static void copy_rest(struct toy_world *x, struct cwe_writer *w)
{
	struct cwb_err err = {0};
	size_t i, k;

	for (i = 0; i < x->source->weights->count; i++) {
		const char *name = x->source->weights->tensors[i].name;

		for (k = 0; k < 4; k++)
			if (!strncmp(name, toy_modules[k], strlen(toy_modules[k])) && !strcmp(name + strlen(toy_modules[k]), ".weight"))
				break;
		if (k == 4)
			assert_int_equal(cwe_writer_copy(w, name, &err), 0);
	}
}

static int put(struct toy_world *x, struct cwe_writer *w, size_t i, struct cwb_err *err)
{
	const struct toy_result *r = &x->result[i];

	return cwe_writer_module(w, &r->module, r->codes, r->scales, r->zeros, r->mask, r->stride, err);
}

static json_t *read_config(const char *folder, const char *name)
{
	char *path = toy_path(folder, name);
	struct cwb_err err = {0};
	json_t *config = NULL;

	assert_int_equal(cwb_json_load_file(path, 1u << 20, CWB_JSON_DEPTH, &config, &err), 0);
	free(path);
	return config;
}

static int lists(const json_t *array, const char *text)
{
	size_t i;

	for (i = 0; i < json_array_size(array); i++)
		if (!strcmp(json_string_value(json_array_get(array, i)), text))
			return 1;
	return 0;
}

static void test_config(void **state)
{
	struct toy_world x;
	json_t *config, *original, *q, *groups, *ignore;

	(void)state;
	begin(&x);
	toy_write(x.source, &x.options, x.result, 4);
	config = read_config(x.out, "config.json");
	original = read_config(x.model, "config.json");
	q = json_incref(json_object_get(config, "quantization_config"));
	json_object_del(config, "quantization_config");
	assert_true(json_equal(config, original)); /* numbers too */
	groups = json_object_get(q, "config_groups");
	assert_int_equal(json_object_size(groups), 1);
	assert_true(lists(json_object_get(json_object_get(groups, "group_0"), "targets"), "Linear"));
	assert_true(json_is_null(json_object_get(json_object_get(groups, "group_0"), "input_activations")));
	ignore = json_object_get(q, "ignore");
	assert_true(lists(ignore, "lm_head"));
	assert_true(lists(ignore, "model.layers.0.mlp.gate"));
	assert_int_equal(json_array_size(ignore), 2);
	assert_null(json_object_get(q, "dequantize"));
	json_decref(q);
	json_decref(config);
	json_decref(original);
	assert_int_equal(access(x.out, F_OK), 0);
	free(toy_read(x.out, "tokenizer.json", NULL));
	free(toy_read(x.out, "generation_config.json", NULL));
	toy_end(&x);
}

/* Two sizes of groups and kept modules: groups by name, the rest ignored. */
static void test_several_groups(void **state)
{
	struct cwp_grid sixty_four = toy_grid(CWP_CODE_INT, 4, 1, 64, CWP_ACT_NONE);
	struct toy_world x;
	json_t *config, *q, *groups, *targets;
	struct cwe_source *out;
	struct cwb_err err = {0};
	struct cwe_output_size size;

	(void)state;
	begin(&x);
	toy_result_free(&x.result[0]);
	toy_quantize(x.source, toy_modules[0], &sixty_four, 0.05, 9, &x.result[0]);
	x.result[2].module.grid.code = 0; /* kept */
	x.module[2] = x.result[2].module;
	{
		struct toy_result some[3] = {x.result[0], x.result[1], x.result[3]};

		toy_write(x.source, &x.options, some, 3);
	}
	config = read_config(x.out, "config.json");
	q = json_object_get(config, "quantization_config");
	groups = json_object_get(q, "config_groups");
	assert_int_equal(json_object_size(groups), 2);
	targets = json_object_get(json_object_get(groups, "group_0"), "targets");
	assert_int_equal(json_array_size(targets), 2);
	assert_true(lists(targets, toy_modules[1]) && lists(targets, toy_modules[3]));
	targets = json_object_get(json_object_get(groups, "group_1"), "targets");
	assert_int_equal(json_array_size(targets), 1);
	assert_true(lists(targets, toy_modules[0]));
	assert_true(lists(json_object_get(q, "ignore"), toy_modules[2]));
	assert_string_equal(json_string_value(json_object_get(q, "format")), "pack-quantized");
	json_decref(config);
	assert_int_equal(cwe_source_open(x.out, 0, &out, &err), 0);
	cwe_source_close(out);
	assert_int_equal(cwe_output_measure(x.out, &size, &err), 0);
	assert_int_equal(size.modules, 3);
	assert_int_equal(size.quantized_weights, 51 * 64 + 2 * 64 * 160);
	/* codes, scales, shapes: 4 bits, BF16, 16 bytes */
	assert_int_equal(size.quantized_bytes, (51 * 64 + 2 * 64 * 160) / 2 + 2 * (51 + 2 * 64 * 5) + 3 * 16);
	assert_int_equal(size.protected_weights, x.result[0].module.protected_weights + x.result[1].module.protected_weights +
							     x.result[3].module.protected_weights);
	assert_true(size.protected_bytes >= 3 * size.protected_weights); /* a gap and a BF16 value each, at least */
	assert_true(cwe_output_bits(&size) > 5.0 && cwe_output_bits(&size) < 8.0);
	toy_end(&x);
}

static void test_mixed_formats(void **state)
{
	struct cwp_grid fp8 = toy_grid(CWP_CODE_E4M3, 8, 1, 0, CWP_ACT_FP8_TOKEN);
	struct toy_world x;
	json_t *config;
	const json_t *group;
	const char *name;

	(void)state;
	begin(&x);
	toy_result_free(&x.result[0]);
	toy_quantize(x.source, toy_modules[0], &fp8, 0, 9, &x.result[0]);
	toy_write(x.source, &x.options, x.result, 4);
	config = read_config(x.out, "config.json");
	assert_string_equal(json_string_value(json_object_get(json_object_get(config, "quantization_config"), "format")),
		"mixed-precision");
	json_object_foreach (json_object_get(json_object_get(config, "quantization_config"), "config_groups"), name, group) {
		const json_t *targets = json_object_get(group, "targets");
		int fp8_group = !strcmp(json_string_value(json_object_get(group, "format")), "float-quantized");

		assert_int_equal(json_array_size(targets), fp8_group ? 1 : 3);
		assert_int_equal(!strcmp(json_string_value(json_array_get(targets, 0)), toy_modules[0]), fp8_group);
	}
	json_decref(config);
	toy_end(&x);
}

static void test_shards(void **state)
{
	struct toy_world x;
	json_t *index, *map, *file;
	struct cwe_checkpoint *c;
	struct cwb_err err = {0};
	uint64_t total = 0;
	const char *name;
	size_t i;

	(void)state;
	begin(&x);
	x.options.shard = 8000;
	toy_write(x.source, &x.options, x.result, 4);
	index = read_config(x.out, "model.safetensors.index.json");
	map = json_object_get(index, "weight_map");
	assert_int_equal(cwe_checkpoint_open(x.out, &c, &err), 0);
	assert_true(c->files >= 3);
	assert_int_equal(json_object_size(map), c->count);
	for (i = 0; i < c->count; i++)
		total += c->tensors[i].entry->bytes;
	assert_int_equal(json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")), total);
	json_object_foreach (map, name, file) /* codes, scales and shape of a module stay together */
		if (strstr(name, ".weight_packed")) {
			char scale[256];

			snprintf(scale, sizeof scale, "%.*s_scale", (int)(strlen(name) - 7), name);
			assert_string_equal(json_string_value(file), json_string_value(json_object_get(map, scale)));
		}
	for (i = 0; i < c->files; i++)
		assert_string_equal(cwe_safetensors_metadata(c->file[i], "format"), "pt");
	cwe_checkpoint_close(c);
	json_decref(index);
	toy_end(&x);
}

static void refuse_new(struct toy_world *x, int code, const char *text)
{
	struct cwe_writer *w = NULL;
	struct cwb_err err = {0};
	int rc = cwe_writer_new(x->source, &x->options, x->module, 4, &w, &err);

	if (rc != code || !strstr(err.message, text))
		fail_msg("%d, \"%s\" instead of %d, \"%s\"", rc, err.message, code, text);
	assert_null(w);
}

static void refuse_grid(struct cwp_grid grid, const char *text)
{
	struct toy_world x;

	begin(&x);
	x.module[1].grid = grid;
	refuse_new(&x, CWP_EVALUE, text);
	toy_end(&x);
}

static void test_refused_grids(void **state)
{
	(void)state;
	refuse_grid(toy_block_grid(32, 32, 48), "groups of 48 inputs do not divide its width of 160");
	refuse_grid(toy_block_grid(0, 32, 0), "blocks of 0 x 32");
	refuse_grid(toy_tensor_grid(CWP_CODE_E4M3, 0, CWP_ACT_NONE), "fp8, by tensor, asymmetric");
	refuse_grid(toy_grid(CWP_CODE_INT, 3, 1, 32, CWP_ACT_NONE), "int3, groups of 32, symmetric, activations none");
	refuse_grid(toy_grid(CWP_CODE_INT, 2, 1, 0, CWP_ACT_NONE), "for this choose dense");
	refuse_grid(toy_grid(7, 8, 1, 0, CWP_ACT_NONE), "no format holds this");
	refuse_grid(toy_grid(CWP_CODE_INT, 4, 1, 48, CWP_ACT_NONE), "do not divide its width of 160");
	refuse_grid(toy_grid(CWP_CODE_E4M3, 8, 1, 32, CWP_ACT_NONE), "fp8 by block, symmetric, activations fp8 by group");
	refuse_grid(toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_INT8_TOKEN), "it holds int8 by tensor or channel, activations int8 by token");
	refuse_grid(toy_grid(CWP_CODE_INT, 8, 1, 32, CWP_ACT_INT8_TENSOR), "activations int8 static");
	refuse_grid(toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_FP8_TOKEN), "for this choose dense");
	refuse_grid(toy_grid(CWP_CODE_INT, 4, 0, 32, CWP_ACT_NONE), "symmetric true"); /* beside symmetric ones */
}

/* What a faulty quantizer gives for scales that rows share, and for the one of the inputs. */
static void test_refused_shared(void **state)
{
	static const struct cwp_grid list[] = {{.size = sizeof *list, .code = CWP_CODE_INT, .bits = 8, .symmetric = 1,
						       .granularity = CWP_PER_TENSOR, .activation = CWP_ACT_INT8_TENSOR},
		{.size = sizeof *list, .code = CWP_CODE_E4M3, .bits = 8, .symmetric = 1, .granularity = CWP_PER_BLOCK, .group = 24,
			.block_rows = 20}};
	static const float bad[] = {0, -1, 0.3f, __builtin_inff(), __builtin_nanf("")};
	struct toy_world x;
	struct cwb_err err = {0};
	size_t i, k;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct cwe_writer *w = NULL;
		struct toy_result r;
		uint64_t n, last;

		begin(&x);
		toy_quantize(x.source, toy_modules[0], &list[i], 0, 9, &r);
		n = cwe_grid_scales(&r.module.grid, r.module.cols);
		last = r.module.rows * n - 1; /* of a ragged block, in the second case */
		x.module[0] = r.module;
		assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
		r.scales[last] *= 2;
		assert_int_equal(cwe_writer_module(w, &r.module, r.codes, r.scales, NULL, NULL, 0, &err), CWP_EPLUGIN);
		assert_non_null(strstr(err.message, "shares"));
		cwb_err_clear(&err);
		r.scales[last] /= 2;
		for (k = 0; i == 0 && k < sizeof bad / sizeof *bad; k++) {
			r.module.input_scale = bad[k];
			assert_int_equal(cwe_writer_module(w, &r.module, r.codes, r.scales, NULL, NULL, 0, &err), CWP_EPLUGIN);
			cwb_err_clear(&err);
		}
		r.module.input_scale = 0.5f;
		assert_int_equal(cwe_writer_module(w, &r.module, r.codes, r.scales, NULL, NULL, 0, &err), 0);
		cwe_writer_free(w);
		toy_result_free(&r);
		toy_end(&x);
	}
}

static void test_refused_modules(void **state)
{
	struct toy_world x;
	struct cwe_writer *w;
	struct cwb_err err = {0};

	(void)state;
	begin(&x);
	x.module[0].name = "model.layers.7.mlp.up_proj";
	refuse_new(&x, CWP_EMISSING, "model.layers.7.mlp.up_proj");
	x.module[0].name = toy_modules[1];
	refuse_new(&x, CWP_ESHAPE, "51 x 64");
	x.module[0] = x.module[1];
	refuse_new(&x, CWP_EVALUE, "twice");
	x.module[0] = x.result[0].module;
	x.options.format = CWJ_FORMAT_GGUF;
	refuse_new(&x, CWP_EVALUE, "write.format");
	x.options.format = CWJ_FORMAT_COMPRESSED_TENSORS;
	x.options.shard = 0;
	refuse_new(&x, CWP_EVALUE, "write.shard");
	x.options.shard = 1u << 30;
	assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
	assert_int_equal(cwe_writer_copy(w, "model.layers.0.mlp.down_proj.weight", &err), CWP_EVALUE);
	cwb_err_clear(&err);
	assert_int_equal(cwe_writer_copy(w, "no.such.tensor", &err), CWP_EVALUE);
	cwb_err_clear(&err);
	x.result[0].module.name = "model.norm";
	assert_int_equal(put(&x, w, 0, &err), CWP_EVALUE);
	cwb_err_clear(&err);
	assert_int_equal(cwe_writer_finish(w, &err), CWP_ESTATE); /* nothing is written yet */
	assert_non_null(strstr(err.message, "never written"));
	cwe_writer_free(w);
	toy_end(&x);
}

/* What a faulty plugin may give. */
static void test_refused_results(void **state)
{
	static const float bad[] = {-1.0f, 0.1f /* not a BF16 value */, __builtin_inff(), __builtin_nanf("")};
	struct toy_world x;
	struct cwe_writer *w;
	struct cwb_err err = {0};
	size_t i;

	(void)state;
	begin(&x);
	assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
	for (i = 0; i < sizeof bad / sizeof *bad; i++) {
		float good = x.result[0].scales[7];

		x.result[0].scales[7] = bad[i];
		assert_int_equal(put(&x, w, 0, &err), CWP_EPLUGIN);
		assert_non_null(strstr(err.message, toy_modules[0]));
		cwb_err_clear(&err);
		x.result[0].scales[7] = good;
	}
	x.result[0].codes[100] = 8;
	assert_int_equal(put(&x, w, 0, &err), CWP_EPLUGIN);
	cwe_writer_free(w);
	toy_end(&x);
}

/* Protected values that are not the source's: in their places, rounded to its dtype. */
static void check_exact(int format)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	struct cwe_source *out;
	struct cwb_err err = {0};
	struct toy_world x;
	size_t i, m;

	toy_begin(&x, CWP_F16, &grid, 0.05, CWJ_CARRIER_OVERLAY);
	x.options.format = format;
	float *given[4], *plain[4];
	for (m = 0; m < 4; m++) {
		struct cwe_output_module *module = &x.result[m].module;
		size_t n = module->rows * module->cols;

		plain[m] = toy_expected(x.source, &x.result[m]);
		given[m] = malloc(n * sizeof **given);
		assert_non_null(given[m]);
		for (i = 0; i < n; i++)
			given[m][i] = 1.5f * plain[m][i] + 0.001f;
		module->exact = m == 3 ? NULL : given[m]; /* the last keeps the source's */
	}
	toy_write(x.source, &x.options, x.result, 4);
	assert_int_equal(cwe_source_open(x.out, 0, &out, &err), 0);
	for (m = 0; m < 4; m++) {
		const struct toy_result *r = &x.result[m];
		size_t cols = r->module.cols, n = r->module.rows * cols, changed = 0;
		char name[256];
		float *got = malloc(n * sizeof *got);

		snprintf(name, sizeof name, "%s.weight", toy_modules[m]);
		assert_int_equal(cwe_weights_read_f32(out->weights, cwe_weights_find(out->weights, name), 0, r->module.rows, got, &err), 0);
		for (i = 0; i < n; i++) {
			int kept = r->mask[i / cols * r->stride + i % cols / 8] >> (i % cols % 8) & 1;
			float want = kept && m < 3 ? cwe_f32_from_f16(cwe_f16_from_f32(given[m][i])) : plain[m][i];

			if (format == CWJ_FORMAT_DENSE)
				want = cwe_f32_from_f16(cwe_f16_from_f32(want));
			assert_true(got[i] == want);
			changed += kept;
		}
		assert_true(changed > 0);
		free(got);
		free(given[m]);
		free(plain[m]);
	}
	cwe_source_close(out);
	toy_end(&x);
}

static void test_exact(void **state)
{
	(void)state;
	check_exact(CWJ_FORMAT_COMPRESSED_TENSORS);
	check_exact(CWJ_FORMAT_DENSE);
}

/* A value that f16 cannot hold counts where it is protected, nowhere else. */
static void test_exact_too_large(void **state)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	struct cwe_writer *w;
	struct cwb_err err = {0};
	struct toy_world x;
	size_t i, free_at = 0, kept_at = 0;

	(void)state;
	toy_begin(&x, CWP_F16, &grid, 0.05, CWJ_CARRIER_OVERLAY);
	struct toy_result *r = &x.result[0];
	size_t cols = r->module.cols, n = r->module.rows * cols;
	float *given = calloc(n, sizeof *given);
	assert_non_null(given);
	for (i = 0; i < n; i++)
		if (r->mask[i / cols * r->stride + i % cols / 8] >> (i % cols % 8) & 1)
			kept_at = i;
		else
			free_at = i;
	r->module.exact = given;
	assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
	given[free_at] = 70000;
	assert_int_equal(put(&x, w, 0, &err), 0);
	given[kept_at] = 65520;
	assert_int_equal(put(&x, w, 0, &err), CWP_ENUMBER);
	assert_non_null(strstr(err.message, toy_modules[0]));
	assert_non_null(strstr(err.message, "65520"));
	given[kept_at] = 65519;
	cwb_err_clear(&err);
	assert_int_equal(put(&x, w, 0, &err), 0);
	cwe_writer_free(w);
	free(given);
	toy_end(&x);
}

static void test_finished_folder(void **state)
{
	struct toy_world x;
	char *path;

	(void)state;
	begin(&x);
	path = toy_path(x.out, "manifest.json");
	toy_put(path, "{}", 2);
	refuse_new(&x, CWP_ESTATE, "finished already");
	free(path);
	toy_end(&x);
}

/* Interrupted after each number of modules, and in any place between, the output's bytes are the same. */
static void test_resume(void **state)
{
	struct toy_world x;
	char *straight, *resumed;
	size_t length, length2, stop, i;

	(void)state;
	begin(&x);
	x.options.shard = 8000;
	toy_write(x.source, &x.options, x.result, 4);
	straight = folder_text(x.out, &length);
	for (stop = 0; stop <= 4; stop++) {
		struct cwe_writer *w;
		struct cwb_err err = {0};

		toy_remove(x.out);
		assert_int_equal(mkdir(x.out, 0777), 0);
		assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
		for (i = 0; i < stop; i++)
			assert_int_equal(put(&x, w, (i * 3 + 2) % 4, &err), 0);
		cwe_writer_free(w);
		assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
		for (i = 0; i < 4; i++) {
			size_t k = (i * 3 + 2) % 4;

			assert_int_equal(cwe_writer_has(w, toy_modules[k]), i < stop);
			assert_int_equal(cwe_writer_protected(w, toy_modules[k]), i < stop ? x.module[k].protected_weights : 0);
			if (i >= stop)
				assert_int_equal(put(&x, w, (i * 3 + 2) % 4, &err), 0);
		}
		assert_false(cwe_writer_has(w, "model.norm.weight"));
		copy_rest(&x, w);
		assert_true(cwe_writer_has(w, "model.norm.weight"));
		assert_int_equal(cwe_writer_finish(w, &err), 0);
		assert_int_equal(cwe_writer_finish(w, &err), 0);
		cwe_writer_free(w);
		resumed = folder_text(x.out, &length2);
		assert_int_equal(length, length2);
		assert_memory_equal(straight, resumed, length);
		free(resumed);
	}
	free(straight);
	toy_end(&x);
}

/* After finish a new writer finds everything there. */
static void test_resume_finished(void **state)
{
	struct toy_world x;
	struct cwe_writer *w;
	struct cwb_err err = {0};
	char *path;

	(void)state;
	begin(&x);
	toy_write(x.source, &x.options, x.result, 4);
	assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
	assert_true(cwe_writer_has(w, toy_modules[0]));
	assert_true(cwe_writer_has(w, "model.norm.weight"));
	assert_int_equal(put(&x, w, 0, &err), 0);
	assert_int_equal(cwe_writer_finish(w, &err), 0);
	cwe_writer_free(w);
	path = toy_path(x.out, "protected.safetensors");
	assert_int_equal(unlink(path), 0); /* not whole any more: from the start */
	assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
	assert_false(cwe_writer_has(w, toy_modules[0]));
	cwe_writer_free(w);
	free(path);
	toy_end(&x);
}

/* Another plan, or a damaged journal: from the start, and the journal's last line may be torn. */
static void test_resume_otherwise(void **state)
{
	static const char *const damage[] = {"module 99999 1 0 1 1 0 0\n", "module 2 1 7 1 1 0 0\n",
		"module 2 1 0 9999999 9999999 0 0\n", "module 2 9999999 0 1 1 0 0\n", "module 2 5 0 5 5 1 0\n",
		"module 2 5 0 5 5 0 18446744073709551615\n", "nonsense\n", "module 0 0 0 0 0 0 0\n"};
	struct toy_world x;
	struct cwe_writer *w;
	struct cwb_err err = {0};
	char *path, *text, *more;
	size_t length, i;

	(void)state;
	begin(&x);
	assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
	assert_int_equal(put(&x, w, 0, &err), 0);
	cwe_writer_free(w);
	path = toy_path(x.out, ".cwp-writer.tmp-partial");
	text = toy_read(x.out, ".cwp-writer.tmp-partial", &length);
	more = malloc(length + 100);
	memcpy(more, text, length);
	toy_put(path, more, (size_t)snprintf(more + length, 100, "module 5 0 1") + length);
	assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
	assert_true(cwe_writer_has(w, toy_modules[0]));
	assert_false(cwe_writer_has(w, toy_modules[1]));
	cwe_writer_free(w);
	for (i = 0; i < sizeof damage / sizeof *damage; i++) {
		toy_put(path, more, (size_t)snprintf(more + length, 100, "%s", damage[i]) + length);
		assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
		assert_false(cwe_writer_has(w, toy_modules[0]));
		cwe_writer_free(w);
	}
	assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
	assert_int_equal(put(&x, w, 0, &err), 0);
	cwe_writer_free(w);
	x.options.carrier = CWJ_CARRIER_NONE;
	assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
	assert_false(cwe_writer_has(w, toy_modules[0]));
	cwe_writer_free(w);
	free(more);
	free(text);
	free(path);
	toy_end(&x);
}

static int is_empty_but_hidden(const char *folder)
{
	struct dirent **list;
	int n = scandir(folder, &list, NULL, alphasort), i, empty = 1;

	for (i = 0; i < n; i++) {
		empty &= list[i]->d_name[0] == '.';
		free(list[i]);
	}
	free(list);
	return empty;
}

static int write_limited(struct toy_world *x, const struct rlimit *early, const struct rlimit *late, struct cwb_err *err)
{
	struct cwe_writer *w = NULL;
	size_t i;
	int rc;

	assert_int_equal(setrlimit(RLIMIT_FSIZE, early), 0);
	rc = cwe_writer_new(x->source, &x->options, x->module, 4, &w, err);
	for (i = 0; i < 4 && !rc; i++)
		rc = put(x, w, i, err);
	if (!rc)
		copy_rest(x, w);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, late), 0);
	if (!rc)
		rc = cwe_writer_finish(w, err);
	cwe_writer_free(w);
	return rc;
}

/* Limits on the size of files, from small ones up until the output succeeds, through the whole job or only at its end:
 * one error, nothing under its final name, and with room again the work goes on to the same bytes. */
static void full_disk(int only_finish)
{
	struct rlimit old, now;
	struct toy_world x;
	char *straight, *later;
	size_t length, length2;
	rlim_t limit;
	int failed = 0, rc;

	begin(&x);
	toy_write(x.source, &x.options, x.result, 4);
	straight = folder_text(x.out, &length);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	for (limit = 16, rc = -1; rc; limit *= 2) {
		struct cwb_err err = {0};

		toy_remove(x.out);
		assert_int_equal(mkdir(x.out, 0777), 0);
		now = old;
		now.rlim_cur = limit;
		rc = write_limited(&x, only_finish ? &old : &now, &now, &err);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		if (!rc)
			break;
		failed++;
		assert_true(strlen(err.message) > 10);
		assert_true(is_empty_but_hidden(x.out));
		toy_write(x.source, &x.options, x.result, 4);
		later = folder_text(x.out, &length2);
		assert_int_equal(length, length2);
		assert_memory_equal(straight, later, length);
		free(later);
	}
	assert_true(failed > 3);
	free(straight);
	toy_end(&x);
}

static void test_full_disk(void **state)
{
	(void)state;
	full_disk(0);
	full_disk(1);
}

/* Dense: dequantized, rounded to the source's dtype, protected values exact; no trace of quantization. */
static void dense_case(uint32_t dtype, int format, int carrier, uint32_t bits)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, bits, 0, 48, CWP_ACT_NONE); /* ragged: 160 is no multiple */
	struct toy_world x;
	struct cwe_source *out;
	struct cwb_err err = {0};
	struct cwe_output_size size;
	size_t i;

	toy_begin(&x, dtype, &grid, 0.1, CWJ_CARRIER_OVERLAY);
	x.options.format = format;
	x.options.carrier = carrier;
	toy_write(x.source, &x.options, x.result, 4);
	assert_int_equal(cwe_source_open(x.out, 0, &out, &err), 0);
	assert_int_equal(out->kind, CWE_SOURCE_DIRECTORY);
	assert_null(json_object_get(out->config, "quantization_config"));
	for (i = 0; i < 4; i++) {
		uint64_t n = x.module[i].rows * x.module[i].cols;
		size_t width = cwe_cwp_dtype_size(dtype);
		float *expected;
		uint8_t *a = malloc(n * width), *b = malloc(n * width);
		const struct cwe_tensor *t;
		char name[128];

		if (carrier == CWJ_CARRIER_NONE) {
			free(x.result[i].mask);
			x.result[i].mask = NULL;
		}
		expected = toy_expected(x.source, &x.result[i]);
		snprintf(name, sizeof name, "%s.weight", toy_modules[i]);
		t = cwe_weights_find(out->weights, name);
		assert_int_equal(t->dtype, dtype);
		cwe_f32_to_dtype(a, expected, dtype, n);
		assert_int_equal(cwe_weights_read_raw(out->weights, t, 0, t->shape[0], b, &err), 0);
		assert_memory_equal(a, b, n * width);
		free(expected);
		free(a);
		free(b);
	}
	cwe_source_close(out);
	assert_int_equal(cwe_output_measure(x.out, &size, &err), 0);
	assert_int_equal(size.modules, 0);
	assert_true(cwe_output_bits(&size) == 0);
	toy_end(&x);
}

static void test_dense(void **state)
{
	(void)state;
	dense_case(CWP_F32, CWJ_FORMAT_DENSE, CWJ_CARRIER_OVERLAY, 4);
	dense_case(CWP_BF16, CWJ_FORMAT_DENSE, CWJ_CARRIER_DENSE, 3);
	dense_case(CWP_F16, CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_DENSE, 3);
	dense_case(CWP_BF16, CWJ_FORMAT_DENSE, CWJ_CARRIER_NONE, 2);
}

/* cwe_output_dense of an overlay output: exactly what read_f32 gives, or its rounding. */
static void test_materialize(void **state)
{
	struct toy_world x;
	struct cwe_source *a, *b;
	struct cwb_err err = {0};
	char *dense;
	size_t i, pass;

	(void)state;
	begin(&x);
	toy_write(x.source, &x.options, x.result, 4);
	for (pass = 0; pass < 2; pass++) {
		uint32_t dtype = pass ? CWP_BF16 : CWP_F32;

		dense = toy_path(x.model, pass ? "dense-bf16" : "dense-f32");
		assert_int_equal(cwe_output_dense(x.out, dense, dtype, pass ? 8000 : 1u << 30, &err), 0);
		assert_int_equal(cwe_source_open(x.out, 0, &a, &err), 0);
		assert_int_equal(cwe_source_open(dense, 0, &b, &err), 0);
		assert_string_equal(json_string_value(json_object_get(b->config, "dtype")), pass ? "bfloat16" : "float32");
		assert_null(json_object_get(b->config, "quantization_config"));
		assert_int_equal(a->weights->count, b->weights->count);
		for (i = 0; i < a->weights->count; i++) {
			const struct cwe_tensor *t = &a->weights->tensors[i], *u = &b->weights->tensors[i];
			uint64_t n = t->shape[0] * (t->rank == 2 ? t->shape[1] : 1);
			float *v = malloc(n * 4), *r = malloc(n * 4);
			uint8_t *raw = malloc(n * 4);

			assert_int_equal(u->dtype, dtype);
			assert_int_equal(cwe_weights_read_f32(a->weights, t, 0, t->shape[0], v, &err), 0);
			assert_int_equal(cwe_weights_read_f32(b->weights, u, 0, u->shape[0], r, &err), 0);
			cwe_f32_to_dtype(raw, v, dtype, n);
			cwe_f32_from_dtype(v, raw, dtype, n);
			assert_memory_equal(v, r, n * 4);
			free(v);
			free(r);
			free(raw);
		}
		cwe_source_close(a);
		cwe_source_close(b);
		free(toy_read(dense, "tokenizer.json", NULL));
		assert_int_equal(cwe_output_dense(x.out, dense, dtype, 1u << 30, &err), CWP_ESTATE); /* not empty */
		cwb_err_clear(&err);
		free(dense);
	}
	dense = toy_path(x.model, "dense-none");
	assert_int_equal(cwe_output_dense(x.out, dense, CWP_F16, 1u << 30, &err), CWP_EVALUE);
	cwb_err_clear(&err);
	assert_true(cwe_output_dense("/nowhere", dense, CWP_F32, 1u << 30, &err) < 0);
	assert_int_equal(access(dense, F_OK), -1);
	free(dense);
	toy_end(&x);
}

/* Masks without a bit: modules without protected weights are absent, and so is the whole overlay. */
static void test_empty_masks(void **state)
{
	struct toy_world x;
	char *path;
	size_t i;

	(void)state;
	begin(&x);
	for (i = 0; i < 4; i++)
		memset(x.result[i].mask, 0, x.module[i].rows * x.result[i].stride);
	toy_write(x.source, &x.options, x.result, 4);
	path = toy_path(x.out, "protected.safetensors");
	assert_int_equal(access(path, F_OK), -1);
	free(path);
	toy_end(&x);
}

/* An output as the source of a dense one: its quantization is not carried along. */
static void test_output_as_source(void **state)
{
	struct toy_world x;
	struct cwe_writer_options o = {NULL, CWJ_FORMAT_DENSE, CWJ_CARRIER_NONE, 1u << 30};
	struct cwe_source *s, *again;
	struct cwb_err err = {0};
	char *out = toy_folder();

	(void)state;
	begin(&x);
	toy_write(x.source, &x.options, x.result, 4);
	assert_int_equal(cwe_source_open(x.out, 0, &s, &err), 0);
	o.directory = out;
	toy_write(s, &o, NULL, 0);
	assert_int_equal(cwe_source_open(out, 0, &again, &err), 0);
	assert_int_equal(again->kind, CWE_SOURCE_DIRECTORY);
	assert_null(json_object_get(again->config, "quantization_config"));
	assert_non_null(json_object_get(s->config, "quantization_config")); /* the source's own stays */
	assert_int_equal(again->weights->count, s->weights->count);
	cwe_source_close(again);
	cwe_source_close(s);
	toy_remove(out);
	free(out);
	toy_end(&x);
}

/* Sizes of what is written, known before. */
static void measure(uint32_t dtype, const struct cwp_grid *grid, double fraction, uint64_t shard)
{
	struct toy_world x;
	struct cwb_err err = {0};
	struct cwe_writer_size size;
	struct cwe_output_size found;
	struct cwe_overlay_plan plan[4];
	enum cwe_dtype values[4];
	const char *name[4];
	uint64_t files = 0, overlay = 0, want = 0;
	struct dirent *e;
	DIR *dir;
	size_t i, n_files = 0;

	toy_begin(&x, dtype, grid, fraction, CWJ_CARRIER_OVERLAY);
	x.options.shard = shard;
	assert_int_equal(cwe_writer_measure(x.source, &x.options, x.module, 4, &size, &err), 0);
	toy_write(x.source, &x.options, x.result, 4);
	dir = opendir(x.out);
	assert_non_null(dir);
	while ((e = readdir(dir))) {
		size_t length;

		if (e->d_name[0] == '.')
			continue;
		free(toy_read(x.out, e->d_name, &length));
		if (!strcmp(e->d_name, CWE_OVERLAY_FILE))
			overlay += length;
		else
			files += length, n_files++;
	}
	closedir(dir);
	assert_int_equal(size.files, files);
	assert_true(size.n_files >= n_files);
	assert_int_equal(cwe_output_measure(x.out, &found, &err), 0);
	assert_int_equal(size.quantized_bytes, found.quantized_bytes);
	for (i = 0; i < 4; i++) {
		const struct cwe_output_module *m = &x.module[i];

		name[i] = m->name;
		values[i] = dtype == CWP_F32 ? CWE_DTYPE_F32 : CWE_DTYPE_BF16;
		plan[i] = (struct cwe_overlay_plan){.rows = m->rows, .cols = m->cols};
		if (x.result[i].mask)
			assert_int_equal(cwe_overlay_measure(x.result[i].mask, x.result[i].stride, m->rows, m->cols,
						 cwe_dtype_bits(values[i]) / 8, &plan[i], &err), 0);
	}
	assert_int_equal(cwe_overlay_file_bytes(plan, name, values, 4, &want, &err), 0);
	assert_int_equal(overlay, want);
	toy_end(&x);
}

static void sizes_are_known_before(void **state)
{
	struct cwp_grid four = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE), eight = toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TOKEN);

	(void)state;
	measure(CWP_BF16, &four, 0.05, 1u << 30);
	measure(CWP_F32, &four, 0.4, 1u << 30);
	measure(CWP_BF16, &eight, 0.002, 4096);
	measure(CWP_F32, &eight, 0, 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_known_before),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_several_groups),
		cmocka_unit_test(test_mixed_formats),
		cmocka_unit_test(test_shards),
		cmocka_unit_test(test_refused_grids),
		cmocka_unit_test(test_refused_shared),
		cmocka_unit_test(test_refused_modules),
		cmocka_unit_test(test_refused_results),
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_exact_too_large),
		cmocka_unit_test(test_finished_folder),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_resume_finished),
		cmocka_unit_test(test_resume_otherwise),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_dense),
		cmocka_unit_test(test_materialize),
		cmocka_unit_test(test_output_as_source),
		cmocka_unit_test(test_empty_masks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
