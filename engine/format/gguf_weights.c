/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* struct cwe_weights over a GGUF file: tensors as a Hugging Face checkpoint has them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/format/gguf_family.h"

#define PIECE 8192 /* values decoded at a time: whole blocks of every type */
#define TENSORS_MAX (1u << 18) /* with one for each expert */

struct place {
	const struct cwe_gguf_tensor *tensor;
	uint64_t start; /* first element, of an expert's matrix */
	uint64_t heads; /* of a q or k projection whose rows come back to their order; else 0 */
	int offset;     /* the file has 1 + w */
	char *name;
};

struct gguf_weights {
	struct cwe_weights base;
	struct cwe_gguf *gguf;
	unsigned flags; /* enum cwe_gguf_weights_flags */
	size_t room;
	struct cwe_tensor *tensors;
	struct place *places;
};

/* What the names need to know of a model. */
struct model {
	const struct cwe_gguf_family *family;
	uint64_t layers, heads, kv_heads, experts;
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

static int is_plain(const struct cwe_gguf_tensor *t)
{
	return t->type == CWE_GGUF_TYPE_F32 || t->type == CWE_GGUF_TYPE_F16 || t->type == CWE_GGUF_TYPE_BF16;
}

/* n elements from element `at` of the file's order, whole blocks both, as f32 or raw (one of them NULL). */
static int read_run(const struct gguf_weights *w, const struct cwe_gguf_tensor *t, uint64_t at, uint64_t n, float *f32,
	uint16_t *raw, struct cwb_err *err)
{
	struct cwe_gguf_block block = {NULL, 1, 4};
	unsigned char bytes[PIECE * 4];
	float decoded[PIECE];
	int is_exact = is_plain(t) || (w->flags & CWE_GGUF_WEIGHTS_EXACT), rc;

	cwe_gguf_block(t->type, &block);
	while (n) {
		uint64_t m = n < PIECE ? n : PIECE;

		rc = cwe_input_read(&w->gguf->input, t->offset + at / block.elements * block.bytes, bytes,
			m / block.elements * block.bytes, err);
		if (rc)
			return rc;
		cwe_gguf_decode(t->type, bytes, decoded, (size_t)m);
		if (!is_exact)
			cwe_bf16_round(decoded, (size_t)m);
		for (uint64_t i = 0; raw && i < m; i++)
			raw[i] = cwe_bf16_from_f32(decoded[i]);
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
	uint64_t columns = columns_of(t), step = p->heads ? 1 : rows;
	int rc = 0;

	for (uint64_t i = 0; i < rows && !rc; i += step)
		rc = read_run(w, p->tensor, p->start + file_row(p, t->shape[0], row + i) * columns, step * columns,
			dst + i * columns, NULL, err);
	/* 1 + w was rounded to f32 once, by the converter. 1 + (that - 1) is that again, so norms stay what they are. */
	for (uint64_t i = 0; i < rows * columns && p->offset && !rc; i++)
		dst[i] -= 1;
	return rc;
}

static int read_raw(struct cwe_weights *base, const struct cwe_tensor *t, uint64_t row, uint64_t rows, void *dst,
	struct cwb_err *err)
{
	const struct gguf_weights *w = (const struct gguf_weights *)base;
	const struct place *p = &w->places[t->index];
	uint64_t columns = columns_of(t), size = cwe_cwp_dtype_size(t->dtype), step = p->heads ? 1 : rows;
	int rc = 0;

	if (p->offset || (t->dtype == CWP_F32 && !is_plain(p->tensor)))
		return read_f32(base, t, row, rows, dst, err);
	for (uint64_t i = 0; i < rows && !rc; i += step) {
		unsigned char *to = (unsigned char *)dst + i * columns * size;
		uint64_t from = p->start + file_row(p, t->shape[0], row + i) * columns;

		if (is_plain(p->tensor))
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
	if (w->flags & CWE_GGUF_WEIGHTS_OWN)
		cwe_gguf_close(w->gguf);
	free(w);
}

static const struct cwe_weights_ops ops = {.read_f32 = read_f32, .read_raw = read_raw, .close = close_weights};

static int no_memory(const struct gguf_weights *w, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory for its list of tensors", w->gguf->input.path);
}

static int make_room(struct gguf_weights *w, uint64_t more, struct cwb_err *err)
{
	uint64_t need = w->base.count + more;
	struct cwe_tensor *tensors;
	struct place *places;

	if (need > TENSORS_MAX)
		return cwb_err_set(err, CWP_ELIMIT, "%s: more than %u tensors, one for each expert", w->gguf->input.path, TENSORS_MAX);
	if (need <= w->room)
		return 0;
	need = need > 2 * w->room ? need : 2 * w->room;
	tensors = realloc(w->tensors, need * sizeof *tensors);
	if (!tensors)
		return no_memory(w, err);
	w->tensors = tensors;
	places = realloc(w->places, need * sizeof *places);
	if (!places)
		return no_memory(w, err);
	w->places = places;
	w->room = need;
	return 0;
}

/* Shape and dtype; a stack of experts counts as one of its matrices. */
static int take_type(const struct gguf_weights *w, const struct cwe_gguf_tensor *g, const struct cwe_gguf_name *n,
	const struct model *m, struct cwe_tensor *t, struct cwb_err *err)
{
	struct cwe_gguf_block block = {"unknown", 1, 1};
	int is_stack = cwe_gguf_name_is_stack(n);

	cwe_gguf_block(g->type, &block);
	if (!cwe_gguf_decodable(g->type))
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: tensor \"%s\" is %s; F32, F16, BF16, Q8_0, Q5_0, Q5_1, Q4_0, Q4_1 and Q2_K "
			"to Q6_K and Q8_K are read", w->gguf->input.path, g->name, block.name);
	if (is_stack ? g->rank != 3 : g->rank > 2 || (g->rank == 1 && block.elements > 1))
		return cwb_err_set(err, CWP_ESHAPE, "%s: tensor \"%s\": %u dimensions of %s are not read", w->gguf->input.path,
			g->name, g->rank, block.name);
	if (is_stack && g->dims[2] != m->experts)
		return cwb_err_set(err, CWP_ESHAPE, "%s: tensor \"%s\": matrices of %" PRIu64 " experts; the model has %" PRIu64,
			w->gguf->input.path, g->name, g->dims[2], m->experts);
	t->dtype = g->type == CWE_GGUF_TYPE_F32 ? CWP_F32 : g->type == CWE_GGUF_TYPE_F16 ? CWP_F16 : CWP_BF16;
	if (block.elements > 1 && (w->flags & CWE_GGUF_WEIGHTS_EXACT))
		t->dtype = CWP_F32;
	t->rank = is_stack ? 2 : g->rank;
	for (uint32_t i = 0; i < t->rank; i++)
		t->shape[i] = g->dims[t->rank - 1 - i];
	if (n->part->how == CWE_GGUF_ROW && t->rank == 1) {
		t->rank = 2;
		t->shape[1] = t->shape[0];
		t->shape[0] = 1;
	}
	return 0;
}

static int take_place(const struct gguf_weights *w, const struct cwe_gguf_tensor *g, const struct cwe_gguf_name *n,
	const struct model *m, struct cwe_tensor *t, struct place *p, struct cwb_err *err)
{
	uint64_t heads = n->part->how == CWE_GGUF_QUERY ? m->heads : n->part->how == CWE_GGUF_KEY ? m->kv_heads : 0;

	p->tensor = g;
	if (heads && (m->family->traits & CWE_GGUF_INTERLEAVED)) {
		if (t->shape[0] % (2 * heads))
			return cwb_err_set(err, CWP_ESHAPE, "%s: tensor \"%s\": %" PRIu64 " rows do not divide into %" PRIu64 " heads",
				w->gguf->input.path, g->name, t->shape[0], heads);
		p->heads = heads;
	}
	if (cwe_gguf_norm_offset(m->family, g->name)) {
		p->offset = 1;
		t->dtype = CWP_F32;
	}
	return 0;
}

/* Adds what a tensor of the file holds: one tensor, one for each expert, or none. */
static int take_tensor(struct gguf_weights *w, const struct cwe_gguf_tensor *g, const struct model *m, struct cwb_err *err)
{
	struct cwe_gguf_name n;
	struct cwe_tensor t = {0};
	struct place p = {0};
	uint64_t count;
	int is_stack, rc;

	if (!cwe_gguf_name_find(m->family, g->name, m->layers, &n))
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: tensor \"%s\" is not known in a %s model of %" PRIu64 " layers",
			w->gguf->input.path, g->name, m->family->model_type, m->layers);
	if (n.part->how == CWE_GGUF_NOTHING)
		return 0;
	if (n.expert && n.expert >= m->experts)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: tensor \"%s\" is not known in a model of %" PRIu64 " experts",
			w->gguf->input.path, g->name, m->experts);
	rc = take_type(w, g, &n, m, &t, err);
	if (!rc)
		rc = take_place(w, g, &n, m, &t, &p, err);
	is_stack = cwe_gguf_name_is_stack(&n);
	count = is_stack ? m->experts : 1;
	if (!rc)
		rc = make_room(w, count, err);
	for (uint64_t i = 0; i < count && !rc; i++) {
		p.name = cwe_gguf_name_make(&n, is_stack ? i : n.expert);
		if (!p.name)
			return no_memory(w, err);
		p.start = i * t.shape[0] * columns_of(&t);
		t.name = p.name;
		t.index = w->base.count;
		w->tensors[w->base.count] = t;
		w->places[w->base.count++] = p;
	}
	return rc;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct cwe_tensor *)a)->name, ((const struct cwe_tensor *)b)->name);
}

static int read_model(const struct cwe_gguf *g, struct model *m, struct cwb_err *err)
{
	int rc = cwe_gguf_family_of(g, &m->family, err);

	if (!rc)
		rc = cwe_gguf_need_u64(g, cwe_gguf_key(m->family, "block_count").text, CWE_GGUF_LAYERS_MAX, &m->layers, err);
	if (!rc)
		rc = cwe_gguf_need_u64(g, cwe_gguf_key(m->family, "attention.head_count").text, 1u << 20, &m->heads, err);
	m->kv_heads = m->heads;
	if (!rc)
		rc = cwe_gguf_get_u64(g, cwe_gguf_key(m->family, "attention.head_count_kv").text, 1, 1u << 20, &m->kv_heads, err);
	if (rc >= 0 && (m->family->traits & CWE_GGUF_EXPERTS))
		rc = cwe_gguf_need_u64(g, cwe_gguf_key(m->family, "expert_count").text, CWE_GGUF_EXPERTS_MAX, &m->experts, err);
	return rc < 0 ? rc : 0;
}

static int take_tensors(struct gguf_weights *w, struct cwb_err *err)
{
	struct model m = {0};
	int rc = read_model(w->gguf, &m, err);

	for (size_t i = 0; i < w->gguf->count && !rc; i++)
		rc = take_tensor(w, &w->gguf->tensors[i], &m, err);
	if (rc)
		return rc;
	if (w->base.count)
		qsort(w->tensors, w->base.count, sizeof *w->tensors, by_name);
	for (size_t i = 1; i < w->base.count; i++)
		if (!by_name(&w->tensors[i - 1], &w->tensors[i]))
			return cwb_err_set(err, CWP_EFORMAT, "%s: tensors \"%s\" and \"%s\" are the same weight", w->gguf->input.path,
				w->places[w->tensors[i - 1].index].tensor->name, w->places[w->tensors[i].index].tensor->name);
	return 0;
}

int cwe_gguf_weights_new(struct cwe_gguf *g, unsigned flags, struct cwe_weights **ret, struct cwb_err *err)
{
	struct gguf_weights *w = calloc(1, sizeof *w);
	int rc;

	if (!w) {
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", g->input.path);
		if (flags & CWE_GGUF_WEIGHTS_OWN)
			cwe_gguf_close(g);
		return rc;
	}
	w->gguf = g;
	w->flags = flags;
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
