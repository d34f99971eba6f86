/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One input of a layer for the plugin's smooth(): what is known of its channels, and the error that scales would leave.
 * The outputs' sum of squared errors needs no tokens again: of a row e of errors it is e (x x^T) e^T. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/ops.h"
#include "engine/pipeline/smooth.h"

struct consumer {
	const struct cwe_run_module *m; /* NULL: not quantized */
	struct cwe_module_statistics st;
	uint64_t input_at;
};

struct input {
	struct cwe_smoothing *s;
	const struct cwe_smoothing_layer *at;
	const struct cwe_fold *fold;
	struct consumer *consumer; /* [fold->consumers] */
	int powers;                /* scales must be powers of two */
	uint64_t tokens;
	double *sum, *abs, *sq;    /* [channels] */
	float *absmax, *weight_absmax;
	float *column;             /* [cols] scales at hand */
	/* Rows that are being quantized. */
	const struct consumer *c;
	uint64_t row, rows, each; /* of a tile */
	struct cwb_err *err;
};

static int is_protected(const uint8_t *mask, uint64_t column)
{
	return mask[column >> 3] >> (column & 7) & 1;
}

static const uint8_t *mask_of(const struct input *in, const struct consumer *c, uint64_t row)
{
	return in->s->masked ? cwe_smoothing_mask(in->s, c->m) + row * ((c->m->cols + 7) / 8) : NULL;
}

/* ---- what is known ---- */

/* An input that several consumers read counts once. */
static int is_first(const struct input *in, uint32_t i)
{
	for (uint32_t k = 0; k < i; k++) {
		if (in->consumer[k].input_at == in->consumer[i].input_at) {
			return 0;
		}
	}
	return 1;
}

static void add_statistics(struct input *in, const struct consumer *c)
{
	for (uint64_t k = 0; k < in->fold->cols; k++) {
		uint64_t channel = cwe_fold_channel(in->fold, k);
		in->sum[channel] += c->st.act_sum != NULL ? c->st.act_sum[k] : 0;
		in->abs[channel] += c->st.act_abs != NULL ? c->st.act_abs[k] : 0;
		in->sq[channel] += c->st.act_sq != NULL ? c->st.act_sq[k] : 0;
		if (c->st.act_absmax != NULL) {
			in->absmax[channel] = fmaxf(in->absmax[channel], c->st.act_absmax[k]);
		}
	}
	in->tokens += c->st.tokens * in->fold->repeat;
}

static void add_weights(struct input *in, const struct consumer *c, int all)
{
	const uint8_t *first = all ? NULL : mask_of(in, c, 0);
	for (uint64_t r = 0; r < c->m->rows; r++) {
		const float *w = c->st.weight + r * c->m->cols;
		const uint8_t *mask = first != NULL ? first + r * ((c->m->cols + 7) / 8) : NULL;
		for (uint64_t k = 0; k < c->m->cols; k++) {
			uint64_t channel = cwe_fold_channel(in->fold, k);
			float a = mask != NULL && is_protected(mask, k) ? 0 : fabsf(w[k]);
			in->weight_absmax[channel] = a > in->weight_absmax[channel] ? a : in->weight_absmax[channel];
		}
	}
}

/* Of channels whose weights are all protected, the protected ones. */
static int measure_weights(struct input *in)
{
	uint64_t n = in->fold->channels;
	float *kept = in->s->masked ? calloc(n + 1, sizeof *kept) : NULL;
	if (in->s->masked && kept == NULL) {
		return cwb_err_set(in->err, -ENOMEM, "no memory to choose scales");
	}
	for (int all = 0; all <= in->s->masked; all++) {
		memset(in->weight_absmax, 0, n * sizeof *in->weight_absmax);
		for (uint32_t i = 0; i < in->fold->consumers; i++) {
			if (in->consumer[i].m != NULL) {
				add_weights(in, &in->consumer[i], all);
			}
		}
		if (kept != NULL && !all) {
			memcpy(kept, in->weight_absmax, n * sizeof *kept);
		}
	}
	for (uint64_t k = 0; kept != NULL && k < n; k++) {
		in->weight_absmax[k] = kept[k] > 0 ? kept[k] : in->weight_absmax[k];
	}
	free(kept);
	return 0;
}

static int get(struct input *in, uint32_t i)
{
	return cwe_statistics_get(in->at->statistics, in->at->loaded,
		cwe_fold_consumer(&in->s->run->model.arch, in->at->layer, in->fold, i), &in->consumer[i].st, in->err);
}

static int measure(struct input *in)
{
	int r = 0;
	for (uint32_t i = 0; r == 0 && i < in->fold->consumers; i++) {
		if (in->consumer[i].m != NULL && (r = get(in, i)) == 0 && is_first(in, i)) {
			add_statistics(in, &in->consumer[i]);
		}
	}
	return r == 0 ? measure_weights(in) : r;
}

/* ---- the error ---- */

/* Q(w s) / s - w of a tile of rows, 0 where it is protected. */
static void error_tile(void *arg, size_t i)
{
	struct input *in = arg;
	const struct cwe_run_module *m = in->c->m;
	uint64_t row = in->row + i * in->each, left = in->row + in->rows - row, rows = left < in->each ? left : in->each;
	uint64_t n = rows * m->cols, stride = (m->cols + 7) / 8;
	const float *w = in->c->st.weight + row * m->cols;
	const uint8_t *mask = mask_of(in, in->c, row);
	float *e = in->s->error + (row - in->row) * m->cols, *scaled = malloc(n * sizeof *scaled + 1);
	int r = scaled != NULL ? 0 : -ENOMEM;
	for (uint64_t k = 0; r == 0 && k < n; k++) {
		scaled[k] = w[k] * in->column[k % m->cols];
	}
	r = r == 0 ? cwe_run_requantize(in->s->run, m, row, rows, scaled, mask, stride, 0, scaled) : r;
	for (uint64_t k = 0; r == 0 && k < n; k++) {
		uint64_t c = k % m->cols;
		e[k] = mask != NULL && is_protected(mask + k / m->cols * stride, c) ? 0 : scaled[k] / in->column[c] - w[k];
	}
	in->s->code[i] = r;
	free(scaled);
}

/* sum over the rows at hand of e (x x^T) e^T. */
static int weigh(struct input *in, double *sum)
{
	struct cwe_smoothing *s = in->s;
	struct cwe_device *device = &s->run->device;
	struct cwb_err *err = in->err;
	uint64_t cols = in->c->m->cols, n = in->rows * cols;
	int staged = !(device->ops->flags & CWP_BACKEND_HOST_MEMORY), r = 0;
	const float *d_e = staged ? s->d_error : s->error, *d_gram = staged ? s->d_gram : in->c->st.gram;
	if (staged) {
		r = CWE_OP(device, upload, s->d_error, s->error, n * sizeof *s->error);
		r = r == 0 ? CWE_OP(device, upload, s->d_gram, in->c->st.gram, cols * cols * sizeof *s->d_gram) : r;
	}
	r = r == 0 ? CWE_OP(device, matmul, 0, 0, in->rows, cols, cols, d_e, cols, d_gram, cols, 0, s->d_product, cols) : r;
	r = r == 0 ? CWE_OP(device, dot_rows, d_e, s->d_product, in->rows, cols, s->d_dot) : r;
	float *dot = s->error; /* the errors are used up */
	r = r == 0 ? CWE_OP(device, download, dot, s->d_dot, in->rows * sizeof *dot) : r;
	for (uint64_t k = 0; r == 0 && k < in->rows; k++) {
		*sum += (double)dot[k];
	}
	return r;
}

static int consumer_error(struct input *in, uint32_t i, double *sum)
{
	struct cwe_run *run = in->s->run;
	const struct cwe_run_module *m = in->consumer[i].m;
	uint64_t each = cwe_run_tile_rows(m), step = in->s->rows / each * each;
	int r = run->device.ops->flags & CWP_BACKEND_HOST_MEMORY ? 0 : get(in, i); /* staged statistics were overwritten */
	in->c = &in->consumer[i];
	in->each = each;
	if (r == 0 && step == 0) {
		return cwb_err_set(in->err, CWP_EPLUGIN, "plugin '%s': %s: the error of scales is known where at most %llu rows share one",
			run->job->quantize.plugin, m->name, (unsigned long long)in->s->rows);
	}
	for (in->row = 0; r == 0 && in->row < m->rows; in->row += in->rows) {
		in->rows = m->rows - in->row < step ? m->rows - in->row : step;
		size_t tiles = (in->rows + each - 1) / each;
		cwe_pool_run(run->p->host->pool, tiles, error_tile, in);
		for (size_t t = 0; r == 0 && t < tiles; t++) {
			r = in->s->code[t] == 0 ? 0 : cwe_host_error(run->p->host, run->job->quantize.plugin, m->name, in->s->code[t], in->err);
		}
		r = r == 0 ? weigh(in, sum) : r;
	}
	return r;
}

/* The nearest power of two, in the logarithm. */
static float to_power(float x)
{
	return (float)exp2(rint(log2((double)x)));
}

static void round_powers(const struct input *in, float *scale)
{
	for (uint64_t k = 0; k < in->fold->channels; k++) {
		scale[k] = in->powers ? to_power(scale[k]) : scale[k];
	}
}

/* The columns' scales as they will be once the norm is rounded. CWP_ENUMBER where its dtype cannot hold it. */
static int use_scales(struct input *in, float *scale)
{
	struct cwb_err err = {0};
	round_powers(in, scale);
	int r = cwe_fold_round(&in->s->run->model, in->at->layer, in->fold, scale, &err);
	for (uint64_t k = 0; r == 0 && k < in->fold->cols; k++) {
		in->column[k] = scale[cwe_fold_channel(in->fold, k)];
	}
	return r == 0 || r == CWP_ENUMBER ? r : cwb_err_set(in->err, r, "%s", err.message);
}

static int check_scales(const struct input *in, const float *scale)
{
	for (uint64_t k = 0; k < in->fold->channels; k++) {
		if (!(scale[k] > 0) || !isfinite(scale[k]) || !isfinite(1 / scale[k])) {
			return cwb_err_set(in->err, CWP_EPLUGIN, "plugin '%s': scale %g of channel %llu is not positive and finite",
				in->s->run->job->quantize.plugin, (double)scale[k], (unsigned long long)k);
		}
	}
	return 0;
}

/* cwp_quantizer_input.error */
static int error_of(void *ctx, const float *scale, double *ret_error)
{
	struct input *in = ctx;
	double sum = 0;
	int r = check_scales(in, scale);
	float *own = malloc(in->fold->channels * sizeof *own + 1);
	if (r == 0 && own == NULL) {
		r = cwb_err_set(in->err, -ENOMEM, "no memory to try scales");
	}
	if (r == 0) {
		memcpy(own, scale, in->fold->channels * sizeof *own);
		r = use_scales(in, own);
	}
	if (r == CWP_ENUMBER && in->err->code == 0) {
		sum = INFINITY;
		r = 0;
	}
	for (uint32_t i = 0; r == 0 && isfinite(sum) && i < in->fold->consumers; i++) {
		r = in->consumer[i].m != NULL && in->consumer[i].st.gram != NULL ? consumer_error(in, i, &sum) : 0;
	}
	free(own);
	if (r == 0) {
		*ret_error = sum;
	}
	return r;
}

/* ---- one fold ---- */

/* What stays in the source's dtype on either side may lose nothing. The weight of a norm is taken care of elsewhere. */
static int needs_powers(const struct input *in)
{
	const struct cwe_run *run = in->s->run;
	int kept = in->fold->kind == CWE_FOLD_ROWS && !cwe_run_module_coded(&run->module[run->layer_at[in->at->layer] + in->fold->producer]);
	for (uint32_t i = 0; i < in->fold->consumers; i++) {
		kept |= in->consumer[i].m == NULL;
	}
	return kept;
}

/* Its quantized consumers; their number. */
static uint32_t find_consumers(struct input *in)
{
	const struct cwe_run *run = in->s->run;
	const struct cwe_arch *a = &run->model.arch;
	uint32_t quantized = 0;
	for (uint32_t i = 0; i < in->fold->consumers; i++) {
		uint32_t linear = cwe_fold_consumer(a, in->at->layer, in->fold, i);
		const struct cwe_run_module *m = linear < cwe_linears_scored(a, in->at->layer)
			? &run->module[run->layer_at[in->at->layer] + linear] : NULL;
		struct cwe_linear l;
		cwe_linear_at(a, in->at->layer, linear, &l);
		in->consumer[i] = (struct consumer){.m = m != NULL && cwe_run_module_coded(m) ? m : NULL, .input_at = l.input_at};
		quantized += in->consumer[i].m != NULL;
	}
	in->powers = needs_powers(in);
	return quantized;
}

static int ask(struct input *in, float *scale)
{
	struct cwe_run *run = in->s->run;
	const struct cwp_quantizer *q = run->quantizer->interface;
	char name[CWE_MODULE_NAME_MAX];
	(void)cwe_module_name(&run->model, in->at->layer, cwe_fold_consumer(&run->model.arch, in->at->layer, in->fold, 0), name,
		sizeof name);
	struct cwp_quantizer_input shown = {.size = sizeof shown, .name = name, .channels = in->fold->channels, .tokens = in->tokens,
		.weight_absmax = in->weight_absmax, .ctx = in, .error = error_of};
	shown.act_sum = run->quantizer_needs & CWP_STAT_ACT_SUM ? in->sum : NULL;
	shown.act_sq = run->quantizer_needs & CWP_STAT_ACT_SQ ? in->sq : NULL;
	shown.act_abs = run->quantizer_needs & CWP_STAT_ACT_ABS ? in->abs : NULL;
	shown.act_absmax = run->quantizer_needs & CWP_STAT_ACT_ABSMAX ? in->absmax : NULL;
	int r = q->smooth(&run->p->host->table, run->quantizer_settings, &shown, scale);
	if (r != 0) {
		return in->err->code != 0 ? r : cwe_host_error(run->p->host, run->job->quantize.plugin, name, r, in->err);
	}
	r = check_scales(in, scale);
	if (r == 0) {
		round_powers(in, scale);
	}
	return r;
}

static int make_room(struct input *in)
{
	uint64_t n = in->fold->channels;
	in->consumer = calloc(in->fold->consumers + 1, sizeof *in->consumer);
	in->sum = calloc(n + 1, sizeof *in->sum);
	in->abs = calloc(n + 1, sizeof *in->abs);
	in->sq = calloc(n + 1, sizeof *in->sq);
	in->absmax = calloc(n + 1, sizeof *in->absmax);
	in->weight_absmax = calloc(n + 1, sizeof *in->weight_absmax);
	in->column = calloc(in->fold->cols + 1, sizeof *in->column);
	return in->consumer != NULL && in->sum != NULL && in->abs != NULL && in->sq != NULL && in->absmax != NULL && in->weight_absmax != NULL &&
			in->column != NULL ? 0 : cwb_err_set(in->err, -ENOMEM, "no memory to choose scales");
}

int cwe_smoothing_choose(struct cwe_smoothing *s, const struct cwe_smoothing_layer *at, const struct cwe_fold *fold, float *scale,
	struct cwb_err *err)
{
	struct cwb_err local = {0};
	struct input in = {.s = s, .at = at, .fold = fold, .err = err != NULL ? err : &local};
	int r = make_room(&in);
	for (uint64_t k = 0; k < fold->channels; k++) {
		scale[k] = 1;
	}
	if (r == 0 && find_consumers(&in) > 0 && (r = measure(&in)) == 0 && in.tokens > 0) {
		r = ask(&in, scale);
	}
	free(in.consumer);
	free(in.sum);
	free(in.abs);
	free(in.sq);
	free(in.absmax);
	free(in.weight_absmax);
	free(in.column);
	return r;
}
