/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Backend plugins: operations on device tensors. A backend sees matrices, rows and tiles, never a model.
 *
 * Conventions. Pointers named with the prefix d_ are device pointers from alloc(); on a host-memory backend they
 * are ordinary pointers. The caller may add offsets to them and never dereferences them unless the backend has
 * CWP_BACKEND_HOST_MEMORY. All matrices are row-major; ld is the distance between rows in elements. Activations,
 * gradients and statistics are f32 unless said otherwise; sums over tokens inside an operation are f32 or better
 * in a fixed order. Work is cut into tiles by shapes only: the same call gives the same bytes with any number of
 * threads. All operations of one handle are called from one thread, the one that opened it or that called enter() last; where
 * several handles are open, another thread may use another one at the same time. Operations may run asynchronously until
 * sync(); they return 0 or a negative code, CWP_ESTATE where the device is lost. `b` is what open() gave. [worker]: from the
 * handle's thread. */
#ifndef CWP_BACKEND_H
#define CWP_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include <cwp/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CWP_BACKEND_INTERFACE "cwp.backend/1.draft"

enum cwp_backend_flags { CWP_BACKEND_HOST_MEMORY = 1 << 0 };

enum cwp_dtype {
	CWP_F32 = 1,
	CWP_BF16 = 2,
	CWP_F16 = 3
};

/* A backend that can run products in BF16 declares an option "precision", an enumeration that holds "f32" and "bf16": what
 * matmul() and grad_stats() round their operands to. Sums are f32 either way, activations stay f32 in memory. */
#define CWP_BACKEND_PRECISION "precision"

enum cwp_glu { CWP_GLU_SILU = 1, CWP_GLU_GELU_TANH = 2 };

/* Several sequences packed one after another in a matrix of tokens: sequence s has the tokens
 * [start[s], start[s + 1]). The array is in host memory. */
struct cwp_sequences {
	uint64_t count;
	const uint64_t *start; /* [count + 1], ascending, start[0] == 0 */
};

/* What sequences begin with that is computed once for several of them: sequence s goes on after the rows of the ranges
 * [range[s], range[s + 1]), taken one after another; range i is rows [first[i], first[i] + count[i]) of the same matrix, before the
 * sequence's own. The arrays are in host memory. */
struct cwp_prefixes {
	const uint64_t *range; /* [sequences + 1], ascending, range[0] == 0 */
	const uint64_t *first;
	const uint64_t *count;
};

/* Causal attention with grouped queries over packed sequences. */
struct cwp_attention {
	uint32_t size;
	uint32_t flags;    /* 0 */
	uint32_t heads;
	uint32_t kv_heads; /* divides heads */
	uint32_t head_dim;
	uint32_t window;   /* 0: all earlier tokens; else only the last `window` tokens, self included */
	float scale;       /* multiplies q k^T */
	float softcap;     /* 0: none */
	struct cwp_sequences sequences;
	const struct cwp_prefixes *prefixes; /* NULL: none; forward only */
};

/* Statistics of one Linear [rows, cols] over samples: sample s has the tokens [start[s], start[s + 1]) of X and
 * dY; its gradient is g = dY_s^T X_s. The arrays [rows, cols] are added to; NULL ones are not wanted. */
struct cwp_grad_stats {
	uint32_t size;
	uint32_t flags; /* 0 */
	uint64_t rows;  /* output channels */
	uint64_t cols;  /* input channels */
	struct cwp_sequences samples;
	const float *d_x; /* [tokens, cols] */
	uint64_t ldx;
	const float *d_dy; /* [tokens, rows] */
	uint64_t lddy;
	float *d_sum;
	float *d_abs;
	float *d_sq;
};

/* How the input X [rows, cols] of a Linear is quantized before the product. v / s and all sums are f32, rounding is to
 * nearest even; a row whose scale would be 0 becomes 0, one that holds NaN or infinity NaN where a scale follows from it.
 *   INT8_TOKEN:   s = absmax of the row / 127.5;  s * clamp(round(x / s), -128, 127)
 *   FP8_TOKEN:    s = absmax of the row / 448;    s * E4M3(clamp(x / s, -448, 448))
 *   FP8_GROUP:    the same of each `group` neighbouring columns, which divides cols
 *   INT8_TENSOR:  s = scale;  s * (round(clamp(x / s + zero, -128, 127)) - zero)
 *   FP8_TENSOR:   s = scale;  as FP8_TOKEN
 *   INT8_OUTLIER: with h = x rounded to F16. A column where |h| >= threshold in any row of a sequence is an outlier in
 *     that sequence and stays x. The others: a = absmax of the row's h below the threshold;
 *     round(h * ((1 / a) * 127)) * (a / 127). Threshold 0: there are no outliers. */
struct cwp_activation {
	uint32_t size;
	uint32_t kind;   /* enum cwp_activation_kind of quantizer.h */
	uint32_t group;  /* of FP8_GROUP, else 0 */
	int32_t zero;    /* of INT8_TENSOR, -128 .. 127, else 0 */
	float scale;     /* of INT8_TENSOR and FP8_TENSOR, positive, else 0 */
	float threshold; /* of INT8_OUTLIER, else 0 */
	struct cwp_sequences sequences; /* of INT8_OUTLIER: those that the rows belong to; count 0: each row is one */
};

/* What a backend will be used for: the most of each. */
struct cwp_backend_use {
	uint32_t size;
	uint32_t flags;   /* 0 */
	uint64_t weights; /* numbers of the matrices of one layer */
	uint64_t tokens;  /* rows of activations in one call */
	uint64_t width;   /* columns of activations in one call */
	uint64_t sum;     /* columns of all different inputs of a layer's matrices together */
	uint64_t handles; /* that reduce() will have, this one included; 0 or 1: it will not be called */
};

/* What reduce() makes of the numbers of several handles. */
enum cwp_reduce {
	CWP_REDUCE_SUM_F32 = 1,
	CWP_REDUCE_SUM_F64 = 2,
	CWP_REDUCE_SUM_U64 = 3,
	CWP_REDUCE_MAX_F32 = 4
};

/* A device that open() can be asked for by its UUID. */
struct cwp_backend_device {
	uint32_t size;
	uint32_t flags; /* 0 */
	char uuid[64];  /* "GPU-6f5a..", as the vendor's tools print it */
	char name[128];
	uint64_t total; /* bytes of memory */
};

/* The factor that GPTQ (arXiv 2210.17323) rounds columns with, of the x x^T of a module's inputs. */
struct cwp_gptq_factor {
	uint32_t size;
	uint32_t flags; /* 0 */
	uint64_t n;
	const float *d_gram;     /* [n, n] symmetric, finite; of which [i][k] for k >= i is read: below may be anything */
	const uint32_t *d_order; /* [n] the column that comes i-th, each once; NULL: column i */
	double damping; /* added to every positive element of the diagonal; one that is not positive becomes 1 */
	/* [n, n] overwritten: the upper triangle U with U^T U = the inverse of what was damped, in that order; 0 below it. */
	float *d_u;
	void *d_work; /* gptq_work(rows, n) bytes for any rows */
};

/* GPTQ's rounding of columns one after another, in the order that made U. Each one's error is made good by those that follow.
 * Codes are integers of `bits`, value = (code - zero) * scale; codes, scales, zeros and exact as in struct cwp_quantizer_result. A
 * scale comes of the range of its group's weights that are not protected: symmetric absmax / (2^(bits-1) - 1), else (max - min) /
 * (2^bits - 1) of a range that holds 0; rounded to BF16 unless exact_scales, 1 where less than the least normal number. With an
 * order, of the weights as they were before the first column, else of what they have become when their group's first one comes. */
struct cwp_gptq_round {
	uint32_t size;
	uint32_t flags; /* 0 */
	uint64_t rows;
	uint64_t cols;
	uint64_t group; /* columns of a scale; cols: one a row */
	uint32_t bits;  /* 2 .. 8 */
	uint32_t symmetric;
	uint32_t exact_scales;
	uint32_t compensated;    /* a protected weight keeps the value that it has when its column comes, else its own */
	const uint32_t *d_order; /* [cols] as gptq_factor() had it */
	const float *d_u;        /* [cols, cols] */
	const float *d_weight;   /* [rows, cols] */
	const uint8_t *d_mask;   /* protected weights, one bit each, as in struct cwp_quantizer_tile; NULL: none */
	uint64_t mask_stride;    /* bytes */
	uint8_t *d_codes;        /* [rows, cols] */
	float *d_scales;         /* [rows, ceil(cols / group)] */
	int8_t *d_zeros;         /* the same; NULL where symmetric */
	float *d_exact;          /* [rows, cols] what protected weights are worth; only their places are written; NULL: not wanted */
	void *d_work;            /* gptq_work(rows, cols) bytes */
};

struct cwp_backend {
	uint32_t size;  /* sizeof(struct cwp_backend) */
	uint32_t flags; /* enum cwp_backend_flags */

	/* device: NULL or a UUID. The host table lives until close(). [worker] */
	int (*open)(const struct cwp_host *host, const struct cwp_setting *settings, const char *device, void **ret_b);
	void (*close)(void *b); /* NULL is allowed */
	/* What runs, for logs and manifests: "cpu avx512". Owned by the backend. */
	const char *(*describe)(void *b);

	/* 64-byte aligned device memory, not cleared; NULL when there is none. */
	void *(*alloc)(void *b, size_t bytes);
	void (*free)(void *b, void *d_p);
	int (*upload)(void *b, void *d_dst, const void *src, size_t bytes);
	int (*download)(void *b, void *dst, const void *d_src, size_t bytes);
	int (*zero)(void *b, void *d_dst, size_t bytes);
	int (*sync)(void *b);

	/* d_dst[i] = f32 of d_src[i] (enum cwp_dtype), i < n. Exact. */
	int (*convert)(void *b, float *d_dst, const void *d_src, uint32_t dtype, uint64_t n);
	/* C [m, n] = (accumulate ? C : 0) + op(A) op(B); op(A) is [m, k], A^T when trans_a; likewise B [k, n].
	 * With trans_b, without trans_a and for m of at most 16 a row of C should follow from its own row of A alone, to the
	 * last bit: then text that several sequences generate together is what each gives alone. */
	int (*matmul)(void *b, int trans_a, int trans_b, uint64_t m, uint64_t n, uint64_t k, const float *d_a,
		uint64_t lda, const float *d_b, uint64_t ldb, int accumulate, float *d_c, uint64_t ldc);
	/* d_y[i] += d_x[i] */
	int (*add)(void *b, float *d_y, const float *d_x, uint64_t n);
	/* Adds bias [cols] to each row of y [rows, cols]. */
	int (*add_bias)(void *b, float *d_y, const float *d_bias, uint64_t rows, uint64_t cols);

	/* y = x * rstd * (w + offset) by row, rstd = 1/sqrt(mean(x^2) + eps) [rows] is kept for the backward pass. */
	int (*rmsnorm)(void *b, const float *d_x, const float *d_w, float offset, float eps, uint64_t rows,
		uint64_t cols, float *d_y, float *d_rstd);
	/* dx (+)= gradient; with accumulate, dx is added to. d_dw, when not NULL: [samples.count, cols], each sample's
	 * gradient of w, overwritten. */
	int (*rmsnorm_backward)(void *b, const float *d_dy, const float *d_x, const float *d_w, float offset,
		const float *d_rstd, uint64_t rows, uint64_t cols, int accumulate, float *d_dx,
		const struct cwp_sequences *samples, float *d_dw);

	/* Rotary embedding in place on x [rows, heads * head_dim], pairs (i, i + rotary/2) within the first
	 * `rotary` of each head; d_cos, d_sin [positions, rotary/2]; d_position [rows] u32. inverse: the transpose
	 * rotation, for the backward pass. */
	int (*rope)(void *b, float *d_x, uint64_t rows, uint64_t ld, uint32_t heads, uint32_t head_dim,
		uint32_t rotary, const float *d_cos, const float *d_sin, const uint32_t *d_position, int inverse);

	/* q [T, heads * head_dim], k and v [T, kv_heads * head_dim] -> out [T, heads * head_dim] and the logarithm of
	 * each row's softmax sum lse [heads, T]. */
	int (*attention)(void *b, const struct cwp_attention *a, const float *d_q, const float *d_k,
		const float *d_v, float *d_out, float *d_lse);
	/* dq, dk, dv are overwritten. */
	int (*attention_backward)(void *b, const struct cwp_attention *a, const float *d_q, const float *d_k,
		const float *d_v, const float *d_out, const float *d_lse, const float *d_dout, float *d_dq,
		float *d_dk, float *d_dv);
	/* One new token a sequence against its cache: q [heads * head_dim]; k_cache, v_cache [length, kv_heads * head_dim],
	 * the new token's own row included -> out [heads * head_dim]. a->sequences is ignored. */
	int (*attention_decode)(void *b, const struct cwp_attention *a, const float *d_q, const float *d_k_cache,
		const float *d_v_cache, uint64_t length, float *d_out);

	/* h = act(gate) * up, n elements (enum cwp_glu). */
	int (*glu)(void *b, uint32_t act, const float *d_gate, const float *d_up, uint64_t n, float *d_h);
	/* d_dgate, d_dup are overwritten; they may be the same memory as d_gate, d_up. */
	int (*glu_backward)(void *b, uint32_t act, const float *d_gate, const float *d_up, const float *d_dh,
		uint64_t n, float *d_dgate, float *d_dup);

	/* Cross entropy over a vocabulary that comes in slices. For row t, logits [rows, n] are the scores of the tokens
	 * [first, first + n). Before the first slice d_max is -inf and d_sum 0 (set by xent_begin). xent_slice updates
	 * the running maximum, the sum of exp(logit - max), the target's logit, and the best token so far (argmax,
	 * first of equals). All [rows]. */
	int (*xent_begin)(void *b, uint64_t rows, float *d_max, double *d_sum, float *d_target_logit,
		float *d_best, uint32_t *d_best_token);
	int (*xent_slice)(void *b, const float *d_logits, uint64_t rows, uint64_t ld, uint64_t n, uint32_t first,
		const uint32_t *d_target, float *d_max, double *d_sum, float *d_target_logit, float *d_best,
		uint32_t *d_best_token);
	/* logits -> gradient in place: weight[t] * (softmax - [token == target]), softmax = exp(logit - lse[t]). */
	int (*xent_backward)(void *b, float *d_logits, uint64_t rows, uint64_t ld, uint64_t n, uint32_t first,
		const uint32_t *d_target, const float *d_weight, const double *d_lse);

	/* Per-sample gradient statistics, fused: the gradient itself is never stored. */
	int (*grad_stats)(void *b, const struct cwp_grad_stats *s);
	/* Activation statistics of X [rows, cols]: sum and sum of squares in f64, maximum of |x|; added to. NULL ones
	 * are not wanted. */
	int (*act_stats)(void *b, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, double *d_sum,
		double *d_sq, float *d_absmax);

	/* Adds to count [CWP_HISTOGRAM_BINS of scorer.h] how many |x| of X [rows, cols] lie in each bin; NaN lies in the last. */
	int (*act_histogram)(void *b, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, uint64_t *d_count);

	/* y [rows, cols] = dequantized(quantized(x)). d_y may be d_x, but not with INT8_OUTLIER. */
	int (*fake_quant)(void *b, const struct cwp_activation *a, const float *d_x, uint64_t rows, uint64_t cols,
		float *d_y);

	/* Rows by number, for mixtures of experts. d_index [rows] u32, or NULL: row i itself; d_factor [rows], or NULL: 1. */
	/* y [rows, cols]: y[i] = factor[i] * x[index[i]]. d_y may be d_x when d_index is NULL. */
	int (*gather_rows)(void *b, const float *d_x, const uint32_t *d_index, const float *d_factor, uint64_t rows,
		uint64_t cols, float *d_y);
	/* y[index[i]] += factor[i] * x[i] for x [rows, cols]; no number comes twice. */
	int (*scatter_rows)(void *b, const float *d_x, const uint32_t *d_index, const float *d_factor, uint64_t rows,
		uint64_t cols, float *d_y);
	/* dot[i] = sum over cols of x[i] * y[i]. */
	int (*dot_rows)(void *b, const float *d_x, const float *d_y, uint64_t rows, uint64_t cols, float *d_dot);
	/* x = cap * tanh(x / cap), n elements in place, cap > 0. */
	int (*softcap)(void *b, float *d_x, uint64_t n, float cap);
	/* dx *= 1 - (y / cap)^2, y being what softcap gave. */
	int (*softcap_backward)(void *b, float *d_dx, const float *d_y, uint64_t n, float cap);
	/* abs[c] += sum over rows of |X[r, c]|, X [rows, cols], in f64. */
	int (*act_abs)(void *b, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, double *d_abs);

	/* d_dst = d_src, bytes, both on the device; they do not overlap. */
	int (*copy)(void *b, void *d_dst, const void *d_src, size_t bytes);
	/* d_dst[i] (enum cwp_dtype) = d_src[i] rounded to nearest even, i < n; beyond the largest F16: infinity. */
	int (*narrow)(void *b, void *d_dst, uint32_t dtype, const float *d_src, uint64_t n);

	/* Memory of the host that the device reaches fastest, 64-byte aligned, not cleared; NULL when there is none. */
	void *(*host_alloc)(void *b, size_t bytes);
	void (*host_free)(void *b, void *p); /* NULL is allowed */

	/* Weights that are loaded beside the computation. load_begin [worker]: what operations called so far still read or write
	 * is not touched by the loads that follow. load: d_dst[i] = f32 of src[i] (enum cwp_dtype of host memory), i < n;
	 * src is free again when it returns. load may be called by several threads at the same time, in any order, while the main
	 * one calls other operations on other memory; no fail() but a code is its only word then. load_wait [worker], after the
	 * last load: operations called from here on see what was loaded. */
	int (*load_begin)(void *b);
	int (*load)(void *b, float *d_dst, const void *src, uint32_t dtype, uint64_t n);
	int (*load_wait)(void *b);
	/* Transfers beside the computation, host memory from host_alloc(). fetch: dst = d_src as operations called so far leave
	 * it; dst is whole after fetch_wait(), and only then may an operation write d_src again. send: d_dst = src, begun after the
	 * operations called so far; operations called after send_wait() see it; src may be changed after the next
	 * sync() or fetch_wait(). */
	int (*fetch)(void *b, void *dst, const void *d_src, size_t bytes);
	int (*fetch_wait)(void *b);
	int (*send)(void *b, void *d_dst, const void *src, size_t bytes);
	int (*send_wait)(void *b);

	/* Bytes of the device's memory: in all, and not taken by anybody now. On a host-memory backend both may be 0: not known. */
	int (*memory)(void *b, uint64_t *ret_total, uint64_t *ret_free);
	/* What the backend takes for itself, at most, beside what alloc() gives. May be called before reserve(). */
	uint64_t (*overhead)(void *b, const struct cwp_backend_use *use);
	/* Takes `bytes` for alloc() and for itself, at once: from here on no more is ever taken, and alloc() beyond it is NULL.
	 * -ENOMEM when the device has less free. Without it memory is taken as it is asked for. */
	int (*reserve)(void *b, uint64_t bytes, const struct cwp_backend_use *use);
	/* 1 when with trans_b, without trans_a a row of C follows from its own row of A alone for every m above 16, whatever m
	 * is; else 0. */
	int (*rows_alone)(void *b);

	/* The device of this number among those that open() takes, from 0 on; before open(), and without taking memory of any
	 * device. CWP_EMISSING past the last one, at once where there is nothing to choose from; another code where devices cannot
	 * be asked for (no driver, one that is too old), with the reason through host->fail(). */
	int (*devices)(const struct cwp_host *host, uint32_t index, struct cwp_backend_device *ret);

	/* From here on the calling thread is the one that calls operations of this handle. No operation of it is being called then. A
	 * thread that uses several handles calls it whenever it goes over to another one. */
	int (*enter)(void *b);
	/* d_x[0] [count] = sum or maximum (enum cwp_reduce) of d_x[k] [count] over k < n; d_x[k] is memory of b[k], handles of
	 * different devices. The order of additions follows from n and count alone. What is in d_x[k] for k > 0 is of no use any
	 * more. Each handle's operations called before are done before, those called later come after. The caller uses b[0], before and behind; no
	 * thread calls another operation of any of the handles meanwhile. */
	int (*reduce)(void *const *b, uint32_t n, uint32_t kind, void *const *d_x, uint64_t count);

	/* The rest may be NULL, all together: the host computes it then. */

	/* 1: a pivot is not positive, and d_u is of no use. */
	int (*gptq_factor)(void *b, const struct cwp_gptq_factor *f);
	/* CWP_ENUMBER where a weight, or what one has become, is not finite; what was written is of no use then. */
	int (*gptq_round)(void *b, const struct cwp_gptq_round *r);
	/* Bytes of d_work of both, at most, for a module of this shape. May be called before reserve(). */
	uint64_t (*gptq_work)(void *b, uint64_t rows, uint64_t cols);
};

#ifdef __cplusplus
}
#endif
#endif
