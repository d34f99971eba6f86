/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The plan of a GGUF file: names, shapes and types of its tensors from those of a source. */
#include "engine/format/gguf_output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/gguf_family.h"
#include "engine/model/arch.h"

struct planning {
	struct cwe_source *source;
	const struct cwe_gguf_family *family;
	uint64_t layers, heads, kv_heads, experts;
	struct cwe_gguf_output *o;
	struct cwe_gguf_plan *plan; /* [count] */
	struct cwe_gguf_name *name; /* [count] what each is */
	size_t count;
};

static int no_memory(struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory", CWE_GGUF_FILE);
}

static int find_family(struct planning *p, struct cwb_err *err)
{
	struct cwe_arch *a = malloc(sizeof *a);
	int rc = a ? cwe_arch_read(p->source->config, a, err) : no_memory(err);

	if (!rc && a->wrapped)
		rc = cwb_err_set(err, CWP_EVALUE, "write.format: gguf is written of models of text alone, and this one has a text_config: "
			"choose compressed-tensors or dense");
	if (!rc) {
		p->family = cwe_gguf_family_find(a->family);
		p->layers = a->layers;
		p->heads = a->heads;
		p->kv_heads = a->kv_heads;
		p->experts = a->moe.experts;
	}
	if (!rc && !p->family)
		rc = cwb_err_set(err, CWP_EVALUE, "write.format: gguf has no place for a model of type \"%.80s\": choose "
			"compressed-tensors or dense", a->family);
	free(a);
	return rc;
}

static int is_vector(const struct cwe_tensor *t, const struct cwe_gguf_name *n)
{
	return t->rank == 1 || n->part->how == CWE_GGUF_ROW;
}

/* llama.cpp wants vectors and routers in F32. */
static uint32_t own_type(const struct cwe_tensor *t, const struct cwe_gguf_name *n, int offset)
{
	if (is_vector(t, n) || offset || !strncmp(n->part->gguf, "ffn_gate_inp.", 13))
		return CWE_GGUF_TYPE_F32;
	return t->dtype == CWP_F32 ? CWE_GGUF_TYPE_F32 : t->dtype == CWP_F16 ? CWE_GGUF_TYPE_F16 : CWE_GGUF_TYPE_BF16;
}

static int take_rows(const struct planning *p, const struct cwe_tensor *t, const struct cwe_gguf_name *n,
	struct cwe_gguf_place *place, struct cwb_err *err)
{
	uint64_t heads = n->part->how == CWE_GGUF_QUERY ? p->heads : n->part->how == CWE_GGUF_KEY ? p->kv_heads : 0;

	if (t->rank != 2 && t->rank != 1)
		return cwb_err_set(err, CWP_ESHAPE, "tensor \"%s\": %u dimensions have no place in a GGUF file", t->name, t->rank);
	place->rows = t->shape[0];
	place->cols = t->rank == 2 ? t->shape[1] : 1;
	place->offset = cwe_gguf_norm_offset(p->family, n->part->gguf);
	if (!heads || !(p->family->traits & CWE_GGUF_INTERLEAVED))
		return 0;
	if (t->shape[0] % (2 * heads))
		return cwb_err_set(err, CWP_ESHAPE, "tensor \"%s\": %" PRIu64 " rows do not divide into %" PRIu64 " heads", t->name,
			t->shape[0], heads);
	place->head = t->shape[0] / heads;
	return 0;
}

/* The stack of a layer's experts that is there already; count: there is none. */
static size_t find_stack(const struct planning *p, const struct cwe_gguf_name *n)
{
	for (size_t i = p->count; i > 0; i--)
		if (p->name[i - 1].in_layer && p->name[i - 1].layer == n->layer && p->name[i - 1].part == n->part)
			return i - 1;
	return p->count;
}

static int new_tensor(struct planning *p, const struct cwe_tensor *t, const struct cwe_gguf_name *n, uint32_t type,
	struct cwb_err *err)
{
	struct cwe_gguf_plan *to = &p->plan[p->count];

	*to = (struct cwe_gguf_plan){.name = cwe_gguf_name_in_file(n), .type = type, .rank = is_vector(t, n) ? 1 : 2};
	if (!to->name)
		return no_memory(err);
	to->dims[0] = t->shape[t->rank - 1];
	to->dims[1] = t->rank == 2 ? t->shape[0] : 1;
	if (n->part->how == CWE_GGUF_ROW && to->dims[1] != 1)
		return cwb_err_set(err, CWP_ESHAPE, "tensor \"%s\": %" PRIu64 " rows where one is meant", t->name, to->dims[1]);
	if (cwe_gguf_name_is_stack(n))
		to->rank = 3;
	p->name[p->count++] = *n;
	return 0;
}

static int add_to_stack(struct cwe_gguf_plan *stack, const struct cwe_tensor *t, const struct cwe_gguf_name *n, uint32_t type,
	struct cwb_err *err)
{
	if (stack->type != type)
		return cwb_err_set(err, CWP_EVALUE, "tensor \"%s\": gguf keeps the experts of a layer in one tensor of one type: quantize "
			"all of them alike, or none", t->name);
	if (stack->dims[0] != t->shape[1] || stack->dims[1] != t->shape[0])
		return cwb_err_set(err, CWP_ESHAPE, "tensor \"%s\": experts of different shapes", t->name);
	stack->dims[2] = n->expert + 1 > stack->dims[2] ? n->expert + 1 : stack->dims[2];
	return 0;
}

static uint64_t row_bytes(uint32_t type, uint64_t cols)
{
	struct cwe_gguf_block block = {NULL, 1, 4};

	cwe_gguf_block(type, &block);
	return cols / block.elements * block.bytes;
}

uint64_t cwe_gguf_place_bytes(const struct cwe_gguf_place *p)
{
	return p->rows * row_bytes(p->type, p->cols);
}

static int take_tensor(struct planning *p, size_t i, uint32_t type, struct cwb_err *err)
{
	const struct cwe_tensor *t = &p->source->weights->tensors[i];
	struct cwe_gguf_place *place = &p->o->place[i];
	struct cwe_gguf_name n;
	int is_stack, rc;

	if (!cwe_gguf_name_of(p->family, t->name, p->layers, &n))
		return cwb_err_set(err, CWP_EVALUE, "write.format: gguf has no name for tensor \"%s\" of a %s model: choose "
			"compressed-tensors or dense", t->name, p->family->model_type);
	rc = take_rows(p, t, &n, place, err);
	if (rc)
		return rc;
	place->type = type == CWE_GGUF_OWN_TYPE ? own_type(t, &n, place->offset) : type;
	is_stack = cwe_gguf_name_is_stack(&n);
	if (is_stack && t->rank != 2)
		return cwb_err_set(err, CWP_ESHAPE, "tensor \"%s\": an expert's weight is no matrix", t->name);
	place->tensor = is_stack ? find_stack(p, &n) : p->count;
	if (place->tensor == p->count)
		rc = new_tensor(p, t, &n, place->type, err);
	if (!rc && is_stack)
		rc = add_to_stack(&p->plan[place->tensor], t, &n, place->type, err);
	if (!rc && is_stack)
		place->start = n.expert * t->shape[0] * row_bytes(place->type, t->shape[1]);
	return rc;
}

/* Every stack has the matrices of all experts: as many, and none beyond. */
static int check_stacks(const struct planning *p, struct cwb_err *err)
{
	uint64_t *found = calloc(p->count + 1, sizeof *found);
	int rc = found ? 0 : no_memory(err);

	for (size_t i = 0; i < p->source->weights->count && !rc; i++)
		found[p->o->place[i].tensor]++;
	for (size_t i = 0; i < p->count && !rc; i++)
		if (p->plan[i].rank == 3 && (found[i] != p->experts || p->plan[i].dims[2] != p->experts))
			rc = cwb_err_set(err, CWP_EMISSING, "tensor \"%s\": the model has %" PRIu64 " of its %" PRIu64 " experts",
				p->plan[i].name, found[i], p->experts);
	free(found);
	return rc;
}

/* Tensors that a checkpoint does not have come behind the others. */
static int add_more(struct planning *p, struct cwe_gguf_more *more, size_t count, struct cwb_err *err)
{
	struct cwe_gguf_plan *grown = realloc(p->plan, (p->count + count + 1) * sizeof *grown);
	struct cwe_gguf_output *o = p->o;

	o->extra = calloc(count + 1, sizeof *o->extra);
	if (grown)
		p->plan = grown;
	if (!grown || !o->extra)
		return no_memory(err);
	for (size_t i = 0; i < count; i++) {
		o->extra[o->n_extra++] = (struct cwe_gguf_extra){p->count, more[i].data, more[i].bytes};
		p->plan[p->count++] = more[i].plan;
		more[i] = (struct cwe_gguf_more){.data = NULL};
	}
	return 0;
}

static int plan_all(struct planning *p, const size_t *order, const uint32_t *type, struct cwb_err *err)
{
	struct cwe_gguf_keys keys = {0};
	struct cwe_gguf_more *more = NULL;
	size_t n = p->source->weights->count, n_more = 0;
	int rc;

	p->plan = calloc(n + 1, sizeof *p->plan);
	p->name = calloc(n + 1, sizeof *p->name);
	p->o->place = calloc(n + 1, sizeof *p->o->place);
	rc = p->plan && p->name && p->o->place ? find_family(p, err) : no_memory(err);
	for (size_t i = 0; i < n && !rc; i++)
		rc = take_tensor(p, order[i], type[order[i]], err);
	if (!rc)
		rc = check_stacks(p, err);
	if (!rc)
		rc = cwe_gguf_metadata(p->source, p->plan, p->count, &keys, &more, &n_more, err);
	if (!rc)
		rc = add_more(p, more, n_more, err);
	if (!rc)
		rc = cwe_gguf_layout_make(&keys, p->plan, p->count, &p->o->layout, err);
	cwe_gguf_more_free(more, n_more);
	cwe_gguf_keys_free(&keys);
	return rc;
}

static int digest_header(struct cwe_gguf_output *o, struct cwb_err *err)
{
	struct cwb_digest d;

	if (cwb_digest_begin(&d))
		return no_memory(err);
	cwb_digest_update(&d, o->layout.header, o->layout.header_bytes);
	return cwb_digest_end_hex(&d, o->header) ? no_memory(err) : 0;
}

int cwe_gguf_output_make(struct cwe_source *source, const size_t *order, const uint32_t *type, struct cwe_gguf_output *ret, struct cwb_err *err)
{
	struct cwe_gguf_output o = {.n_extra = 0};
	struct planning p = {.source = source, .o = &o};
	int rc = plan_all(&p, order, type, err);

	if (!rc)
		rc = cwe_gguf_metadata_check(source, &o, err);
	for (size_t i = 0; i < p.count; i++)
		free(p.plan[i].name);
	free(p.plan);
	free(p.name);
	o.bytes = o.layout.size;
	if (!rc)
		rc = digest_header(&o, err);
	if (rc) {
		cwe_gguf_output_free(&o);
		return rc;
	}
	*ret = o;
	return 0;
}

void cwe_gguf_output_free(struct cwe_gguf_output *o)
{
	for (size_t i = 0; i < o->n_extra; i++)
		free(o->extra[i].data);
	free(o->extra);
	free(o->place);
	cwe_gguf_layout_free(&o->layout);
	*o = (struct cwe_gguf_output){0};
}
