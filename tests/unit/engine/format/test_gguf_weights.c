/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GGUF as weights: decoded blocks, names, the order of rows, refusals. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/format/gguf.h"

#define HEADS 2
#define KV_HEADS 1
#define HEAD 8
#define COLUMNS 32

static void needed_keys(struct gguf_build *g)
{
	gguf_text(g, "general.architecture", "llama");
	gguf_u32(g, "llama.block_count", 2);
	gguf_u32(g, "llama.attention.head_count", HEADS);
	gguf_u32(g, "llama.attention.head_count_kv", KV_HEADS);
}

static int open_weights(struct gguf_build *build, struct cwe_weights **ret, struct cwb_err *err)
{
	struct blob b = {0};
	struct cwe_gguf *g;
	int rc;

	gguf_finish(build, &b);
	gguf_free(build);
	rc = cwe_gguf_adopt(blob_fd(&b), "test", &g, err);
	blob_free(&b);
	return rc ? rc : cwe_gguf_weights_new(g, CWE_GGUF_WEIGHTS_OWN, ret, err);
}

static void bytes_of(const char *hex, uint8_t *ret)
{
	for (size_t i = 0; hex[2 * i]; i++)
		ret[i] = (uint8_t)strtoul((const char[]){hex[2 * i], hex[2 * i + 1], 0}, NULL, 16);
}

/* Blocks as ggml_quantize_chunk made them of x_i = -1 + 2i/31: the values must be within half a step. */
static void test_golden_blocks(void **state)
{
	uint8_t q8[34], q4[18];
	float x[32], y[32];

	(void)state;
	bytes_of("08208189919aa2aab2bac3cbd3dbe3ecf4fc040c141d252d353d464e565e666f777f", q8);
	bytes_of("0030809191a2a2b3b3c4c4d5d5e6e6f7f7f8", q4);
	cwe_gguf_decode(CWE_GGUF_TYPE_Q8_0, q8, x, 32);
	cwe_gguf_decode(CWE_GGUF_TYPE_Q4_0, q4, y, 32);
	for (int i = 0; i < 32; i++) {
		assert_true(fabs(x[i] - (-1 + 2.0 * i / 31)) <= 0.5 / 127 + 1e-3);
		assert_true(fabs(y[i] - (-1 + 2.0 * i / 31)) <= 0.5 / 8 + 1e-3 || i == 31); /* +1 is clamped to 7/8 */
	}
	assert_true(y[31] == 0.875f && y[0] == -1);
	assert_true(x[0] == -127 * cwe_f32_from_f16(0x2008));
}

static void test_blocks_by_definition(void **state)
{
	uint8_t block[34];
	float x[32], d = cwe_f32_from_f16(0x2e66), m = cwe_f32_from_f16(0xb123);

	(void)state;
	for (int i = 0; i < 34; i++)
		block[i] = (uint8_t)(37 * i + 11);
	block[0] = 0x66;
	block[1] = 0x2e;
	cwe_gguf_decode(CWE_GGUF_TYPE_Q8_0, block, x, 32);
	for (int i = 0; i < 32; i++)
		assert_true(x[i] == d * (float)(int8_t)block[2 + i]);
	cwe_gguf_decode(CWE_GGUF_TYPE_Q4_0, block, x, 32);
	for (int i = 0; i < 32; i++)
		assert_true(x[i] == d * (float)((i < 16 ? block[2 + i] & 15 : block[2 + i - 16] >> 4) - 8));
	block[2] = 0x23;
	block[3] = 0xb1;
	cwe_gguf_decode(CWE_GGUF_TYPE_Q4_1, block, x, 32);
	for (int i = 0; i < 32; i++) {
		volatile float product = d * (float)(i < 16 ? block[4 + i] & 15 : block[4 + i - 16] >> 4);

		assert_true(x[i] == product + m); /* rounded twice, never fused */
	}
}

/* A block of every type: rows of w = number of the row, so that the order shows. */
static size_t row_of(uint32_t type, float value, uint8_t *ret)
{
	uint16_t d = cwe_f16_from_f32(value / 2);

	switch (type) {
	case CWE_GGUF_TYPE_F32:
		for (int i = 0; i < COLUMNS; i++)
			memcpy(ret + 4 * i, &value, 4);
		return COLUMNS * 4;
	case CWE_GGUF_TYPE_F16:
	case CWE_GGUF_TYPE_BF16:
		d = type == CWE_GGUF_TYPE_F16 ? cwe_f16_from_f32(value) : cwe_bf16_from_f32(value);
		for (int i = 0; i < COLUMNS; i++)
			memcpy(ret + 2 * i, &d, 2);
		return COLUMNS * 2;
	case CWE_GGUF_TYPE_Q8_0:
		memcpy(ret, &d, 2);
		memset(ret + 2, 2, 32);
		return 34;
	case CWE_GGUF_TYPE_Q4_0:
		memcpy(ret, &d, 2);
		memset(ret + 2, 0xaa, 16); /* 10 - 8 */
		return 18;
	default: /* Q4_1: 1 * d + m */
		memcpy(ret, &d, 2);
		memcpy(ret + 2, &d, 2);
		memset(ret + 4, 0x11, 16);
		return 20;
	}
}

static void add_matrix(struct gguf_build *g, const char *name, uint32_t type, uint64_t rows)
{
	uint8_t row[COLUMNS * 4] = {0};
	struct blob b = {0};

	for (uint64_t i = 0; i < rows; i++)
		blob_add(&b, row, row_of(type, (float)i, row));
	gguf_tensor(g, name, type, COLUMNS, rows, b.data, b.length);
	blob_free(&b);
}

static const uint32_t types[] = {CWE_GGUF_TYPE_F32, CWE_GGUF_TYPE_F16, CWE_GGUF_TYPE_BF16, CWE_GGUF_TYPE_Q8_0, CWE_GGUF_TYPE_Q4_0,
	CWE_GGUF_TYPE_Q4_1};
static const uint32_t dtypes[] = {CWP_F32, CWP_F16, CWP_BF16, CWP_BF16, CWP_BF16, CWP_BF16};

/* Reads all rows, then each alone, as f32 and raw: they must be the rows `want`. */
static void check_rows(struct cwe_weights *w, const char *name, uint32_t dtype, const int *want, uint64_t rows)
{
	const struct cwe_tensor *t = cwe_weights_find(w, name);
	float all[HEADS * HEAD * COLUMNS], one[COLUMNS], back[HEADS * HEAD * COLUMNS];
	uint8_t raw[sizeof all];

	assert_non_null(t);
	assert_int_equal(t->dtype, dtype);
	assert_int_equal(t->rank, 2);
	assert_int_equal(t->shape[0], rows);
	assert_int_equal(t->shape[1], COLUMNS);
	assert_int_equal(cwe_weights_read_f32(w, t, 0, rows, all, NULL), 0);
	assert_int_equal(cwe_weights_read_raw(w, t, 0, rows, raw, NULL), 0);
	cwe_f32_from_dtype(back, raw, dtype, rows * COLUMNS);
	assert_memory_equal(all, back, rows * COLUMNS * sizeof *all);
	for (uint64_t i = 0; i < rows; i++) {
		assert_int_equal(cwe_weights_read_f32(w, t, i, 1, one, NULL), 0);
		assert_memory_equal(one, all + i * COLUMNS, sizeof one);
		for (int j = 0; j < COLUMNS; j++)
			assert_true(one[j] == (float)want[i]);
	}
}

static void test_all_types(void **state)
{
	/* The file's rows 0, 1, 2, .. of a head are 0, d/2, 1, d/2 + 1, .. in Hugging Face's order. */
	static const int rotated[16] = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};
	static const int plain[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

	(void)state;
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		struct gguf_build build = {0};
		struct cwe_weights *w = NULL;
		struct cwb_err err = {0};

		needed_keys(&build);
		add_matrix(&build, "token_embd.weight", types[i], 5);
		add_matrix(&build, "blk.1.attn_q.weight", types[i], HEADS * HEAD);
		add_matrix(&build, "blk.1.attn_k.weight", types[i], KV_HEADS * HEAD);
		add_matrix(&build, "blk.1.attn_v.weight", types[i], KV_HEADS * HEAD);
		assert_int_equal(open_weights(&build, &w, &err), 0);
		if (!w) {
			fail();
			return;
		}
		assert_int_equal(w->count, 4);
		check_rows(w, "model.embed_tokens.weight", dtypes[i], plain, 5);
		check_rows(w, "model.layers.1.self_attn.q_proj.weight", dtypes[i], rotated, HEADS * HEAD);
		check_rows(w, "model.layers.1.self_attn.k_proj.weight", dtypes[i], rotated, KV_HEADS * HEAD);
		check_rows(w, "model.layers.1.self_attn.v_proj.weight", dtypes[i], plain, KV_HEADS * HEAD);
		cwe_weights_close(w);
	}
}

/* Values between two bf16 ones come out rounded, in both readings; more blocks than one piece. */
static void test_rounded_to_bf16(void **state)
{
	uint64_t columns = 32 * 300;
	uint8_t *data = malloc(300 * 34);
	float *x = malloc(columns * sizeof *x);
	uint16_t *raw = malloc(columns * sizeof *raw);
	struct gguf_build build = {0};
	struct cwe_weights *w = NULL;
	struct cwb_err err = {0};
	int rounded = 0;

	(void)state;
	for (int i = 0; i < 300; i++) {
		uint16_t d = (uint16_t)(0x2c01 + i);

		memcpy(data + 34 * i, &d, 2);
		for (int j = 0; j < 32; j++)
			data[34 * i + 2 + j] = (uint8_t)(i + 7 * j);
	}
	needed_keys(&build);
	gguf_tensor(&build, "output.weight", CWE_GGUF_TYPE_Q8_0, columns, 1, data, 300 * 34);
	assert_int_equal(open_weights(&build, &w, &err), 0);
	assert_string_equal(w->tensors[0].name, "lm_head.weight");
	assert_int_equal(cwe_weights_read_f32(w, w->tensors, 0, 1, x, &err), 0);
	assert_int_equal(cwe_weights_read_raw(w, w->tensors, 0, 1, raw, &err), 0);
	for (uint64_t i = 0; i < columns; i++) {
		float exact = cwe_f32_from_f16((uint16_t)(0x2c01 + i / 32)) * (float)(int8_t)data[34 * (i / 32) + 2 + i % 32];

		assert_int_equal(raw[i], cwe_bf16_from_f32(exact));
		assert_true(x[i] == cwe_f32_from_bf16(raw[i]));
		rounded += x[i] != exact;
	}
	assert_true(rounded > 1000);
	cwe_weights_close(w);
	free(data);
	free(x);
	free(raw);
}

static void test_vectors_and_biases(void **state)
{
	float values[16], x[16];
	struct gguf_build build = {0};
	struct cwe_weights *w = NULL;
	const struct cwe_tensor *t;
	struct cwb_err err = {0};

	(void)state;
	for (int i = 0; i < 16; i++)
		values[i] = (float)i + 0.1f; /* no bf16 value: F32 stays what it is */
	needed_keys(&build);
	gguf_tensor(&build, "output_norm.weight", CWE_GGUF_TYPE_F32, 16, 0, values, sizeof values);
	gguf_tensor(&build, "blk.0.attn_q.bias", CWE_GGUF_TYPE_F32, 16, 0, values, sizeof values);
	gguf_tensor(&build, "rope_freqs.weight", CWE_GGUF_TYPE_F32, 4, 0, values, 16);
	assert_int_equal(open_weights(&build, &w, &err), 0);
	assert_int_equal(w->count, 2);
	t = cwe_weights_find(w, "model.norm.weight");
	assert_int_equal(t->rank, 1);
	assert_int_equal(t->dtype, CWP_F32);
	assert_int_equal(cwe_weights_read_f32(w, t, 3, 2, x, &err), 0);
	assert_true(x[0] == values[3] && x[1] == values[4]);
	t = cwe_weights_find(w, "model.layers.0.self_attn.q_proj.bias");
	assert_int_equal(cwe_weights_read_f32(w, t, 0, 16, x, &err), 0);
	assert_true(x[1] == values[2] && x[4] == values[1] && x[12] == values[9]);
	cwe_weights_close(w);
}

static const struct {
	const char *name;
	uint32_t type;
	uint64_t columns, rows;
	size_t bytes;
	int code;
	const char *part;
} refused[] = {
	{"blk.0.ffn_gate_exps.weight", 0, 32, 2, 256, CWP_EUNKNOWN, "\"blk.0.ffn_gate_exps.weight\" is not known"},
	{"blk.2.attn_v.weight", 0, 32, 2, 256, CWP_EUNKNOWN, "not known in a llama model of 2 layers"},
	{"blk.01.attn_v.weight", 0, 32, 2, 256, CWP_EUNKNOWN, "not known"},
	{"blk..attn_v.weight", 0, 32, 2, 256, CWP_EUNKNOWN, "not known"},
	{"blk.99999999999999999999.attn_v.weight", 0, 32, 2, 256, CWP_EUNKNOWN, "not known"},
	{"blk.1", 0, 32, 2, 256, CWP_EUNKNOWN, "not known"},
	{"tokenembd", 0, 32, 2, 256, CWP_EUNKNOWN, "not known"},
	{"output.weight", 20, 32, 1, 18, CWP_EUNKNOWN, "is IQ4_NL; F32, F16, BF16, Q8_0, Q5_0, Q5_1, Q4_0, Q4_1 and Q2_K to Q6_K"},
	{"output.weight", 26, 32, 1, 128, CWP_EUNKNOWN, "is I32"},
	{"output_norm.weight", 8, 32, 0, 34, CWP_ESHAPE, "1 dimensions of Q8_0"},
	{"blk.0.attn_q.weight", 0, 32, 6, 768, CWP_ESHAPE, "6 rows do not divide into 2 heads"},
};

static void test_refused(void **state)
{
	static const uint8_t data[1024];

	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		struct gguf_build build = {0};
		struct cwe_weights *w = NULL;
		struct cwb_err err = {0};

		needed_keys(&build);
		gguf_tensor(&build, refused[i].name, refused[i].type, refused[i].columns, refused[i].rows, data, refused[i].bytes);
		assert_refused(open_weights(&build, &w, &err), &err, refused[i].code, refused[i].part);
	}
}

static void test_architectures(void **state)
{
	struct gguf_build build = {0};
	struct cwe_weights *w = NULL;
	struct cwb_err err = {0};

	(void)state;
	gguf_text(&build, "general.architecture", "qwen");
	assert_refused(open_weights(&build, &w, &err), &err, CWP_EUNKNOWN, "\"qwen\" is not read from GGUF");

	cwb_err_clear(&err);
	build = (struct gguf_build){0};
	gguf_u32(&build, "llama.block_count", 2);
	assert_refused(open_weights(&build, &w, &err), &err, CWP_EMISSING, "general.architecture is absent");

	cwb_err_clear(&err);
	build = (struct gguf_build){0};
	gguf_text(&build, "general.architecture", "llama");
	gguf_u32(&build, "llama.block_count", 2);
	assert_refused(open_weights(&build, &w, &err), &err, CWP_EMISSING, "llama.attention.head_count is absent");

	cwb_err_clear(&err);
	build = (struct gguf_build){0};
	gguf_text(&build, "general.architecture", "llama");
	gguf_u32(&build, "llama.block_count", 2);
	gguf_i32s(&build, "llama.attention.head_count", (const int32_t[]){2, 2}, 2);
	assert_refused(open_weights(&build, &w, &err), &err, CWP_EVALUE, "llama.attention.head_count: needs an integer");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_blocks),
		cmocka_unit_test(test_blocks_by_definition),
		cmocka_unit_test(test_all_types),
		cmocka_unit_test(test_rounded_to_bf16),
		cmocka_unit_test(test_vectors_and_biases),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_architectures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
