/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Finished statistics on the host. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/statistics.h"
#include "engine/model/ops.h"

/* Statistics of a layer where the host can read them. */
struct view {
	const struct cwe_statistics *s;
	uint32_t layer;
	const uint64_t *tokens;
	const struct cwe_statistics_place *place;
	const float *range, *weight;
	char *base; /* what is at d_block on the device */
	int without_gram;
};

/* Arrays of one matrix in the block, NULL ones are not wanted. */
enum { GRAD, BIAS = 3, ACT_SUM = 6, ACT_SQ, ACT_ABS, ABSMAX, GRAM, HISTOGRAM, ARRAYS };
struct array {
	void *d;
	uint64_t bytes;
};

static void arrays_of(const struct cwe_statistics *s, const struct cwe_linear *l, const struct cwe_statistics_place *place,
	struct array array[ARRAYS])
{
	memset(array, 0, ARRAYS * sizeof *array);
	for (int i = 0; i < 3; i++) {
		if (s->d_grad[i] != NULL) {
			array[GRAD + i] = (struct array){s->d_grad[i] + l->weight_at, l->rows * l->cols * sizeof(float)};
		}
		if (l->bias && s->d_bias[i] != NULL) {
			array[BIAS + i] = (struct array){s->d_bias[i] + place->bias, l->rows * sizeof(float)};
		}
	}
	double *act = s->d_act + l->input_at;
	uint64_t bytes = l->cols * sizeof *act;
	array[ACT_SUM] = (struct array){s->needs & CWP_STAT_ACT_SUM ? act : NULL, bytes};
	array[ACT_SQ] = (struct array){s->needs & CWP_STAT_ACT_SQ ? act + s->inputs : NULL, bytes};
	array[ACT_ABS] = (struct array){s->needs & CWP_STAT_ACT_ABS ? act + 2 * s->inputs : NULL, bytes};
	array[ABSMAX] = (struct array){s->needs & CWP_STAT_ACT_ABSMAX ? s->d_absmax + l->input_at : NULL, l->cols * sizeof(float)};
	if (s->d_gram != NULL && !l->kept) {
		array[GRAM] = (struct array){s->d_gram + place->gram, l->cols * l->cols * sizeof(float)};
	}
	if (s->d_histogram != NULL && !l->kept) {
		array[HISTOGRAM] = (struct array){s->d_histogram + place->input * CWP_HISTOGRAM_BINS, CWP_HISTOGRAM_BINS * sizeof(uint64_t)};
	}
}

/* The lower triangle, which is not computed. */
static void mirror(float *g, uint64_t n)
{
	for (uint64_t i = 1; i < n; i++) {
		for (uint64_t k = 0; k < i; k++) {
			g[i * n + k] = g[k * n + i];
		}
	}
}

static void look(const struct view *v, uint32_t linear, struct cwe_module_statistics *ret)
{
	const struct cwe_statistics *s = v->s;
	struct array array[ARRAYS];
	void *p[ARRAYS];
	struct cwe_linear l;
	cwe_linear_at(&s->model->arch, v->layer, linear, &l);
	arrays_of(s, &l, &v->place[linear], array);
	array[GRAM].d = v->without_gram ? NULL : array[GRAM].d;
	for (int i = 0; i < ARRAYS; i++) {
		p[i] = array[i].d != NULL ? v->base + ((char *)array[i].d - (char *)s->d_block) : NULL;
	}
	if (p[GRAM] != NULL) {
		mirror(p[GRAM], l.cols);
	}
	*ret = (struct cwe_module_statistics){.rows = l.rows, .cols = l.cols, .tokens = v->tokens[linear], .weight = v->weight,
		.grad_sum = p[GRAD], .grad_abs = p[GRAD + 1], .grad_sq = p[GRAD + 2], .bias_sum = p[BIAS], .bias_abs = p[BIAS + 1],
		.bias_sq = p[BIAS + 2], .act_sum = p[ACT_SUM], .act_sq = p[ACT_SQ], .act_abs = p[ACT_ABS], .act_absmax = p[ABSMAX],
		.gram = p[GRAM], .act_histogram = p[HISTOGRAM], .act_least = v->range != NULL ? v->range + l.input_at : NULL,
		.act_greatest = v->range != NULL ? v->range + s->inputs + l.input_at : NULL};
}

/* Where they come to; who never asks for any, since another device tells, takes no memory for it. */
static int take_block(struct cwe_statistics *s, struct cwb_err *err)
{
	s->host_block = s->host_block != NULL ? s->host_block : s->model->device->ops->host_alloc(s->model->device->b, s->bytes);
	return s->host_block != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for statistics");
}

static int take_host(struct cwe_statistics *s, struct cwb_err *err)
{
	const struct cwp_backend *ops = s->model->device->ops;
	s->host_weights = s->host_weights != NULL ? s->host_weights
		: ops->host_alloc(s->model->device->b, s->weights * sizeof *s->host_weights);
	return s->host_weights != NULL ? take_block(s, err) : cwb_err_set(err, -ENOMEM, "no memory for statistics");
}

/* A matrix's arrays from the device; on their way. */
static int fetch_arrays(struct cwe_statistics *s, const struct array array[ARRAYS], struct cwb_err *err)
{
	int r = 0;
	for (int i = 0; r == 0 && i < ARRAYS; i++) {
		if (array[i].d != NULL) {
			r = take_block(s, err);
			r = r == 0 ? CWE_OP(s->model->device, fetch, s->host_block + ((char *)array[i].d - (char *)s->d_block), array[i].d,
				array[i].bytes) : r;
		}
	}
	return r;
}

/* One matrix's arrays and weight from the device. */
static int fetch(struct cwe_statistics *s, const struct cwe_layer *layer, uint32_t linear, struct cwb_err *err)
{
	struct cwe_device *device = s->model->device;
	struct array array[ARRAYS];
	struct cwe_linear l;
	cwe_linear_at(&s->model->arch, s->layer, linear, &l);
	arrays_of(s, &l, &s->place[linear], array);
	int r = take_host(s, err);
	r = r != 0 ? r : CWE_OP(device, fetch, s->host_weights + l.weight_at, layer->d_weight[linear], l.rows * l.cols * sizeof(float));
	r = r == 0 ? fetch_arrays(s, array, err) : r;
	return r == 0 ? CWE_OP(device, fetch_wait) : r;
}

int cwe_statistics_get(struct cwe_statistics *s, const struct cwe_layer *layer, uint32_t linear,
	struct cwe_module_statistics *ret, struct cwb_err *err)
{
	struct view v = {.s = s, .layer = s->layer, .tokens = s->tokens, .place = s->place, .range = s->range,
		.weight = layer->d_weight[linear], .base = s->d_block};
	int remote = cwe_device_remote(s->model->device);
	int r = remote ? fetch(s, layer, linear, err) : CWE_OP(s->model->device, sync);
	if (remote) {
		struct cwe_linear l;
		cwe_linear_at(&s->model->arch, s->layer, linear, &l);
		v.weight = s->host_weights + l.weight_at;
		v.base = s->host_block;
	}
	if (r == 0) {
		look(&v, linear, ret);
	}
	return r;
}

int cwe_statistics_get_there(struct cwe_statistics *s, uint32_t linear, struct cwe_module_statistics *ret, const float **ret_d_gram,
	struct cwb_err *err)
{
	struct array array[ARRAYS];
	struct cwe_linear l;
	cwe_linear_at(&s->model->arch, s->layer, linear, &l);
	arrays_of(s, &l, &s->place[linear], array);
	*ret_d_gram = array[GRAM].d;
	array[GRAM].d = NULL;
	int r = fetch_arrays(s, array, err);
	r = r == 0 ? CWE_OP(s->model->device, fetch_wait) : r;
	const struct view v = {.s = s, .layer = s->layer, .tokens = s->tokens, .place = s->place, .range = s->range,
		.base = s->host_block, .without_gram = 1};
	if (r == 0) {
		look(&v, linear, ret);
	}
	return r;
}

int cwe_statistics_keeps(struct cwe_statistics *s, struct cwb_err *err)
{
	uint32_t n = cwe_linears_most(&s->model->arch);
	s->kept_tokens = calloc(n, sizeof *s->kept_tokens);
	s->kept_place = calloc(n, sizeof *s->kept_place);
	s->kept_range = s->range != NULL ? calloc(2 * s->inputs + 1, sizeof *s->kept_range) : NULL;
	if (s->kept_tokens == NULL || s->kept_place == NULL || (s->range != NULL && s->kept_range == NULL)) {
		return cwb_err_set(err, -ENOMEM, "no memory for statistics");
	}
	s->spare_weights = s->model->device->ops->host_alloc(s->model->device->b, s->weights * sizeof *s->spare_weights);
	int r = take_host(s, err);
	if (r == 0 && s->spare_weights == NULL) {
		r = cwb_err_set(err, -ENOMEM, "no memory for the weights of a layer");
	}
	return r != 0 ? r : cwe_device_bytes(s->model->device, s->bytes, &s->d_spare, err);
}

int cwe_statistics_weights(struct cwe_statistics *s, const struct cwe_layer *layer, struct cwb_err *err)
{
	uint64_t weights, inputs;
	cwe_linears_sum(&s->model->arch, layer->index, &weights, &inputs);
	s->fetching = 1;
	s->fresh = 1;
	return CWE_OP(s->model->device, fetch, s->spare_weights, layer->d_block, weights * sizeof(float));
}

int cwe_statistics_keep(struct cwe_statistics *s, struct cwb_err *err)
{
	uint32_t n = cwe_linears(&s->model->arch, s->layer);
	if (s->fresh) {
		float *weights = s->host_weights;
		s->host_weights = s->spare_weights;
		s->spare_weights = weights;
		s->fresh = 0;
	}
	s->kept_layer = s->layer;
	memcpy(s->kept_tokens, s->tokens, n * sizeof *s->tokens);
	memcpy(s->kept_place, s->place, n * sizeof *s->place);
	if (s->range != NULL) {
		memcpy(s->kept_range, s->range, 2 * s->inputs * sizeof *s->range);
	}
	s->fetching = 1;
	return CWE_OP(s->model->device, fetch, s->host_block, s->d_block, s->bytes);
}

int cwe_statistics_settle(struct cwe_statistics *s, struct cwb_err *err)
{
	int fetching = s->fetching;
	s->fetching = 0;
	return fetching ? CWE_OP(s->model->device, fetch_wait) : 0;
}

void cwe_statistics_kept(const struct cwe_statistics *s, uint32_t linear, struct cwe_module_statistics *ret)
{
	struct cwe_linear l;
	cwe_linear_at(&s->model->arch, s->kept_layer, linear, &l);
	const struct view v = {.s = s, .layer = s->kept_layer, .tokens = s->kept_tokens, .place = s->kept_place, .range = s->kept_range,
		.weight = s->host_weights + l.weight_at, .base = s->host_block};
	look(&v, linear, ret);
}
