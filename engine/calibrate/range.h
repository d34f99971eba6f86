/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The least and the greatest of each channel of an input. */
#pragma once

#include <stdint.h>

#include "engine/model/ops.h"

/* X [tokens, cols] -> least[c], greatest[c], which are taken in. NaN counts for nothing. -ENOMEM. [worker] */
int cwe_range_take(struct cwe_device *device, const float *d_x, uint64_t tokens, uint64_t cols, float *least, float *greatest,
	struct cwb_err *err);
