/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Operations on elements, rows and columns: those of struct cwp_backend, where they are explained. */
#ifndef CUDA_OPS_ROWS_H
#define CUDA_OPS_ROWS_H

#include <cwp/backend.h>

int cuda_convert(void *b, float *d_dst, const void *d_src, uint32_t dtype, uint64_t n);
int cuda_narrow(void *b, void *d_dst, uint32_t dtype, const float *d_src, uint64_t n);
int cuda_add(void *b, float *d_y, const float *d_x, uint64_t n);
int cuda_add_bias(void *b, float *d_y, const float *d_bias, uint64_t rows, uint64_t cols);
int cuda_rmsnorm(void *b, const float *d_x, const float *d_w, float offset, float eps, uint64_t rows, uint64_t cols,
	float *d_y, float *d_rstd);
int cuda_rmsnorm_backward(void *b, const float *d_dy, const float *d_x, const float *d_w, float offset,
	const float *d_rstd, uint64_t rows, uint64_t cols, int accumulate, float *d_dx,
	const struct cwp_sequences *samples, float *d_dw);
int cuda_rope(void *b, float *d_x, uint64_t rows, uint64_t ld, uint32_t heads, uint32_t head_dim, uint32_t rotary,
	const float *d_cos, const float *d_sin, const uint32_t *d_position, int inverse);
int cuda_glu(void *b, uint32_t act, const float *d_gate, const float *d_up, uint64_t n, float *d_h);
int cuda_glu_backward(void *b, uint32_t act, const float *d_gate, const float *d_up, const float *d_dh, uint64_t n,
	float *d_dgate, float *d_dup);
int cuda_xent_begin(void *b, uint64_t rows, float *d_max, double *d_sum, float *d_target_logit, float *d_best,
	uint32_t *d_best_token);
int cuda_xent_slice(void *b, const float *d_logits, uint64_t rows, uint64_t ld, uint64_t n, uint32_t first,
	const uint32_t *d_target, float *d_max, double *d_sum, float *d_target_logit, float *d_best,
	uint32_t *d_best_token);
int cuda_xent_backward(void *b, float *d_logits, uint64_t rows, uint64_t ld, uint64_t n, uint32_t first,
	const uint32_t *d_target, const float *d_weight, const double *d_lse);
int cuda_act_stats(void *b, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, double *d_sum,
	double *d_sq, float *d_absmax);
int cuda_act_histogram(void *b, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, uint64_t *d_count);
int cuda_act_abs(void *b, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, double *d_abs);
int cuda_fake_quant(void *b, const struct cwp_activation *a, const float *d_x, uint64_t rows, uint64_t cols,
	float *d_y);
int cuda_gather_rows(void *b, const float *d_x, const uint32_t *d_index, const float *d_factor, uint64_t rows,
	uint64_t cols, float *d_y);
int cuda_scatter_rows(void *b, const float *d_x, const uint32_t *d_index, const float *d_factor, uint64_t rows,
	uint64_t cols, float *d_y);
int cuda_dot_rows(void *b, const float *d_x, const float *d_y, uint64_t rows, uint64_t cols, float *d_dot);
int cuda_softcap(void *b, float *d_x, uint64_t n, float cap);
int cuda_softcap_backward(void *b, float *d_dx, const float *d_y, uint64_t n, float cap);

#endif
