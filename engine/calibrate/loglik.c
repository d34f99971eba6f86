/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Forward passes for scoring and for logits. */
#include <errno.h>
#include <stdlib.h>

#include "engine/calibrate/finite.h"
#include "engine/calibrate/loglik.h"
#include "engine/calibrate/pass.h"
#include "engine/model/ops.h"

uint64_t cwe_loglik_bytes(const struct cwe_model *m, uint64_t tokens, uint64_t widest, uint64_t longest,
	uint64_t *ret_boundaries)
{
	uint64_t row = (uint64_t)m->arch.hidden * sizeof(float);
	uint64_t host, pass = cwe_pass_bytes(m, tokens, widest, &host) + cwe_workspace_bytes(m, widest, longest, 0);
	uint64_t head = cwe_head_bytes(m, widest, 0);
	*ret_boundaries = 2 * tokens * (cwe_device_boundary_dtype(m->device) == CWP_F32 ? row : row / 2);
	return pass + host + head + 2 * tokens * sizeof(float);
}

uint64_t cwe_loglik_host_bytes(const struct cwe_model *m, uint64_t tokens, uint64_t widest)
{
	uint64_t host;
	(void)cwe_pass_bytes(m, tokens, widest, &host);
	return cwe_device_remote(m->device) ? host + 2 * tokens * sizeof(float) : 0;
}

/* All layers; the last output is in slot layers & 1. */
static int run_layers(struct cwe_pass *pass, const struct cwe_forward_options *o, struct cwb_err *err)
{
	const struct cwe_corpus *corpus = pass->corpus;
	uint64_t done = 0, total = corpus->tokens * pass->model->arch.layers;
	int e = cwe_pass_embed(pass, err);
	for (uint32_t l = 0; e == 0 && l < pass->model->arch.layers; l++) {
		e = cwe_pass_layer(pass, l, l + 1 < pass->model->arch.layers ? l + 1 : CWE_NO_LAYER, err);
		for (size_t i = 0; e == 0 && i < corpus->pieces; i++) {
			e = cwe_pass_piece(pass, &corpus->piece[i], l & 1, (l + 1) & 1, NULL, err);
			done += corpus->piece[i].tokens;
			if (o->progress != NULL) {
				o->progress(o->arg, done, total);
			}
		}
	}
	return e;
}

/* Log-likelihoods would hide what is no number, or say it too late. */
static int check_finite(struct cwe_pass *pass, uint64_t *ret_bad, struct cwb_err *err)
{
	uint32_t last = pass->model->arch.layers & 1;
	int e = cwe_finite_check(&pass->boundary, last, pass->corpus, pass->model->arch.hidden, ret_bad, err);
	return e != 0 || *ret_bad == pass->corpus->tokens ? e
		: cwb_err_set(err, CWP_ENUMBER, "the last layer gives NaN or infinity for token %llu", (unsigned long long)*ret_bad);
}

int cwe_loglik_run(struct cwe_model *model, const struct cwe_corpus *corpus, const struct cwe_forward_options *o,
	const struct cwe_token_score *score, struct cwb_err *err)
{
	struct cwe_pass pass = {0};
	int e = cwe_pass_new(model, corpus, 2, o->memory, o->scratch, &pass, err);
	if (e != 0) {
		return e;
	}
	e = run_layers(&pass, o, err);
	e = e == 0 && o->ret_bad != NULL ? check_finite(&pass, o->ret_bad, err) : e;
	if (e == 0) {
		cwe_workspace_free(model, &pass.ws);
		e = cwe_head_run(model, corpus, &pass.boundary, model->arch.layers & 1, score, NULL, err);
	}
	if (e == 0 && o->next != NULL) {
		e = cwe_next_run(model, &pass.boundary, model->arch.layers & 1, o->next, err);
	}
	cwe_pass_free(&pass);
	return e;
}

struct logits {
	struct cwe_pass *pass;
	float *d_norm, *d_rstd, *d_w, *d_logits;
	float *host;
};

/* Logits of a piece's sequences, the first of which is sequence `index`; the last boundary is in d_x. A slice of the output
 * projection is read once for all of them. */
static int piece_logits(struct logits *l, const struct cwe_piece *p, uint64_t index, cwe_logits_sink sink, void *arg,
	struct cwb_err *err)
{
	struct cwe_model *m = l->pass->model;
	uint64_t d = m->arch.hidden, v = m->arch.vocabulary;
	float *d_h = l->pass->d_y;
	int e = cwe_model_norm(m, l->pass->d_x, l->d_norm, p->tokens, d_h, l->d_rstd, err);
	for (uint64_t first = 0; e == 0 && first < v; first += CWE_HEAD_SLICE) {
		uint64_t n = v - first < CWE_HEAD_SLICE ? v - first : CWE_HEAD_SLICE;
		e = cwe_pass_cancelled(l->pass, err);
		e = e == 0 ? cwe_model_head_rows(m, first, n, l->d_w, err) : e;
		for (uint64_t s = 0; e == 0 && s < p->sequences; s++) {
			uint64_t at = p->sequence_start[s], tokens = p->sequence_start[s + 1] - at;
			if ((e = cwe_model_logits(m, d_h + at * d, tokens, l->d_w, n, l->d_logits, err)) == 0 &&
				(e = CWE_OP(m->device, download, l->host, l->d_logits, tokens * n * sizeof *l->host)) == 0) {
				e = sink(arg, index + s, tokens, first, n, l->host, err);
			}
		}
	}
	return e;
}

static int all_logits(struct logits *l, cwe_logits_sink sink, void *arg, struct cwb_err *err)
{
	struct cwe_pass *pass = l->pass;
	uint64_t d = pass->model->arch.hidden, index = 0;
	int e = cwe_model_final_norm(pass->model, l->d_norm, err);
	for (size_t i = 0; e == 0 && i < pass->corpus->pieces; i++) {
		const struct cwe_piece *p = &pass->corpus->piece[i];
		e = cwe_boundary_get(&pass->boundary, pass->model->arch.layers & 1, p->at * d, pass->d_x, p->tokens * d, err);
		e = e == 0 ? piece_logits(l, p, index, sink, arg, err) : e;
		index += p->sequences;
	}
	return e;
}

int cwe_logits_run(struct cwe_model *model, const struct cwe_corpus *corpus, const struct cwe_forward_options *o,
	cwe_logits_sink sink, void *arg, struct cwb_err *err)
{
	struct cwe_pass pass = {0};
	struct cwe_device *dev = model->device;
	uint64_t d = model->arch.hidden, longest = corpus->longest, slice = longest * CWE_HEAD_SLICE;
	struct logits l = {.pass = &pass, .host = malloc(slice * sizeof(float) + 1)};
	int e = l.host != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for logits");
	if (e == 0 && (e = cwe_pass_new(model, corpus, 2, o->memory, o->scratch, &pass, err)) == 0 &&
		(e = run_layers(&pass, o, err)) == 0 && (e = cwe_device_floats(dev, d, &l.d_norm, err)) == 0 &&
		(e = cwe_device_floats(dev, corpus->widest, &l.d_rstd, err)) == 0 &&
		(e = cwe_device_floats(dev, CWE_HEAD_SLICE * d, &l.d_w, err)) == 0 &&
		(e = cwe_device_floats(dev, slice, &l.d_logits, err)) == 0) {
		e = all_logits(&l, sink, arg, err);
	}
	cwe_device_free(dev, l.d_logits, slice * sizeof(float));
	cwe_device_free(dev, l.d_w, CWE_HEAD_SLICE * d * sizeof(float));
	cwe_device_free(dev, l.d_rstd, corpus->widest * sizeof(float));
	cwe_device_free(dev, l.d_norm, d * sizeof(float));
	cwe_pass_free(&pass);
	free(l.host);
	return e;
}
