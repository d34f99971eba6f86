/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* AWQ's second step: a narrower range for each group of weights where that leaves less error at the output. */
#pragma once

#include <cwp/host.h>
#include <cwp/quantizer.h>

#include "plugins/quantizers/static/scales.h"

struct clip {
	uint64_t group, groups; /* columns of a group, groups of a row */
	uint8_t step[];         /* [rows, groups]: the range ends at 1 - step / 40 of absmax */
};

/* For each group of each row, of the steps 0 .. 19 the one with the least e (x x^T) e^T, e being the errors of the group's
 * unprotected weights; the widest range of equals. Twice as many as were published. *ret is freed with clip_free; -ENOMEM, CWP_ENUMBER for a weight that is
 * no finite number. */
int clip_search(const struct cwp_host *host, const struct scale_rule *rule, const struct cwp_grid *grid,
	const struct cwp_quantizer_module *module, struct clip **ret);
void clip_free(struct clip *clip);
/* Bytes that a search takes at most, two results included. */
uint64_t clip_memory(uint64_t rows, uint64_t cols, uint64_t group, uint32_t threads);

/* Scale and zero point of a group, in the range that was found. */
void clip_scale(const struct clip *clip, const struct scale_rule *rule, uint64_t row, const float *weight, const uint8_t *mask,
	uint64_t group, uint64_t n, float *ret_scale, int8_t *ret_zero);
