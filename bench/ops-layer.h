/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A layer as one sequence of operations, for bench/backend-ops.c. */
#ifndef BENCH_OPS_LAYER_H
#define BENCH_OPS_LAYER_H

#include <cwp/backend.h>

struct ops_layer_shape {
	uint64_t hidden, inner, heads, kv_heads, head_dim;
};

/* Seconds of Fisher scores of one layer at a time in the order of the engine: forward; forward again and backward with squared
 * gradients of all matrices. d_filled [tokens, hidden] are activations, d_weights [inner, hidden] weights, d_index [tokens] are 0,
 * d_turn what rope turns by. Negative: a code of the backend, or there is no memory. */
double ops_layer(const struct cwp_backend *ops, void *b, const struct ops_layer_shape *s, const struct cwp_sequences *sequences,
	const float *d_filled, const float *d_weights, const uint32_t *d_index, const float *d_turn, unsigned rounds);

#endif
