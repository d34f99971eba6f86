/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scales of an input's channels, before its weights are quantized. */
#pragma once

#include <cwp/host.h>
#include <cwp/quantizer.h>

/* AWQ (activation-aware weight quantization): scale = mean |x| ^ ratio, at least 1e-4, divided by the root of the product of
 * the greatest and the least; of the ratios 0, 0.05, .. 0.95 the one with the least error at the outputs. */
int smooth_awq(const struct cwp_host *host, const struct cwp_quantizer_input *input, float *ret_scale);

/* SmoothQuant: scale = max |x| ^ alpha / max |w| ^ (1 - alpha), at least 1e-5; 1 where either is 0. */
void smooth_quant(const struct cwp_quantizer_input *input, double alpha, float *ret_scale);
