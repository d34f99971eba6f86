/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Weights of every family in GGUF: names, experts, offsets of norms, what is left out and what is refused. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/format/gguf.h"

#define EXPERTS 3
#define COLUMNS 32

static float ramp[4096]; /* 0, 1, 2, .. */
static const uint8_t zeros[1 << 20];

static int prepare(void **state)
{
	(void)state;
	for (int i = 0; i < 4096; i++)
		ramp[i] = (float)i;
	return 0;
}

static void key(struct gguf_build *g, const char *architecture, const char *part, uint32_t n)
{
	char name[128];

	snprintf(name, sizeof name, "%s.%s", architecture, part);
	gguf_u32(g, name, n);
}

/* What names need to know; experts and window 0: the key is absent. */
static void begin(struct gguf_build *g, const char *architecture, uint32_t experts, uint32_t window)
{
	*g = (struct gguf_build){0};
	gguf_text(g, "general.architecture", architecture);
	key(g, architecture, "block_count", 2);
	key(g, architecture, "attention.head_count", 2);
	key(g, architecture, "attention.head_count_kv", 1);
	if (experts)
		key(g, architecture, "expert_count", experts);
	if (window)
		key(g, architecture, "attention.sliding_window", window);
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

static void refuse(struct gguf_build *build, int code, const char *part)
{
	struct cwe_weights *w = NULL;
	struct cwb_err err = {0};

	assert_refused(open_weights(build, &w, &err), &err, code, part);
}

static struct cwe_weights *open_good(struct gguf_build *build)
{
	struct cwe_weights *w = NULL;
	struct cwb_err err = {0};

	if (open_weights(build, &w, &err))
		print_error("%s\n", err.message);
	assert_non_null(w);
	return w;
}

/* A matrix of F32 whose numbers count up. */
static void matrix(struct gguf_build *g, const char *name, uint64_t rows)
{
	gguf_tensor(g, name, CWE_GGUF_TYPE_F32, COLUMNS, rows, ramp, COLUMNS * rows * sizeof *ramp);
}

static void vector(struct gguf_build *g, const char *name, uint64_t n)
{
	gguf_tensor(g, name, CWE_GGUF_TYPE_F32, n, 0, ramp, n * sizeof *ramp);
}

#define LAYER "model.layers.1."

/* Names of GGUF in layer 1 ("blk.1." left out) or of the whole, and those that they become. "exps" ones are stacks. */
struct pair {
	const char *gguf, *hugging_face;
};

static const struct pair plain[] = {
	{"token_embd.weight", "model.embed_tokens.weight"}, {"output_norm.weight", "model.norm.weight"},
	{"output.weight", "lm_head.weight"}, {"attn_output.weight", LAYER "self_attn.o_proj.weight"}};
static const struct pair attention[] = {
	{"attn_q.weight", LAYER "self_attn.q_proj.weight"}, {"attn_k.weight", LAYER "self_attn.k_proj.weight"},
	{"attn_v.weight", LAYER "self_attn.v_proj.weight"}};
static const struct pair pre_norms[] = {
	{"attn_norm.weight", LAYER "input_layernorm.weight"}, {"ffn_norm.weight", LAYER "post_attention_layernorm.weight"}};
static const struct pair post_norms[] = {
	{"post_attention_norm.weight", LAYER "post_attention_layernorm.weight"},
	{"post_ffw_norm.weight", LAYER "post_feedforward_layernorm.weight"}};
static const struct pair four_norms[] = {
	{"attn_norm.weight", LAYER "input_layernorm.weight"}, {"ffn_norm.weight", LAYER "pre_feedforward_layernorm.weight"}};
static const struct pair head_norms[] = {
	{"attn_q_norm.weight", LAYER "self_attn.q_norm.weight"}, {"attn_k_norm.weight", LAYER "self_attn.k_norm.weight"}};
static const struct pair biases[] = {
	{"attn_q.bias", LAYER "self_attn.q_proj.bias"}, {"attn_k.bias", LAYER "self_attn.k_proj.bias"},
	{"attn_v.bias", LAYER "self_attn.v_proj.bias"}};
static const struct pair more_biases[] = {
	{"attn_output.bias", LAYER "self_attn.o_proj.bias"}, {"ffn_gate.bias", LAYER "mlp.gate_proj.bias"},
	{"ffn_up.bias", LAYER "mlp.up_proj.bias"}, {"ffn_down.bias", LAYER "mlp.down_proj.bias"}};
static const struct pair mlp[] = {
	{"ffn_gate.weight", LAYER "mlp.gate_proj.weight"}, {"ffn_up.weight", LAYER "mlp.up_proj.weight"},
	{"ffn_down.weight", LAYER "mlp.down_proj.weight"}};
static const struct pair fused[] = {
	{"attn_qkv.weight", LAYER "self_attn.qkv_proj.weight"}, {"ffn_up.weight", LAYER "mlp.gate_up_proj.weight"},
	{"ffn_down.weight", LAYER "mlp.down_proj.weight"}};
static const struct pair mixtral[] = {
	{"ffn_gate_inp.weight", LAYER "block_sparse_moe.gate.weight"},
	{"ffn_gate_exps.weight", LAYER "block_sparse_moe.experts.2.w1.weight"},
	{"ffn_down_exps.weight", LAYER "block_sparse_moe.experts.2.w2.weight"},
	{"ffn_up_exps.weight", LAYER "block_sparse_moe.experts.2.w3.weight"}};
static const struct pair qwen_moe[] = {
	{"ffn_gate_inp.weight", LAYER "mlp.gate.weight"}, {"ffn_gate_exps.weight", LAYER "mlp.experts.2.gate_proj.weight"},
	{"ffn_down_exps.weight", LAYER "mlp.experts.2.down_proj.weight"},
	{"ffn_up_exps.weight", LAYER "mlp.experts.2.up_proj.weight"}};
static const struct pair shared[] = {
	{"ffn_gate_inp_shexp.weight", LAYER "mlp.shared_expert_gate.weight"},
	{"ffn_gate_shexp.weight", LAYER "mlp.shared_expert.gate_proj.weight"},
	{"ffn_up_shexp.weight", LAYER "mlp.shared_expert.up_proj.weight"},
	{"ffn_down_shexp.weight", LAYER "mlp.shared_expert.down_proj.weight"}};

#define SET(list) {list, sizeof(list) / sizeof *(list)}

static const struct {
	const char *architecture;
	uint32_t experts, window;
	struct {
		const struct pair *list;
		size_t count;
	} sets[7];
} families[] = {
	{"llama", 0, 0, {SET(plain), SET(attention), SET(pre_norms), SET(mlp), SET(biases), SET(more_biases)}},
	{"llama", 0, 16, {SET(plain), SET(attention), SET(pre_norms), SET(mlp)}},
	{"llama", EXPERTS, 0, {SET(plain), SET(attention), SET(pre_norms), SET(mixtral)}},
	{"qwen2", 0, 0, {SET(plain), SET(attention), SET(pre_norms), SET(mlp), SET(biases)}},
	{"qwen2moe", EXPERTS, 0, {SET(plain), SET(attention), SET(pre_norms), SET(biases), SET(qwen_moe), SET(shared)}},
	{"qwen3", 0, 0, {SET(plain), SET(attention), SET(pre_norms), SET(mlp), SET(head_norms)}},
	{"qwen3moe", EXPERTS, 0, {SET(plain), SET(attention), SET(pre_norms), SET(qwen_moe), SET(head_norms)}},
	{"gemma", 0, 0, {SET(plain), SET(attention), SET(pre_norms), SET(mlp)}},
	{"gemma2", 0, 16, {SET(plain), SET(attention), SET(four_norms), SET(post_norms), SET(mlp)}},
	{"gemma3", 0, 16, {SET(plain), SET(attention), SET(four_norms), SET(post_norms), SET(mlp), SET(head_norms)}},
	{"phi3", 0, 0, {SET(plain), SET(pre_norms), SET(fused)}},
	{"olmo2", 0, 0, {SET(plain), SET(attention), SET(post_norms), SET(mlp), SET(head_norms)}},
};

static void add(struct gguf_build *g, const char *name)
{
	char in_layer[64];
	int is_global = !strncmp(name, "token", 5) || !strncmp(name, "output", 6);

	snprintf(in_layer, sizeof in_layer, is_global ? "%s" : "blk.1.%s", name);
	if (strstr(name, "exps"))
		gguf_stack(g, in_layer, CWE_GGUF_TYPE_F32, COLUMNS, 4, EXPERTS, ramp, COLUMNS * 4 * EXPERTS * sizeof *ramp);
	else if (strstr(name, "norm") || strstr(name, "bias") || strstr(name, "inp_shexp"))
		vector(g, in_layer, COLUMNS);
	else
		matrix(g, in_layer, 4);
}

static void test_names(void **state)
{
	(void)state;
	for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
		struct gguf_build build;
		struct cwe_weights *w;
		size_t count = 0;

		begin(&build, families[f].architecture, families[f].experts, families[f].window);
		for (size_t s = 0; s < 7; s++)
			for (size_t i = 0; i < families[f].sets[s].count; i++) {
				const char *name = families[f].sets[s].list[i].gguf;

				add(&build, name);
				count += strstr(name, "exps") ? EXPERTS : 1;
			}
		w = open_good(&build);
		assert_int_equal(w->count, count);
		for (size_t s = 0; s < 7; s++)
			for (size_t i = 0; i < families[f].sets[s].count; i++) {
				const char *name = families[f].sets[s].list[i].hugging_face;

				if (!cwe_weights_find(w, name))
					print_error("%s: no \"%s\"\n", families[f].architecture, name);
				assert_non_null(cwe_weights_find(w, name));
			}
		cwe_weights_close(w);
	}
}

/* No family takes what belongs to others only. */
static void test_other_names(void **state)
{
	size_t refused = 0;

	(void)state;
	for (size_t f = 0; f < sizeof families / sizeof *families; f++)
		for (size_t other = 0; other < sizeof families / sizeof *families; other++)
			for (size_t s = 0; s < 7; s++)
				for (size_t i = 0; i < families[other].sets[s].count; i++) {
					const char *name = families[other].sets[s].list[i].gguf;
					struct gguf_build build;
					int known = 0;

					for (size_t mine = 0; mine < 7; mine++)
						for (size_t j = 0; j < families[f].sets[mine].count; j++)
							known |= !strcmp(families[f].sets[mine].list[j].gguf, name);
					if (known)
						continue;
					begin(&build, families[f].architecture, families[f].experts, families[f].window);
					add(&build, name);
					refuse(&build, CWP_EUNKNOWN, "is not known in a ");
					refused++;
				}
	assert_true(refused > 300);
}

/* Rows of a matrix count on from those before it in the stack. */
static void check_expert(struct cwe_weights *w, const char *name, uint64_t first, uint64_t rows, uint32_t dtype)
{
	const struct cwe_tensor *t = cwe_weights_find(w, name);
	float all[COLUMNS * 8], one[COLUMNS];
	uint16_t raw[COLUMNS * 8 * 2];
	struct cwb_err err = {0};

	assert_non_null(t);
	assert_int_equal(t->rank, 2);
	assert_int_equal(t->shape[0], rows);
	assert_int_equal(t->shape[1], COLUMNS);
	assert_int_equal(t->dtype, dtype);
	assert_int_equal(cwe_weights_read_f32(w, t, 0, rows, all, NULL), 0);
	assert_int_equal(cwe_weights_read_raw(w, t, 0, rows, raw, NULL), 0);
	for (uint64_t r = 0; r < rows; r++) {
		assert_int_equal(cwe_weights_read_f32(w, t, r, 1, one, NULL), 0);
		assert_memory_equal(one, all + r * COLUMNS, sizeof one);
		for (int i = 0; i < COLUMNS; i++)
			assert_true(one[i] == (float)(first + r));
	}
	cwe_f32_from_dtype(one, raw, dtype, 1);
	assert_true(one[0] == (float)first);
	assert_refused(cwe_weights_read_f32(w, t, rows, 1, one, &err), &err, CWP_EVALUE, "lie outside");
}

/* A block of 32 equal numbers for each row. */
static void equal_rows(uint32_t type, uint64_t rows, uint8_t *ret)
{
	for (uint64_t r = 0; r < rows; r++) {
		float x = (float)r;
		uint16_t d = cwe_f16_from_f32(x);

		if (type == CWE_GGUF_TYPE_F32) {
			for (int i = 0; i < COLUMNS; i++)
				memcpy(ret + (r * COLUMNS + (uint64_t)i) * 4, &x, 4);
		} else {
			memcpy(ret + 34 * r, &d, 2);
			memset(ret + 34 * r + 2, 1, 32);
		}
	}
}

static void test_stacks(void **state)
{
	static const uint32_t types[] = {CWE_GGUF_TYPE_F32, CWE_GGUF_TYPE_Q8_0};
	uint8_t data[EXPERTS * 5 * COLUMNS * 4];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		uint32_t dtype = i ? CWP_BF16 : CWP_F32;
		size_t row = i ? 34 : COLUMNS * 4;
		struct gguf_build build;
		struct cwe_weights *w;

		equal_rows(types[i], EXPERTS * 5, data);
		begin(&build, "llama", EXPERTS, 0);
		gguf_stack(&build, "blk.0.ffn_gate_exps.weight", types[i], COLUMNS, 4, EXPERTS, data, EXPERTS * 4 * row);
		gguf_stack(&build, "blk.1.ffn_down_exps.weight", types[i], COLUMNS, 5, EXPERTS, data, EXPERTS * 5 * row);
		w = open_good(&build);
		assert_int_equal(w->count, 2 * EXPERTS);
		check_expert(w, "model.layers.0.block_sparse_moe.experts.0.w1.weight", 0, 4, dtype);
		check_expert(w, "model.layers.0.block_sparse_moe.experts.1.w1.weight", 4, 4, dtype);
		check_expert(w, "model.layers.0.block_sparse_moe.experts.2.w1.weight", 8, 4, dtype);
		check_expert(w, "model.layers.1.block_sparse_moe.experts.2.w2.weight", 10, 5, dtype);
		cwe_weights_close(w);
	}
}

/* As files had them before the matrices were put on top of each other. */
static void test_split_experts(void **state)
{
	uint8_t data[8 * COLUMNS * 4];
	struct gguf_build build;
	struct cwe_weights *w;

	(void)state;
	equal_rows(CWE_GGUF_TYPE_F32, 8, data);
	begin(&build, "llama", 12, 0);
	gguf_tensor(&build, "blk.0.ffn_gate.0.weight", 0, COLUMNS, 2, data, 2 * COLUMNS * 4);
	gguf_tensor(&build, "blk.0.ffn_up.11.weight", 0, COLUMNS, 3, data + 2 * COLUMNS * 4, 3 * COLUMNS * 4);
	gguf_tensor(&build, "blk.1.ffn_down.2.weight", 0, COLUMNS, 1, data + 5 * COLUMNS * 4, COLUMNS * 4);
	w = open_good(&build);
	assert_int_equal(w->count, 3);
	check_expert(w, "model.layers.0.block_sparse_moe.experts.0.w1.weight", 0, 2, CWP_F32);
	check_expert(w, "model.layers.0.block_sparse_moe.experts.11.w3.weight", 2, 3, CWP_F32);
	check_expert(w, "model.layers.1.block_sparse_moe.experts.2.w2.weight", 5, 1, CWP_F32);
	cwe_weights_close(w);

	begin(&build, "qwen2moe", 2, 0);
	matrix(&build, "blk.0.ffn_up.1.weight", 2);
	w = open_good(&build);
	assert_non_null(cwe_weights_find(w, "model.layers.0.mlp.experts.1.up_proj.weight"));
	cwe_weights_close(w);
}

static void test_experts_refused(void **state)
{
	static const struct {
		const char *name;
		uint64_t count; /* 0: no stack */
		int code;
		const char *part;
	} cases[] = {
		{"blk.0.ffn_up_exps.weight", 2, CWP_ESHAPE, "matrices of 2 experts; the model has 3"},
		{"blk.0.ffn_up_exps.weight", 4, CWP_ESHAPE, "matrices of 4 experts; the model has 3"},
		{"blk.0.ffn_up_exps.weight", 0, CWP_ESHAPE, "2 dimensions of F32 are not read"},
		{"blk.0.ffn_gate_inp.weight", 3, CWP_ESHAPE, "3 dimensions of F32 are not read"},
		{"blk.0.ffn_up.3.weight", 0, CWP_EUNKNOWN, "is not known in a model of 3 experts"},
		{"blk.0.ffn_up.99999999999999999999.weight", 0, CWP_EUNKNOWN, "is not known in a model of 3 experts"},
		{"blk.0.ffn_up.01.weight", 0, CWP_EUNKNOWN, "is not known in a mixtral model of 2 layers"},
		{"blk.0.ffn_up..weight", 0, CWP_EUNKNOWN, "is not known in a mixtral model"},
		{"blk.0.ffn_up.1", 0, CWP_EUNKNOWN, "is not known in a mixtral model"},
	};
	struct gguf_build build;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		begin(&build, "llama", EXPERTS, 0);
		if (cases[i].count)
			gguf_stack(&build, cases[i].name, 0, COLUMNS, 2, cases[i].count, ramp, cases[i].count * COLUMNS * 2 * 4);
		else
			matrix(&build, cases[i].name, 2);
		refuse(&build, cases[i].code, cases[i].part);
	}
	begin(&build, "llama", EXPERTS, 0);
	matrix(&build, "blk.0.ffn_up.1.weight", 2);
	gguf_stack(&build, "blk.0.ffn_up_exps.weight", 0, COLUMNS, 2, EXPERTS, ramp, EXPERTS * COLUMNS * 2 * 4);
	refuse(&build, CWP_EFORMAT, "\"blk.0.ffn_up.1.weight\"");

	begin(&build, "qwen3moe", 0, 0);
	refuse(&build, CWP_EMISSING, "qwen3moe.expert_count is absent");
	begin(&build, "qwen3moe", 65537, 0);
	refuse(&build, CWP_EVALUE, "qwen3moe.expert_count: 65537 is outside");
	begin(&build, "llama", 70000, 0);
	refuse(&build, CWP_EVALUE, "llama.expert_count: 70000 is outside");
	begin(&build, "qwen2", 4, 0);
	refuse(&build, CWP_EUNKNOWN, "qwen2.expert_count: 4 is not read from GGUF files of a qwen2 model");
}

/* A small file that says it holds more experts than any model. */
static void test_too_many(void **state)
{
	static const char *const parts[] = {"blk.0.ffn_up_exps.weight", "blk.0.ffn_down_exps.weight",
		"blk.0.ffn_gate_exps.weight", "blk.1.ffn_up_exps.weight", "blk.1.ffn_down_exps.weight"};
	struct gguf_build build;

	(void)state;
	begin(&build, "llama", 65536, 0);
	for (size_t i = 0; i < 5; i++)
		gguf_stack(&build, parts[i], 0, 1, 1, 65536, zeros, 65536 * 4);
	refuse(&build, CWP_ELIMIT, "more than 262144 tensors");
}

/* Only files of the llama architecture have rows of q and k in turns. */
static void test_order_of_rows(void **state)
{
	static const int rotated[8] = {0, 2, 1, 3, 4, 6, 5, 7};
	float x[8];

	(void)state;
	for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
		int is_llama = !strcmp(families[f].architecture, "llama");
		struct gguf_build build;
		struct cwe_weights *w;

		if (!strcmp(families[f].architecture, "phi3"))
			continue;
		begin(&build, families[f].architecture, families[f].experts, families[f].window);
		gguf_tensor(&build, "blk.0.attn_q.weight", 0, 1, 8, ramp, 32);
		w = open_good(&build);
		assert_int_equal(cwe_weights_read_f32(w, w->tensors, 0, 8, x, NULL), 0);
		for (int i = 0; i < 8; i++)
			assert_true(x[i] == (float)(is_llama ? rotated[i] : i));
		cwe_weights_close(w);
	}
}

static void test_shared_gate(void **state)
{
	(void)state;
	for (uint64_t rows = 0; rows < 2; rows++) {
		struct gguf_build build;
		struct cwe_weights *w;
		float x[COLUMNS];

		begin(&build, "qwen2moe", EXPERTS, 0);
		gguf_tensor(&build, "blk.0.ffn_gate_inp_shexp.weight", 0, COLUMNS, rows, ramp, COLUMNS * 4);
		w = open_good(&build);
		assert_int_equal(w->tensors[0].rank, 2);
		assert_int_equal(w->tensors[0].shape[0], 1);
		assert_int_equal(w->tensors[0].shape[1], COLUMNS);
		assert_int_equal(cwe_weights_read_f32(w, w->tensors, 0, 1, x, NULL), 0);
		assert_memory_equal(x, ramp, sizeof x);
		assert_int_equal(cwe_weights_read_raw(w, w->tensors, 0, 1, x, NULL), 0);
		assert_memory_equal(x, ramp, sizeof x);
		cwe_weights_close(w);
	}
}

/* 1 + w of Gemma's norms, and of nothing else. */
static void test_norm_offset(void **state)
{
	static const char *const names[] = {"output_norm.weight", "blk.0.attn_norm.weight", "blk.1.ffn_norm.weight",
		"blk.1.post_attention_norm.weight", "blk.1.post_ffw_norm.weight", "blk.0.attn_q_norm.weight", "blk.0.attn_k_norm.weight"};
	float stored[64], w_of[64], x[64];
	uint16_t halves[64];

	(void)state;
	for (int i = 0; i < 64; i++) {
		w_of[i] = (float)(i - 20) / 37.0f;
		stored[i] = w_of[i] + 1;
		halves[i] = cwe_f16_from_f32(stored[i]);
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct gguf_build build;
		struct cwe_weights *w;

		begin(&build, "gemma3", 0, 16);
		gguf_tensor(&build, names[i], i % 2, 64, 0, i % 2 ? (void *)halves : (void *)stored, i % 2 ? 128 : 256);
		gguf_tensor(&build, "token_embd.weight", 0, 64, 1, stored, 256);
		w = open_good(&build);
		for (int t = 0; t < 2; t++) {
			int is_norm = strcmp(w->tensors[t].name, "model.embed_tokens.weight") != 0;

			assert_int_equal(w->tensors[t].dtype, CWP_F32);
			assert_int_equal(cwe_weights_read_f32(w, &w->tensors[t], 0, w->tensors[t].shape[0], x, NULL), 0);
			for (int j = 0; j < 64; j++) {
				float one = i % 2 && is_norm ? cwe_f32_from_f16(halves[j]) : stored[j];

				assert_true(x[j] == (is_norm ? one - 1 : one));
				assert_true(!is_norm || x[j] + 1 == one); /* what the norm multiplies with is the file's */
			}
			memset(x, 0, sizeof x);
			assert_int_equal(cwe_weights_read_raw(w, &w->tensors[t], 0, w->tensors[t].shape[0], x, NULL), 0);
			assert_true(x[63] == (is_norm ? (i % 2 ? cwe_f32_from_f16(halves[63]) : stored[63]) - 1 : stored[63]));
		}
		cwe_weights_close(w);
	}
}

static void test_left_out(void **state)
{
	struct gguf_build build;
	struct cwe_weights *w;

	(void)state;
	begin(&build, "gemma3", 0, 16);
	gguf_stack(&build, "v.patch_embd.weight", 0, 4, 4, 4, ramp, 256);
	matrix(&build, "mm.input_projection.weight", 4);
	vector(&build, "rope_factors_long.weight", 8);
	vector(&build, "rope_freqs.weight", 8);
	matrix(&build, "token_embd.weight", 4);
	gguf_u32(&build, "split.count", 1);
	w = open_good(&build);
	assert_int_equal(w->count, 1);
	cwe_weights_close(w);

	begin(&build, "llama", 0, 0);
	vector(&build, "blk.0.attn_rot_embd.weight", 8);
	w = open_good(&build);
	assert_int_equal(w->count, 0);
	cwe_weights_close(w);
}

static void test_architectures(void **state)
{
	struct gguf_build build;

	(void)state;
	begin(&build, "gemma3n", 0, 0);
	refuse(&build, CWP_EUNKNOWN, "general.architecture: \"gemma3n\" is not read from GGUF files, only llama, qwen2,");
	begin(&build, "Llama", 0, 0);
	refuse(&build, CWP_EUNKNOWN, "\"Llama\" is not read");
	begin(&build, "llama", 0, 0);
	gguf_u32(&build, "split.count", 3);
	refuse(&build, CWP_EUNKNOWN, "split.count: one of 3 files of a model");
	begin(&build, "llama", 0, 16);
	vector(&build, "blk.0.attn_q.bias", 8);
	refuse(&build, CWP_EUNKNOWN, "\"blk.0.attn_q.bias\" is not known in a mistral model of 2 layers");
	begin(&build, "qwen3", 0, 0);
	vector(&build, "cls.output.weight", 8);
	refuse(&build, CWP_EUNKNOWN, "\"cls.output.weight\" is not known in a qwen3 model");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_other_names),
		cmocka_unit_test(test_stacks),
		cmocka_unit_test(test_split_experts),
		cmocka_unit_test(test_experts_refused),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_order_of_rows),
		cmocka_unit_test(test_shared_gate),
		cmocka_unit_test(test_norm_offset),
		cmocka_unit_test(test_left_out),
		cmocka_unit_test(test_architectures),
	};

	return cmocka_run_group_tests(tests, prepare, NULL);
}
