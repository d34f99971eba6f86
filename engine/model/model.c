/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Finding and reading a model's weights by layer. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/model.h"
#include "engine/model/ops.h"

static const char *const linear_name[CWE_LINEARS] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
	"self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"};

const char *cwe_linear_name(enum cwe_linear linear)
{
	return linear_name[linear];
}

char *cwe_module_name(uint32_t layer, enum cwe_linear linear, char *buffer, size_t size)
{
	(void)snprintf(buffer, size, "model.layers.%" PRIu32 ".%s", layer, linear_name[linear]);
	return buffer;
}

void cwe_linear_shape(const struct cwe_arch *a, enum cwe_linear linear, uint64_t *ret_rows, uint64_t *ret_cols)
{
	uint64_t q = (uint64_t)a->heads * a->head_dim, kv = (uint64_t)a->kv_heads * a->head_dim;
	const uint64_t shape[CWE_LINEARS][2] = {{q, a->hidden}, {kv, a->hidden}, {kv, a->hidden}, {a->hidden, q},
		{a->intermediate, a->hidden}, {a->intermediate, a->hidden}, {a->hidden, a->intermediate}};
	*ret_rows = shape[linear][0];
	*ret_cols = shape[linear][1];
}

static int has_bias(const struct cwe_arch *a, enum cwe_linear linear)
{
	return linear <= CWE_O ? a->attention_bias : a->mlp_bias;
}

static int find(struct cwe_model *m, const char *name, uint64_t rows, uint64_t cols, const struct cwe_tensor **ret,
	struct cwb_err *err)
{
	const struct cwe_tensor *t = cwe_weights_find(m->weights, name);
	if (t == NULL) {
		return cwb_err_set(err, CWP_EMISSING, "%s: tensor %s is missing", m->source->path, name);
	}
	uint32_t rank = cols > 0 ? 2 : 1;
	if (t->rank != rank || t->shape[0] != rows || (rank == 2 && t->shape[1] != cols)) {
		return cwb_err_set(err, CWP_ESHAPE,
			"%s: tensor %s has shape [%" PRIu64 ", %" PRIu64 "], config.json says [%" PRIu64 ", %" PRIu64 "]",
			m->source->path, name, t->shape[0], t->rank > 1 ? t->shape[1] : 0, rows, cols);
	}
	if (ret != NULL) {
		*ret = t;
	}
	return 0;
}

/* Calls visit for each tensor of a layer with its place in *layer. */
static int each_tensor(struct cwe_model *m, uint32_t index, struct cwe_layer *layer,
	int (*visit)(struct cwe_model *m, const struct cwe_tensor *t, float *d, struct cwb_err *err), struct cwb_err *err)
{
	const struct cwe_tensor *t;
	char name[CWE_MODULE_NAME_MAX + 16];
	const char *const norm[2] = {"input_layernorm", "post_attention_layernorm"};
	for (int i = 0; i < 2; i++) {
		(void)snprintf(name, sizeof name, "model.layers.%" PRIu32 ".%s.weight", index, norm[i]);
		int r = find(m, name, m->arch.hidden, 0, &t, err);
		if (r != 0 || (r = visit(m, t, i == 0 ? layer->d_norm_attention : layer->d_norm_mlp, err)) != 0) {
			return r;
		}
	}
	for (int l = 0; l < CWE_LINEARS; l++) {
		uint64_t rows, cols;
		cwe_linear_shape(&m->arch, l, &rows, &cols);
		(void)snprintf(name, sizeof name, "model.layers.%" PRIu32 ".%s.weight", index, linear_name[l]);
		int r = find(m, name, rows, cols, &t, err);
		if (r != 0 || (r = visit(m, t, layer->d_weight[l], err)) != 0) {
			return r;
		}
		if (!has_bias(&m->arch, l)) {
			continue;
		}
		(void)snprintf(name, sizeof name, "model.layers.%" PRIu32 ".%s.bias", index, linear_name[l]);
		if ((r = find(m, name, rows, 0, &t, err)) != 0 || (r = visit(m, t, layer->d_bias[l], err)) != 0) {
			return r;
		}
	}
	return 0;
}

static int visit_nothing(struct cwe_model *m, const struct cwe_tensor *t, float *d, struct cwb_err *err)
{
	(void)m, (void)t, (void)d, (void)err;
	return 0;
}

int cwe_model_open(struct cwe_source *source, struct cwe_weights *weights, struct cwe_device *device,
	struct cwe_model *ret, struct cwb_err *err)
{
	struct cwe_model m = {.source = source, .weights = weights != NULL ? weights : source->weights, .device = device};
	int r = cwe_arch_read(source->config, &m.arch, err);
	if (r != 0) {
		return cwb_err_prefix(err, "%s", source->path);
	}
	uint64_t v = m.arch.vocabulary, d = m.arch.hidden;
	struct cwe_layer nowhere = {0};
	if ((r = find(&m, "model.embed_tokens.weight", v, d, NULL, err)) != 0 ||
		(r = find(&m, "model.norm.weight", d, 0, NULL, err)) != 0) {
		return r;
	}
	if (!m.arch.tied && (r = find(&m, "lm_head.weight", v, d, NULL, err)) != 0) {
		return r;
	}
	for (uint32_t i = 0; i < m.arch.layers; i++) {
		if ((r = each_tensor(&m, i, &nowhere, visit_nothing, err)) != 0) {
			return r;
		}
	}
	*ret = m;
	return 0;
}

/* Whether no number is NaN or infinite: those have all bits of the exponent set. */
static int all_finite(const float *x, uint64_t n)
{
	uint32_t bad = 0;
	for (uint64_t i = 0; i < n; i++) {
		uint32_t u;
		memcpy(&u, &x[i], sizeof u);
		bad |= (u & 0x7f800000u) == 0x7f800000u;
	}
	return !bad;
}

static int check_finite(const struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, const float *x, uint64_t n,
	struct cwb_err *err)
{
	for (uint64_t i = 0; !all_finite(x, n) && i < n; i++) {
		if (!isfinite(x[i])) {
			uint64_t cols = t->rank > 1 ? t->shape[1] : 1;
			return cwb_err_set(err, CWP_ENUMBER, "%s: tensor %s holds %f at element %" PRIu64
				"; repair the checkpoint", m->source->path, t->name, (double)x[i], row * cols + i);
		}
	}
	return 0;
}

/* Reads rows of a tensor to the device, f32; a weight that is NaN or infinite is refused. */
static int read_rows(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *d,
	struct cwb_err *err)
{
	uint64_t n = rows * (t->rank > 1 ? t->shape[1] : 1);
	int host_memory = (m->device->ops->flags & CWP_BACKEND_HOST_MEMORY) != 0;
	float *host = host_memory ? d : malloc(n * sizeof *host + 1);
	if (host == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory to read %s", t->name);
	}
	int r = cwe_weights_read_f32(m->weights, t, row, rows, host, err);
	r = r == 0 ? check_finite(m, t, row, host, n, err) : r;
	if (!host_memory) {
		r = r == 0 ? CWE_OP(m->device, upload, d, host, n * sizeof *host) : r;
		free(host);
	}
	return r;
}

uint64_t cwe_layer_bytes(const struct cwe_arch *a)
{
	uint64_t n = 2 * (uint64_t)a->hidden, rows, cols;
	for (int l = 0; l < CWE_LINEARS; l++) {
		cwe_linear_shape(a, l, &rows, &cols);
		n += rows * cols + (has_bias(a, l) ? rows : 0);
	}
	return n * sizeof(float);
}

int cwe_layer_new(struct cwe_model *m, struct cwe_layer *ret, struct cwb_err *err)
{
	struct cwe_layer layer = {.bytes = cwe_layer_bytes(&m->arch)};
	int r = cwe_device_bytes(m->device, layer.bytes, (void **)&layer.d_block, err);
	if (r != 0) {
		return r;
	}
	float *p = layer.d_block;
	/* Matrices first: their sizes keep the next one's alignment. */
	for (int l = 0; l < CWE_LINEARS; l++) {
		uint64_t rows, cols;
		cwe_linear_shape(&m->arch, l, &rows, &cols);
		layer.d_weight[l] = p;
		p += rows * cols;
	}
	layer.d_norm_attention = p;
	layer.d_norm_mlp = p + m->arch.hidden;
	p += 2 * (uint64_t)m->arch.hidden;
	for (int l = 0; l < CWE_LINEARS; l++) {
		uint64_t rows, cols;
		cwe_linear_shape(&m->arch, l, &rows, &cols);
		if (has_bias(&m->arch, l)) {
			layer.d_bias[l] = p;
			p += rows;
		}
	}
	*ret = layer;
	return 0;
}

void cwe_layer_free(struct cwe_model *m, struct cwe_layer *layer)
{
	cwe_device_free(m->device, layer->d_block, layer->bytes);
	memset(layer, 0, sizeof *layer);
}

static int load_tensor(struct cwe_model *m, const struct cwe_tensor *t, float *d, struct cwb_err *err)
{
	return read_rows(m, t, 0, t->shape[0], d, err);
}

int cwe_layer_load(struct cwe_model *m, uint32_t index, struct cwe_layer *layer, struct cwb_err *err)
{
	layer->index = index;
	return each_tensor(m, index, layer, load_tensor, err);
}

static int by_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* Tokens in the order of their ids, so that each row is read once: (id << 32 | place). */
static uint64_t *sort_tokens(const struct cwe_model *m, const uint32_t *id, uint64_t count, struct cwb_err *err)
{
	for (uint64_t i = 0; i < count; i++) {
		if (id[i] >= m->arch.vocabulary) {
			(void)cwb_err_set(err, CWP_EVALUE, "token id %" PRIu32 " is not in the model's vocabulary of %" PRIu32, id[i],
				m->arch.vocabulary);
			return NULL;
		}
	}
	uint64_t *order = count <= UINT32_MAX ? malloc(count * sizeof *order + 1) : NULL;
	if (order == NULL) {
		(void)cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " tokens", count);
		return NULL;
	}
	for (uint64_t i = 0; i < count; i++) {
		order[i] = (uint64_t)id[i] << 32 | i;
	}
	qsort(order, count, sizeof *order, by_id);
	return order;
}

int cwe_model_embed(struct cwe_model *m, const uint32_t *id, uint64_t count, float *d_x, struct cwb_err *err)
{
	const struct cwe_tensor *t = cwe_weights_find(m->weights, "model.embed_tokens.weight");
	struct cwb_err local = {0};
	uint64_t d = m->arch.hidden, *order = sort_tokens(m, id, count, &local);
	if (order == NULL) {
		return cwb_err_set(err, local.code, "%s", local.message);
	}
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < count; i++) {
		float *to = d_x + (order[i] & UINT32_MAX) * d;
		if (i > 0 && order[i] >> 32 == order[i - 1] >> 32) {
			r = cwe_device_copy(m->device, to, d_x + (order[i - 1] & UINT32_MAX) * d, d, err);
		} else {
			r = read_rows(m, t, order[i] >> 32, 1, to, err);
		}
	}
	free(order);
	return r;
}

int cwe_model_head_rows(struct cwe_model *m, uint64_t first, uint64_t rows, float *d_w, struct cwb_err *err)
{
	const char *name = m->arch.tied ? "model.embed_tokens.weight" : "lm_head.weight";
	return read_rows(m, cwe_weights_find(m->weights, name), first, rows, d_w, err);
}

int cwe_model_final_norm(struct cwe_model *m, float *d_w, struct cwb_err *err)
{
	return read_rows(m, cwe_weights_find(m->weights, "model.norm.weight"), 0, m->arch.hidden, d_w, err);
}
