/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Kernels of elements, rows and columns. Included by launch.h alone. The operations are those of struct cwp_backend; sizes of 0
 * start nothing. Arrays of starts are on the device. d_copy and others of that name: the result rounded
 * to BF16 besides, with rows one behind the other; NULL: not wanted. */
#ifndef CUDA_LAUNCH_ROWS_H
#define CUDA_LAUNCH_ROWS_H

/* elements.cu */
cudaError_t launch_from_bf16(cudaStream_t stream, float *d_dst, const uint16_t *d_src, uint64_t n);
cudaError_t launch_from_f16(cudaStream_t stream, float *d_dst, const uint16_t *d_src, uint64_t n);
cudaError_t launch_to_bf16(cudaStream_t stream, uint16_t *d_dst, const float *d_src, uint64_t n);
cudaError_t launch_to_f16(cudaStream_t stream, uint16_t *d_dst, const float *d_src, uint64_t n);
cudaError_t launch_add(cudaStream_t stream, float *d_y, const float *d_x, uint64_t n, uint16_t *d_copy);
cudaError_t launch_add_bias(cudaStream_t stream, float *d_y, const float *d_bias, uint64_t rows, uint64_t cols);
cudaError_t launch_softcap(cudaStream_t stream, float *d_x, uint64_t n, float cap);
cudaError_t launch_softcap_backward(cudaStream_t stream, float *d_dx, const float *d_y, uint64_t n, float cap);

/* glu.cu */
cudaError_t launch_glu(cudaStream_t stream, uint32_t act, const float *d_gate, const float *d_up, uint64_t n, float *d_h,
	uint16_t *d_copy);
cudaError_t launch_glu_backward(cudaStream_t stream, uint32_t act, const float *d_gate, const float *d_up, const float *d_dh,
	uint64_t n, float *d_dgate, float *d_dup, uint16_t *d_dgate_copy, uint16_t *d_dup_copy);

/* norm.cu */
cudaError_t launch_rmsnorm(cudaStream_t stream, const float *d_x, const float *d_w, float offset, float eps, uint64_t rows,
	uint64_t cols, float *d_y, uint16_t *d_copy, float *d_rstd);
cudaError_t launch_rmsnorm_dx(cudaStream_t stream, const float *d_dy, const float *d_x, const float *d_w, float offset,
	const float *d_rstd, uint64_t rows, uint64_t cols, int accumulate, float *d_dx, uint16_t *d_copy);
/* dw [samples, cols] of samples with the rows [start[s], start[s + 1]). */
cudaError_t launch_rmsnorm_dw(cudaStream_t stream, const float *d_dy, const float *d_x, const float *d_rstd, uint64_t cols,
	uint64_t samples, const uint64_t *d_start, float *d_dw);

/* rope.cu */
struct launch_rope {
	float *d_x;
	uint16_t *d_copy; /* with it, ld is heads * head_dim and half is head_dim / 2 */
	uint64_t rows;
	uint64_t ld;
	uint32_t heads;
	uint32_t head_dim;
	uint32_t half; /* pairs of a head */
	const float *d_cos;
	const float *d_sin;
	const uint32_t *d_position;
	float sign; /* of the angles */
};
cudaError_t launch_rope(cudaStream_t stream, const struct launch_rope *r);

/* xent.cu */
struct launch_xent {
	float *d_logits;
	uint16_t *d_copy; /* of backward's result; with it, ld is n */
	uint64_t rows;
	uint64_t ld;
	uint64_t n;
	uint32_t first;
	const uint32_t *d_target;
	float *d_max;
	double *d_sum;
	float *d_target_logit;
	float *d_best;
	uint32_t *d_best_token;
	const float *d_weight;
	const double *d_lse;
};
cudaError_t launch_xent_begin(cudaStream_t stream, const struct launch_xent *x);
cudaError_t launch_xent_slice(cudaStream_t stream, const struct launch_xent *x);
cudaError_t launch_xent_backward(cudaStream_t stream, const struct launch_xent *x);

/* act_stats.cu: columns of X [rows, cols]. Arrays that are NULL are not wanted; d_abs is wanted alone. */
struct launch_columns {
	const float *d_x;
	uint64_t rows;
	uint64_t cols;
	uint64_t ld;
	double *d_sum;
	double *d_sq;
	double *d_abs;
	float *d_absmax;
	void *d_scratch; /* launch_columns_scratch() bytes */
};
size_t launch_columns_scratch(uint64_t rows, uint64_t cols);
cudaError_t launch_columns(cudaStream_t stream, const struct launch_columns *c);

/* histogram.cu. processors: of the device. */
cudaError_t launch_histogram(cudaStream_t stream, int processors, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld,
	uint64_t *d_count);

/* fake_quant.cu */
/* One scale for all, found before. */
cudaError_t launch_fake_static(cudaStream_t stream, int fp8, float scale, float zero, const float *d_x, uint64_t n, float *d_y);
/* One scale a row. */
cudaError_t launch_fake_rows(cudaStream_t stream, int fp8, const float *d_x, uint64_t rows, uint64_t cols, float *d_y);
/* Sequences that have the rows [start[s], start[s + 1]); longest: rows of the longest of them; d_column [sequences, cols] is
 * memory to work in. d_start of NULL: each row is a sequence, their number is `sequences`, and d_column is not used. */
struct launch_outliers {
	const float *d_x;
	float *d_y;
	uint64_t cols;
	float threshold;
	uint64_t sequences;
	uint64_t longest;
	const uint64_t *d_start;
	float *d_column;
};
cudaError_t launch_fake_outliers(cudaStream_t stream, const struct launch_outliers *o);

/* rows_by_number.cu */
cudaError_t launch_gather_rows(cudaStream_t stream, const float *d_x, const uint32_t *d_index, const float *d_factor,
	uint64_t rows, uint64_t cols, float *d_y, uint16_t *d_copy);
cudaError_t launch_scatter_rows(cudaStream_t stream, const float *d_x, const uint32_t *d_index, const float *d_factor,
	uint64_t rows, uint64_t cols, float *d_y);
cudaError_t launch_dot_rows(cudaStream_t stream, const float *d_x, const float *d_y, uint64_t rows, uint64_t cols, float *d_dot);

#endif
