/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The kernels of the CPU backend: one table of function pointers, filled with plain C first and
 * then overwritten, in rising order, by the instruction sets of this machine. A kernel works on
 * contiguous memory of one thread, knows neither tensors nor threads, and never reads or writes
 * past the n elements it was given. No pointer needs an alignment. Sums run in an order that
 * depends on n alone.
 *
 * NaN and infinities go through arithmetic as IEEE 754 says; where a kernel compares, its comment
 * says what NaN does. Denormals are kept: no kernel changes the floating-point environment. Only
 * bf16_panels of AVX512_BF16 and AMX are what the processor makes of them: numbers below 2^-126
 * count as 0, and two products are added up before they meet the sum. */
#ifndef CPU_KERNELS_H
#define CPU_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "plugins/backends/cpu/panels.h"

/* One product C [m, n] = (accumulate ? C : 0) + op(A) op(B), as in struct cwp_backend, on the
 * calling thread. */
struct gemm {
	int trans_a;
	int trans_b;
	int accumulate;
	size_t m;
	size_t n;
	size_t k;
	const float *a;
	size_t lda;
	const float *b;
	size_t ldb;
	float *c;
	size_t ldc;
};

struct kernels {
	const char *name; /* "scalar", "avx2", "avx512" */

	/* Products. gemm returns 0 or a negative code. */
	int (*gemm)(const struct gemm *g);
	/* The same for a few rows of A, with trans_b and without trans_a: every sum runs in an
	 * order that depends on k alone, so that a row of C is the same whatever rows are beside
	 * it. */
	void (*few)(const struct gemm *g);

	/* The same with A, rounded to BF16 already, and B rounded to BF16 on its way. */
	void (*few_bf16)(const struct gemm *g);
	/* y = x rounded to BF16 */
	void (*round_bf16)(float *y, const float *x, size_t n);

	/* Elements. */
	void (*add)(float *y, const float *x, size_t n);           /* y += x */
	void (*axpy)(float *y, float a, const float *x, size_t n); /* y += a * x */
	void (*scale)(float *y, float a, size_t n);                /* y *= a */
	void (*bf16)(float *y, const uint16_t *x, size_t n);       /* exact; NaN payloads kept */
	void (*f16)(float *y, const uint16_t *x,
		size_t n); /* exact; a signalling NaN may become quiet */
	void (*silu)(const float *gate, const float *up, size_t n, float *h);
	void (*gelu)(const float *gate, const float *up, size_t n, float *h);
	/* dgate and dup may be gate and up. */
	void (*silu_backward)(const float *gate, const float *up, const float *dh, size_t n,
		float *dgate, float *dup);
	void (*gelu_backward)(const float *gate, const float *up, const float *dh, size_t n,
		float *dgate, float *dup);

	/* Rows. */
	/* y = x * rstd * (w + offset); returns rstd. */
	float (*rmsnorm)(
		const float *x, const float *w, float offset, float eps, size_t n, float *y);
	/* dx = (accumulate ? dx : 0) + rstd * ((w + offset) * dy - x * rstd^2 * mean((w + offset) *
	 * dy * x)) */
	void (*rmsnorm_dx)(const float *dy, const float *x, const float *w, float offset,
		float rstd, size_t n, int accumulate, float *dx);
	/* dw += dy * x * rstd */
	void (*rmsnorm_dw)(const float *dy, const float *x, float rstd, size_t n, float *dw);
	/* Pairs (x[i], x[half + i]), i < half, turned by the angle whose cosine is c[i] and sine
	 * sign * s[i]. */
	void (*rope)(float *x, size_t half, const float *c, const float *s, float sign);
	/* Largest |x|, 0 for none; NaN when there is one. */
	float (*absmax)(const float *x, size_t n);
	/* y = scale * (rint(clamp(x / scale + zero, -128, 127)) - zero); NaN stays NaN. */
	void (*fake_int8)(const float *x, float scale, float zero, size_t n, float *y);
	/* y = scale * E4M3(x / scale), round to nearest even, limited to +-448; NaN stays NaN. */
	void (*fake_e4m3)(const float *x, float scale, size_t n, float *y);
	/* With h = |F16(x)|: column = max(column, h), NaN kept; returns the largest h that is not
	 * >= threshold, NaN when there is one. */
	float (*outliers)(const float *x, float threshold, size_t n, float *column);
	/* y = column >= threshold ? x : rint(F16(x) * inverse) * step */
	void (*fake_outliers)(const float *x, float inverse, float step, float threshold,
		const float *column, size_t n, float *y);
	/* sum += x, sq += x * x, absmax = max(absmax, |x|) by column, NaN kept; each [n] or NULL.
	 */
	void (*act_stats)(const float *x, size_t n, double *sum, double *sq, float *absmax);

	/* Softmax. */
	/* s = cap(scale * s), cap(v) = softcap * tanh(v / softcap) unless softcap is 0; returns the
	 * largest (NaN is passed over, -infinity for none). */
	float (*scores)(float *s, size_t n, float scale, float softcap);
	/* x = exp(x - shift); returns the sum. */
	float (*exp_sum)(float *x, size_t n, float shift);
	/* s = cap(scale * s), p = exp(s - lse) */
	void (*probs)(float *p, float *s, size_t n, float scale, float softcap, float lse);
	/* d = p * (d - delta) * scale, times 1 - (s / softcap)^2 unless softcap is 0. */
	void (*dscores)(float *d, const float *p, const float *s, size_t n, float delta,
		float scale, float softcap);
	float (*dot)(const float *a, const float *b, size_t n);
	/* Index of the largest, the first of equals, and the largest itself; NaN is passed over. n
	 * > 0; -infinity and 0 when all are NaN. */
	size_t (*argmax)(const float *x, size_t n, float *ret_max);
	/* Sum of exp(x - shift) in f64. */
	double (*sum_exp)(const float *x, size_t n, float shift);
	/* x = weight * exp((x - shift) - shift_low) */
	void (*softmax_weight)(float *x, size_t n, float shift, float shift_low, float weight);

	/* Panels of the operands as they are, and of the operands rounded to BF16, with sums in f32. */
	struct panels f32;
	struct panels bf16_panels;
};

/* Each fills what it has and leaves the rest. */
void kernels_scalar(struct kernels *k);
void kernels_avx2(struct kernels *k);
void kernels_avx512(struct kernels *k);
void kernels_avx512bf16(struct kernels *k);
void kernels_amx(struct kernels *k);

/* The last two differ from TIER_AVX512 in bf16_panels alone. */
enum tier {
	TIER_SCALAR = 0,
	TIER_AVX2 = 1,
	TIER_AVX512 = 2,
	TIER_AVX512BF16 = 3,
	TIER_AMX = 4
};

/* As CWP_CPU and the option isa have it: "scalar", "avx2", "avx512", "avx512bf16", "amx". */
extern const char *const tier_names[TIER_AMX + 1];

/* The highest tier that processor and operating system support. */
enum tier kernels_best(void);
/* Fills *k up to and including a tier, which must not be above kernels_best(). */
void kernels_fill(struct kernels *k, enum tier tier);

#endif
