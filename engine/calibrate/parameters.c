/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Collects the statistics of all parameters. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/parameters.h"
#include "engine/calibrate/room.h"
#include "engine/model/ops.h"

#define NAME_MAX_ 160
#define SLICE 4096 /* vocabulary entries at a time */

static const char *const grad_name[3] = {"grad_sum", "grad_abs", "grad_sq"};

struct collector {
	struct cwe_model *model;
	const struct cwe_corpus *corpus;
	cwe_parameter_sink sink;
	void *arg;
	float *norm;  /* sums of the layer at hand: of each norm [3, widest norm] */
	uint64_t norm_width; /* of the widest norm, final one included */
	struct cwe_head_trace trace;
	/* Vocabulary slice at hand. */
	float *gradient;  /* [SLICE, hidden] of one sample */
	float *sum[3];    /* [SLICE, hidden] */
	float *embedding; /* [tokens, hidden] gradient at the embeddings */
};

static int give(struct collector *c, const char *kind, const char *parameter, uint64_t rows, uint64_t cols, const float *v,
	struct cwb_err *err)
{
	char name[NAME_MAX_];
	(void)snprintf(name, sizeof name, "%s/%s", kind, parameter);
	return c->sink(c->arg, name, rows, cols, v, err);
}

static int give_act(struct collector *c, const char *module, uint64_t cols, const double *sq, const float *absmax,
	struct cwb_err *err)
{
	float *f = malloc(cols * sizeof *f);
	int r = f != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for statistics");
	for (uint64_t i = 0; r == 0 && i < cols; i++) {
		f[i] = (float)sq[i];
	}
	r = r == 0 ? give(c, "act_sq", module, cols, 0, f, err) : r;
	free(f);
	return r == 0 ? give(c, "act_absmax", module, cols, 0, absmax, err) : r;
}

static int take_module(void *arg, uint32_t layer, uint32_t set, uint32_t linear,
	const struct cwe_module_statistics *s, struct cwb_err *err)
{
	struct collector *c = arg;
	char module[CWE_MODULE_NAME_MAX], parameter[CWE_MODULE_NAME_MAX + 8];
	const float *grad[3] = {s->grad_sum, s->grad_abs, s->grad_sq}, *bias[3] = {s->bias_sum, s->bias_abs, s->bias_sq};
	int r = 0;
	(void)set;
	(void)cwe_module_name(c->model, layer, linear, module, sizeof module);
	(void)snprintf(parameter, sizeof parameter, "%s.weight", module);
	for (int i = 0; r == 0 && i < 3; i++) {
		r = give(c, grad_name[i], parameter, s->rows, s->cols, grad[i], err);
	}
	(void)snprintf(parameter, sizeof parameter, "%s.bias", module);
	for (int i = 0; r == 0 && bias[0] != NULL && i < 3; i++) {
		r = give(c, grad_name[i], parameter, s->rows, 0, bias[i], err);
	}
	return r == 0 ? give_act(c, module, s->cols, s->act_sq, s->act_absmax, err) : r;
}

static void add_samples(const float *g, uint64_t samples, uint64_t n, float *const *sum)
{
	for (uint64_t s = 0; s < samples; s++) {
		for (uint64_t i = 0; i < n; i++) {
			float x = g[s * n + i];
			sum[0][i] += x;
			sum[1][i] += fabsf(x);
			sum[2][i] += x * x;
		}
	}
}

static int take_norm(void *arg, uint32_t layer, uint32_t set, enum cwe_norm which, const float *dw, uint64_t samples,
	struct cwb_err *err)
{
	struct collector *c = arg;
	uint64_t width = c->norm_width;
	float *at = c->norm + (uint64_t)which * 3 * width;
	float *const sum[3] = {at, at + width, at + 2 * width};
	(void)layer, (void)set, (void)err;
	add_samples(dw, samples, cwe_norm_width(&c->model->arch, which), sum);
	return 0;
}

static int layer_done(void *arg, uint32_t layer, const char *digest, struct cwb_err *err)
{
	struct collector *c = arg;
	uint64_t width = c->norm_width;
	int r = 0;
	(void)digest;
	for (int which = 0; which < CWE_NORMS; which++) {
		char module[CWE_MODULE_NAME_MAX], parameter[CWE_MODULE_NAME_MAX + 8];
		uint64_t n = cwe_norm_width(&c->model->arch, which);
		if (n == 0) {
			continue;
		}
		(void)snprintf(parameter, sizeof parameter, "%s.weight", cwe_norm_name(c->model, layer, which, module, sizeof module));
		for (int i = 0; r == 0 && i < 3; i++) {
			r = give(c, grad_name[i], parameter, n, 0, c->norm + ((uint64_t)which * 3 + (uint64_t)i) * width, err);
		}
	}
	memset(c->norm, 0, CWE_NORMS * 3 * width * sizeof *c->norm);
	return r;
}

static int take_embedding(void *arg, struct cwe_boundary *gradient, struct cwb_err *err)
{
	struct collector *c = arg;
	uint64_t n = c->corpus->tokens * c->model->arch.hidden;
	int r = cwe_boundary_read(gradient, 0, 0, c->embedding, n, err);
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		c->embedding[i] *= c->model->arch.embedding_scale;
	}
	return r;
}

/* Gradient of the output projection's rows [first, first + n) by the predictions [row, row + rows) of one sample,
 * added to c->gradient. */
static int head_gradient(struct collector *c, uint64_t row, uint64_t rows, uint64_t first, uint64_t n, const float *w,
	struct cwb_err *err)
{
	uint64_t d = c->model->arch.hidden;
	const struct cwe_head_trace *t = &c->trace;
	struct cwe_device *dev = c->model->device;
	float *d_h = NULL, *d_w = NULL, *d_logits = NULL, *d_spare = NULL, *d_g = NULL, *d_weight = NULL;
	double *d_lse = NULL;
	uint32_t *d_target = NULL;
	float *weight = malloc(rows * sizeof *weight);
	uint32_t *target = malloc(rows * sizeof *target);
	int r = weight != NULL && target != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for gradients");
	for (uint64_t i = 0; r == 0 && i < rows; i++) {
		weight[i] = c->corpus->weight[t->token[row + i]];
		target[i] = c->corpus->id[t->token[row + i]];
	}
	if (r == 0 && (r = cwe_device_floats(dev, rows * d, &d_h, err)) == 0 &&
		(r = cwe_device_floats(dev, n * d, &d_w, err)) == 0 && (r = cwe_device_floats(dev, rows * n, &d_logits, err)) == 0 &&
		(r = cwe_device_floats(dev, rows * n, &d_spare, err)) == 0 &&
		(r = cwe_device_floats(dev, n * d, &d_g, err)) == 0 && (r = cwe_device_floats(dev, rows, &d_weight, err)) == 0 &&
		(r = cwe_device_bytes(dev, rows * sizeof *d_lse, (void **)&d_lse, err)) == 0 &&
		(r = cwe_device_bytes(dev, rows * sizeof *d_target, (void **)&d_target, err)) == 0 &&
		(r = CWE_OP(dev, upload, d_h, t->hidden + row * d, rows * d * sizeof *d_h)) == 0 &&
		(r = CWE_OP(dev, upload, d_w, w, n * d * sizeof *d_w)) == 0 &&
		(r = CWE_OP(dev, upload, d_g, c->gradient, n * d * sizeof *d_g)) == 0 &&
		(r = CWE_OP(dev, upload, d_weight, weight, rows * sizeof *weight)) == 0 &&
		(r = CWE_OP(dev, upload, d_lse, t->lse + row, rows * sizeof *d_lse)) == 0 &&
		(r = CWE_OP(dev, upload, d_target, target, rows * sizeof *target)) == 0 &&
		(r = cwe_model_logits(c->model, d_h, rows, d_w, n, d_logits, err)) == 0 &&
		(r = cwe_model_logits_backward(c->model, &(struct cwe_slice){rows, n, (uint32_t)first, d_target, d_weight, d_lse},
			d_logits, d_spare, err)) == 0 &&
		(r = CWE_OP(dev, matmul, 1, 0, n, d, rows, d_logits, n, d_h, d, 1, d_g, d)) == 0) {
		r = CWE_OP(dev, download, c->gradient, d_g, n * d * sizeof *d_g);
	}
	cwe_device_free(dev, d_h, rows * d * sizeof *d_h);
	cwe_device_free(dev, d_w, n * d * sizeof *d_w);
	cwe_device_free(dev, d_logits, rows * n * sizeof *d_logits);
	cwe_device_free(dev, d_spare, rows * n * sizeof *d_spare);
	cwe_device_free(dev, d_g, n * d * sizeof *d_g);
	cwe_device_free(dev, d_weight, rows * sizeof *d_weight);
	cwe_device_free(dev, d_lse, rows * sizeof *d_lse);
	cwe_device_free(dev, d_target, rows * sizeof *d_target);
	free(weight);
	free(target);
	return r;
}

/* Gradient of the embedding's rows [first, first + n) by the tokens [from, to), added to c->gradient. */
static void embedding_gradient(struct collector *c, uint64_t from, uint64_t to, uint64_t first, uint64_t n)
{
	uint64_t d = c->model->arch.hidden;
	for (uint64_t t = from; t < to; t++) {
		uint64_t id = c->corpus->id[t];
		if (id >= first && id < first + n) {
			for (uint64_t i = 0; i < d; i++) {
				c->gradient[(id - first) * d + i] += c->embedding[t * d + i];
			}
		}
	}
}

/* One slice of the vocabulary: each sample's gradient by itself, then into the sums. */
static int slice(struct collector *c, int head, int embedding, uint64_t first, uint64_t n, const float *w,
	struct cwb_err *err)
{
	uint64_t d = c->model->arch.hidden, row = 0;
	int r = 0;
	for (size_t i = 0; r == 0 && i < c->corpus->pieces; i++) {
		const struct cwe_piece *p = &c->corpus->piece[i];
		for (uint64_t s = 0; r == 0 && s < p->samples; s++) {
			uint64_t from = p->at + p->sample_start[s], to = p->at + p->sample_start[s + 1], rows = 0;
			while (row + rows < c->trace.rows && c->trace.token[row + rows] < to) {
				rows++;
			}
			memset(c->gradient, 0, n * d * sizeof *c->gradient);
			if (head && rows > 0) {
				r = head_gradient(c, row, rows, first, n, w, err);
			}
			if (r == 0 && embedding) {
				embedding_gradient(c, from, to, first, n);
			}
			if (r == 0) {
				float *const sum[3] = {c->sum[0] + first * d, c->sum[1] + first * d, c->sum[2] + first * d};
				add_samples(c->gradient, 1, n * d, sum);
			}
			row += rows;
		}
	}
	return r;
}

static int vocabulary(struct collector *c, const char *parameter, int head, int embedding, struct cwb_err *err)
{
	uint64_t d = c->model->arch.hidden, v = c->model->arch.vocabulary;
	float *w = malloc(SLICE * d * sizeof *w);
	int r = w != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for statistics");
	for (int i = 0; r == 0 && i < 3; i++) {
		c->sum[i] = calloc(v * d, sizeof *c->sum[i]);
		r = c->sum[i] != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for statistics of %s", parameter);
	}
	for (uint64_t first = 0; r == 0 && first < v; first += SLICE) {
		uint64_t n = v - first < SLICE ? v - first : SLICE;
		r = head ? cwe_model_head_read(c->model, first, n, w, err) : 0;
		r = r == 0 ? slice(c, head, embedding, first, n, w, err) : r;
	}
	for (int i = 0; i < 3; i++) {
		r = r == 0 ? give(c, grad_name[i], parameter, v, d, c->sum[i], err) : r;
		free(c->sum[i]);
		c->sum[i] = NULL;
	}
	free(w);
	return r;
}

/* Name of a tensor outside the layers. */
static const char *outside(const struct cwe_model *m, const char *rest, char *buffer, size_t size)
{
	(void)snprintf(buffer, size, "%s%s", m->body, rest);
	return buffer;
}

/* The output projection's module, "lm_head". */
static const char *head_module(const struct cwe_model *m, char *buffer, size_t size)
{
	(void)snprintf(buffer, size, "%.*s", (int)(strrchr(m->head, '.') - m->head), m->head);
	return buffer;
}

static int finish(struct collector *c, struct cwb_err *err)
{
	uint64_t d = c->model->arch.hidden, width = c->norm_width;
	char name[CWE_MODULE_NAME_MAX];
	float *const sum[3] = {c->norm, c->norm + width, c->norm + 2 * width};
	add_samples(c->trace.dnorm, c->corpus->set_samples[0], d, sum);
	int r = 0;
	for (int i = 0; r == 0 && i < 3; i++) {
		r = give(c, grad_name[i], outside(c->model, "norm.weight", name, sizeof name), d, 0, sum[i], err);
	}
	r = r == 0 ? give_act(c, head_module(c->model, name, sizeof name), d, c->trace.act_sq, c->trace.act_absmax, err) : r;
	(void)outside(c->model, "embed_tokens.weight", name, sizeof name);
	if (r == 0 && c->model->arch.tied) {
		/* One matrix, both gradients: a sample's sum of the two is squared. */
		return vocabulary(c, name, 1, 1, err);
	}
	r = r == 0 ? vocabulary(c, c->model->head, 1, 0, err) : r;
	return r == 0 ? vocabulary(c, name, 0, 1, err) : r;
}

static int list_one(const char *parameter, uint64_t rows, uint64_t cols, cwe_parameter_sink sink, void *arg,
	struct cwb_err *err)
{
	int r = 0;
	for (int i = 0; r == 0 && i < 3; i++) {
		char name[NAME_MAX_];
		(void)snprintf(name, sizeof name, "%s/%s", grad_name[i], parameter);
		r = sink(arg, name, rows, cols, NULL, err);
	}
	return r;
}

static int list_act(const char *module, uint64_t cols, cwe_parameter_sink sink, void *arg, struct cwb_err *err)
{
	char name[NAME_MAX_];
	(void)snprintf(name, sizeof name, "act_sq/%s", module);
	int r = sink(arg, name, cols, 0, NULL, err);
	(void)snprintf(name, sizeof name, "act_absmax/%s", module);
	return r == 0 ? sink(arg, name, cols, 0, NULL, err) : r;
}

static int list_layer(const struct cwe_model *m, uint32_t layer, cwe_parameter_sink sink, void *arg, struct cwb_err *err)
{
	char module[CWE_MODULE_NAME_MAX], parameter[CWE_MODULE_NAME_MAX + 8];
	uint32_t n = cwe_linears(&m->arch, layer);
	int r = 0;
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		struct cwe_linear l;
		cwe_linear_at(&m->arch, layer, i, &l);
		(void)cwe_module_name(m, layer, i, module, sizeof module);
		(void)snprintf(parameter, sizeof parameter, "%s.weight", module);
		r = list_one(parameter, l.rows, l.cols, sink, arg, err);
		r = r == 0 ? list_act(module, l.cols, sink, arg, err) : r;
		(void)snprintf(parameter, sizeof parameter, "%s.bias", module);
		r = r == 0 && l.bias ? list_one(parameter, l.rows, 0, sink, arg, err) : r;
	}
	for (int i = 0; r == 0 && i < CWE_NORMS; i++) {
		uint64_t width = cwe_norm_width(&m->arch, i);
		if (width > 0) {
			(void)snprintf(parameter, sizeof parameter, "%s.weight", cwe_norm_name(m, layer, i, module, sizeof module));
			r = list_one(parameter, width, 0, sink, arg, err);
		}
	}
	return r;
}

int cwe_parameters_list(const struct cwe_model *m, cwe_parameter_sink sink, void *arg, struct cwb_err *err)
{
	const struct cwe_arch *a = &m->arch;
	char name[CWE_MODULE_NAME_MAX];
	int r = 0;
	for (uint32_t layer = 0; r == 0 && layer < a->layers; layer++) {
		r = list_layer(m, layer, sink, arg, err);
	}
	r = r == 0 ? list_one(outside(m, "norm.weight", name, sizeof name), a->hidden, 0, sink, arg, err) : r;
	r = r == 0 ? list_act(head_module(m, name, sizeof name), a->hidden, sink, arg, err) : r;
	r = r == 0 && !a->tied ? list_one(m->head, a->vocabulary, a->hidden, sink, arg, err) : r;
	return r == 0 ? list_one(outside(m, "embed_tokens.weight", name, sizeof name), a->vocabulary, a->hidden, sink, arg, err)
		      : r;
}

int cwe_parameters_run(struct cwe_model *model, const struct cwe_corpus *corpus, const char *scratch,
	cwe_parameter_sink sink, void *arg, struct cwb_err *err)
{
	uint64_t d = model->arch.hidden;
	struct collector c = {.model = model, .corpus = corpus, .sink = sink, .arg = arg, .norm_width = d};
	for (int i = 0; i < CWE_NORMS; i++) {
		uint64_t width = cwe_norm_width(&model->arch, i);
		c.norm_width = width > c.norm_width ? width : c.norm_width;
	}
	c.norm = calloc(CWE_NORMS * 3 * c.norm_width, sizeof *c.norm);
	c.gradient = malloc(SLICE * d * sizeof *c.gradient);
	c.embedding = malloc((corpus->tokens + 1) * d * sizeof *c.embedding);
	c.trace.dnorm = calloc((corpus->set_samples[0] + 1) * d, sizeof *c.trace.dnorm);
	c.trace.act_sq = calloc(d, sizeof *c.trace.act_sq);
	c.trace.act_absmax = calloc(d, sizeof *c.trace.act_absmax);
	struct cwe_calibration run = {.model = model, .corpus = corpus, .scratch = scratch,
		.needs = CWP_STAT_GRAD_SUM | CWP_STAT_GRAD_ABS | CWP_STAT_GRAD_SQ | CWP_STAT_ACT_SQ | CWP_STAT_ACT_ABSMAX,
		.boundary_memory = scratch != NULL ? 256u << 20 : UINT64_MAX,
		.inside_memory = scratch != NULL ? 0 : cwe_room_available() / 4, .resume = model->arch.layers, .arg = &c,
		.module = take_module, .layer_done = layer_done, .norm = take_norm, .embedding = take_embedding,
		.trace = &c.trace};
	int r = c.norm != NULL && c.gradient != NULL && c.embedding != NULL && c.trace.dnorm != NULL &&
			c.trace.act_sq != NULL && c.trace.act_absmax != NULL
		? cwe_calibrate_run(&run, err) : cwb_err_set(err, -ENOMEM, "no memory for statistics");
	r = r == 0 ? finish(&c, err) : r;
	cwe_head_trace_free(&c.trace);
	free(c.norm);
	free(c.gradient);
	free(c.embedding);
	return r;
}
