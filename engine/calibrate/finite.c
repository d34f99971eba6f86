/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Looks at boundaries for what is no number. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "engine/calibrate/finite.h"
#include "engine/calibrate/pass.h"

int cwe_finite_check(struct cwe_boundary *boundary, uint32_t slot, const struct cwe_corpus *corpus, uint64_t hidden,
	uint64_t *ret, struct cwb_err *err)
{
	float *x = malloc(corpus->widest * hidden * sizeof *x + 1);
	int r = x != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for a piece of %llu tokens", (unsigned long long)corpus->widest);
	uint64_t found = corpus->tokens;
	for (size_t i = 0; r == 0 && i < corpus->pieces && found == corpus->tokens; i++) {
		const struct cwe_piece *p = &corpus->piece[i];
		r = cwe_boundary_read(boundary, slot, p->at * hidden, x, p->tokens * hidden, err);
		for (uint64_t k = 0; r == 0 && k < p->tokens * hidden; k++) {
			if (!isfinite(x[k])) {
				found = p->at + k / hidden;
				break;
			}
		}
	}
	free(x);
	if (r == 0) {
		*ret = found;
	}
	return r;
}

static int find(struct cwe_pass *pass, int64_t *ret_layer, struct cwb_err *err)
{
	const struct cwe_corpus *c = pass->corpus;
	uint64_t hidden = pass->model->arch.hidden, bad = 0;
	int64_t layer = -1;
	int r = cwe_pass_embed(pass, err);
	r = r == 0 ? cwe_finite_check(&pass->boundary, 0, c, hidden, &bad, err) : r;
	for (uint32_t l = 0; r == 0 && bad == c->tokens && l < pass->model->arch.layers; l++) {
		layer = l;
		r = cwe_pass_layer(pass, l, l + 1 < pass->model->arch.layers ? l + 1 : CWE_NO_LAYER, err);
		for (size_t i = 0; r == 0 && i < c->pieces; i++) {
			r = cwe_pass_piece(pass, &c->piece[i], l & 1, (l + 1) & 1, NULL, err);
		}
		r = r == 0 ? cwe_finite_check(&pass->boundary, (l + 1) & 1, c, hidden, &bad, err) : r;
	}
	if (r == 0) {
		*ret_layer = bad == c->tokens ? (int64_t)pass->model->arch.layers : layer;
	}
	return r;
}

int cwe_finite_find(struct cwe_model *model, const uint32_t *id, size_t count, int64_t *ret_layer, struct cwb_err *err)
{
	float *weight = calloc(count + 1, sizeof *weight);
	struct cwe_sequence sequence = {.id = (uint32_t *)(uintptr_t)id, .weight = weight, .count = count};
	struct cwe_sample sample = {.sequence = &sequence, .count = 1};
	const struct cwe_sample_set set = {.sample = &sample, .count = 1, .tokens = count};
	struct cwe_corpus corpus = {0};
	struct cwe_pass pass = {0};
	int r = weight != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for %zu tokens", count);
	r = r == 0 ? cwe_corpus_new(&set, 1, 0, &corpus, err) : r;
	if (r == 0 && (r = cwe_pass_new(model, &corpus, 2, UINT64_MAX, NULL, &pass, err)) == 0) {
		r = find(&pass, ret_layer, err);
		cwe_pass_free(&pass);
	}
	cwe_corpus_free(&corpus);
	free(weight);
	return r;
}
