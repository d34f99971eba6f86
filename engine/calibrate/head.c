/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Loss and its gradient, a batch of predictions at a time, the vocabulary in slices. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/head.h"
#include "engine/calibrate/room.h"
#include "engine/model/ahead.h"
#include "engine/model/resident_head.h"
#include "engine/model/ops.h"

/* One batch on the device, and the same rows' bookkeeping on the host. */
struct batch {
	struct cwe_model *model;
	uint64_t rows;
	uint64_t first_piece, pieces;
	uint64_t *token; /* [capacity] place in the corpus of the predicted token */
	float *d_norm, *d_x, *d_h, *d_dh, *d_rstd, *d_w, *d_logits, *d_spare;
	float *d_max, *d_target_logit, *d_best, *d_weight;
	double *d_sum; /* becomes lse */
	uint32_t *d_target, *d_best_token;
	float *d_block;
	uint64_t capacity, step, bytes; /* step: rows of logits at once */
	struct cwe_resident_head resident;
	struct cwe_room waiting; /* logits of the first slices, [rows, CWE_HEAD_SLICE] each */
};

static uint64_t lay_out(const struct cwe_arch *a, uint64_t rows, uint64_t step, float *base, struct batch *b)
{
	uint64_t d = a->hidden, at = 0;
	struct {
		void *p;
		uint64_t n;
	} part[] = {{&b->d_norm, d}, {&b->d_x, rows * d}, {&b->d_h, rows * d}, {&b->d_dh, rows * d}, {&b->d_rstd, rows},
		{&b->d_w, (uint64_t)CWE_HEAD_SLICE * d}, {&b->d_logits, step * CWE_HEAD_SLICE},
		{&b->d_spare, a->logit_softcap > 0 ? step * CWE_HEAD_SLICE : 0},
		{&b->d_max, rows}, {&b->d_target_logit, rows}, {&b->d_best, rows}, {&b->d_weight, rows},
		{&b->d_sum, 2 * rows}, {&b->d_target, rows}, {&b->d_best_token, rows}};
	for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
		float *p = base != NULL ? base + at : NULL;
		memcpy(part[i].p, &p, sizeof p);
		at += (part[i].n + 15) / 16 * 16;
	}
	return at;
}

/* Predictions of a batch. The projection is read once for each, or, where memory is the backend's own, is there already. */
static uint64_t batch_for(const struct cwe_model *m)
{
	return cwe_device_remote(m->device) ? CWE_HEAD_ROWS_MOST : CWE_HEAD_BATCH;
}

static uint64_t capacity_for(const struct cwe_model *m, uint64_t widest)
{
	return batch_for(m) + (widest > CWE_PIECE_TOKENS ? widest : CWE_PIECE_TOKENS);
}

/* More rows at once than the CPU takes, as many as a backend is told of in any case, where each operation has a price. */
static uint64_t step_for(const struct cwe_model *m, uint64_t widest)
{
	uint64_t step = widest < CWE_HEAD_ROWS_MOST ? widest : CWE_HEAD_ROWS_MOST;
	return cwe_device_remote(m->device) && step > CWE_HEAD_ROWS ? step : CWE_HEAD_ROWS;
}

static uint64_t block_bytes(const struct cwe_model *m, uint64_t widest)
{
	struct batch local;
	return lay_out(&m->arch, capacity_for(m, widest), step_for(m, widest), NULL, &local) * sizeof(float);
}

/* What is left of a workspace's room, which is not there at the same time, and a quarter of what layers take: the whole projection
 * may take it. Otherwise it is read twice for each batch of predictions. */
static uint64_t free_room(const struct cwe_model *m, uint64_t widest, int gradients)
{
	uint64_t room = cwe_workspace_bytes(m, widest, widest, gradients) + cwe_ahead_bytes(m) / 4, block = block_bytes(m, widest);
	return room > block ? room - block : 0;
}

uint64_t cwe_head_bytes(const struct cwe_model *m, uint64_t widest, int gradients)
{
	return block_bytes(m, widest) + cwe_resident_head_bytes(m, free_room(m, widest, gradients));
}

/* Statistics of the output projection's input over every token of a piece, whose last boundary is in d_dh. */
static int measure(struct batch *b, const struct cwe_piece *p, struct cwe_head_trace *trace, struct cwb_err *err)
{
	struct cwe_model *m = b->model;
	uint64_t d = m->arch.hidden;
	double *d_sq = NULL;
	float *d_absmax = NULL;
	int r;
	if ((r = cwe_device_bytes(m->device, d * sizeof *d_sq, (void **)&d_sq, err)) == 0 &&
		(r = cwe_device_floats(m->device, d, &d_absmax, err)) == 0 &&
		(r = CWE_OP(m->device, upload, d_sq, trace->act_sq, d * sizeof *d_sq)) == 0 &&
		(r = CWE_OP(m->device, upload, d_absmax, trace->act_absmax, d * sizeof *d_absmax)) == 0 &&
		(r = cwe_model_norm(m, b->d_dh, b->d_norm, p->tokens, b->d_h, b->d_rstd, err)) == 0 &&
		(r = CWE_OP(m->device, act_stats, b->d_h, p->tokens, d, d, NULL, d_sq, d_absmax)) == 0 &&
		(r = CWE_OP(m->device, download, trace->act_sq, d_sq, d * sizeof *d_sq)) == 0) {
		r = CWE_OP(m->device, download, trace->act_absmax, d_absmax, d * sizeof *d_absmax);
	}
	cwe_device_free(m->device, d_sq, d * sizeof *d_sq);
	cwe_device_free(m->device, d_absmax, d * sizeof *d_absmax);
	return r;
}

/* Hidden rows before each predicted token of a piece -> d_x, after the rows that are there. d_dh is free until the backward
 * pass. */
static int gather(struct batch *b, const struct cwe_corpus *c, const struct cwe_piece *p, struct cwe_boundary *boundary,
	uint32_t slot, struct cwe_head_trace *trace, struct cwb_err *err)
{
	const struct cwe_piece *next = p + 1;
	uint64_t d = b->model->arch.hidden;
	int r = cwe_boundary_get(boundary, slot, p->at * d, b->d_dh, p->tokens * d, err);
	if (r == 0 && next < c->piece + c->pieces) {
		r = cwe_boundary_expect(boundary, slot, next->at * d, next->tokens * d, err);
	}
	r = r == 0 && trace != NULL && trace->act_sq != NULL ? measure(b, p, trace, err) : r;
	for (uint64_t t = 1, n; r == 0 && t < p->tokens; t += n + 1) {
		/* Predictions that follow one another go together: most of them do. */
		uint64_t first = b->rows;
		for (n = 0; t + n < p->tokens && c->weight[p->at + t + n] != 0 && c->position[p->at + t + n] > 0; n++) {
			b->token[b->rows++] = p->at + t + n;
		}
		r = n > 0 ? cwe_device_copy(b->model->device, b->d_x + first * d, b->d_dh + (t - 1) * d, n * d, err) : 0;
	}
	return r;
}

static int load_targets(struct batch *b, const struct cwe_corpus *c, struct cwb_err *err)
{
	uint32_t *target = malloc(b->rows * sizeof *target + 1);
	float *weight = malloc(b->rows * sizeof *weight + 1);
	int r = target != NULL && weight != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for targets");
	for (uint64_t i = 0; r == 0 && i < b->rows; i++) {
		target[i] = c->id[b->token[i]];
		weight[i] = c->weight[b->token[i]];
	}
	if (r == 0 && (r = CWE_OP(b->model->device, upload, b->d_target, target, b->rows * sizeof *target)) == 0) {
		r = CWE_OP(b->model->device, upload, b->d_weight, weight, b->rows * sizeof *weight);
	}
	free(target);
	free(weight);
	return r;
}

uint64_t cwe_head_logits(const struct cwe_model *m, const struct cwe_corpus *c, uint64_t memory)
{
	uint64_t capacity = capacity_for(m, c->widest), rows = c->tokens < capacity ? c->tokens : capacity;
	uint64_t slice = rows * CWE_HEAD_SLICE * sizeof(float), n = (m->arch.vocabulary + CWE_HEAD_SLICE - 1) / CWE_HEAD_SLICE;
	return slice == 0 ? 0 : slice * (memory / slice < n ? memory / slice : n);
}

/* Where logits of a slice stay from one walk to the other; NULL: nowhere. */
static float *waiting(const struct batch *b, uint64_t first)
{
	uint64_t end = b->rows * (first + CWE_HEAD_SLICE) * sizeof(float);
	return end <= b->waiting.bytes ? (float *)(void *)b->waiting.p + b->rows * first : NULL;
}

/* Walks the vocabulary once; `backward` 0: statistics of the softmax; 1: dh from the finished lse. */
static int walk(struct batch *b, int backward, struct cwb_err *err)
{
	struct cwe_model *m = b->model;
	uint64_t d = m->arch.hidden, v = m->arch.vocabulary;
	for (uint64_t first = 0; first < v; first += CWE_HEAD_SLICE) {
		uint64_t n = v - first < CWE_HEAD_SLICE ? v - first : CWE_HEAD_SLICE;
		const float *d_w;
		float *kept = waiting(b, first);
		int r = cwe_resident_head_rows(m, &b->resident, first, n, b->d_w, &d_w, err);
		for (uint64_t row = 0; r == 0 && row < b->rows; row += b->step) {
			uint64_t rows = b->rows - row < b->step ? b->rows - row : b->step;
			float *d_logits = kept != NULL ? kept + row * CWE_HEAD_SLICE : b->d_logits;
			r = kept != NULL && backward ? 0 : cwe_model_logits(m, b->d_h + row * d, rows, d_w, n, d_logits, err);
			if (r == 0 && !backward) {
				r = CWE_OP(m->device, xent_slice, d_logits, rows, n, n, (uint32_t)first, b->d_target + row,
					b->d_max + row, b->d_sum + row, b->d_target_logit + row, b->d_best + row,
					b->d_best_token + row);
			} else if (r == 0) {
				const struct cwe_slice s = {rows, n, (uint32_t)first, b->d_target + row, b->d_weight + row, b->d_sum + row};
				r = cwe_model_logits_backward(m, &s, d_logits, b->d_spare, err);
				r = r != 0 ? r : CWE_OP(m->device, matmul, 0, 0, rows, d, n, d_logits, n, d_w, d, first > 0,
					b->d_dh + row * d, d);
			}
		}
		if (r != 0) {
			return r;
		}
	}
	return 0;
}

/* lse = max + log(sum) replaces the sums; log-likelihoods go to the caller's arrays. */
static int collect(struct batch *b, const struct cwe_corpus *c, const struct cwe_token_score *score, struct cwb_err *err)
{
	uint64_t n = b->rows;
	float *max = malloc(3 * n * sizeof *max + 1);
	double *sum = malloc(n * sizeof *sum + 1);
	uint32_t *best = malloc(n * sizeof *best + 1);
	struct cwe_device *dev = b->model->device;
	int r = max != NULL && sum != NULL && best != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for results");
	if (r == 0 && (r = CWE_OP(dev, download, max, b->d_max, n * sizeof *max)) == 0 &&
		(r = CWE_OP(dev, download, max + n, b->d_target_logit, n * sizeof *max)) == 0 &&
		(r = CWE_OP(dev, download, sum, b->d_sum, n * sizeof *sum)) == 0) {
		r = CWE_OP(dev, download, best, b->d_best_token, n * sizeof *best);
	}
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		sum[i] = (double)max[i] + log(sum[i]);
		score->nll[b->token[i]] = (float)(sum[i] - (double)max[n + i]);
		if (score->greedy != NULL) {
			score->greedy[b->token[i]] = best[i] == c->id[b->token[i]];
		}
	}
	r = r == 0 ? CWE_OP(dev, upload, b->d_sum, sum, n * sizeof *sum) : r;
	free(max);
	free(sum);
	free(best);
	return r;
}

/* Gradient rows (in d_h) of one piece -> its slot, zeros where nothing was predicted. d_dh is used up. */
static int scatter(struct batch *b, const struct cwe_piece *p, uint64_t *at, struct cwe_boundary *gradient,
	struct cwb_err *err)
{
	uint64_t d = b->model->arch.hidden, end = p->at + p->tokens;
	int r = CWE_OP(b->model->device, zero, b->d_dh, p->tokens * d * sizeof *b->d_dh);
	while (r == 0 && *at < b->rows && b->token[*at] < end) {
		uint64_t first = *at, n = 1;
		while (first + n < b->rows && b->token[first + n] == b->token[first] + n && b->token[first + n] < end) {
			n++;
		}
		r = cwe_device_copy(b->model->device, b->d_dh + (b->token[first] - 1 - p->at) * d, b->d_h + first * d, n * d, err);
		*at += n;
	}
	return r == 0 ? cwe_boundary_put(gradient, 0, p->at * d, b->d_dh, p->tokens * d, err) : r;
}

/* Rows of each sample of the batch's pieces: [samples + 1] starts, for the final norm's gradient by sample. */
static uint64_t *sample_rows(const struct batch *b, const struct cwe_corpus *c, uint64_t *ret_samples)
{
	uint64_t samples = 0, k = 0, at = 0;
	for (uint64_t i = 0; i < b->pieces; i++) {
		samples += c->piece[b->first_piece + i].samples;
	}
	uint64_t *start = calloc(samples + 1, sizeof *start);
	for (uint64_t i = 0; start != NULL && i < b->pieces; i++) {
		const struct cwe_piece *p = &c->piece[b->first_piece + i];
		for (uint64_t s = 0; s < p->samples; s++) {
			while (at < b->rows && b->token[at] < p->at + p->sample_start[s + 1]) {
				at++;
			}
			start[++k] = at;
		}
	}
	*ret_samples = samples;
	return start;
}

static int backward(struct batch *b, const struct cwe_corpus *c, struct cwe_boundary *gradient, float *dnorm,
	struct cwb_err *err)
{
	struct cwe_model *m = b->model;
	uint64_t d = m->arch.hidden, samples = 0;
	uint64_t *start = sample_rows(b, c, &samples);
	float *d_dw = NULL;
	int r = start != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for gradients");
	if (r == 0 && b->rows > 0 && (r = walk(b, 1, err)) == 0 &&
		(dnorm == NULL || (r = cwe_device_floats(m->device, samples * d, &d_dw, err)) == 0)) {
		struct cwp_sequences by_sample = {samples, start};
		/* h is used up: it takes the gradient of x. */
		r = cwe_model_norm_backward(m, b->d_dh, b->d_x, b->d_norm, b->d_rstd, b->rows, b->d_h, &by_sample, d_dw, err);
		r = r != 0 || dnorm == NULL ? r : CWE_OP(m->device, download, dnorm, d_dw, samples * d * sizeof *dnorm);
	}
	uint64_t at = 0;
	for (uint64_t i = 0; r == 0 && i < b->pieces; i++) {
		r = scatter(b, &c->piece[b->first_piece + i], &at, gradient, err);
	}
	cwe_device_free(m->device, d_dw, samples * d * sizeof(float));
	free(start);
	return r;
}

/* Appends the batch's rows to the trace. */
static int keep(struct batch *b, struct cwe_head_trace *trace, struct cwb_err *err)
{
	uint64_t d = b->model->arch.hidden, n = trace->rows + b->rows;
	uint64_t *token = realloc(trace->token, n * sizeof *token + 1);
	if (token != NULL) {
		trace->token = token;
	}
	float *hidden = realloc(trace->hidden, n * d * sizeof *hidden + 1);
	if (hidden != NULL) {
		trace->hidden = hidden;
	}
	double *lse = realloc(trace->lse, n * sizeof *lse + 1);
	if (lse != NULL) {
		trace->lse = lse;
	}
	if (token == NULL || hidden == NULL || lse == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the output projection's inputs");
	}
	memcpy(token + trace->rows, b->token, b->rows * sizeof *token);
	int r = CWE_OP(b->model->device, download, hidden + trace->rows * d, b->d_h, b->rows * d * sizeof *hidden);
	r = r == 0 ? CWE_OP(b->model->device, download, lse + trace->rows, b->d_sum, b->rows * sizeof *lse) : r;
	trace->rows = n;
	return r;
}

static int run_batch(struct batch *b, const struct cwe_corpus *c, const struct cwe_token_score *score,
	struct cwe_boundary *gradient, struct cwe_head_trace *trace, float *dnorm, struct cwb_err *err)
{
	struct cwe_model *m = b->model;
	int r = 0;
	if (b->rows > 0) {
		if ((r = load_targets(b, c, err)) != 0 ||
			(r = cwe_model_norm(m, b->d_x, b->d_norm, b->rows, b->d_h, b->d_rstd, err)) != 0 ||
			(r = CWE_OP(m->device, xent_begin, b->rows, b->d_max, b->d_sum, b->d_target_logit, b->d_best,
				b->d_best_token)) != 0 ||
			(r = walk(b, 0, err)) != 0 || (r = collect(b, c, score, err)) != 0) {
			return r;
		}
		if (trace != NULL && (r = keep(b, trace, err)) != 0) {
			return r;
		}
	}
	return gradient != NULL ? backward(b, c, gradient, dnorm, err) : 0;
}

static int prepare(struct batch *b, const struct cwe_corpus *c, int gradients, struct cwb_err *err)
{
	struct cwe_model *m = b->model;
	b->capacity = capacity_for(m, c->widest);
	b->step = step_for(m, c->widest);
	b->bytes = block_bytes(m, c->widest);
	b->token = malloc(b->capacity * sizeof *b->token);
	if (b->token == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for a piece of %llu tokens", (unsigned long long)c->widest);
	}
	int r = cwe_device_bytes(m->device, b->bytes, (void **)&b->d_block, err);
	if (r == 0) {
		(void)lay_out(&m->arch, b->capacity, b->step, b->d_block, b);
		r = cwe_model_final_norm(m, b->d_norm, err);
		r = r == 0 ? cwe_resident_head_new(m, free_room(m, c->widest, gradients), &b->resident, err) : r;
	}
	return r;
}

int cwe_head_run(struct cwe_model *model, const struct cwe_corpus *corpus, struct cwe_boundary *boundary, uint32_t last,
	const struct cwe_token_score *score, const struct cwe_head_back *back, struct cwb_err *err)
{
	struct cwe_boundary *gradient = back != NULL ? back->gradient : NULL;
	struct cwe_head_trace *trace = back != NULL ? back->trace : NULL;
	struct batch *b = calloc(1, sizeof *b);
	if (b == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the output projection");
	}
	b->model = model;
	int r = prepare(b, corpus, gradient != NULL, err);
	if (back != NULL && back->memory > 0 && !cwe_device_remote(model->device)) {
		(void)cwe_room_new(back->memory, &b->waiting); /* there is another way */
	}
	uint64_t sample = 0, next = 0;
	for (size_t i = 0; r == 0 && i < corpus->pieces; i++) {
		const struct cwe_piece *p = &corpus->piece[i];
		r = gather(b, corpus, p, boundary, last, trace, err);
		b->pieces++;
		next += p->samples;
		if (r == 0 && (b->rows >= batch_for(model) || i + 1 == corpus->pieces)) {
			float *dnorm = trace != NULL && trace->dnorm != NULL ? trace->dnorm + sample * model->arch.hidden : NULL;
			r = run_batch(b, corpus, score, gradient, trace, dnorm, err);
			b->first_piece = i + 1;
			b->pieces = 0;
			b->rows = 0;
			sample = next;
		}
		if (r == 0 && model->device->host->table.cancelled(model->device->host->table.ctx)) {
			r = cwb_err_set(err, CWP_ECANCELLED, "cancelled");
		}
	}
	cwe_device_free(model->device, b->d_block, b->bytes);
	cwe_room_free(&b->waiting);
	cwe_resident_head_free(model, &b->resident);
	free(b->token);
	free(b);
	return r;
}

void cwe_head_trace_free(struct cwe_head_trace *trace)
{
	free(trace->token);
	free(trace->hidden);
	free(trace->lse);
	free(trace->dnorm);
	free(trace->act_sq);
	free(trace->act_absmax);
	memset(trace, 0, sizeof *trace);
}
