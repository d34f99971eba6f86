/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantization layer by layer, for quantizers that look at their module's inputs: what comes to a layer is what the layers
 * before it give, quantized and protected as they are. Private to this folder and bench/. */
#pragma once

#include "engine/calibrate/boundary.h"
#include "engine/pipeline/plain.h"
#include "engine/pipeline/quantize.h"

/* Quantizes all modules and gives them to the writer, those apart that are there already. Each layer's end is a place to go
 * on from; on a GPU not each, where they are large. [worker] */
int cwe_run_sequential(struct cwe_quantizing *q, struct cwe_writer *writer, struct cwb_err *err);
/* The same with nothing protected, into a file for an evaluation; made anew by each attempt. [worker] */
int cwe_run_sequential_plain(struct cwe_run *run, struct cwe_plain *plain, struct cwb_err *err);
/* enum cwp_module_flags: whether attention scores are made of a module's matrix, or of some of its rows. */
uint32_t cwe_run_module_flags(const struct cwe_run *run, const struct cwe_run_module *m);
/* Bytes beside what quantizing takes anyway, from shapes; untouched, and 0, where the quantizer is not calibrated. */
struct cwe_need;
void cwe_run_sequential_need(const struct cwe_run *run, struct cwe_need *ret);
uint64_t cwe_run_sequential_scratch(const struct cwe_run *run, uint64_t boundaries);

/* sequential_state.c: how far an attempt came. */
struct cwe_sequential {
	uint32_t layer;  /* the next one; its input is in the file */
	char digest[65]; /* of the file; "" for layer 0 and behind the last */
	json_t *notes;   /* array of {module, note}: what was done in another way than asked */
};
/* From scratch into *ret, which starts at layer 0 where there is nothing of this run. */
int cwe_sequential_open(const struct cwe_run *run, struct cwe_sequential *ret, struct cwb_err *err);
void cwe_sequential_close(struct cwe_sequential *s);
/* The input of the layer that an earlier attempt came to -> slot. CWP_EDIGEST: it is not there. */
int cwe_sequential_load(const struct cwe_run *run, const struct cwe_sequential *s, struct cwe_boundary *b, uint32_t slot,
	struct cwb_err *err);
/* The layers below `layer` are done: b's slot holds its input, NULL where nobody needs it. Durable on return. */
int cwe_sequential_advance(const struct cwe_run *run, struct cwe_sequential *s, uint32_t layer, struct cwe_boundary *b, uint32_t slot,
	struct cwb_err *err);
/* A module's note, kept with the next advance. */
int cwe_sequential_note(struct cwe_sequential *s, const char *module, const char *note, struct cwb_err *err);
