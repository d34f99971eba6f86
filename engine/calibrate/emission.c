/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Giving statistics, at once or beside the computation. */
#include <stdio.h>

#include "engine/calibrate/emission.h"
#include "engine/calibrate/lanes.h"

/* Gradients of norms come piece by piece: who wants them wants them with their layer's matrices. A lane that tells nothing
 * has nothing to fetch. */
static int is_late(const struct cwe_emission *e)
{
	const struct cwe_calibration *c = e->c;
	return cwe_device_remote(c->model->device) && c->norm == NULL && (c->lane == NULL || cwe_lane_tells(c->lane));
}

static int give(struct cwe_emission *e, uint32_t layer, uint32_t set, uint32_t linear, struct cwe_module_statistics *s,
	struct cwb_err *err)
{
	s->samples = e->c->corpus->set_samples[set];
	return e->c->module(e->c->arg, layer, set, linear, s, err);
}

/* What was fetched is on the host: the memory of its layer is free. */
static int settle(struct cwe_emission *e, struct cwb_err *err)
{
	e->clear = 1;
	return cwe_statistics_settle(e->statistics, err);
}

int cwe_emission_layer(struct cwe_emission *e, uint32_t index, uint32_t next, struct cwb_err *err)
{
	struct cwe_pass *pass = e->forward->pass;
	int r = 0;
	if (!is_late(e)) {
		return cwe_pass_layer(pass, index, next, err);
	}
	if (pass->ahead.next != index || !e->clear) {
		r = settle(e, err); /* weights come into the memory of the layer before */
	}
	r = r == 0 ? cwe_pass_layer(pass, index, next, err) : r;
	e->clear = 0;
	e->pieces = 0;
	return r == 0 ? cwe_statistics_weights(e->statistics, &pass->layer, err) : r;
}

/* The next matrix that waits; behind the last one the layer may be through. */
static int give_next(struct cwe_emission *e, struct cwb_err *err)
{
	struct cwe_module_statistics s;
	cwe_statistics_kept(e->statistics, e->linear, &s);
	int r = give(e, e->layer, e->set, e->linear, &s, err);
	e->pending = ++e->linear < cwe_linears(&e->c->model->arch, e->layer);
	return r;
}

static int give_through(struct cwe_emission *e, uint32_t layer, const char *digest, struct cwb_err *err)
{
	int r = e->c->layer_done != NULL ? e->c->layer_done(e->c->arg, layer, digest, err) : 0;
	if (r == 0) {
		cwe_forward_over(e->forward, layer);
	}
	return r;
}

/* Waiting for the host's memory and giving of one matrix. */
static int give_some(struct cwe_emission *e, struct cwb_err *err)
{
	int r = is_late(e) ? settle(e, err) : 0;
	r = r == 0 && e->pending ? give_next(e, err) : r;
	if (r == 0 && !e->pending && e->through) {
		e->through = 0;
		r = give_through(e, e->layer, e->digest, err);
	}
	return r;
}

/* The device has pieces to do before the host waits for what comes from it: with 4096 tokens each, ten take as long as a layer's
 * weights to the host (on H100). */
int cwe_emission_some(struct cwe_emission *e, struct cwb_err *err)
{
	enum { ENOUGH = 12 };
	size_t most = e->c->corpus->pieces / 4 * 3;
	return ++e->pieces <= (most < ENOUGH ? most : ENOUGH) ? 0 : give_some(e, err);
}

int cwe_emission_finish(struct cwe_emission *e, struct cwb_err *err)
{
	int r = 0;
	do {
		r = give_some(e, err);
	} while (r == 0 && (e->pending || e->through));
	return r;
}

int cwe_emission_set(struct cwe_emission *e, uint32_t layer, uint32_t set, struct cwb_err *err)
{
	int r = 0;
	if (e->c->lane != NULL) {
		r = cwe_lane_join(e->c->lane, e->statistics, err);
		if (r != 0 || !cwe_lane_tells(e->c->lane)) {
			return r;
		}
	}
	if (is_late(e)) {
		r = cwe_emission_finish(e, err);
		r = r == 0 ? cwe_statistics_keep(e->statistics, err) : r;
		e->layer = layer;
		e->set = set;
		e->linear = 0;
		e->pieces = 0;
		e->pending = r == 0;
		return r;
	}
	for (uint32_t l = 0; r == 0 && l < cwe_linears(&e->c->model->arch, layer); l++) {
		struct cwe_module_statistics s;
		r = cwe_statistics_get(e->statistics, &e->forward->pass->layer, l, &s, err);
		r = r == 0 ? give(e, layer, set, l, &s, err) : r;
	}
	return r;
}

int cwe_emission_through(struct cwe_emission *e, uint32_t layer, const char *digest, struct cwb_err *err)
{
	if (!e->pending) {
		int r = cwe_emission_finish(e, err);
		return r == 0 ? give_through(e, layer, digest, err) : r;
	}
	e->through = 1;
	(void)snprintf(e->digest, sizeof e->digest, "%s", digest);
	return 0;
}
