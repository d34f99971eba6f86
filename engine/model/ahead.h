/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Layers one after another. Where the backend's memory is its own, the next one is read and loaded by a thread while the one
 * before it is computed; elsewhere there is one layer's memory, and each is read when it is its turn. */
#pragma once

#include <pthread.h>

#include "engine/model/model.h"

#define CWE_NO_LAYER UINT32_MAX

struct cwe_ahead {
	struct cwe_model *model;
	struct cwe_layer spare; /* of the next layer; unused where memory is the host's */
	uint32_t next;          /* that the thread loads, or CWE_NO_LAYER */
	uint32_t taken;         /* that the caller has, whole, or CWE_NO_LAYER */
	pthread_t thread;
	int code;               /* what became of it */
	struct cwb_err err;
};

/* Bytes of the device's memory for all layers that are there at one time. */
uint64_t cwe_ahead_bytes(const struct cwe_model *model);
/* layer: of the caller, gets memory for any layer. On failure nothing is to be freed. */
int cwe_ahead_new(struct cwe_model *model, struct cwe_layer *layer, struct cwe_ahead *ret, struct cwb_err *err);
/* Also on zeroed ones. */
void cwe_ahead_free(struct cwe_ahead *a, struct cwe_layer *layer);
/* *layer becomes layer `index`; what was in it may be gone with the next call. Then the loading of `next` begins
 * (CWE_NO_LAYER: of none): until it is taken, or another, the model's weights are not to be loaded in another way. Errors as
 * cwe_layer_load. [worker] */
int cwe_ahead_take(struct cwe_ahead *a, struct cwe_layer *layer, uint32_t index, uint32_t next, struct cwb_err *err);
/* The second half alone: only when nothing reads the other layer's memory any more. */
int cwe_ahead_begin(struct cwe_ahead *a, uint32_t next, struct cwb_err *err);
