/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Several GPUs of this host for one job (limits.gpus). The calibration for scores divides its samples among them
 * (engine/calibrate/lanes.h); all other stages run on the first one alone. The smallest GPU decides what each may take. */
#pragma once

#include "engine/pipeline/device.h"

/* The GPU that the job's backend is opened on, of those that were given to it: the one that backend: names, else the first.
 * ret: [64]; returned is NULL where none was given, "none", or ret. */
const char *cwe_run_several_first(const struct cwe_run *run, char *ret);

/* Finds the other GPUs once the first one is open: run->several. CWP_EMISSING: there are fewer than the job asks for, or the job
 * is computed on the CPU. Opens none. */
int cwe_run_several_find(struct cwe_run *run, struct cwb_err *err);

/* How many of them take part in the calibration for scores: no more than it has pieces. 1 where nothing is divided. */
uint32_t cwe_run_lanes(const struct cwe_run *run);
/* Tokens of the largest part of the samples. */
uint64_t cwe_run_lane_tokens(const struct cwe_run *run);
/* Tokens of a piece at most, so that sets make enough pieces for all; UINT64_MAX where nothing is divided. */
uint64_t cwe_run_lane_piece(const struct cwe_run *run, uint64_t tokens);

/* What each of the others needs for a divided stage that fits the budget of bytes. Says in the warnings which are of no use. */
int cwe_run_several_plan(struct cwe_run *run, const struct cwe_need *need, uint64_t budget, struct cwb_err *err);

/* Opens those that take part and takes what was planned, as cwe_run_gpu_reserve does; nothing where they are open. */
int cwe_run_several_open(struct cwe_run *run, struct cwb_err *err);

/* Array of UUIDs of all the job's GPUs, the first one first; NULL: no memory. */
json_t *cwe_run_several_json(const struct cwe_run *run);
