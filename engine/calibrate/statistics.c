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

struct cwe_statistics_place cwe_statistics_places(const struct cwe_statistics *s)
{
	return places(&s->model->arch, s->layer, NULL);
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

uint64_t cwe_statistics_host_bytes(const struct cwe_model *m, uint32_t needs)
{
	struct cwe_statistics s = {0};
	uint64_t bytes = lay_out(&m->arch, needs, 0, NULL, &s);
	return cwe_device_remote(m->device) ? bytes + 2 * s.weights * sizeof(float) : 0;
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
	return s->tokens != NULL && s->place != NULL && (!ranges || s->range != NULL)
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
	if (s->model != NULL && cwe_device_remote(s->model->device)) {
		const struct cwp_backend *ops = s->model->device->ops;
		(void)ops->fetch_wait(s->model->device->b);
		ops->host_free(s->model->device->b, s->host_block);
		ops->host_free(s->model->device->b, s->host_weights);
		ops->host_free(s->model->device->b, s->spare_weights);
	}
	if (s->model != NULL) {
		cwe_device_free(s->model->device, s->d_spare, s->bytes);
		cwe_device_free(s->model->device, s->d_block, s->bytes);
		cwe_device_free(s->model->device, s->d_ones, s->widest * sizeof *s->d_ones);
	}
	free(s->tokens);
	free(s->place);
	free(s->kept_tokens);
	free(s->kept_place);
	free(s->kept_range);
	free(s->range);
	memset(s, 0, sizeof *s);
}

int cwe_statistics_begin(struct cwe_statistics *s, uint32_t layer, struct cwb_err *err)
{
	if (s->d_spare != NULL) {
		void *d_block = s->d_block;
		s->d_block = s->d_spare;
		s->d_spare = d_block;
		(void)lay_out(&s->model->arch, s->needs, s->widest, s->d_block, s);
	}
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

