/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One scale for a whole matrix. */
#pragma once

#include <cwp/quantizer.h>

#include "plugins/quantizers/static/scales.h"

/* The rows at hand as a whole; each gets the scale and, where asymmetric, the zero point. -ENOMEM; CWP_ENUMBER when a weight
 * is no finite number. [any-thread] */
int quantize_tensor(const struct scale_rule *rule, const struct cwp_quantizer_tile *tile, const struct cwp_quantizer_result *result);
