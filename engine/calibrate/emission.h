/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Finished statistics to the calibration's callbacks. Where memory is the backend's own, those of one layer and set are given
 * while the next ones are measured, between pieces; elsewhere at once. The callbacks see one order in either case. */
#pragma once

#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/forward.h"

struct cwe_emission {
	struct cwe_calibration *c;
	struct cwe_statistics *statistics;
	struct cwe_forward *forward;
	int clear;      /* the weights of the layer at hand are on the host */
	uint64_t pieces; /* through the layer since the last news */
	int pending;    /* matrices from `linear` on are to be given */
	uint32_t layer, set, linear;
	int through;    /* and then the layer is through */
	char digest[CWB_DIGEST_HEX];
};

/* cwe_pass_layer, and the layer's weights are on their way to the host. */
int cwe_emission_layer(struct cwe_emission *e, uint32_t index, uint32_t next, struct cwb_err *err);
/* After each piece: gives something of what waits. */
int cwe_emission_some(struct cwe_emission *e, struct cwb_err *err);
/* All pieces of a set are through the layer in pass->layer. */
int cwe_emission_set(struct cwe_emission *e, uint32_t layer, uint32_t set, struct cwb_err *err);
/* All sets are: layer_done follows what waits, and the layer's input is dropped. */
int cwe_emission_through(struct cwe_emission *e, uint32_t layer, const char *digest, struct cwb_err *err);
/* Gives all that waits. */
int cwe_emission_finish(struct cwe_emission *e, struct cwb_err *err);
