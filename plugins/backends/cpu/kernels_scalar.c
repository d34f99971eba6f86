/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The kernels in plain C: the reference of the other tiers, and what runs where there is no other.
 */
#include <math.h>
#include <string.h>

#include "plugins/backends/cpu/kernels.h"
#include "plugins/backends/cpu/rounding.h"

enum { MR = 4, NR = 8 };

static int gemm(const struct gemm *g)
{
	size_t a_row = g->trans_a ? 1 : g->lda, a_k = g->trans_a ? g->lda : 1;
	size_t b_k = g->trans_b ? 1 : g->ldb, b_col = g->trans_b ? g->ldb : 1;
	for (size_t i = 0; i < g->m; i++) {
		float *c = g->c + i * g->ldc;
		for (size_t j = 0; j < g->n; j++) {
			float sum = 0.0F;
			for (size_t p = 0; p < g->k; p++) {
				sum += g->a[i * a_row + p * a_k] * g->b[p * b_k + j * b_col];
			}
			c[j] = g->accumulate ? c[j] + sum : sum;
		}
	}
	return 0;
}

static float dot(const float *a, const float *b, size_t n)
{
	float sum = 0.0F;
	for (size_t i = 0; i < n; i++) {
		sum += a[i] * b[i];
	}
	return sum;
}

static void few(const struct gemm *g)
{
	for (size_t i = 0; i < g->m; i++) {
		for (size_t j = 0; j < g->n; j++) {
			float v = dot(g->a + i * g->lda, g->b + j * g->ldb, g->k);
			float *c = g->c + i * g->ldc + j;
			*c = g->accumulate ? *c + v : v;
		}
	}
}

static void round_bf16(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		y[i] = bf16_rounded(x[i]);
	}
}

static void few_bf16(const struct gemm *g)
{
	for (size_t i = 0; i < g->m; i++) {
		for (size_t j = 0; j < g->n; j++) {
			float v = 0.0F, *c = g->c + i * g->ldc + j;
			for (size_t p = 0; p < g->k; p++) {
				v += g->a[i * g->lda + p] * bf16_rounded(g->b[j * g->ldb + p]);
			}
			*c = g->accumulate ? *c + v : v;
		}
	}
}

static void pack(const struct pack *p, size_t width, int rounded)
{
	size_t down = p->along ? 1 : p->ld, across = p->along ? p->ld : 1;
	size_t panels = (p->n + width - 1) / width;
	for (size_t i = 0; i < panels * width; i++) {
		float *to = (float *)(void *)((char *)p->dst + i / width * p->distance) + i % width;
		for (size_t q = 0; q < p->k; q++) {
			float x = i < p->n ? p->src[q * down + i * across] : 0.0F;
			to[q * width] = rounded ? bf16_rounded(x) : x;
		}
	}
}

static void pack_a(const struct pack *p)
{
	pack(p, MR, 0);
}

static void pack_b(const struct pack *p)
{
	pack(p, NR, 0);
}

static void pack_a_bf16(const struct pack *p)
{
	pack(p, MR, 1);
}

static void pack_b_bf16(const struct pack *p)
{
	pack(p, NR, 1);
}

static void micro(size_t k, const void *va, const void *vb, const struct ahead *next,
	int accumulate, float *g, size_t ld)
{
	const float *a = va, *b = vb;
	(void)next;
	for (size_t i = 0; i < MR; i++) {
		for (size_t j = 0; j < NR; j++) {
			float sum = accumulate ? g[i * ld + j] : 0.0F;
			for (size_t p = 0; p < k; p++) {
				sum += a[p * MR + i] * b[p * NR + j];
			}
			g[i * ld + j] = sum;
		}
	}
}

static void micro_stats(size_t k, const void *a, const void *b, const struct ahead *next,
	const float *g, const struct micro_stats *s)
{
	float tile[MR * NR] = {0};
	if (g) {
		memcpy(tile, g, sizeof(tile));
	}
	micro(k, a, b, next, 1, tile, NR);
	for (size_t i = 0; i < (size_t)MR * NR; i++) {
		if (s->sum) {
			s->sum[i] += tile[i];
		}
		if (s->abs) {
			s->abs[i] += fabsf(tile[i]);
		}
		if (s->sq) {
			s->sq[i] += tile[i] * tile[i];
		}
	}
}

static void add(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		y[i] += x[i];
	}
}

static void axpy(float *y, float a, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		y[i] += a * x[i];
	}
}

static void scale(float *y, float a, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		y[i] *= a;
	}
}

static void bf16(float *y, const uint16_t *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t bits = (uint32_t)x[i] << 16;
		memcpy(&y[i], &bits, sizeof(bits));
	}
}

static void f16(float *y, const uint16_t *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t sign = (uint32_t)(x[i] & 0x8000) << 16, exponent = (x[i] >> 10) & 31,
			 mantissa = x[i] & 1023;
		uint32_t bits = sign | (exponent + 112) << 23 | mantissa << 13;
		if (exponent == 31) {
			/* A NaN becomes quiet, as the instruction does it. */
			bits = sign | 0x7F800000U | mantissa << 13 | (mantissa ? 0x400000U : 0);
		} else if (exponent == 0) {
			float v = (float)mantissa * 0x1p-24F;
			memcpy(&bits, &v, sizeof(bits));
			bits |= sign;
		}
		memcpy(&y[i], &bits, sizeof(bits));
	}
}

static float sigmoid(float x)
{
	return 1.0F / (1.0F + expf(-x));
}

static void silu(const float *gate, const float *up, size_t n, float *h)
{
	for (size_t i = 0; i < n; i++) {
		h[i] = gate[i] * sigmoid(gate[i]) * up[i];
	}
}

static void silu_backward(
	const float *gate, const float *up, const float *dh, size_t n, float *dgate, float *dup)
{
	for (size_t i = 0; i < n; i++) {
		float g = gate[i], u = up[i], s = sigmoid(g);
		dgate[i] = dh[i] * u * s * (1.0F + g * (1.0F - s));
		dup[i] = dh[i] * (g * s);
	}
}

/* gelu_tanh(x) = x / 2 (1 + tanh(y)) = x sigmoid(2 y), y = sqrt(2 / pi) (x + 0.044715 x^3). Beyond
 * +-20 the sigmoid is 0 or 1, so that the powers may stop there and never overflow. */
static float gelu_argument(float x, float *ret_derivative)
{
	float c = x < -20.0F ? -20.0F : x > 20.0F ? 20.0F : x;
	*ret_derivative = 1.5957691216F * (1.0F + 0.134145F * c * c);
	return 1.5957691216F * (c + 0.044715F * c * c * c);
}

static void gelu(const float *gate, const float *up, size_t n, float *h)
{
	for (size_t i = 0; i < n; i++) {
		float d = 0.0F;
		h[i] = gate[i] * sigmoid(gelu_argument(gate[i], &d)) * up[i];
	}
}

static void gelu_backward(
	const float *gate, const float *up, const float *dh, size_t n, float *dgate, float *dup)
{
	for (size_t i = 0; i < n; i++) {
		float d = 0.0F, g = gate[i], u = up[i], s = sigmoid(gelu_argument(g, &d));
		dgate[i] = dh[i] * u * (s + g * (s * (1.0F - s) * d));
		dup[i] = dh[i] * (g * s);
	}
}

static float rmsnorm(const float *x, const float *w, float offset, float eps, size_t n, float *y)
{
	double sum = 0.0;
	for (size_t i = 0; i < n; i++) {
		sum += (double)x[i] * (double)x[i];
	}
	float rstd = 1.0F / sqrtf((float)(sum / (double)n) + eps);
	for (size_t i = 0; i < n; i++) {
		y[i] = x[i] * rstd * (w[i] + offset);
	}
	return rstd;
}

static void rmsnorm_dx(const float *dy, const float *x, const float *w, float offset, float rstd,
	size_t n, int accumulate, float *dx)
{
	double sum = 0.0;
	for (size_t i = 0; i < n; i++) {
		sum += (double)(dy[i] * (w[i] + offset)) * (double)x[i];
	}
	float c = (float)(sum / (double)n) * rstd * rstd;
	for (size_t i = 0; i < n; i++) {
		float v = rstd * (dy[i] * (w[i] + offset) - x[i] * c);
		dx[i] = accumulate ? dx[i] + v : v;
	}
}

static void rmsnorm_dw(const float *dy, const float *x, float rstd, size_t n, float *dw)
{
	for (size_t i = 0; i < n; i++) {
		dw[i] += dy[i] * (x[i] * rstd);
	}
}

static void rope(float *x, size_t half, const float *c, const float *s, float sign)
{
	for (size_t i = 0; i < half; i++) {
		float a = x[i], b = x[half + i], sine = sign * s[i];
		x[i] = a * c[i] - b * sine;
		x[half + i] = b * c[i] + a * sine;
	}
}

static float absmax(const float *x, size_t n)
{
	float m = 0.0F;
	for (size_t i = 0; i < n; i++) {
		float v = fabsf(x[i]);
		if (v > m || isnan(v)) {
			m = v;
		}
	}
	return m;
}

static void fake_int8(const float *x, float s, float zero, size_t n, float *y)
{
	for (size_t i = 0; i < n; i++) {
		float q = x[i] / s + zero;
		q = rintf(q < -128.0F ? -128.0F : q > 127.0F ? 127.0F : q);
		y[i] = s * (q - zero);
	}
}

/* E4M3 has 3 bits of mantissa down to 2^-6 and steps of 2^-9 below. */
static float e4m3(float x)
{
	float v = x < -448.0F ? -448.0F : x > 448.0F ? 448.0F : x;
	if (fabsf(v) < 0x1p-6F) {
		return rintf(v * 512.0F) * 0x1p-9F;
	}
	if (isnan(v)) {
		return v;
	}
	uint32_t bits = 0;
	memcpy(&bits, &v, sizeof(bits));
	bits = (bits + 0x7FFFF + (bits >> 20 & 1)) & ~0xFFFFFU;
	memcpy(&v, &bits, sizeof(bits));
	return v;
}

static void fake_e4m3(const float *x, float s, size_t n, float *y)
{
	for (size_t i = 0; i < n; i++) {
		y[i] = s * e4m3(x[i] / s);
	}
}

/* The nearest number that F16 can hold, ties to even; infinite from 65520 on. */
static float round_f16(float x)
{
	float a = fabsf(x), r = INFINITY;
	if (a < 0x1p-14F) {
		r = rintf(a * 0x1p24F) * 0x1p-24F;
	} else if (a < 65520.0F) {
		uint32_t bits = 0;
		memcpy(&bits, &a, sizeof(bits));
		bits = (bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFFU;
		memcpy(&r, &bits, sizeof(bits));
	}
	return isnan(x) ? x : copysignf(r, x);
}

static float outliers(const float *x, float threshold, size_t n, float *column)
{
	float most = 0.0F;
	for (size_t i = 0; i < n; i++) {
		float h = fabsf(round_f16(x[i]));
		if (h > column[i] || isnan(h)) {
			column[i] = h;
		}
		if (!(h >= threshold) && (h > most || isnan(h))) {
			most = h;
		}
	}
	return most;
}

static void fake_outliers(const float *x, float inverse, float step, float threshold,
	const float *column, size_t n, float *y)
{
	for (size_t i = 0; i < n; i++) {
		y[i] = column[i] >= threshold ? x[i] : rintf(round_f16(x[i]) * inverse) * step;
	}
}

static void act_stats(const float *x, size_t n, double *sum, double *sq, float *absmax_)
{
	for (size_t i = 0; i < n; i++) {
		double v = (double)x[i];
		if (sum) {
			sum[i] += v;
		}
		if (sq) {
			sq[i] += v * v;
		}
		if (absmax_ && (fabsf(x[i]) > absmax_[i] || isnan(x[i]))) {
			absmax_[i] = fabsf(x[i]);
		}
	}
}

static float scores(float *s, size_t n, float factor, float softcap)
{
	float m = -INFINITY;
	for (size_t i = 0; i < n; i++) {
		float v = s[i] * factor;
		if (softcap > 0.0F) {
			v = softcap * tanhf(v / softcap);
		}
		s[i] = v;
		if (v > m) {
			m = v;
		}
	}
	return m;
}

static float exp_sum(float *x, size_t n, float shift)
{
	double sum = 0.0;
	for (size_t i = 0; i < n; i++) {
		x[i] = expf(x[i] - shift);
		sum += (double)x[i];
	}
	return (float)sum;
}

static void probs(float *p, float *s, size_t n, float factor, float softcap, float lse)
{
	(void)scores(s, n, factor, softcap);
	for (size_t i = 0; i < n; i++) {
		p[i] = expf(s[i] - lse);
	}
}

static void dscores(float *d, const float *p, const float *s, size_t n, float delta, float factor,
	float softcap)
{
	for (size_t i = 0; i < n; i++) {
		float v = p[i] * (d[i] - delta) * factor;
		if (softcap > 0.0F) {
			float t = s[i] / softcap;
			v *= 1.0F - t * t;
		}
		d[i] = v;
	}
}

static size_t argmax(const float *x, size_t n, float *ret_max)
{
	size_t best = 0;
	float m = -INFINITY;
	for (size_t i = 0; i < n; i++) {
		if (x[i] > m) {
			m = x[i];
			best = i;
		}
	}
	*ret_max = m;
	return best;
}

static double sum_exp(const float *x, size_t n, float shift)
{
	double sum = 0.0;
	for (size_t i = 0; i < n; i++) {
		sum += (double)expf(x[i] - shift);
	}
	return sum;
}

static void softmax_weight(float *x, size_t n, float shift, float shift_low, float weight)
{
	for (size_t i = 0; i < n; i++) {
		x[i] = weight * expf((x[i] - shift) - shift_low);
	}
}

void kernels_scalar(struct kernels *k)
{
	*k = (struct kernels){
		.name = "scalar",
		.gemm = gemm,
		.few = few,
		.few_bf16 = few_bf16,
		.round_bf16 = round_bf16,
		.f32 = {"f32", MR, NR, 1, sizeof(float), 8, NULL, NULL, pack_a, pack_b, micro, micro_stats},
		.bf16_panels = {"bf16 emulated", MR, NR, 1, sizeof(float), 8, NULL, NULL, pack_a_bf16, pack_b_bf16, micro,
			micro_stats},
		.add = add,
		.axpy = axpy,
		.scale = scale,
		.bf16 = bf16,
		.f16 = f16,
		.silu = silu,
		.gelu = gelu,
		.silu_backward = silu_backward,
		.gelu_backward = gelu_backward,
		.rmsnorm = rmsnorm,
		.rmsnorm_dx = rmsnorm_dx,
		.rmsnorm_dw = rmsnorm_dw,
		.rope = rope,
		.absmax = absmax,
		.fake_int8 = fake_int8,
		.fake_e4m3 = fake_e4m3,
		.outliers = outliers,
		.fake_outliers = fake_outliers,
		.act_stats = act_stats,
		.scores = scores,
		.exp_sum = exp_sum,
		.probs = probs,
		.dscores = dscores,
		.dot = dot,
		.argmax = argmax,
		.sum_exp = sum_exp,
		.softmax_weight = softmax_weight,
	};
}
