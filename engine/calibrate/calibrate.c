/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The passes over the layers. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/checkpoint.h"
#include "engine/calibrate/emission.h"
#include "engine/calibrate/forward.h"
#include "engine/calibrate/lanes.h"
#include "engine/model/ops.h"

#define GRADIENTS (CWP_STAT_GRAD_SUM | CWP_STAT_GRAD_ABS | CWP_STAT_GRAD_SQ)
/* What samples have to be run for; the rest follows from the weights. */
#define MEASURED (GRADIENTS | CWP_STAT_ACT_SUM | CWP_STAT_ACT_SQ | CWP_STAT_ACT_ABSMAX | CWP_STAT_GRAM)

struct run {
	struct cwe_calibration *c;
	struct cwe_pass pass;
	struct cwe_forward forward;
	struct cwe_statistics statistics;
	struct cwe_emission emission;
	struct cwe_boundary gradient; /* one slot */
	struct cwe_insides insides;
	uint64_t logits;              /* bytes in which they may wait */
	float *d_dnorm;               /* of each norm [samples of a piece, its width], when wanted */
	uint64_t dnorm_samples, dnorm_floats;
	uint64_t done, total;
};

int cwe_calibration_due(const struct cwe_calibration *c)
{
	return c->checkpoint && (c->checkpoint_pause <= 0 || cwb_clock_now() >= c->checkpoint_last + c->checkpoint_pause);
}

void cwe_calibration_kept(struct cwe_calibration *c)
{
	c->checkpoint_last = cwb_clock_now();
}

static void advance(struct run *r, uint64_t tokens, unsigned weight)
{
	r->done += tokens * weight;
	if (r->c->progress != NULL) {
		r->c->progress(r->c->arg, r->done, r->total);
	}
}

static void advance_forward(void *arg, uint32_t layer, uint64_t tokens)
{
	struct run *r = arg;
	uint64_t below = layer * r->c->corpus->tokens;
	r->done = r->done < below ? below : r->done; /* what an earlier attempt did */
	advance(r, tokens, 1);
}

/* Statistics of inputs need no backward pass: two slots of boundaries, layers in rising order. */
static int run_forward_only(struct run *r, struct cwb_err *err)
{
	struct cwe_calibration *c = r->c;
	char digest[CWB_DIGEST_HEX];
	int e = cwe_forward_to(&r->forward, c->first, err);
	struct cwe_tap tap = cwe_statistics_tap(&r->statistics, 0);
	r->done = c->first * c->corpus->tokens;
	for (uint32_t l = c->first; e == 0 && l < c->model->arch.layers; l++) {
		e = cwe_emission_layer(&r->emission, l, l + 1 < c->model->arch.layers ? l + 1 : CWE_NO_LAYER, err);
		e = e == 0 ? cwe_forward_begin(&r->forward, l, err) : e;
		size_t i = 0;
		for (uint32_t set = 0; e == 0 && set < c->corpus->sets; set++) {
			e = cwe_statistics_begin(&r->statistics, l, err);
			for (; e == 0 && i < c->corpus->pieces && c->corpus->piece[i].set == set; i++) {
				e = cwe_pass_piece(&r->pass, &c->corpus->piece[i], l & 1, (l + 1) & 1, &tap, err);
				advance(r, c->corpus->piece[i].tokens, 1);
				e = e == 0 ? cwe_emission_some(&r->emission, err) : e;
			}
			e = e == 0 ? cwe_emission_set(&r->emission, l, set, err) : e;
		}
		e = e == 0 ? cwe_forward_end(&r->forward, l, digest, err) : e;
		e = e == 0 ? cwe_emission_through(&r->emission, l, digest, err) : e;
	}
	e = e == 0 ? cwe_emission_finish(&r->emission, err) : e;
	cwe_forward_drop(&r->forward, c->model->arch.layers);
	return e;
}

/* Nothing is measured: each layer's weights go to the callback, once a set, and no sample is run. */
static int run_weights(struct cwe_calibration *c, struct cwb_err *err)
{
	struct run r = {.c = c, .total = c->corpus->tokens * c->model->arch.layers};
	int e = cwe_ahead_new(c->model, &r.pass.layer, &r.pass.ahead, err);
	if (e != 0) {
		return e;
	}
	e = cwe_statistics_new(c->model, c->needs, 0, &r.statistics, err);
	r.forward = (struct cwe_forward){.c = c, .pass = &r.pass};
	r.emission = (struct cwe_emission){.c = c, .statistics = &r.statistics, .forward = &r.forward};
	e = e == 0 && cwe_device_remote(c->model->device) ? cwe_statistics_keeps(&r.statistics, err) : e;
	r.done = c->first * c->corpus->tokens;
	for (uint32_t l = c->first; e == 0 && l < c->model->arch.layers; l++) {
		const struct cwp_host *host = &c->model->device->host->table;
		e = host->cancelled(host->ctx) ? cwb_err_set(err, CWP_ECANCELLED, "cancelled") : 0;
		e = e == 0 ? cwe_emission_layer(&r.emission, l, l + 1 < c->model->arch.layers ? l + 1 : CWE_NO_LAYER, err) : e;
		e = e == 0 ? cwe_statistics_begin(&r.statistics, l, err) : e;
		for (uint32_t set = 0; e == 0 && set < c->corpus->sets; set++) {
			e = cwe_emission_set(&r.emission, l, set, err);
			e = e == 0 ? cwe_emission_finish(&r.emission, err) : e;
		}
		advance(&r, c->corpus->tokens, 1);
		e = e == 0 && c->layer_done != NULL ? c->layer_done(c->arg, l, "", err) : e;
	}
	cwe_statistics_free(&r.statistics);
	cwe_ahead_free(&r.pass.ahead, &r.pass.layer);
	return e;
}

static int run_head(struct run *r, struct cwb_err *err)
{
	struct cwe_calibration *c = r->c;
	const struct cwe_corpus *corpus = c->corpus;
	struct cwe_token_score score = {.nll = calloc(corpus->tokens + 1, sizeof(float))};
	if (score.nll == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %llu losses", (unsigned long long)corpus->tokens);
	}
	const struct cwe_head_back back = {.gradient = &r->gradient, .trace = c->trace, .memory = r->logits};
	int e = cwe_head_run(c->model, corpus, &r->pass.boundary, c->model->arch.layers, &score, &back, err);
	for (size_t i = 0; e == 0 && i < corpus->pieces; i++) {
		const struct cwe_piece *p = &corpus->piece[i];
		double loss = 0;
		for (uint64_t t = p->at; t < p->at + p->tokens; t++) {
			loss += (double)corpus->weight[t] * (double)score.nll[t];
		}
		if (c->set_loss != NULL) {
			c->set_loss[p->set] += loss / (double)corpus->set_samples[p->set];
		}
		if (loss - loss != 0) {
			e = cwb_err_set(err, CWP_ENUMBER, "the loss of set %u is not a finite number: the model's weights or "
				"activations overflow", p->set);
		}
	}
	free(score.nll);
	return e == 0 && c->lane != NULL ? cwe_lane_losses(c->lane, err) : e;
}

/* Forward through all layers, from where an earlier attempt was, and the head. Its gradient is kept. */
static int run_to_head(struct run *r, struct cwb_err *err)
{
	struct cwe_calibration *c = r->c;
	uint32_t layers = c->model->arch.layers;
	char digest[CWB_DIGEST_HEX];
	r->forward.advance = advance_forward;
	r->forward.arg = r;
	r->pass.insides = &r->insides;
	int e = cwe_forward_to(&r->forward, layers, err);
	r->pass.insides = NULL;
	r->forward.advance = NULL;
	cwe_workspace_free(c->model, &r->pass.ws);
	e = e == 0 ? run_head(r, err) : e;
	c->passes += e == 0;
	if (e != 0 || !cwe_calibration_due(c)) {
		return e;
	}
	e = cwe_gradient_save(c->scratch, layers, &r->gradient, digest, err);
	cwe_calibration_kept(c);
	return e == 0 && c->head_done != NULL ? c->head_done(c->arg, digest, err) : e;
}

/* Where the gradients of a norm's weight are, by sample; one norm after another. */
static float *dnorm_of(const struct run *r, enum cwe_norm which)
{
	float *p = r->d_dnorm;
	for (int i = 0; i < (int)which; i++) {
		p += r->dnorm_samples * cwe_norm_width(&r->c->model->arch, i);
	}
	return p;
}

static uint64_t widest_norm(const struct cwe_arch *a, uint64_t *ret_sum)
{
	uint64_t most = 0;
	*ret_sum = 0;
	for (int i = 0; i < CWE_NORMS; i++) {
		uint64_t width = cwe_norm_width(a, i);
		most = width > most ? width : most;
		*ret_sum += width;
	}
	return most;
}

static int give_norms(struct run *r, uint32_t layer, const struct cwe_piece *p, struct cwb_err *err)
{
	uint64_t sum, n = p->samples * widest_norm(&r->c->model->arch, &sum);
	float *host = malloc(n * sizeof *host + 1);
	int e = host != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for norm gradients");
	for (int which = 0; e == 0 && which < CWE_NORMS; which++) {
		uint64_t width = cwe_norm_width(&r->c->model->arch, which);
		if (width > 0) {
			e = CWE_OP(r->c->model->device, download, host, dnorm_of(r, which), p->samples * width * sizeof *host);
			e = e == 0 ? r->c->norm(r->c->arg, layer, p->set, which, host, p->samples, err) : e;
		}
	}
	free(host);
	return e;
}

/* What the backward pass through a layer needs of a piece. */
static int inside(struct run *r, uint32_t layer, const struct cwe_piece *p, const struct cwe_chunk *chunk, const struct cwe_tap *tap,
	struct cwb_err *err)
{
	struct cwe_model *m = r->c->model;
	struct cwe_pass *pass = &r->pass;
	float *d_inside = cwe_insides_of(&r->insides, layer, (size_t)(p - r->c->corpus->piece));
	cwe_workspace_inside(m, &pass->ws, layer, p->tokens, d_inside);
	return d_inside != NULL ? cwe_layer_recall(m, &pass->layer, chunk, pass->d_x, &pass->ws, tap, err)
		: cwe_layer_forward(m, &pass->layer, chunk, pass->d_x, &pass->ws, NULL, tap, err);
}

static int backward_piece(struct run *r, uint32_t layer, const struct cwe_piece *p, const struct cwe_tap *tap,
	struct cwb_err *err)
{
	struct cwe_model *m = r->c->model;
	uint64_t d = m->arch.hidden, n = p->tokens * d;
	struct cwe_chunk chunk;
	int e;
	if ((e = cwe_pass_cancelled(&r->pass, err)) != 0 ||
		(e = cwe_pass_chunk(&r->pass, p, &chunk, err)) != 0 ||
		(e = cwe_pass_get(&r->pass, &r->pass.boundary, layer, p, r->pass.d_x, err)) != 0 ||
		(e = inside(r, layer, p, &chunk, tap, err)) != 0 ||
		(e = cwe_pass_get(&r->pass, &r->gradient, 0, p, r->pass.d_y, err)) != 0 ||
		(e = cwe_layer_backward(m, &r->pass.layer, &chunk, r->pass.d_x, &r->pass.ws, r->pass.d_y, tap, err)) != 0 ||
		(e = cwe_boundary_put(&r->gradient, 0, p->at * d, r->pass.d_y, n, err)) != 0) {
		return e;
	}
	return r->c->norm != NULL ? give_norms(r, layer, p, err) : 0;
}

static int backward_layer(struct run *r, uint32_t l, struct cwb_err *err)
{
	struct cwe_calibration *c = r->c;
	struct cwe_tap tap = cwe_statistics_tap(&r->statistics, 1);
	for (int i = 0; r->d_dnorm != NULL && i < CWE_NORMS; i++) {
		tap.d_dnorm[i] = dnorm_of(r, i);
	}
	int e = r->forward.have[l] ? 0 : cwe_emission_finish(&r->emission, err);
	e = e == 0 ? cwe_forward_to(&r->forward, l, err) : e;
	e = e == 0 ? cwe_emission_layer(&r->emission, l, l > 0 ? l - 1 : CWE_NO_LAYER, err) : e;
	size_t i = 0;
	for (uint32_t set = 0; e == 0 && set < c->corpus->sets; set++) {
		e = cwe_statistics_begin(&r->statistics, l, err);
		for (; e == 0 && i < c->corpus->pieces && c->corpus->piece[i].set == set; i++) {
			e = backward_piece(r, l, &c->corpus->piece[i], &tap, err);
			advance(r, c->corpus->piece[i].tokens, 4);
			e = e == 0 ? cwe_emission_some(&r->emission, err) : e;
		}
		e = e == 0 ? cwe_emission_set(&r->emission, l, set, err) : e;
	}
	/* A boundary that was lost is made again in the workspace's own memory. */
	cwe_workspace_inside(c->model, &r->pass.ws, l, 0, NULL);
	cwe_insides_drop(&r->insides, l);
	char digest[65] = "";
	if (e == 0 && l > 0 && cwe_calibration_due(c)) {
		e = cwe_gradient_save(c->scratch, l, &r->gradient, digest, err);
		cwe_calibration_kept(c);
	}
	c->passes += e == 0;
	return e == 0 ? cwe_emission_through(&r->emission, l, digest, err) : e;
}

static int run_backward(struct run *r, struct cwb_err *err)
{
	struct cwe_calibration *c = r->c;
	uint32_t layers = c->model->arch.layers;
	int e = c->resume_digest != NULL ? cwe_gradient_load(c->scratch, c->resume, c->resume_digest, &r->gradient, err)
					 : run_to_head(r, err);
	if (e == 0) {
		cwe_forward_drop(&r->forward, layers);
		e = cwe_pass_workspace(&r->pass, 1, err);
	}
	r->done = r->total - (uint64_t)c->resume * c->corpus->tokens * 4;
	for (uint32_t l = c->resume; e == 0 && l > 0; l--) {
		e = backward_layer(r, l - 1, err);
	}
	e = e == 0 ? cwe_emission_finish(&r->emission, err) : e;
	return e == 0 && c->embedding != NULL ? c->embedding(c->arg, &r->gradient, err) : e;
}

int cwe_calibration_measures(uint32_t needs)
{
	return (needs & MEASURED) != 0;
}

void cwe_calibration_bounds(const struct cwe_model *m, uint64_t tokens, uint64_t widest, uint64_t longest, uint32_t needs,
	struct cwe_calibration_bounds *ret)
{
	int gradients = (needs & GRADIENTS) != 0;
	uint64_t row = (uint64_t)m->arch.hidden * sizeof(float);
	/* Twice where those of one layer go to the host while the next ones are gathered. */
	uint64_t statistics = (cwe_device_remote(m->device) ? 2 : 1) * cwe_statistics_bytes(&m->arch, needs);
	if (!cwe_calibration_measures(needs)) {
		*ret = (struct cwe_calibration_bounds){.device = cwe_ahead_bytes(m) + statistics, .host = cwe_statistics_host_bytes(m, needs)};
		return;
	}
	uint64_t staging = 0, host = 0, base = cwe_pass_bytes(m, tokens, widest, &ret->host) + statistics;
	if (gradients) {
		cwe_boundary_staging(m->device, widest * m->arch.hidden, CWP_F32, &staging, &host);
	}
	base += staging;
	uint64_t ws = cwe_workspace_bytes(m, widest, longest, gradients);
	uint64_t head = gradients ? cwe_head_bytes(m, widest, 1) + tokens * sizeof(float) : 0;
	ret->device = base + (ws > head ? ws : head);
	ret->host += host + cwe_statistics_host_bytes(m, needs);
	uint64_t slot = cwe_device_boundary_dtype(m->device) == CWP_F32 ? tokens * row : tokens * row / 2;
	ret->kept = slot * (gradients ? (uint64_t)m->arch.layers + 1 : 2);
	ret->boundaries = ret->kept + (gradients ? tokens * row : 0);
	ret->checkpoint = gradients ? 2 * tokens * row : 0;
	if (cwe_device_remote(m->device)) {
		/* News of a layer come when the next one is nearly through. */
		ret->checkpoint += gradients ? tokens * row : 0;
		ret->kept += gradients ? 0 : 2 * slot; /* and the last one that was kept */
	}
}

uint64_t cwe_calibration_insides(const struct cwe_model *m, const struct cwe_corpus *corpus, uint32_t needs)
{
	return (needs & GRADIENTS) == 0 || cwe_device_remote(m->device) ? 0
		: cwe_insides_bytes(m, corpus) + cwe_head_logits(m, corpus, UINT64_MAX);
}

/* Logits come first: their memory serves one batch of predictions after another. */
static int prepare_insides(struct run *r, struct cwb_err *err)
{
	const struct cwe_calibration *c = r->c;
	if ((c->needs & GRADIENTS) == 0 || c->inside_memory == 0 || cwe_device_remote(c->model->device) || c->resume_digest != NULL) {
		return 0;
	}
	r->logits = cwe_head_logits(c->model, c->corpus, c->inside_memory);
	return cwe_insides_new(c->model, c->corpus, c->inside_memory - r->logits, &r->insides, err);
}

static int prepare(struct run *r, struct cwb_err *err)
{
	struct cwe_calibration *c = r->c;
	struct cwe_model *m = c->model;
	const struct cwe_corpus *corpus = c->corpus;
	int gradients = (c->needs & GRADIENTS) != 0;
	uint64_t floats = corpus->tokens * m->arch.hidden, one = floats * sizeof(float);
	uint64_t rest = c->boundary_memory > one ? c->boundary_memory - one : 0;
	int e;
	const struct cwe_boundary_size gradient = {.slots = 1, .floats = floats, .piece = corpus->widest * m->arch.hidden,
		.dtype = CWP_F32};
	/* The gradient is read and written for each layer: it comes first where there is little room. */
	if ((gradients && (e = cwe_boundary_new(m->device, &gradient, c->boundary_memory, c->scratch, &r->gradient, err)) != 0) ||
		(e = cwe_pass_new(m, corpus, gradients ? m->arch.layers + 1 : 2, rest, c->scratch, &r->pass, err)) != 0 ||
		(e = cwe_statistics_new(m, c->needs, c->norm != NULL ? corpus->widest : 0, &r->statistics, err)) != 0 ||
		(e = prepare_insides(r, err)) != 0 || (e = cwe_forward_new(c, &r->pass, !gradients, &r->forward, err)) != 0) {
		return e;
	}
	r->emission = (struct cwe_emission){.c = c, .statistics = &r->statistics, .forward = &r->forward};
	int tells = c->lane == NULL || cwe_lane_tells(c->lane);
	if (tells && cwe_device_remote(m->device) && c->norm == NULL && (e = cwe_statistics_keeps(&r->statistics, err)) != 0) {
		return e;
	}
	for (size_t i = 0; c->norm != NULL && i < corpus->pieces; i++) {
		uint64_t n = corpus->piece[i].samples;
		r->dnorm_samples = n > r->dnorm_samples ? n : r->dnorm_samples;
	}
	(void)widest_norm(&m->arch, &r->dnorm_floats);
	r->dnorm_floats *= r->dnorm_samples;
	return c->norm != NULL ? cwe_device_floats(m->device, r->dnorm_floats, &r->d_dnorm, err) : 0;
}

int cwe_calibrate_run(struct cwe_calibration *c, struct cwb_err *err)
{
	struct cwe_model *m = c->model;
	if (!cwe_calibration_measures(c->needs)) {
		return run_weights(c, err);
	}
	if (c->n_more > 0 && c->lane == NULL) {
		return cwe_lanes_run(c, err);
	}
	struct run r = {.c = c, .gradient.fd = -1};
	cwe_calibration_kept(c); /* nothing is done yet */
	int gradients = (c->needs & GRADIENTS) != 0;
	/* A backward pass over a token costs about four times a forward pass, statistics included. */
	r.total = c->corpus->tokens * m->arch.layers * (gradients ? 5 : 1);
	int e = prepare(&r, err);
	if (e == 0) {
		e = gradients ? run_backward(&r, err) : run_forward_only(&r, err);
	}
	cwe_device_free(m->device, r.d_dnorm, r.dnorm_floats * sizeof(float));
	cwe_boundary_free(&r.gradient);
	cwe_statistics_free(&r.statistics);
	cwe_insides_free(&r.insides);
	cwe_forward_free(&r.forward);
	cwe_pass_free(&r.pass);
	return e;
}
