/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which insides are kept, and where. */
#include <errno.h>
#include <stdlib.h>

#include "engine/calibrate/insides.h"

uint64_t cwe_insides_bytes(const struct cwe_model *m, const struct cwe_corpus *c)
{
	uint64_t bytes = 0;
	for (uint32_t l = 0; l < m->arch.layers; l++) {
		for (size_t i = 0; i < c->pieces; i++) {
			bytes += cwe_workspace_inside_bytes(m, l, c->piece[i].tokens);
		}
	}
	return bytes;
}

static int kind_of(const struct cwe_model *m, uint32_t layer)
{
	return cwe_arch_layer_is(&m->arch, layer, CWE_LAYER_MOE);
}

/* One after another, in the order of the pieces. */
static int find_places(struct cwe_insides *in)
{
	for (uint32_t l = 0; l < in->model->arch.layers; l++) {
		uint64_t **start = &in->start[kind_of(in->model, l)];
		if (*start != NULL) {
			continue;
		}
		*start = calloc(in->corpus->pieces + 1, sizeof **start);
		for (size_t i = 0; *start != NULL && i < in->corpus->pieces; i++) {
			(*start)[i + 1] = (*start)[i] + cwe_workspace_inside_bytes(in->model, l, in->corpus->piece[i].tokens);
		}
		if (*start == NULL) {
			return -ENOMEM;
		}
	}
	return 0;
}

int cwe_insides_new(struct cwe_model *m, const struct cwe_corpus *c, uint64_t bytes, struct cwe_insides *ret, struct cwb_err *err)
{
	struct cwe_insides in = {.model = m, .corpus = c, .layer = calloc(m->arch.layers, sizeof *in.layer)};
	if (in.layer == NULL || find_places(&in) != 0) {
		cwe_insides_free(&in);
		return cwb_err_set(err, -ENOMEM, "no memory for the list of layers");
	}
	/* What is needed first is freed first. */
	for (uint32_t l = m->arch.layers; l > 0; l--) {
		const uint64_t *start = in.start[kind_of(m, l - 1)];
		size_t n = c->pieces;
		while (n > 0 && start[n] > bytes) {
			n--;
		}
		in.layer[l - 1].pieces = n;
		bytes = n == c->pieces ? bytes - start[n] : 0;
	}
	*ret = in;
	return 0;
}

void cwe_insides_free(struct cwe_insides *in)
{
	for (uint32_t l = 0; in->layer != NULL && l < in->model->arch.layers; l++) {
		cwe_insides_drop(in, l);
	}
	free(in->layer);
	free(in->start[0]);
	free(in->start[1]);
	*in = (struct cwe_insides){0};
}

static float *at(const struct cwe_insides *in, uint32_t layer, size_t piece)
{
	return (float *)(void *)(in->layer[layer].room.p + in->start[kind_of(in->model, layer)][piece]);
}

float *cwe_insides_make(struct cwe_insides *in, uint32_t layer, size_t piece)
{
	struct cwe_inside *inside = in->layer != NULL ? &in->layer[layer] : NULL;
	if (inside == NULL || piece >= inside->pieces || piece > inside->made) {
		return NULL;
	}
	if (inside->room.p == NULL && cwe_room_new(in->start[kind_of(in->model, layer)][inside->pieces], &inside->room) != 0) {
		inside->pieces = 0; /* there is another way */
		return NULL;
	}
	inside->made = piece + 1;
	return at(in, layer, piece);
}

float *cwe_insides_of(const struct cwe_insides *in, uint32_t layer, size_t piece)
{
	return in->layer != NULL && piece < in->layer[layer].made ? at(in, layer, piece) : NULL;
}

void cwe_insides_drop(struct cwe_insides *in, uint32_t layer)
{
	if (in->layer != NULL) {
		cwe_room_free(&in->layer[layer].room);
		in->layer[layer].made = 0;
	}
}
