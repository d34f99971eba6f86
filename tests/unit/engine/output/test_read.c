/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reading compressed-tensors checkpoints: other people's spellings, and everything that is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "engine/format/compressed_tensors.h"
#include "engine/format/dtype.h"
#include "engine/format/output.h"
#include "engine/format/safetensors_writer.h"
#include "tests/unit/engine/output/toy.h"

static json_t *parse(const char *text)
{
	struct cwb_err err = {0};
	json_t *json = NULL;

	if (cwb_json_load(text, strlen(text), 1u << 20, CWB_JSON_DEPTH, &json, &err))
		fail_msg("%s", err.message);
	return json;
}

/* quantization_config with the given groups and further keys. */
static struct cwe_ct_config *read_config(const char *groups, const char *rest, int *ret_rc, struct cwb_err *err)
{
	struct cwe_ct_config *c = NULL;
	char *text;
	json_t *json;

	assert_true(asprintf(&text, "{\"config_groups\": {%s}%s}", groups, rest) > 0);
	json = parse(text);
	*ret_rc = cwe_ct_config_read(json, &c, err);
	json_decref(json);
	free(text);
	return c;
}

#define REST ", \"quant_method\": \"compressed-tensors\", \"quantization_status\": \"compressed\""
#define GROUP(targets, inner) "{\"targets\": [" targets "], \"weights\": {" inner "}}"
#define FP8_BLOCK(sizes) "\"type\": \"float\", \"strategy\": \"block\", \"block_structure\": " sizes
#define INT8_CHANNEL "\"num_bits\": 8, \"type\": \"int\", \"strategy\": \"channel\""

static void refuse(const char *groups, const char *rest, int code, const char *text)
{
	struct cwb_err err = {0};
	int rc;
	struct cwe_ct_config *c = read_config(groups, rest, &rc, &err);

	if (rc != code || !strstr(err.message, text))
		fail_msg("%d, \"%s\" instead of %d, \"%s\"", rc, err.message, code, text);
	assert_null(c);
}

static void refuse_inputs(const char *inputs, const char *text)
{
	char *groups;

	assert_true(asprintf(&groups, "\"g\": {\"targets\": [\"Linear\"], \"weights\": {" INT8_CHANNEL "}, \"input_activations\": "
				      "{%s}}", inputs) > 0);
	refuse(groups, REST, CWP_EVALUE, text);
	free(groups);
}

static void test_refused_configs(void **state)
{
	const char *good = "\"g\": " GROUP("\"Linear\"", INT8_CHANNEL);

	(void)state;
	refuse(good, ", \"quant_method\": \"compressed-tensors\"", CWP_EMISSING, "quantization_status");
	refuse(good, ", \"quant_method\": \"compressed-tensors\", \"quantization_status\": \"frozen\"", CWP_EVALUE, "frozen");
	refuse(good, REST ", \"kv_cache_scheme\": {\"num_bits\": 8}", CWP_EVALUE, "kv_cache_scheme");
	refuse(good, REST ", \"ignore\": [1]", CWP_EVALUE, "names");
	refuse(good, REST ", \"ignore\": [\"re:(\"]", CWP_EVALUE, "re:(");
	refuse("", REST, CWP_EVALUE, "config_groups");
	refuse("\"g\": 1", REST, CWP_EVALUE, "config_groups.g");
	refuse("\"g\": {\"targets\": [\"Linear\"]}", REST, CWP_EMISSING, "config_groups.g");
	refuse("\"g\": {\"weights\": {" INT8_CHANNEL "}}", REST, CWP_EMISSING, "targets");
	refuse("\"g\": " GROUP("\"Linear\"", "\"num_bits\": 3, \"strategy\": \"channel\""), REST, CWP_EVALUE, "3 bits");
	refuse("\"g\": " GROUP("\"Linear\"", "\"type\": \"float\", \"num_bits\": 4"), REST, CWP_EVALUE, "float");
	refuse("\"g\": " GROUP("\"Linear\"", "\"strategy\": \"block\""), REST, CWP_EMISSING, "block_structure");
	refuse("\"g\": " GROUP("\"Linear\"", FP8_BLOCK("[0, 8]")), REST, CWP_EVALUE, "two sizes");
	refuse("\"g\": " GROUP("\"Linear\"", FP8_BLOCK("[8, 8, 8]")), REST, CWP_EVALUE, "two sizes");
	refuse("\"g\": " GROUP("\"Linear\"", "\"strategy\": \"block\", \"block_structure\": [8, 8]"), REST, CWP_EVALUE, "by block");
	refuse("\"g\": " GROUP("\"Linear\"", "\"strategy\": \"group\""), REST, CWP_EVALUE, "group");
	refuse("\"g\": " GROUP("\"Linear\"", "\"group_size\": 32, \"actorder\": \"group\""), REST, CWP_EVALUE, "actorder");
	refuse("\"g\": {\"targets\": [\"Linear\"], \"weights\": {" INT8_CHANNEL "}, \"format\": \"marlin-24\"}", REST, CWP_EVALUE,
		"marlin-24");
	refuse("\"g\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 4, \"group_size\": 32}, \"format\": "
	       "\"int-quantized\"}",
		REST, CWP_EVALUE, "does not fit");
	refuse_inputs("\"num_bits\": 4", "4 bits");
	refuse_inputs("\"dynamic\": true", "by \"tensor\"");
	refuse_inputs("\"strategy\": \"token\"", "by \"token\"");
	refuse_inputs("\"strategy\": \"token\", \"dynamic\": true, \"symmetric\": false", "asymmetric");
	refuse_inputs("\"strategy\": \"group\", \"group_size\": 8, \"dynamic\": true", "by \"group\""); /* of integers */
	refuse_inputs("\"type\": \"float\", \"symmetric\": false", "asymmetric");
}

/* Exact names before patterns before the class, patterns in the order of the alphabet and only from the start. */
static void test_matching(void **state)
{
	const char *groups = "\"a\": " GROUP("\"Linear\"", "\"num_bits\": 4, \"group_size\": 16") ", "
			     "\"b\": " GROUP("\"re:model[.]layers[.]1[.].*\"", "\"num_bits\": 4, \"group_size\": 32") ", "
			     "\"c\": " GROUP("\"re:model[.]lay.*\", \"model.layers.1.b\"", "\"num_bits\": 4, \"group_size\": 64");
	struct cwb_err err = {0};
	struct cwe_ct_config *c;
	int rc;

	(void)state;
	c = read_config(groups, REST ", \"ignore\": [\"lm_head\", \"re:.*gate$\"]", &rc, &err);
	assert_int_equal(rc, 0);
	assert_int_equal(cwe_ct_config_find(c, "model.layers.1.b")->group, 64);
	/* "model[.]lay.*" sorts before "model[.]layers..." */
	assert_int_equal(cwe_ct_config_find(c, "model.layers.1.a")->group, 64);
	assert_int_equal(cwe_ct_config_find(c, "other.model.layers.1.a")->group, 16);
	assert_null(cwe_ct_config_find(c, "lm_head"));
	assert_null(cwe_ct_config_find(c, "model.layers.1.gate"));
	assert_int_equal(cwe_ct_config_find(c, NULL)->group, 16);
	assert_int_equal(cwe_ct_config_find(c, NULL)->format, CWE_CT_PACK); /* inferred */
	cwe_ct_config_free(c);
	c = read_config("\"a\": " GROUP("\"model.x\"", INT8_CHANNEL), REST, &rc, &err);
	assert_int_equal(rc, 0);
	assert_null(cwe_ct_config_find(c, "model.y"));
	cwe_ct_config_free(c);
}

/* ---- tensors ---- */

struct part {
	const char *name;
	enum cwe_dtype dtype;
	uint32_t rank;
	uint64_t shape[2];
};

/* A checkpoint of zeros and ones, and the result of opening it. */
static int open_parts(const struct part *part, size_t n, const char *weights, const char *format, struct cwb_err *err)
{
	struct cwe_safetensors_plan plan[8];
	struct cwe_safetensors_writer *w;
	struct cwe_weights *weights_open = NULL;
	char *folder = toy_folder(), *text;
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;
	json_t *config;
	size_t i;

	for (i = 0; i < n; i++) {
		plan[i] = (struct cwe_safetensors_plan){part[i].name, part[i].dtype, part[i].rank, {0}};
		memcpy(plan[i].shape, part[i].shape, sizeof part[i].shape);
	}
	assert_int_equal(cwe_safetensors_writer_new(fd, "model.safetensors", 0, plan, n, NULL, 0, &w, NULL, err), 0);
	for (i = 0; i < n; i++)
		if (strstr(part[i].name, ".weight_shape") && part[i].dtype == CWE_DTYPE_I64) {
			uint8_t shape[16] = {8, [8] = 16};

			assert_int_equal(cwe_safetensors_writer_write(w, i, 0, shape, sizeof shape, err), 0);
		}
	for (i = 0; i < n; i++)
		if (!strcmp(part[i].name, "m.input_scale") && part[i].dtype == CWE_DTYPE_BF16) {
			static const uint8_t half[2] = {0x00, 0x3f};

			assert_int_equal(cwe_safetensors_writer_write(w, i, 0, half, sizeof half, err), 0);
		}
	assert_int_equal(cwe_safetensors_writer_publish(w, err), 0);
	cwe_safetensors_writer_free(w);
	close(fd);
	assert_true(asprintf(&text,
			    "{\"quantization_config\": {\"config_groups\": {\"g\": {\"targets\": [\"Linear\"], \"format\": \"%s\", "
			    "\"weights\": {%s}}}" REST "}}",
			    format, weights) > 0);
	config = parse(text);
	rc = cwe_output_weights_open(folder, config, &weights_open, err);
	cwe_weights_close(weights_open);
	json_decref(config);
	free(text);
	toy_remove(folder);
	free(folder);
	return rc;
}

static const struct part packed[4] = {
	{"m.weight_packed", CWE_DTYPE_I32, 2, {8, 2}},
	{"m.weight_scale", CWE_DTYPE_BF16, 2, {8, 2}},
	{"m.weight_shape", CWE_DTYPE_I64, 1, {2, 0}},
	{"m.weight_zero_point", CWE_DTYPE_I32, 2, {1, 2}},
};
#define W4 "\"num_bits\": 4, \"group_size\": 8"
#define W4_ZERO W4 ", \"symmetric\": false"

static void refuse_parts(const struct part *part, size_t n, const char *weights, const char *format, const char *text)
{
	struct cwb_err err = {0};
	int rc = open_parts(part, n, weights, format, &err);

	if (rc != CWP_EFORMAT || !strstr(err.message, text))
		fail_msg("%d, \"%s\" instead of a format error with \"%s\"", rc, err.message, text);
}

static void test_packed_tensors(void **state)
{
	struct part part[4];
	struct cwb_err err = {0};
	size_t i;

	(void)state;
	assert_int_equal(open_parts(packed, 3, W4, "pack-quantized", &err), 0);
	assert_int_equal(open_parts(packed, 4, W4_ZERO, "pack-quantized", &err), 0);
	refuse_parts(packed, 4, W4, "pack-quantized", "no zero point");
	refuse_parts(packed, 3, W4_ZERO, "pack-quantized", "weight_zero_point is missing");
	refuse_parts(packed, 2, W4, "pack-quantized", "weight_shape is missing");
	refuse_parts(packed + 1, 2, W4, "pack-quantized", "no quantized weight");
	refuse_parts(packed, 3, "\"num_bits\": 8, \"group_size\": 8", "pack-quantized", "weight_shape and num_bits");
	refuse_parts(packed, 3, "\"num_bits\": 8, \"group_size\": 8", "int-quantized", "does not fit the format");
	refuse_parts(packed, 3, "\"num_bits\": 4, \"group_size\": 12", "pack-quantized", "multiple of the group size");
	refuse_parts(packed, 3, "\"num_bits\": 4, \"group_size\": 16", "pack-quantized", "does not fit the weight");
	for (i = 0; i < 3; i++) {
		memcpy(part, packed, sizeof part);
		part[i].shape[0]++;
		refuse_parts(part, 4, W4_ZERO, "pack-quantized", "m.weight");
		memcpy(part, packed, sizeof part);
		part[i].dtype = CWE_DTYPE_U8;
		refuse_parts(part, 4, W4_ZERO, "pack-quantized", "m.weight");
	}
	memcpy(part, packed, sizeof part);
	part[3].shape[0] = 8; /* not packed */
	refuse_parts(part, 4, W4_ZERO, "pack-quantized", "weight_zero_point");
	part[3].dtype = CWE_DTYPE_I8;
	refuse_parts(part, 4, W4_ZERO, "pack-quantized", "weight_zero_point");
}

static void test_plain_tensors(void **state)
{
	struct part part[4] = {
		{"m.weight", CWE_DTYPE_I8, 2, {8, 16}},
		{"m.weight_scale", CWE_DTYPE_F32, 2, {8, 1}},
		{"n.weight", CWE_DTYPE_F32, 1, {4, 0}},
		{"m.weight_zero_point", CWE_DTYPE_I8, 2, {8, 1}},
	};
	struct cwb_err err = {0};

	(void)state;
	assert_int_equal(open_parts(part, 3, INT8_CHANNEL, "naive-quantized", &err), 0);
	assert_int_equal(open_parts(part, 4, INT8_CHANNEL ", \"symmetric\": false", "int-quantized", &err), 0);
	refuse_parts(part, 3, INT8_CHANNEL, "pack-quantized", "does not fit the format");
	refuse_parts(part, 1, INT8_CHANNEL, "naive-quantized", "weight_scale is missing");
	part[1].dtype = CWE_DTYPE_F64;
	refuse_parts(part, 3, INT8_CHANNEL, "naive-quantized", "scales are");
	part[1] = (struct part){"m.weight_scale", CWE_DTYPE_F32, 1, {8, 0}};
	refuse_parts(part, 3, INT8_CHANNEL, "naive-quantized", "strategy");
	part[1].shape[0] = 1;
	assert_int_equal(open_parts(part, 3, "\"num_bits\": 8, \"strategy\": \"tensor\"", "naive-quantized", &err), 0);
	part[2].dtype = CWE_DTYPE_U8;
	refuse_parts(part, 3, "\"num_bits\": 8", "naive-quantized", "dtype");
	part[0].dtype = CWE_DTYPE_F8_E4M3;
	refuse_parts(part, 2, "\"num_bits\": 8", "naive-quantized", "does not fit the format");
	assert_int_equal(open_parts(part, 2, "\"type\": \"float\"", "naive-quantized", &err), 0);
	part[0].dtype = CWE_DTYPE_F32; /* dense, and yet with scales */
	refuse_parts(part, 2, "\"type\": \"float\"", "naive-quantized", "no quantized weight");
}

#define FIXED INT8_CHANNEL "}, \"input_activations\": {\"strategy\": \"tensor\""
#define SHIFTED FIXED ", \"symmetric\": false"

/* One scale for all inputs, which is 0.5 as BF16 and 0 as F32 here. */
static void test_input_tensors(void **state)
{
	struct part part[4] = {
		{"m.weight", CWE_DTYPE_I8, 2, {8, 16}},
		{"m.weight_scale", CWE_DTYPE_F32, 2, {8, 1}},
		{"m.input_scale", CWE_DTYPE_BF16, 1, {1, 0}},
		{"m.input_zero_point", CWE_DTYPE_I8, 1, {1, 0}},
	};
	struct cwb_err err = {0};

	(void)state;
	assert_int_equal(open_parts(part, 3, FIXED, "int-quantized", &err), 0);
	assert_int_equal(open_parts(part, 4, SHIFTED, "int-quantized", &err), 0);
	refuse_parts(part, 2, FIXED, "int-quantized", "input_scale is missing");
	refuse_parts(part, 3, SHIFTED, "int-quantized", "input_zero_point is missing");
	refuse_parts(part, 4, FIXED, "int-quantized", "no zero point");
	refuse_parts(part, 3, INT8_CHANNEL, "naive-quantized", "no fixed scale");
	part[3].dtype = CWE_DTYPE_U8;
	refuse_parts(part, 4, SHIFTED, "int-quantized", "I8 [1]");
	part[2].shape[0] = 8;
	refuse_parts(part, 3, FIXED, "int-quantized", "one number");
	part[2] = (struct part){"m.input_scale", CWE_DTYPE_F32, 1, {1, 0}};
	refuse_parts(part, 3, FIXED, "int-quantized", "finite and positive");
	refuse_parts(part + 2, 1, FIXED, "int-quantized", "no quantized weight");
}

static void test_blocks(void **state)
{
	struct part part[2] = {{"m.weight", CWE_DTYPE_F8_E4M3, 2, {9, 16}}, {"m.weight_scale", CWE_DTYPE_F32, 2, {2, 3}}};
	struct cwb_err err = {0};

	(void)state;
	assert_int_equal(open_parts(part, 2, FP8_BLOCK("[8, 6]"), "naive-quantized", &err), 0);
	refuse_parts(part, 2, FP8_BLOCK("[9, 6]"), "naive-quantized", "strategy");
	refuse_parts(part, 2, FP8_BLOCK("[8, 5]"), "naive-quantized", "strategy");
	refuse_parts(part, 2,
		FP8_BLOCK("[8, 6]") "}, \"input_activations\": {\"type\": \"float\", \"strategy\": \"group\", \"group_size\": 6, "
				    "\"dynamic\": true",
		"float-quantized", "groups of its inputs");
}

static void refuse_method(const char *quantization, int code, const char *text)
{
	struct cwe_weights *weights = NULL;
	struct cwb_err err = {0};
	json_t *config = json_pack("{s:o}", "quantization_config", parse(quantization));
	int rc = cwe_output_weights_open("/nowhere", config, &weights, &err);

	if (rc != code || !strstr(err.message, text))
		fail_msg("%d, \"%s\" instead of %d, \"%s\"", rc, err.message, code, text);
	assert_null(weights);
	json_decref(config);
}

static void test_refused_methods(void **state)
{
	(void)state;
	refuse_method("{}", CWP_EMISSING, "quant_method");
	refuse_method("{\"quant_method\": 8}", CWP_EVALUE, "quant_method");
	refuse_method("{\"quant_method\": \"awq\"}", CWP_EVALUE, "unquantized model");
}

/* Scales that are no numbers are found when a row is read, and by the check of the whole folder. */
static void test_refused_scales(void **state)
{
	static const float bad[] = {__builtin_nanf(""), __builtin_inff(), -0.5f};
	const char *text = "{\"quantization_config\": {\"config_groups\": {\"g\": {\"targets\": [\"Linear\"], \"format\": "
			   "\"naive-quantized\", \"weights\": {" INT8_CHANNEL "}}}" REST "}}";
	struct cwe_safetensors_plan plan[2] = {{"m.weight", CWE_DTYPE_I8, 2, {8, 16}}, {"m.weight_scale", CWE_DTYPE_F32, 2, {8, 1}}};
	float scale[8] = {1, 1, 1, 1, 1, 1, 1, 1}, row[16];
	size_t i;

	(void)state;
	for (i = 0; i <= sizeof bad / sizeof *bad; i++) {
		char *folder = toy_folder();
		int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), expected = i < 3 ? CWP_ENUMBER : 0;
		struct cwe_safetensors_writer *w;
		struct cwe_weights *weights = NULL;
		struct cwb_err err = {0};
		json_t *config = parse(text);

		scale[5] = i < 3 ? bad[i] : 1;
		assert_int_equal(cwe_safetensors_writer_new(fd, "model.safetensors", 0, plan, 2, NULL, 0, &w, NULL, &err), 0);
		assert_int_equal(cwe_safetensors_writer_write(w, 1, 0, scale, sizeof scale, &err), 0);
		assert_int_equal(cwe_safetensors_writer_publish(w, &err), 0);
		cwe_safetensors_writer_free(w);
		close(fd);
		assert_int_equal(cwe_output_weights_open(folder, config, &weights, &err), 0);
		assert_int_equal(cwe_weights_read_f32(weights, &weights->tensors[0], 4, 1, row, &err), 0);
		assert_int_equal(cwe_weights_read_f32(weights, &weights->tensors[0], 5, 1, row, &err), expected);
		assert_true(i == 3 || strstr(err.message, "row 5"));
		cwb_err_clear(&err);
		assert_int_equal(cwe_output_check(folder, config, &err), expected);
		cwe_weights_close(weights);
		json_decref(config);
		toy_remove(folder);
		free(folder);
	}
}

/* What only fits together: an overlay of another model, an overlay without quantization. */
static void test_foreign_overlay(void **state)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_NONE);
	char *model = toy_folder(), *out = toy_folder(), *one = toy_folder(), *path, *data;
	struct cwe_writer_options o = {out, CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_OVERLAY, 1u << 30};
	struct cwe_source *s, *again = NULL;
	struct toy_result r[2];
	struct cwb_err err = {0};
	size_t length;

	(void)state;
	toy_model(model, CWP_F32);
	assert_int_equal(cwe_source_open(model, 0, &s, &err), 0);
	toy_quantize(s, toy_modules[0], &grid, 0.1, 1, &r[0]);
	toy_quantize(s, toy_modules[1], &grid, 0.1, 1, &r[1]);
	toy_write(s, &o, r, 2);
	o.directory = one;
	toy_write(s, &o, r, 1);
	data = toy_read(out, "protected.safetensors", &length);
	path = toy_path(one, "protected.safetensors");
	toy_put(path, data, length);
	free(path);
	assert_int_equal(cwe_source_open(one, 0, &again, &err), CWP_EFORMAT);
	assert_non_null(strstr(err.message, toy_modules[1]));
	cwb_err_clear(&err);
	path = toy_path(model, "protected.safetensors");
	toy_put(path, data, length);
	assert_int_equal(cwe_source_open(model, 0, &again, &err), CWP_EMISSING);
	assert_non_null(strstr(err.message, "quantization_config"));
	free(path);
	free(data);
	toy_result_free(&r[0]);
	toy_result_free(&r[1]);
	cwe_source_close(s);
	toy_remove(model);
	toy_remove(out);
	toy_remove(one);
	free(model);
	free(out);
	free(one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused_configs),
		cmocka_unit_test(test_matching),
		cmocka_unit_test(test_packed_tensors),
		cmocka_unit_test(test_input_tensors),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_plain_tensors),
		cmocka_unit_test(test_refused_methods),
		cmocka_unit_test(test_refused_scales),
		cmocka_unit_test(test_foreign_overlay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
