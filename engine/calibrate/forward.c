/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Inputs of the layers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/calibrate/forward.h"
#include "engine/calibrate/kept.h"

uint32_t cwe_forward_slot(const struct cwe_forward *f, uint32_t layer)
{
	return f->two ? layer & 1 : layer;
}

static const char *digest_of(const struct cwe_calibration *c, uint32_t layer)
{
	return c->kept != NULL ? c->kept[layer] : "";
}

int cwe_forward_new(struct cwe_calibration *c, struct cwe_pass *pass, int two, struct cwe_forward *ret, struct cwb_err *err)
{
	struct cwe_forward f = {.c = c, .pass = pass, .two = two};
	uint32_t layers = c->model->arch.layers;
	f.have = calloc(layers + 1, 1);
	if (f.have == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the list of boundaries");
	}
	int r = c->checkpoint ? cwe_kept_new(&pass->boundary, c->scratch, err) : 0;
	if (r != 0) {
		cwe_forward_free(&f);
		return r;
	}
	for (uint32_t l = 0; c->checkpoint && l <= layers; l++) {
		if (digest_of(c, l)[0] == '\0') {
			cwe_forward_drop(&f, l);
		}
	}
	*ret = f;
	return 0;
}

void cwe_forward_free(struct cwe_forward *f)
{
	free(f->have);
	f->have = NULL;
}

int cwe_forward_begin(struct cwe_forward *f, uint32_t layer, struct cwb_err *err)
{
	uint32_t out = layer + 1, layers = f->c->model->arch.layers;
	if (f->two && out >= 2) {
		f->have[out - 2] = 0; /* the output takes its slot */
	}
	f->have[out] = 0;
	/* Nothing reads the last output where there is no backward pass. */
	return cwe_kept_begin(&f->pass->boundary, cwe_forward_slot(f, out), out, (!f->two || out < layers) && cwe_calibration_due(f->c), err);
}

int cwe_forward_end(struct cwe_forward *f, uint32_t layer, char ret_digest[CWB_DIGEST_HEX], struct cwb_err *err)
{
	uint32_t out = layer + 1;
	f->have[out] = 1;
	f->c->passes++;
	ret_digest[0] = '\0';
	if (f->pass->boundary.kept == NULL || (f->two && out == f->c->model->arch.layers)) {
		return 0;
	}
	int r = cwe_kept_end(&f->pass->boundary, cwe_forward_slot(f, out), ret_digest, err);
	if (r == 0 && ret_digest[0] != '\0') {
		cwe_calibration_kept(f->c);
		f->durable = out;
	}
	return r;
}

void cwe_forward_over(struct cwe_forward *f, uint32_t layer)
{
	if (f->two && f->c->checkpoint_pause > 0) {
		/* The last one that was kept is all that there is for attempts to come, until there is another. */
		int last = layer + 1 == f->c->model->arch.layers;
		for (uint32_t l = 0; l <= layer; l++) {
			f->have[l] = 0;
			if (last || l != f->durable) {
				cwe_forward_drop(f, l);
			}
		}
		return;
	}
	cwe_forward_drop(f, layer);
}

void cwe_forward_drop(struct cwe_forward *f, uint32_t layer)
{
	f->have[layer] = 0;
	cwe_kept_drop(&f->pass->boundary, cwe_forward_slot(f, layer), layer);
}

/* What an earlier attempt kept: 1 where it is whole. */
static int take(struct cwe_forward *f, uint32_t layer, struct cwb_err *err)
{
	const char *digest = digest_of(f->c, layer);
	if (f->pass->boundary.kept == NULL || digest[0] == '\0') {
		return 0;
	}
	int r = cwe_kept_take(&f->pass->boundary, cwe_forward_slot(f, layer), layer, digest, err);
	if (r == 0) {
		const struct cwp_host *host = &f->c->model->device->host->table;
		char text[128];
		(void)snprintf(text, sizeof text, "scratch: forward-%u is missing or not what was kept; it is made again", layer);
		host->log(host->ctx, CWP_LOG_WARNING, text);
	}
	f->have[layer] = r == 1;
	f->durable = r == 1 ? layer : f->durable;
	return r;
}

/* next: the layer after it that will be wanted, or CWE_NO_LAYER. */
static int through_layer(struct cwe_forward *f, uint32_t l, uint32_t next, struct cwb_err *err)
{
	struct cwe_calibration *c = f->c;
	const struct cwe_corpus *corpus = c->corpus;
	char digest[CWB_DIGEST_HEX];
	int r = cwe_pass_layer(f->pass, l, next, err);
	r = r == 0 ? cwe_forward_begin(f, l, err) : r;
	for (size_t i = 0; r == 0 && i < corpus->pieces; i++) {
		r = cwe_pass_piece(f->pass, &corpus->piece[i], cwe_forward_slot(f, l), cwe_forward_slot(f, l + 1), NULL, err);
		if (f->advance != NULL) {
			f->advance(f->arg, l, corpus->piece[i].tokens);
		}
	}
	r = r == 0 ? cwe_forward_end(f, l, digest, err) : r;
	if (r == 0 && f->two) {
		cwe_forward_over(f, l);
	}
	return r == 0 && digest[0] != '\0' && !f->two && c->boundary_done != NULL ? c->boundary_done(c->arg, l + 1, digest, err) : r;
}

int cwe_forward_to(struct cwe_forward *f, uint32_t layer, struct cwb_err *err)
{
	uint32_t at = layer;
	int r = 0;
	while (at > 0 && !f->have[at] && (r = take(f, at, err)) == 0) {
		at--;
	}
	if (r >= 0 && !f->have[at]) {
		r = cwe_kept_begin(&f->pass->boundary, 0, 0, 0, err);
		r = r == 0 ? cwe_pass_embed(f->pass, err) : r;
		f->have[0] = r == 0;
	}
	r = r > 0 ? 0 : r;
	for (uint32_t l = at; r == 0 && l < layer; l++) {
		r = through_layer(f, l, l + 1 < layer ? l + 1 : CWE_NO_LAYER, err);
	}
	return r;
}
