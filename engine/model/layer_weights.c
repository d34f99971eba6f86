/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One layer's weights on the device. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/model_p.h"

static uint64_t bias_floats(const struct cwe_arch *a)
{
	uint64_t q = (uint64_t)a->heads * a->head_dim, kv = (uint64_t)a->kv_heads * a->head_dim;
	return (a->bias_qkv ? q + 2 * kv : 0) + (a->bias_o ? a->hidden : 0) +
		(a->bias_mlp ? 2 * (uint64_t)a->intermediate + a->hidden : 0);
}

uint64_t cwe_layer_bytes(const struct cwe_model *m)
{
	uint64_t n, inputs;
	cwe_linears_sum_most(&m->arch, &n, &inputs);
	n *= m->splits ? 2 : 1;
	for (int i = 0; i < CWE_NORMS; i++) {
		n += cwe_norm_width(&m->arch, i);
	}
	return (n + bias_floats(&m->arch)) * sizeof(float);
}

int cwe_layer_new(struct cwe_model *m, struct cwe_layer *ret, struct cwb_err *err)
{
	struct cwe_layer layer = {.bytes = cwe_layer_bytes(m)};
	uint32_t n = cwe_linears_most(&m->arch);
	layer.d_weight = calloc(3 * (size_t)n, sizeof *layer.d_weight);
	layer.input = calloc(n, sizeof *layer.input);
	layer.load = calloc(CWE_NORMS + 2 * (size_t)n, sizeof *layer.load);
	int r = layer.d_weight != NULL && layer.input != NULL && layer.load != NULL ? 0
		: cwb_err_set(err, -ENOMEM, "no memory for a layer of %" PRIu32 " matrices", n);
	r = r == 0 ? cwe_device_bytes(m->device, layer.bytes, (void **)&layer.d_block, err) : r;
	if (r != 0) {
		free(layer.d_weight);
		free(layer.input);
		free(layer.load);
		return r;
	}
	layer.d_bias = layer.d_weight + n;
	layer.d_exact = layer.d_weight + 2 * (size_t)n;
	*ret = layer;
	return 0;
}

/* Gives the tensors of layer `index` their places. Matrices first: their sizes keep the next one's alignment. */
static void lay_out(const struct cwe_model *m, uint32_t index, struct cwe_layer *layer)
{
	const struct cwe_arch *a = &m->arch;
	uint32_t n = cwe_linears(a, index);
	uint64_t weights, inputs;
	cwe_linears_sum(a, index, &weights, &inputs);
	float *p = layer->d_block + (m->splits ? 2 : 1) * weights;
	layer->index = index;
	for (int i = 0; i < CWE_NORMS; i++) {
		uint64_t width = cwe_norm_width(a, i);
		layer->d_norm[i] = width > 0 ? p : NULL;
		p += width;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct cwe_linear l;
		cwe_linear_at(a, index, i, &l);
		layer->d_weight[i] = layer->d_block + l.weight_at;
		layer->d_bias[i] = l.bias ? p : NULL;
		layer->d_exact[i] = m->splits ? layer->d_block + weights + l.weight_at : NULL;
		p += l.bias ? l.rows : 0;
	}
}

struct cwe_part cwe_layer_part(const struct cwe_model *m, const struct cwe_layer *layer, enum cwe_role role, uint32_t expert)
{
	struct cwe_part part;
	uint64_t row;
	uint32_t i = cwe_linear_of(&m->arch, layer->index, role, expert, &row);
	cwe_role_shape(&m->arch, role, expert, &part.rows, &part.cols);
	part.d_weight = layer->d_weight[i] + row * part.cols;
	part.d_exact = layer->d_exact[i] != NULL ? layer->d_exact[i] + row * part.cols : NULL;
	part.d_bias = layer->d_bias[i] != NULL ? layer->d_bias[i] + row : NULL;
	part.input = &layer->input[i];
	return part;
}

void cwe_layer_free(struct cwe_model *m, struct cwe_layer *layer)
{
	cwe_device_free(m->device, layer->d_block, layer->bytes);
	free(layer->d_weight);
	free(layer->input);
	free(layer->load);
	memset(layer, 0, sizeof *layer);
}

/* To a device all of a layer's tensors go together, so that its threads have enough to do. */
static int load_later(struct cwe_model *m, const struct cwe_tensor *t, struct cwe_layer *layer, float *d, struct cwb_err *err)
{
	if (!cwe_device_remote(m->device)) {
		return cwe_model_load_rows(m, t, 0, t->shape[0], d, err);
	}
	layer->load[layer->loads++] = (struct cwe_model_load){t, d};
	return 0;
}

static int load_tensor(struct cwe_model *m, const struct cwe_tensor *t, struct cwe_layer *layer, int32_t linear, float *d,
	struct cwb_err *err)
{
	if (linear < 0) {
		return load_later(m, t, layer, d, err);
	}
	struct cwe_linear_input *input = &layer->input[linear];
	*input = (struct cwe_linear_input){0};
	if (m->quantizes) {
		cwe_weights_input(m->weights, t, input);
	}
	if (m->splits && input->how.kind != 0 && input->split) {
		return cwe_model_load_split(m, t, d, layer->d_exact[linear], err);
	}
	layer->d_exact[linear] = NULL;
	return load_later(m, t, layer, d, err);
}

int cwe_layer_fill(struct cwe_model *m, uint32_t index, struct cwe_layer *layer, struct cwb_err *err)
{
	lay_out(m, index, layer);
	layer->loads = 0;
	int r = cwe_model_each_tensor(m, index, layer, load_tensor, err);
	return r == 0 ? cwe_model_load_all(m, layer->load, layer->loads, err) : r;
}

int cwe_layer_load(struct cwe_model *m, uint32_t index, struct cwe_layer *layer, struct cwb_err *err)
{
	int r = cwe_device_load_begin(m->device, err);
	if (r == 0) {
		r = cwe_layer_fill(m, index, layer, err);
		int waited = cwe_device_load_wait(m->device, r == 0 ? err : NULL);
		r = r == 0 ? waited : r;
	}
	return r;
}
