/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs that carry protected columns or rows as an adapter: exact sums, the choice of the residual's type, interrupted
 * writers, what is refused, and adapters that are not what an output carries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "engine/format/adapter.h"
#include "engine/format/manifest.h"
#include "engine/format/saved_mask.h"
#include "tests/unit/engine/output/toy.h"

/* Protects every `step`-th column or row of a module, beginning with `first`. */
static void protect(struct toy_result *r, int by_row, uint64_t first, uint64_t step)
{
	uint64_t rows = r->module.rows, cols = r->module.cols, row, c;

	free(r->mask);
	r->stride = (cols + 7) / 8;
	r->mask = calloc(rows, r->stride);
	r->module.protected_weights = 0;
	for (row = 0; row < rows; row++)
		for (c = 0; c < cols; c++)
			if ((by_row ? row : c) >= first && ((by_row ? row : c) - first) % step == 0) {
				r->mask[row * r->stride + (c >> 3)] |= (uint8_t)(1u << (c & 7));
				r->module.protected_weights++;
			}
}

static void begin(struct toy_world *x, uint32_t dtype, int by_row)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	size_t i;

	toy_begin(x, dtype, &grid, 0, CWJ_CARRIER_ADAPTER);
	for (i = 0; i < 4; i++) {
		if (i != 2) /* the third has nothing protected */
			protect(&x->result[i], by_row, i, 7 + i);
		x->module[i] = x->result[i].module;
	}
}

static void check_values(struct toy_world *x)
{
	struct cwe_source *out = NULL;
	struct cwb_err err = {0};
	size_t i;

	if (cwe_source_open(x->out, 0, &out, &err))
		fail_msg("%s", err.message);
	for (i = 0; i < 4; i++) {
		const struct toy_result *r = &x->result[i];
		uint64_t n = r->module.rows * r->module.cols;
		float *want = toy_expected(x->source, r), *have = malloc(n * sizeof *have);
		char name[128];

		snprintf(name, sizeof name, "%s.weight", r->module.name);
		assert_int_equal(cwe_weights_read_f32(out->weights, cwe_weights_find(out->weights, name), 0, r->module.rows, have, &err), 0);
		assert_memory_equal(have, want, n * sizeof *have);
		free(want);
		free(have);
	}
	cwe_source_close(out);
}

static void check_masks(struct toy_world *x, int by_row)
{
	struct cwe_adapter *a = NULL;
	struct cwb_err err = {0};
	size_t i;

	assert_int_equal(cwe_adapter_open_beside(x->out, &a, &err), 0);
	assert_int_equal(a->count, 3);
	for (i = 0; i < a->count; i++) {
		const struct toy_result *r = NULL;
		struct cwe_adapter_selector s;
		uint8_t *bits;
		size_t k;

		for (k = 0; k < 4; k++)
			if (!strcmp(x->result[k].module.name, a->module[i].name))
				r = &x->result[k];
		assert_non_null(r);
		assert_int_equal(cwe_adapter_selector(a, &a->module[i], &s, &err), 0);
		assert_int_equal(s.by_row, by_row);
		bits = malloc(r->module.rows * r->stride);
		/* In two parts, as pieces of masks are asked for. */
		cwe_adapter_selector_mask(&s, r->module.cols, 0, 5, bits);
		cwe_adapter_selector_mask(&s, r->module.cols, 5, r->module.rows - 5, bits + 5 * r->stride);
		assert_memory_equal(bits, r->mask, r->module.rows * r->stride);
		free(bits);
		free(s.index);
	}
	cwe_adapter_close(a);
}

static void test_values(void **state)
{
	static const uint32_t dtypes[] = {CWP_BF16, CWP_F32, CWP_F16};
	struct toy_world x;
	size_t i;

	(void)state;
	for (i = 0; i < 6; i++) {
		struct cwe_output_size size;
		struct cwb_err err = {0};
		json_t *facts = json_object();
		char digest[65];

		begin(&x, dtypes[i % 3], i >= 3);
		toy_write(x.source, &x.options, x.result, 4);
		check_values(&x);
		check_masks(&x, i >= 3);
		assert_int_equal(cwe_output_measure(x.out, &size, &err), 0);
		assert_int_equal(size.protected_weights, x.result[0].module.protected_weights + x.result[1].module.protected_weights +
								     x.result[3].module.protected_weights);
		assert_int_equal(cwe_manifest_write(x.out, facts, digest, &err), 0);
		if (cwe_manifest_verify(x.out, NULL, &err))
			fail_msg("%s", err.message);
		json_decref(facts);
		toy_end(&x);
	}
}

/* BF16 weights less multiples of BF16 scales: a residual in BF16 where nothing is lost, else F32. */
static void test_dtype(void **state)
{
	struct toy_world x;
	struct cwe_adapter *a = NULL;
	struct cwb_err err = {0};
	size_t i;

	(void)state;
	begin(&x, CWP_BF16, 0);
	for (i = 0; i < x.result[1].module.rows; i++) /* far from the weights of a protected column */
		x.result[1].codes[i * x.result[1].module.cols + 1] = 7;
	toy_write(x.source, &x.options, x.result, 4);
	check_values(&x);
	assert_int_equal(cwe_adapter_open_beside(x.out, &a, &err), 0);
	for (i = 0; i < a->count; i++) {
		int fine = !strcmp(a->module[i].name, x.result[1].module.name);

		assert_int_equal(a->module[i].a->dtype, CWE_DTYPE_BF16);
		assert_int_equal(a->module[i].b->dtype, fine ? CWE_DTYPE_F32 : CWE_DTYPE_BF16);
	}
	cwe_adapter_close(a);
	toy_end(&x);
}

static int put(struct toy_world *x, struct cwe_writer *w, size_t i, struct cwb_err *err)
{
	const struct toy_result *r = &x->result[i];

	return cwe_writer_module(w, &r->module, r->codes, r->scales, r->zeros, r->mask, r->stride, err);
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
		if (k == 4 && !cwe_writer_has(w, name))
			assert_int_equal(cwe_writer_copy(w, name, &err), 0);
	}
}

static void read_pair(struct toy_world *x, char *text[2], size_t length[2])
{
	text[0] = toy_read(x->out, "adapter/adapter_model.safetensors", &length[0]);
	text[1] = toy_read(x->out, "adapter/adapter_config.json", &length[1]);
}

/* Interrupted after each number of modules: the same bytes, and the same errors. */
static void test_resume(void **state)
{
	struct toy_world x;
	char *straight[2], *resumed[2];
	size_t length[2], length2[2], stop, i;
	struct cwe_writer_adapter first, second;
	struct cwb_err err = {0};
	struct cwe_writer *w;

	(void)state;
	begin(&x, CWP_F32, 0);
	for (stop = 0; stop <= 5; stop++) {
		toy_remove(x.out);
		assert_int_equal(mkdir(x.out, 0777), 0);
		assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
		for (i = 0; i < 4 && i < stop; i++)
			assert_int_equal(put(&x, w, (i * 3 + 2) % 4, &err), 0);
		if (stop == 5) { /* with the folder made, but not the end */
			char *folder = toy_path(x.out, "adapter"), *stale = toy_path(x.out, "adapter/.adapter_config.json.tmp-1");

			assert_int_equal(mkdir(folder, 0777), 0);
			toy_put(stale, "{", 1);
			free(folder);
			free(stale);
		}
		cwe_writer_free(w);
		assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
		for (i = 0; i < 4; i++) {
			size_t k = (i * 3 + 2) % 4;

			assert_int_equal(cwe_writer_has(w, x.module[k].name), i < stop);
			if (!cwe_writer_has(w, x.module[k].name))
				assert_int_equal(put(&x, w, k, &err), 0);
		}
		copy_rest(&x, w);
		cwe_writer_adapter(w, stop ? &second : &first);
		assert_int_equal(cwe_writer_finish(w, &err), 0);
		cwe_writer_free(w);
		read_pair(&x, stop ? resumed : straight, stop ? length2 : length);
		if (!stop) {
			assert_int_equal(first.modules, 3);
			continue;
		}
		assert_memory_equal(&first, &second, sizeof first);
		for (i = 0; i < 2; i++) {
			assert_int_equal(length[i], length2[i]);
			assert_memory_equal(straight[i], resumed[i], length[i]);
			free(resumed[i]);
		}
		/* A finished one is known again, unless its adapter has gone. */
		assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
		assert_int_equal(cwe_writer_has(w, x.module[0].name), 1);
		cwe_writer_adapter(w, &second);
		assert_memory_equal(&first, &second, sizeof first);
		cwe_writer_free(w);
	}
	{
		char *config = toy_path(x.out, "adapter/adapter_config.json");

		assert_int_equal(unlink(config), 0);
		free(config);
	}
	assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), 0);
	assert_int_equal(cwe_writer_has(w, x.module[0].name), 0);
	cwe_writer_free(w);
	free(straight[0]);
	free(straight[1]);
	toy_end(&x);
}

static void test_shape(void **state)
{
	uint8_t mask[3 * 2] = {0x05, 0xfe, 0x05, 0x02, 0x05, 0x56}; /* bits behind column 8 do not count */
	uint64_t rank = 0;

	(void)state;
	assert_int_equal(cwe_mask_shape(mask, 2, 3, 9, &rank), 0);
	assert_int_equal(rank, 2);
	memset(mask, 0, sizeof mask);
	assert_int_equal(cwe_mask_shape(mask, 2, 3, 9, &rank), 0);
	assert_int_equal(rank, 0);
	mask[2] = 0xff;
	mask[3] = 1;
	assert_int_equal(cwe_mask_shape(mask, 2, 3, 9, &rank), 1);
	assert_int_equal(rank, 1);
	mask[3] = 0;
	assert_int_equal(cwe_mask_shape(mask, 2, 3, 9, &rank), -1);
	memset(mask, 0xff, sizeof mask);
	assert_int_equal(cwe_mask_shape(mask, 2, 3, 9, &rank), 1); /* all: 3 rows are fewer than 9 columns */
	assert_int_equal(rank, 3);
	assert_int_equal(cwe_mask_shape(mask, 2, 3, 2, &rank), 0);
	assert_int_equal(rank, 2);
}

static void refuse_put(struct toy_world *x, int code, const char *text)
{
	struct cwe_writer *w = NULL;
	struct cwb_err err = {0};

	assert_int_equal(cwe_writer_new(x->source, &x->options, x->module, 4, &w, &err), 0);
	assert_int_equal(put(x, w, 0, &err), code);
	if (!strstr(err.message, text) || !strstr(err.message, toy_modules[0]))
		fail_msg("\"%s\" lacks \"%s\"", err.message, text);
	cwe_writer_free(w);
}

static void test_refused(void **state)
{
	struct toy_world x;
	struct cwe_writer *w = NULL;
	struct cwb_err err = {0};

	(void)state;
	begin(&x, CWP_BF16, 0);
	x.result[0].mask[9] ^= 2;
	refuse_put(&x, CWP_EVALUE, "single weights are protected");
	x.options.format = CWJ_FORMAT_DENSE;
	assert_int_equal(cwe_writer_new(x.source, &x.options, x.module, 4, &w, &err), CWP_EVALUE);
	assert_non_null(strstr(err.message, "write.format dense does not take this carrier: choose overlay, none, dense or modules"));
	toy_end(&x);
}

/* GPTQ makes codes anew where F16 does not have a scale, so that the residual would be another. */
static void test_half_scale(void **state)
{
	struct toy_world x;
	struct cwe_writer *w = NULL;
	struct cwb_err err = {0};

	(void)state;
	begin(&x, CWP_BF16, 1);
	x.options.format = CWJ_FORMAT_GPTQ;
	x.result[1].scales[3] = 0x1.02p-20f;
	x.module[0] = x.module[1]; /* the other two do not fill whole words */
	x.module[1] = x.module[3];
	if (cwe_writer_new(x.source, &x.options, x.module, 2, &w, &err))
		fail_msg("%s", err.message);
	assert_int_equal(put(&x, w, 1, &err), CWP_ENUMBER);
	assert_non_null(strstr(err.message, "no value of F16"));
	assert_non_null(strstr(err.message, toy_modules[1]));
	cwe_writer_free(w);
	toy_end(&x);
}

/* Changes one tensor's bytes, or the configuration, of a good output, which must not open or verify any more. */
static void refuse_output(struct toy_world *x, const char *text)
{
	struct cwb_err err = {0};
	json_t *config = NULL;
	char *path = toy_path(x->out, "config.json");

	assert_int_equal(cwb_json_load_file(path, 1u << 20, CWB_JSON_DEPTH, &config, &err), 0);
	assert_int_not_equal(cwe_output_check(x->out, config, &err), 0);
	if (!strstr(err.message, text))
		fail_msg("\"%s\" lacks \"%s\"", err.message, text);
	json_decref(config);
	free(path);
}

static void edit(struct toy_world *x, const char *name, const char *from, const char *to)
{
	size_t length;
	char *path = toy_path(x->out, name), *text = toy_read(x->out, name, &length), *at = memmem(text, length, from, strlen(from));

	assert_non_null(at);
	assert_int_equal(strlen(from), strlen(to));
	memcpy(at, to, strlen(to));
	toy_put(path, text, length);
	free(text);
	free(path);
}

static void test_damaged(void **state)
{
	struct toy_world x;
	char *path, *text, *at;
	size_t length;

	(void)state;
	begin(&x, CWP_BF16, 0);
	toy_write(x.source, &x.options, x.result, 4);
	path = toy_path(x.out, "adapter/adapter_model.safetensors");
	text = toy_read(x.out, "adapter/adapter_model.safetensors", &length);
	at = memmem(text + 2048, length - 2048, "\x80\x3f", 2); /* a 1 */
	assert_non_null(at);
	at[1] = 0x40;
	toy_put(path, text, length);
	refuse_output(&x, "neither factor selects columns or rows");
	at[1] = 0x3f;
	toy_put(path, text, length);
	edit(&x, "adapter/adapter_config.json", "\"lora_alpha\": ", "\"lora_alpha\":9");
	refuse_output(&x, "lora_alpha is not r");
	edit(&x, "adapter/adapter_config.json", "\"lora_alpha\":9", "\"lora_alpha\": ");
	edit(&x, "adapter/adapter_config.json", "layers.0.mlp.down_proj", "layers.9.mlp.down_proj");
	refuse_output(&x, "does not name it");
	edit(&x, "adapter/adapter_config.json", "layers.9.mlp.down_proj", "layers.0.mlp.down_proj");
	{
		char *tensors = toy_path(x.out, "adapter/adapter_model.safetensors");

		assert_int_equal(unlink(tensors), 0);
		refuse_output(&x, "no adapter_model.safetensors");
		free(tensors);
	}
	free(text);
	free(path);
	toy_end(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_dtype),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_shape),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_half_scale),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
