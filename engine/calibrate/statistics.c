/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Accumulators of one layer and the taps that fill them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/range.h"
#include "engine/calibrate/statistics.h"
#include "engine/model/ops.h"

/* Rows of x x^T that are computed together. */
#define GRAM_STRIP 512

#define GRADIENTS (CWP_STAT_GRAD_SUM | CWP_STAT_GRAD_ABS | CWP_STAT_GRAD_SQ)

static const uint32_t grad_bit[3] = {CWP_STAT_GRAD_SUM, CWP_STAT_GRAD_ABS, CWP_STAT_GRAD_SQ};

/* Where each matrix of a layer has its part of what lies one after another, and how much of it there is in all; place may
 * be NULL. Matrices that share an input share its part; routers are no affair of a quantizer. */
static struct cwe_statistics_place places(const struct cwe_arch *a, uint32_t layer, struct cwe_statistics_place *place)
{
	struct cwe_statistics_place sum = {0}, input = {0};
	uint32_t n = cwe_linears(a, layer);
	for (uint32_t i = 0; i < n; i++) {
		struct cwe_linear l;
		cwe_linear_at(a, layer, i, &l);
		int own = l.measures && !l.kept;
		input = own ? sum : input;
		if (place != NULL) {
			place[i] = (struct cwe_statistics_place){.bias = sum.bias, .gram = input.gram, .input = input.input};
		}
		sum.bias += l.bias ? l.rows : 0;
		sum.gram += own ? l.cols * l.cols : 0;
		sum.input += own;
	}
	return sum;
}

/* The most of any layer. */
static struct cwe_statistics_place places_most(const struct cwe_arch *a)
{
	struct cwe_statistics_place most = {0};
	for (uint32_t l = 0; l < a->layers; l++) {
		struct cwe_statistics_place n = places(a, l, NULL);
		most.bias = n.bias > most.bias ? n.bias : most.bias;
		most.gram = n.gram > most.gram ? n.gram : most.gram;
		most.input = n.input > most.input ? n.input : most.input;
	}
	return most;
}

static uint64_t widest_input(const struct cwe_arch *a)
{
	uint64_t widest = 0;
	for (uint32_t l = 0; l < a->layers; l++) {
		for (uint32_t i = 0; i < cwe_linears_scored(a, l); i++) {
			struct cwe_linear linear;
			cwe_linear_at(a, l, i, &linear);
			widest = linear.cols > widest ? linear.cols : widest;
		}
	}
	return widest;
}

static uint64_t lines(uint64_t bytes)
{
	return (bytes + 63) / 64 * 64;
}

/* NULL where there is no memory yet: then only its size is asked for. */
static void *place(char *base, uint64_t at)
{
	return base != NULL ? base + at : NULL;
}

/* widest 0: no biases. */
static uint64_t lay_out(const struct cwe_arch *a, uint32_t needs, uint64_t widest, char *base, struct cwe_statistics *s)
{
	uint64_t at = 0;
	struct cwe_statistics_place most = places_most(a);
	cwe_linears_sum_most(a, &s->weights, &s->inputs);
	s->biases = widest > 0 ? most.bias : 0;
	for (int i = 0; i < 3; i++) {
		int wanted = (needs & grad_bit[i]) != 0;
		s->d_grad[i] = wanted ? place(base, at) : NULL;
		at += wanted ? lines(s->weights * sizeof(float)) : 0;
		s->d_bias[i] = wanted && s->biases > 0 ? place(base, at) : NULL;
		at += wanted ? lines(s->biases * sizeof(float)) : 0;
	}
	s->d_act = place(base, at);
	at += lines((needs & CWP_STAT_ACT_ABS ? 3 : 2) * s->inputs * sizeof(double));
	s->d_absmax = place(base, at);
	at += lines(s->inputs * sizeof(float));
	if (needs & CWP_STAT_GRAM) {
		s->widest_input = widest_input(a);
		s->d_gram = place(base, at);
		at += lines(most.gram * sizeof(float));
	}
	if (needs & CWP_STAT_ACT_HISTOGRAM) {
		s->d_histogram = place(base, at);
		at += most.input * CWP_HISTOGRAM_BINS * sizeof(uint64_t);
	}
	return at;
}

uint64_t cwe_statistics_bytes(const struct cwe_arch *arch, uint32_t needs)
{
	struct cwe_statistics s = {0};
	return lay_out(arch, needs, 0, NULL, &s);
}

/* A one for each token: a bias is a weight whose input is always 1. */
static int make_ones(struct cwe_statistics *s, uint64_t widest, struct cwb_err *err)
{
	float *one = malloc(widest * sizeof *one);
	int r = one != NULL ? cwe_device_floats(s->model->device, widest, &s->d_ones, err)
			    : cwb_err_set(err, -ENOMEM, "no memory for statistics");
	for (uint64_t i = 0; r == 0 && i < widest; i++) {
		one[i] = 1;
	}
	r = r == 0 ? CWE_OP(s->model->device, upload, s->d_ones, one, widest * sizeof *one) : r;
	free(one);
	return r;
}

static int host_memory(struct cwe_statistics *s, struct cwb_err *err)
{
	s->tokens = calloc(cwe_linears_most(&s->model->arch), sizeof *s->tokens);
	s->place = calloc(cwe_linears_most(&s->model->arch), sizeof *s->place);
	int ranges = (s->needs & CWP_STAT_ACT_RANGE) != 0;
	s->range = ranges ? calloc(2 * s->inputs + 1, sizeof *s->range) : NULL;
	int staged = !(s->model->device->ops->flags & CWP_BACKEND_HOST_MEMORY);
	if (staged) {
		s->host = malloc((4 * s->weights + 3 * s->biases + s->inputs) * sizeof *s->host);
		s->host_act = malloc(3 * s->inputs * sizeof *s->host_act);
		s->host_histogram = s->d_histogram != NULL ? malloc(CWP_HISTOGRAM_BINS * sizeof *s->host_histogram) : NULL;
		s->host_gram = s->d_gram != NULL ? malloc(s->widest_input * s->widest_input * sizeof *s->host_gram) : NULL;
	}
	return s->tokens != NULL && s->place != NULL && (!ranges || s->range != NULL) && (!staged || (s->host != NULL && s->host_act != NULL &&
			(s->d_histogram == NULL || s->host_histogram != NULL) && (s->d_gram == NULL || s->host_gram != NULL)))
		? 0 : cwb_err_set(err, -ENOMEM, "no memory for statistics");
}

int cwe_statistics_new(struct cwe_model *m, uint32_t needs, uint64_t widest, struct cwe_statistics *ret,
	struct cwb_err *err)
{
	struct cwe_statistics s = {.model = m, .needs = needs, .widest = widest};
	s.bytes = lay_out(&m->arch, needs, widest, NULL, &s);
	int r = cwe_device_bytes(m->device, s.bytes, &s.d_block, err);
	if (r == 0) {
		(void)lay_out(&m->arch, needs, widest, s.d_block, &s);
		r = host_memory(&s, err);
	}
	if (r == 0 && s.biases > 0) {
		r = make_ones(&s, widest, err);
	}
	if (r != 0) {
		cwe_statistics_free(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void cwe_statistics_free(struct cwe_statistics *s)
{
	if (s->model != NULL) {
		cwe_device_free(s->model->device, s->d_block, s->bytes);
		cwe_device_free(s->model->device, s->d_ones, s->widest * sizeof *s->d_ones);
	}
	free(s->tokens);
	free(s->place);
	free(s->host);
	free(s->host_act);
	free(s->host_gram);
	free(s->host_histogram);
	free(s->range);
	memset(s, 0, sizeof *s);
}

int cwe_statistics_begin(struct cwe_statistics *s, uint32_t layer, struct cwb_err *err)
{
	s->layer = layer;
	(void)places(&s->model->arch, layer, s->place);
	memset(s->tokens, 0, cwe_linears_most(&s->model->arch) * sizeof *s->tokens);
	if (s->range != NULL) {
		memset(s->range, 0, 2 * s->inputs * sizeof *s->range);
	}
	return CWE_OP(s->model->device, zero, s->d_block, s->bytes);
}

/* x x^T is symmetric: only what lies right of the strips' diagonal blocks is computed. Sums are f32 in the order of the
 * pieces. */
static int add_gram(struct cwe_statistics *s, const float *d_x, uint64_t tokens, uint64_t cols, float *d_gram, struct cwb_err *err)
{
	int r = 0;
	for (uint64_t at = 0; r == 0 && at < cols; at += GRAM_STRIP) {
		uint64_t rows = cols - at < GRAM_STRIP ? cols - at : GRAM_STRIP;
		r = CWE_OP(s->model->device, matmul, 1, 0, rows, cols - at, tokens, d_x + at, cols, d_x + at, cols, 1,
			d_gram + at * cols + at, cols);
	}
	return r;
}

static int take_input(void *arg, const struct cwe_flow *flow, const float *d_x, struct cwb_err *err)
{
	struct cwe_statistics *s = arg;
	struct cwe_linear l;
	cwe_linear_at(&s->model->arch, s->layer, flow->linear, &l);
	s->tokens[flow->linear] += flow->tokens;
	if (!l.measures) {
		return 0;
	}
	if (s->d_gram != NULL && !l.kept) {
		int r = add_gram(s, d_x, flow->tokens, l.cols, s->d_gram + s->place[flow->linear].gram, err);
		if (r != 0) {
			return r;
		}
	}
	if (s->needs & CWP_STAT_ACT_ABS) {
		int r = CWE_OP(s->model->device, act_abs, d_x, flow->tokens, l.cols, l.cols, s->d_act + 2 * s->inputs + l.input_at);
		if (r != 0) {
			return r;
		}
	}
	if (s->d_histogram != NULL && !l.kept) {
		int r = CWE_OP(s->model->device, act_histogram, d_x, flow->tokens, l.cols, l.cols,
			s->d_histogram + s->place[flow->linear].input * CWP_HISTOGRAM_BINS);
		if (r != 0) {
			return r;
		}
	}
	if (s->range != NULL && !l.kept) {
		int r = cwe_range_take(s->model->device, d_x, flow->tokens, l.cols, s->range + l.input_at, s->range + s->inputs + l.input_at,
			err);
		if (r != 0) {
			return r;
		}
	}
	if (!(s->needs & (CWP_STAT_ACT_SUM | CWP_STAT_ACT_SQ | CWP_STAT_ACT_ABSMAX))) {
		return 0;
	}
	return CWE_OP(s->model->device, act_stats, d_x, flow->tokens, l.cols, l.cols,
		s->needs & CWP_STAT_ACT_SUM ? s->d_act + l.input_at : NULL,
		s->needs & CWP_STAT_ACT_SQ ? s->d_act + s->inputs + l.input_at : NULL,
		s->needs & CWP_STAT_ACT_ABSMAX ? s->d_absmax + l.input_at : NULL);
}

static int take_gradient(void *arg, const struct cwe_flow *flow, const float *d_x, const float *d_dy, struct cwb_err *err)
{
	struct cwe_statistics *s = arg;
	struct cwe_linear l;
	struct cwp_grad_stats g = {.size = sizeof g, .samples = flow->samples, .rows = flow->out, .cols = flow->in, .d_x = d_x,
		.ldx = flow->in, .d_dy = d_dy, .lddy = flow->out};
	cwe_linear_at(&s->model->arch, s->layer, flow->linear, &l);
	uint64_t at = l.weight_at + flow->row * l.cols;
	g.d_sum = s->d_grad[0] != NULL ? s->d_grad[0] + at : NULL;
	g.d_abs = s->d_grad[1] != NULL ? s->d_grad[1] + at : NULL;
	g.d_sq = s->d_grad[2] != NULL ? s->d_grad[2] + at : NULL;
	int r = CWE_OP(s->model->device, grad_stats, &g);
	if (r != 0 || !l.bias || s->biases == 0) {
		return r;
	}
	at = s->place[flow->linear].bias + flow->row;
	g.cols = g.ldx = 1;
	g.d_x = s->d_ones;
	g.d_sum = s->d_bias[0] != NULL ? s->d_bias[0] + at : NULL;
	g.d_abs = s->d_bias[1] != NULL ? s->d_bias[1] + at : NULL;
	g.d_sq = s->d_bias[2] != NULL ? s->d_bias[2] + at : NULL;
	return CWE_OP(s->model->device, grad_stats, &g);
}

struct cwe_tap cwe_statistics_tap(struct cwe_statistics *s, int gradients)
{
	return (struct cwe_tap){.arg = s, .input = take_input,
		.gradient = gradients && (s->needs & GRADIENTS) ? take_gradient : NULL};
}

/* Device array -> host pointer: itself, or a copy in the staging buffer. */
static int to_host(struct cwe_statistics *s, const void *d, void *staging, uint64_t bytes, const void **ret,
	struct cwb_err *err)
{
	if (d == NULL || (s->model->device->ops->flags & CWP_BACKEND_HOST_MEMORY)) {
		*ret = d;
		return 0;
	}
	*ret = staging;
	return CWE_OP(s->model->device, download, staging, d, bytes);
}

static int get_gradients(struct cwe_statistics *s, const struct cwe_linear *l, uint32_t linear, const void *grad[3],
	const void *bias[3], struct cwb_err *err)
{
	uint64_t n = l->rows * l->cols, at = s->place[linear].bias;
	int r = 0;
	for (int i = 0; r == 0 && i < 3; i++) {
		float *host = s->host != NULL ? s->host + (uint64_t)i * s->weights : NULL;
		float *host_bias = s->host != NULL ? s->host + 4 * s->weights + s->inputs + (uint64_t)i * s->biases : NULL;
		int biased = l->bias && s->d_bias[i] != NULL;
		r = to_host(s, s->d_grad[i] != NULL ? s->d_grad[i] + l->weight_at : NULL, host, n * sizeof(float), &grad[i], err);
		r = r == 0 ? to_host(s, biased ? s->d_bias[i] + at : NULL, host_bias, l->rows * sizeof(float), &bias[i], err) : r;
	}
	return r;
}

/* x x^T of a matrix's input, with its lower triangle. */
static int get_gram(struct cwe_statistics *s, const struct cwe_linear *l, uint32_t linear, const float **ret, struct cwb_err *err)
{
	float *d = s->d_gram != NULL && !l->kept ? s->d_gram + s->place[linear].gram : NULL, *g = d;
	int r = 0;
	if (d != NULL && s->host_gram != NULL) {
		g = s->host_gram;
		r = CWE_OP(s->model->device, download, g, d, l->cols * l->cols * sizeof *g);
	}
	for (uint64_t i = 1; r == 0 && g != NULL && i < l->cols; i++) {
		for (uint64_t k = 0; k < i; k++) {
			g[i * l->cols + k] = g[k * l->cols + i];
		}
	}
	*ret = g;
	return r;
}

static int get_histogram(
	struct cwe_statistics *s, const struct cwe_linear *l, uint32_t linear, const void **ret, struct cwb_err *err)
{
	uint64_t at = s->place[linear].input * CWP_HISTOGRAM_BINS;
	*ret = NULL;
	return s->d_histogram == NULL || l->kept ? 0
		: to_host(s, s->d_histogram + at, s->host_histogram, CWP_HISTOGRAM_BINS * sizeof(uint64_t), ret, err);
}

int cwe_statistics_get(struct cwe_statistics *s, const struct cwe_layer *layer, uint32_t linear,
	struct cwe_module_statistics *ret, struct cwb_err *err)
{
	struct cwe_linear l;
	const void *grad[3] = {NULL}, *bias[3] = {NULL}, *weight, *sum, *sq, *abs, *absmax, *histogram;
	const float *gram;
	cwe_linear_at(&s->model->arch, s->layer, linear, &l);
	int r = CWE_OP(s->model->device, sync);
	r = r == 0 ? get_gradients(s, &l, linear, grad, bias, err) : r;
	if (r != 0 ||
		(r = to_host(s, layer->d_weight[linear], s->host != NULL ? s->host + 3 * s->weights : NULL,
			l.rows * l.cols * sizeof(float), &weight, err)) != 0 ||
		(r = to_host(s, s->d_act + l.input_at, s->host_act, l.cols * sizeof(double), &sum, err)) != 0 ||
		(r = to_host(s, s->d_act + s->inputs + l.input_at, s->host_act != NULL ? s->host_act + s->inputs : NULL,
			l.cols * sizeof(double), &sq, err)) != 0 ||
		(r = to_host(s, s->needs & CWP_STAT_ACT_ABS ? s->d_act + 2 * s->inputs + l.input_at : NULL,
			s->host_act != NULL ? s->host_act + 2 * s->inputs : NULL, l.cols * sizeof(double), &abs, err)) != 0 ||
		(r = get_gram(s, &l, linear, &gram, err)) != 0 || (r = get_histogram(s, &l, linear, &histogram, err)) != 0 ||
		(r = to_host(s, s->d_absmax + l.input_at, s->host != NULL ? s->host + 4 * s->weights : NULL,
			l.cols * sizeof(float), &absmax, err)) != 0) {
		return r;
	}
	*ret = (struct cwe_module_statistics){.rows = l.rows, .cols = l.cols, .tokens = s->tokens[linear], .weight = weight,
		.grad_sum = grad[0], .grad_abs = grad[1], .grad_sq = grad[2], .bias_sum = bias[0], .bias_abs = bias[1],
		.bias_sq = bias[2], .act_sum = s->needs & CWP_STAT_ACT_SUM ? sum : NULL,
		.act_sq = s->needs & CWP_STAT_ACT_SQ ? sq : NULL,
		.act_abs = abs,
		.act_absmax = s->needs & CWP_STAT_ACT_ABSMAX ? absmax : NULL, .gram = gram, .act_histogram = histogram,
		.act_least = s->range != NULL ? s->range + l.input_at : NULL,
		.act_greatest = s->range != NULL ? s->range + s->inputs + l.input_at : NULL};
	return 0;
}
