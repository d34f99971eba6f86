/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Attention: operations of struct cwp_backend, where they are explained. */
#ifndef CUDA_OPS_ATTENTION_H
#define CUDA_OPS_ATTENTION_H

#include <cwp/backend.h>

int cuda_attention(void *b, const struct cwp_attention *a, const float *d_q, const float *d_k, const float *d_v,
	float *d_out, float *d_lse);
int cuda_attention_backward(void *b, const struct cwp_attention *a, const float *d_q, const float *d_k,
	const float *d_v, const float *d_out, const float *d_lse, const float *d_dout, float *d_dq, float *d_dk,
	float *d_dv);
int cuda_attention_decode(void *b, const struct cwp_attention *a, const float *d_q, const float *d_k_cache,
	const float *d_v_cache, uint64_t length, float *d_out);

#endif
