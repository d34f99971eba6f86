/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* struct cwe_weights over a GGUF file of the llama architecture: Hugging Face names, rows of q and k where Hugging Face
 * has them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/format/gguf.h"

#define PIECE_BLOCKS 256 /* blocks decoded at a time */
#define PIECE (PIECE_BLOCKS * 32)
#define LAYERS_MAX 100000

struct place {
	const struct cwe_gguf_tensor *tensor;
	uint64_t heads; /* of a q or k projection whose rows come back to their order; else 0 */
	char *name;
};

struct gguf_weights {
	struct cwe_weights base;
	struct cwe_gguf *gguf;
	int own;
	struct cwe_tensor *tensors;
	struct place *places;
};

/* llama.cpp interleaves the two rotary halves of each head (0, d/2, 1, d/2 + 1, ...); Hugging Face has each half in one
 * block. The file's row of Hugging Face's row. */
static uint64_t file_row(const struct place *p, uint64_t rows, uint64_t row)
{
	uint64_t d = p->heads ? rows / p->heads : 0;

	if (!d)
		return row;
	return row / d * d + row % d % (d / 2) * 2 + row % d / (d / 2);
}

/* n elements from element `at` of the file's order, whole blocks both, as f32 or raw (one of them NULL). */
static int read_run(const struct gguf_weights *w, const struct cwe_gguf_tensor *t, uint64_t at, uint64_t n, float *f32,
	uint16_t *raw, struct cwb_err *err)
{
	struct cwe_gguf_block block = {NULL, 1, 4};
	unsigned char bytes[PIECE * 4];
	float decoded[PIECE];
	int is_exact = t->type == CWE_GGUF_TYPE_F32 || t->type == CWE_GGUF_TYPE_F16 || t->type == CWE_GGUF_TYPE_BF16;
	int rc;

	cwe_gguf_block(t->type, &block);
	while (n) {
		uint64_t m = n < PIECE ? n : PIECE;

		rc = cwe_input_read(&w->gguf->input, t->offset + at / block.elements * block.bytes, bytes,
			m / block.elements * block.bytes, err);
		if (rc)
			return rc;
		cwe_gguf_decode(t->type, bytes, decoded, (size_t)m);
		for (uint64_t i = 0; i < m && !is_exact; i++) {
			uint16_t rounded = cwe_bf16_from_f32(decoded[i]);

			decoded[i] = cwe_f32_from_bf16(rounded);
			if (raw)
				raw[i] = rounded;
		}
		if (f32)
			memcpy(f32, decoded, m * sizeof *f32);
		f32 = f32 ? f32 + m : NULL;
		raw = raw ? raw + m : NULL;
		at += m;
		n -= m;
	}
	return 0;
}

static uint64_t columns_of(const struct cwe_tensor *t)
{
	return t->rank == 2 ? t->shape[1] : 1;
}

static int read_f32(struct cwe_weights *base, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst,
	struct cwb_err *err)
{
	const struct gguf_weights *w = (const struct gguf_weights *)base;
	const struct place *p = &w->places[t->index];
	uint64_t columns = columns_of(t);
	int rc = 0;

	if (!p->heads)
		return read_run(w, p->tensor, row * columns, rows * columns, dst, NULL, err);
	for (uint64_t i = 0; i < rows && !rc; i++)
		rc = read_run(w, p->tensor, file_row(p, t->shape[0], row + i) * columns, columns, dst + i * columns, NULL, err);
	return rc;
}

static int read_raw(struct cwe_weights *base, const struct cwe_tensor *t, uint64_t row, uint64_t rows, void *dst,
	struct cwb_err *err)
{
	const struct gguf_weights *w = (const struct gguf_weights *)base;
	const struct place *p = &w->places[t->index];
	uint64_t columns = columns_of(t), size = cwe_cwp_dtype_size(t->dtype), step = p->heads ? 1 : rows;
	struct cwe_gguf_block block = {NULL, 1, 4};
	int rc = 0;

	cwe_gguf_block(p->tensor->type, &block);
	for (uint64_t i = 0; i < rows && !rc; i += step) {
		unsigned char *to = (unsigned char *)dst + i * columns * size;
		uint64_t from = file_row(p, t->shape[0], row + i) * columns;

		if (block.elements == 1)
			rc = cwe_input_read(&w->gguf->input, p->tensor->offset + from * size, to, step * columns * size, err);
		else
			rc = read_run(w, p->tensor, from, step * columns, NULL, (uint16_t *)to, err);
	}
	return rc;
}

static void close_weights(struct cwe_weights *base)
{
	struct gguf_weights *w = (struct gguf_weights *)base;

	for (size_t i = 0; w->places && i < w->base.count; i++)
		free(w->places[i].name);
	free(w->places);
	free(w->tensors);
	if (w->own)
		cwe_gguf_close(w->gguf);
	free(w);
}

static const struct cwe_weights_ops ops = {read_f32, read_raw, close_weights};

static const struct {
	const char *gguf, *hugging_face;
} parts[] = {
	{"attn_norm.weight", "input_layernorm.weight"},
	{"attn_q.weight", "self_attn.q_proj.weight"},
	{"attn_q.bias", "self_attn.q_proj.bias"},
	{"attn_k.weight", "self_attn.k_proj.weight"},
	{"attn_k.bias", "self_attn.k_proj.bias"},
	{"attn_v.weight", "self_attn.v_proj.weight"},
	{"attn_v.bias", "self_attn.v_proj.bias"},
	{"attn_output.weight", "self_attn.o_proj.weight"},
	{"attn_output.bias", "self_attn.o_proj.bias"},
	{"ffn_norm.weight", "post_attention_layernorm.weight"},
	{"ffn_gate.weight", "mlp.gate_proj.weight"},
	{"ffn_gate.bias", "mlp.gate_proj.bias"},
	{"ffn_up.weight", "mlp.up_proj.weight"},
	{"ffn_up.bias", "mlp.up_proj.bias"},
	{"ffn_down.weight", "mlp.down_proj.weight"},
	{"ffn_down.bias", "mlp.down_proj.bias"},
};

/* "blk.12.attn_q.weight" -> 12 and "attn_q.weight", or NULL. Leading zeros would name a layer twice. */
static const char *layer_part(const char *name, uint64_t *ret_layer)
{
	uint64_t layer = 0;

	if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9' || (name[4] == '0' && name[5] != '.'))
		return NULL;
	for (name += 4; *name >= '0' && *name <= '9' && layer < LAYERS_MAX; name++)
		layer = 10 * layer + (uint64_t)(*name - '0');
	*ret_layer = layer;
	return *name == '.' ? name + 1 : NULL;
}

/* *ret_name is allocated; NULL for a tensor that is no weight. */
static int hugging_face_name(const struct gguf_weights *w, const char *name, uint64_t layers, char **ret_name,
	struct cwb_err *err)
{
	const char *part, *whole = NULL;
	uint64_t layer = 0;
	int n = -2;

	*ret_name = NULL;
	if (!strcmp(name, "rope_freqs.weight")) /* factors of the llama3 scaling: they are in config.json */
		return 0;
	if (!strcmp(name, "token_embd.weight"))
		whole = "model.embed_tokens.weight";
	else if (!strcmp(name, "output_norm.weight"))
		whole = "model.norm.weight";
	else if (!strcmp(name, "output.weight"))
		whole = "lm_head.weight";
	if (whole)
		n = asprintf(ret_name, "%s", whole);
	part = whole ? NULL : layer_part(name, &layer);
	for (size_t i = 0; part && layer < layers && i < sizeof parts / sizeof *parts; i++)
		if (!strcmp(part, parts[i].gguf))
			n = asprintf(ret_name, "model.layers.%" PRIu64 ".%s", layer, parts[i].hugging_face);
	if (n == -1)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory for its list of tensors", w->gguf->input.path);
	if (n == -2)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: tensor \"%s\" is not known in a llama model of %" PRIu64 " layers",
			w->gguf->input.path, name, layers);
	return 0;
}

static int take_type(const struct gguf_weights *w, const struct cwe_gguf_tensor *g, struct cwe_tensor *t,
	struct cwb_err *err)
{
	struct cwe_gguf_block block = {"unknown", 1, 1};

	cwe_gguf_block(g->type, &block);
	if (!cwe_gguf_decodable(g->type))
		return cwb_err_set(err, CWP_EUNKNOWN,
			"%s: tensor \"%s\" is %s; F32, F16, BF16, Q8_0, Q4_0 and Q4_1 are read", w->gguf->input.path, g->name,
			block.name);
	if (g->rank > 2 || (g->rank == 1 && block.elements > 1))
		return cwb_err_set(err, CWP_ESHAPE, "%s: tensor \"%s\": %u dimensions of %s are not read", w->gguf->input.path,
			g->name, g->rank, block.name);
	t->dtype = g->type == CWE_GGUF_TYPE_F32 ? CWP_F32 : g->type == CWE_GGUF_TYPE_F16 ? CWP_F16 : CWP_BF16;
	t->rank = g->rank;
	for (uint32_t i = 0; i < g->rank; i++)
		t->shape[i] = g->dims[g->rank - 1 - i];
	return 0;
}

/* Adds the i-th tensor of the file. */
static int take_tensor(struct gguf_weights *w, const struct cwe_gguf_tensor *g, const uint64_t *head_counts,
	uint64_t layers, struct cwb_err *err)
{
	struct place *p = &w->places[w->base.count];
	struct cwe_tensor *t = &w->tensors[w->base.count];
	int rc = hugging_face_name(w, g->name, layers, &p->name, err);

	if (rc || !p->name)
		return rc;
	t->name = p->name;
	t->index = w->base.count++;
	p->tensor = g;
	rc = take_type(w, g, t, err);
	if (rc)
		return rc;
	p->heads = strstr(g->name, ".attn_q.") ? head_counts[0] : strstr(g->name, ".attn_k.") ? head_counts[1] : 0;
	if (p->heads && t->shape[0] % (2 * p->heads))
		return cwb_err_set(err, CWP_ESHAPE, "%s: tensor \"%s\": %" PRIu64 " rows do not divide into %" PRIu64 " heads",
			w->gguf->input.path, g->name, t->shape[0], p->heads);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct cwe_tensor *)a)->name, ((const struct cwe_tensor *)b)->name);
}

static int take_tensors(struct gguf_weights *w, struct cwb_err *err)
{
	const struct cwe_gguf *g = w->gguf;
	uint64_t heads[2] = {0, 0}, layers = 0;
	int rc = cwe_gguf_check_architecture(g, err);

	if (!rc)
		rc = cwe_gguf_need_u64(g, "llama.block_count", LAYERS_MAX, &layers, err);
	if (!rc)
		rc = cwe_gguf_need_u64(g, "llama.attention.head_count", 1u << 20, &heads[0], err);
	heads[1] = heads[0];
	if (!rc)
		rc = cwe_gguf_get_u64(g, "llama.attention.head_count_kv", 1, 1u << 20, &heads[1], err);
	if (rc < 0)
		return rc;
	w->places = calloc(g->count + 1, sizeof *w->places);
	w->tensors = calloc(g->count + 1, sizeof *w->tensors);
	if (!w->places || !w->tensors)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory for its list of tensors", g->input.path);
	for (size_t i = 0; i < g->count; i++) {
		rc = take_tensor(w, &g->tensors[i], heads, layers, err);
		if (rc)
			return rc;
	}
	qsort(w->tensors, w->base.count, sizeof *w->tensors, by_name);
	return 0;
}

int cwe_gguf_weights_new(struct cwe_gguf *g, int own, struct cwe_weights **ret, struct cwb_err *err)
{
	struct gguf_weights *w = calloc(1, sizeof *w);
	int rc;

	if (!w) {
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", g->input.path);
		if (own)
			cwe_gguf_close(g);
		return rc;
	}
	w->gguf = g;
	w->own = own;
	rc = take_tensors(w, err);
	if (rc) {
		close_weights(&w->base);
		return rc;
	}
	w->base.ops = &ops;
	w->base.tensors = w->tensors;
	*ret = &w->base;
	return 0;
}
