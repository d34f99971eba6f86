/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* bitsandbytes, GPTQ and block FP8 checkpoints that someone else wrote, well and badly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "tests/unit/engine/output/toy.h"

/* Opens it, and where that goes well reads the first weight into values. */
static int open_parts(const struct toy_part *part, size_t n, const char *quantization, float *values, struct cwb_err *err)
{
	struct cwe_weights *weights = NULL;
	char *folder = toy_folder(), *text;
	json_t *config = NULL;
	int rc;

	assert_true(asprintf(&text, "{\"quantization_config\": {%s}}", quantization) > 0);
	toy_put_parts(folder, "model.safetensors", NULL, part, n);
	assert_int_equal(cwb_json_load(text, strlen(text), 1u << 20, CWB_JSON_DEPTH, &config, err), 0);
	rc = cwe_output_weights_open(folder, config, &weights, err);
	if (!rc && values) {
		rc = cwe_weights_read_f32(weights, &weights->tensors[0], 0, weights->tensors[0].shape[0], values, err);
		if (!rc)
			rc = cwe_output_check(folder, config, err);
	}
	cwe_weights_close(weights);
	json_decref(config);
	free(text);
	toy_remove(folder);
	free(folder);
	return rc;
}

static void refuse(const struct toy_part *part, size_t n, const char *quantization, int code, const char *text)
{
	struct cwb_err err = {0};
	float values[256];
	int rc = open_parts(part, n, quantization, values, &err);

	if (rc != code || !strstr(err.message, text))
		fail_msg("%d, \"%s\" instead of %d, \"%s\"", rc, err.message, code, text);
}

/* The parts with one of them changed, each in a way that its name in the message shows. */
static void refuse_shapes(const struct toy_part *good, size_t n, const char *quantization, enum cwe_dtype other)
{
	struct toy_part part[8];
	size_t i;

	for (i = 0; i < n; i++) {
		memcpy(part, good, n * sizeof *part);
		part[i].data = NULL;
		part[i].dtype = other;
		refuse(part, n, quantization, CWP_EFORMAT, "m.");
		part[i].dtype = good[i].dtype;
		part[i].rank = good[i].rank == 2 ? 1 : 2;
		part[i].shape[1] = 2;
		refuse(part, n, quantization, CWP_EFORMAT, "m.");
		part[i] = good[i];
		part[i].data = NULL;
		part[i].rank = good[i].rank ? good[i].rank : 1;
		part[i].shape[0] += good[i].rank ? 1 : 2;
		refuse(part, n, quantization, CWP_EFORMAT, "m.");
	}
}

/* ---- bitsandbytes ---- */

#define BNB "\"quant_method\": \"bitsandbytes\", \"load_in_8bit\": true"
static const int8_t int8_codes[32] = {127, -127, 1, 0, [16] = 3, [31] = -4};
static const float scb[2] = {12.7f, 254.0f};
static const uint8_t zero_byte, one_byte = 1;
static const struct toy_part bnb[3] = {{"m.weight", CWE_DTYPE_I8, 2, {2, 16}, int8_codes}, {"m.SCB", CWE_DTYPE_F32, 1, {2, 0}, scb},
	{"m.weight_format", CWE_DTYPE_U8, 0, {0, 0}, &zero_byte}};

static void test_bitsandbytes(void **state)
{
	static const float bad[3][2] = {{1, __builtin_nanf("")}, {-1, 1}, {__builtin_inff(), 1}};
	struct toy_part part[3];
	struct cwb_err err = {0};
	float value[32];
	size_t i;

	(void)state;
	assert_int_equal(open_parts(bnb, 3, BNB, value, &err), 0);
	assert_true(value[0] == 127 * (12.7f / 127) && value[1] == -value[0] && value[16] == 6 && value[31] == -8 && value[3] == 0);
	assert_int_equal(open_parts(bnb, 2, BNB ", \"llm_int8_threshold\": 0", value, &err), 0);
	refuse(bnb, 3, "\"quant_method\": \"bitsandbytes\"", CWP_EVALUE, "load_in_8bit");
	refuse(bnb, 3, "\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true", CWP_EVALUE, "load_in_8bit");
	refuse(bnb, 3, BNB ", \"llm_int8_threshold\": -1", CWP_EVALUE, "llm_int8_threshold");
	refuse(bnb, 3, BNB ", \"llm_int8_threshold\": \"6\"", CWP_EVALUE, "llm_int8_threshold");
	refuse(bnb, 1, BNB, CWP_EFORMAT, "SCB is missing");
	refuse(bnb + 1, 1, BNB, CWP_EFORMAT, "no quantized weight");
	refuse(bnb + 2, 1, BNB, CWP_EFORMAT, "no quantized weight");
	refuse_shapes(bnb, 3, BNB, CWE_DTYPE_F64);
	memcpy(part, bnb, sizeof part);
	part[2].data = &one_byte;
	refuse(part, 3, BNB, CWP_EFORMAT, "only rows");
	memcpy(part, bnb, sizeof part);
	for (i = 0; i < 3; i++) {
		part[1].data = bad[i];
		refuse(part, 3, BNB, CWP_ENUMBER, "m.SCB");
	}
}

/* ---- GPTQ ---- */

#define GPTQ "\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 16, \"desc_act\": false"
static const uint32_t sevens[2] = {0x77777777, 0x77777777}, mixed[2] = {0xf0127777, 0x77777777};
static const uint32_t qweight[32] = {0x00000000, 0xfedcba98, [8] = 0x88888888};
static const uint16_t halves[16] = {0x3800, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00,
	0x4000, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00};
static const uint32_t order[32] = {[16] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, disorder[32] = {0, 1};
/* 8 outputs, 32 inputs in two groups. */
static const struct toy_part gptq[4] = {{"m.qweight", CWE_DTYPE_I32, 2, {4, 8}, qweight}, {"m.scales", CWE_DTYPE_F16, 2, {2, 8}, halves},
	{"m.qzeros", CWE_DTYPE_I32, 2, {2, 1}, sevens}, {"m.g_idx", CWE_DTYPE_I32, 1, {32, 0}, order}};

static void test_gptq(void **state)
{
	struct toy_part part[4];
	struct cwb_err err = {0};
	float value[256];

	(void)state;
	assert_int_equal(open_parts(gptq, 4, GPTQ, value, &err), 0);
	/* Output 0: inputs 0 to 7 are 0 - 8, 8 to 15 are 8 - 8, each times 1/2; the second group, of zeros, times 2. */
	assert_true(value[0] == -4 && value[7] == -4 && value[8] == 0 && value[16] == -16);
	assert_true(value[32] == 0 && value[39] == 7); /* output 1 */
	assert_int_equal(open_parts(gptq, 3, GPTQ, value, &err), 0); /* without g_idx */
	assert_int_equal(open_parts(gptq, 4, GPTQ ", \"checkpoint_format\": \"gptq_v2\"", value, &err), 0);
	assert_true(value[0] == -3.5f && value[32] == 1);
	memcpy(part, gptq, sizeof part);
	part[2].data = mixed; /* stored less one: outputs 4 to 7 have the zero points 3, 2, 1 and 16, that is 0 */
	assert_int_equal(open_parts(part, 4, GPTQ, value, &err), 0);
	assert_true(value[4 * 32] == -3 && value[5 * 32] == -2 && value[6 * 32] == -1 && value[7 * 32] == 0);
	assert_int_equal(open_parts(gptq, 4, GPTQ ", \"dynamic\": {\"-:^lm_head$\": {}}", value, &err), 0);
}

static void test_gptq_refusals(void **state)
{
	static const uint16_t bad[16] = {0x3800, 0x7e00};
	struct toy_part part[4];

	(void)state;
	refuse(gptq, 4, "\"quant_method\": \"gptq\"", CWP_EMISSING, "bits");
	refuse(gptq, 4, "\"quant_method\": \"gptq\", \"bits\": 3", CWP_EVALUE, "3 bits");
	refuse(gptq, 4, "\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 0", CWP_EVALUE, "group_size");
	refuse(gptq, 4, GPTQ ", \"checkpoint_format\": \"marlin\"", CWP_EVALUE, "marlin");
	refuse(gptq, 4, GPTQ ", \"dynamic\": {\"+:.*up_proj\": {\"bits\": 8}}", CWP_EVALUE, "up_proj");
	refuse(gptq, 4, GPTQ ", \"dynamic\": [1]", CWP_EVALUE, "dynamic");
	refuse(gptq, 4, "\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 24", CWP_EFORMAT, "multiple of the group size");
	refuse(gptq, 4, "\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 8", CWP_EFORMAT, "[groups, outputs]");
	refuse(gptq, 4, "\"quant_method\": \"gptq\", \"bits\": 8, \"group_size\": -1", CWP_EFORMAT, "m.");
	refuse(gptq, 1, GPTQ, CWP_EFORMAT, "scales are missing");
	refuse(gptq, 2, GPTQ, CWP_EFORMAT, "qzeros are missing");
	refuse(gptq + 1, 1, GPTQ, CWP_EFORMAT, "no quantized weight");
	refuse_shapes(gptq, 4, GPTQ, CWE_DTYPE_U8);
	memcpy(part, gptq, sizeof part);
	part[3].data = disorder;
	refuse(part, 4, GPTQ, CWP_EFORMAT, "desc_act");
	part[3].data = order;
	part[1].data = bad;
	refuse(part, 4, GPTQ, CWP_ENUMBER, "m.scales");
	part[0].shape[1] = part[1].shape[1] = 7;
	refuse(part, 4, GPTQ, CWP_EFORMAT, "whole words");
}

/* ---- fp8 ---- */

#define FP8 "\"quant_method\": \"fp8\", \"weight_block_size\": [2, 4], \"activation_scheme\": \"dynamic\""
static const uint8_t e4m3[32] = {0x38, 0xb8, [4] = 0x38, [16] = 0x38, [20] = 0x40}; /* 1, -1, 1, 1, 2 */
static const float inverse[4] = {0.5f, 3, 4, 5};
static const struct toy_part fp8[2] = {
	{"m.weight", CWE_DTYPE_F8_E4M3, 2, {4, 8}, e4m3}, {"m.weight_scale_inv", CWE_DTYPE_F32, 2, {2, 2}, inverse}};

static void test_fp8(void **state)
{
	static const float bad[4] = {1, 1, __builtin_nanf(""), 1};
	struct toy_part part[2];
	struct cwb_err err = {0};
	float value[32];

	(void)state;
	assert_int_equal(open_parts(fp8, 2, FP8, value, &err), 0);
	assert_true(value[0] == 0.5f && value[1] == -0.5f && value[4] == 3 && value[16] == 4 && value[20] == 10);
	refuse(fp8, 2, "\"quant_method\": \"fp8\"", CWP_EMISSING, "weight_block_size");
	refuse(fp8, 2, "\"quant_method\": \"fp8\", \"weight_block_size\": [2]", CWP_EVALUE, "two sizes");
	refuse(fp8, 2, "\"quant_method\": \"fp8\", \"weight_block_size\": [2, 0]", CWP_EVALUE, "two sizes");
	refuse(fp8, 2, "\"quant_method\": \"fp8\", \"weight_block_size\": [2, 4], \"activation_scheme\": \"static\"", CWP_EVALUE, "static");
	refuse(fp8, 2, FP8 ", \"scale_fmt\": \"ue8m0\"", CWP_EVALUE, "ue8m0");
	refuse(fp8, 1, FP8, CWP_EFORMAT, "weight_scale_inv is missing");
	refuse(fp8 + 1, 1, FP8, CWP_EFORMAT, "no quantized weight");
	refuse(fp8, 2, "\"quant_method\": \"fp8\", \"weight_block_size\": [3, 4]", CWP_EFORMAT, "does not divide");
	refuse(fp8, 2, "\"quant_method\": \"fp8\", \"weight_block_size\": [2, 8]", CWP_EFORMAT, "does not fit");
	refuse_shapes(fp8, 2, FP8, CWE_DTYPE_U8);
	memcpy(part, fp8, sizeof part);
	part[1].data = bad;
	refuse(part, 2, FP8, CWP_ENUMBER, "row 2");
}

/* Files that end too early, and bytes that are changed: refused, or read without harm. */
static void test_damaged(void **state)
{
	static const struct {
		const struct toy_part *part;
		size_t n;
		const char *quantization;
	} all[] = {{bnb, 3, BNB}, {gptq, 4, GPTQ}, {fp8, 2, FP8}};
	size_t i, at, length;

	(void)state;
	for (i = 0; i < 3; i++) {
		char *folder = toy_folder(), *path = toy_path(folder, "model.safetensors"), *data, *text;
		json_t *config = NULL;
		struct cwb_err err = {0};

		toy_put_parts(folder, "model.safetensors", NULL, all[i].part, all[i].n);
		data = toy_read(folder, "model.safetensors", &length);
		assert_true(asprintf(&text, "{\"quantization_config\": {%s}}", all[i].quantization) > 0);
		assert_int_equal(cwb_json_load(text, strlen(text), 1u << 20, CWB_JSON_DEPTH, &config, &err), 0);
		assert_int_equal(cwe_output_check(folder, config, &err), 0);
		for (at = 0; at < length; at += 7) {
			cwb_err_clear(&err);
			toy_put(path, data, at);
			assert_int_not_equal(cwe_output_check(folder, config, &err), 0);
			assert_true(strlen(err.message) > 10);
		}
		for (at = 0; at < length; at++) {
			cwb_err_clear(&err);
			data[at] = (char)(data[at] ^ 0x11);
			toy_put(path, data, length);
			data[at] = (char)(data[at] ^ 0x11);
			if (cwe_output_check(folder, config, &err))
				assert_true(strlen(err.message) > 10);
		}
		json_decref(config);
		free(text);
		free(data);
		free(path);
		toy_remove(folder);
		free(folder);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bitsandbytes),
		cmocka_unit_test(test_gptq),
		cmocka_unit_test(test_gptq_refusals),
		cmocka_unit_test(test_fp8),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
