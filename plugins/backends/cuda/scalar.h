/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What kernels compute for one number, as the CPU backend computes it. The device's compiler reads this file and so does a
 * C compiler: tests compare these functions with the CPU backend on machines without a GPU. */
#ifndef CUDA_SCALAR_H
#define CUDA_SCALAR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define SCALAR static __host__ __device__ __forceinline__
#else
#define SCALAR static inline
#endif

SCALAR uint32_t scalar_bits(float x)
{
	uint32_t u;
	memcpy(&u, &x, sizeof(u));
	return u;
}

SCALAR float scalar_float(uint32_t u)
{
	float x;
	memcpy(&x, &u, sizeof(x));
	return x;
}

/* |x| as a whole number: it is in the order of the magnitudes, with NaN above infinity. */
SCALAR uint32_t scalar_magnitude(float x)
{
	return scalar_bits(x) & 0x7fffffffU;
}

/* Exact; NaN payloads are kept. */
SCALAR float scalar_from_bf16(uint16_t x)
{
	return scalar_float((uint32_t)x << 16);
}

/* Exact; a NaN becomes quiet. The exponent is moved by a product, which holds for subnormal numbers too. */
SCALAR float scalar_from_f16(uint16_t x)
{
	uint32_t sign = (uint32_t)(x & 0x8000U) << 16, rest = (uint32_t)(x & 0x7fffU) << 13;
	uint32_t u = scalar_bits(scalar_float(rest) * 0x1p112F);
	if (rest >= 0x0f800000U) {
		u = rest | 0x7f800000U | (rest > 0x0f800000U ? 0x400000U : 0U);
	}
	return scalar_float(sign | u);
}

/* To nearest even; a NaN stays one, whatever of its payload is cut off. */
SCALAR uint16_t scalar_to_bf16(float x)
{
	uint32_t u = scalar_bits(x), nearest = (u + 0x7fffU + (u >> 16 & 1U)) >> 16;
	return (uint16_t)((u & 0x7fffffffU) > 0x7f800000U ? (u >> 16 | 0x40U) : nearest);
}

/* To nearest even; infinite beyond the largest. Next to 1/2 the numbers of f32 are as far apart as the subnormals of F16, so
 * that one sum rounds those. */
SCALAR uint16_t scalar_to_f16(float x)
{
	uint32_t u = scalar_bits(x), sign = u >> 16 & 0x8000U, a = u & 0x7fffffffU, r;
	if (a >= 0x477ff000U) {
		r = a > 0x7f800000U ? 0x7e00U : 0x7c00U;
	} else if (a < 0x38800000U) {
		r = scalar_bits(scalar_float(a) + 0.5F) - 0x3f000000U;
	} else {
		r = (a + 0xfffU + (a >> 13 & 1U) - 0x38000000U) >> 13;
	}
	return (uint16_t)(sign | r);
}

/* The nearest number that F16 can hold, ties to even; infinite from 65520 on; NaN stays. */
SCALAR float scalar_round_f16(float x)
{
	uint32_t a = scalar_magnitude(x), r;
	if (a > 0x7f800000U) {
		return x;
	}
	if (a >= 0x477ff000U) {
		r = 0x7f800000U;
	} else if (a < 0x38800000U) {
		r = scalar_bits((scalar_float(a) + 0.5F) - 0.5F);
	} else {
		r = (a + 0xfffU + (a >> 13 & 1U)) & ~0x1fffU;
	}
	return scalar_float((scalar_bits(x) & 0x80000000U) | r);
}

/* The nearest E4M3 number within +-448: 3 bits of mantissa down to 2^-6, steps of 2^-9 below. NaN stays. */
SCALAR float scalar_e4m3(float x)
{
	float v = x < -448.0F ? -448.0F : x > 448.0F ? 448.0F : x;
	uint32_t u = scalar_bits(v), a = u & 0x7fffffffU;
	if (a < 0x3c800000U) {
		return rintf(v * 512.0F) * 0x1p-9F;
	}
	return a > 0x7f800000U ? v : scalar_float((u + 0x7ffffU + (u >> 20 & 1U)) & ~0xfffffU);
}

/* scale is positive and finite in both. */
SCALAR float scalar_fake_e4m3(float x, float scale)
{
	return scale * scalar_e4m3(x / scale);
}

SCALAR float scalar_fake_int8(float x, float scale, float zero)
{
	float q = x / scale + zero;
	q = rintf(q < -128.0F ? -128.0F : q > 127.0F ? 127.0F : q);
	return scale * (q - zero);
}

/* One number of INT8_OUTLIER; column: the largest |F16(x)| of its column in the sequence. */
SCALAR float scalar_fake_outlier(float x, float inverse, float step, float threshold, float column)
{
	return column >= threshold ? x : rintf(scalar_round_f16(x) * inverse) * step;
}

/* The bin of act_histogram that |x| belongs to. `first`: CWP_HISTOGRAM_FIRST, `bins`: CWP_HISTOGRAM_BINS. */
SCALAR uint32_t scalar_bin(float x, uint32_t first, uint32_t bins)
{
	uint32_t key = scalar_magnitude(x) >> 17, bin = key < first ? 0 : key - first + 1;
	return bin < bins ? bin : bins - 1;
}

SCALAR float scalar_sigmoid(float x)
{
	return 1.0F / (1.0F + expf(-x));
}

SCALAR float scalar_silu(float gate, float up)
{
	return gate * scalar_sigmoid(gate) * up;
}

SCALAR void scalar_silu_backward(float gate, float up, float dh, float *ret_dgate, float *ret_dup)
{
	float s = scalar_sigmoid(gate);
	*ret_dgate = dh * up * s * (1.0F + gate * (1.0F - s));
	*ret_dup = dh * (gate * s);
}

/* gelu_tanh(x) = x sigmoid(2 y), y = sqrt(2 / pi) (x + 0.044715 x^3). Beyond +-20 the sigmoid is 0 or 1, so that the powers may
 * stop there and never overflow. Returns 2 y. */
SCALAR float scalar_gelu_argument(float x, float *ret_derivative)
{
	float c = x < -20.0F ? -20.0F : x > 20.0F ? 20.0F : x;
	*ret_derivative = 1.5957691216F * (1.0F + 0.134145F * c * c);
	return 1.5957691216F * (c + 0.044715F * c * c * c);
}

SCALAR float scalar_gelu(float gate, float up)
{
	float d;
	return gate * scalar_sigmoid(scalar_gelu_argument(gate, &d)) * up;
}

SCALAR void scalar_gelu_backward(float gate, float up, float dh, float *ret_dgate, float *ret_dup)
{
	float d, s = scalar_sigmoid(scalar_gelu_argument(gate, &d));
	*ret_dgate = dh * up * (s + gate * (s * (1.0F - s) * d));
	*ret_dup = dh * (gate * s);
}

SCALAR float scalar_softcap(float x, float cap)
{
	return cap * tanhf(x / cap);
}

SCALAR float scalar_softcap_backward(float dx, float y, float cap)
{
	float t = y / cap;
	return dx * (1.0F - t * t);
}

/* What is taken off a logit before exp(), for a running maximum m. */
SCALAR float scalar_shift(float m)
{
	return m == -INFINITY ? 0.0F : m;
}

/* A sum of exp(x - from) as one of exp(x - to); from is -infinity when no x was larger, and the sum 0 or NaN. */
SCALAR double scalar_rescaled(double sum, float from, float to)
{
	return from == -INFINITY ? sum : sum * exp((double)from - (double)scalar_shift(to));
}

/* Orders pairs (value, place): a larger value first, of equal ones the earlier place. The value is not NaN. */
SCALAR uint64_t scalar_rank(float value, uint32_t place)
{
	uint32_t u = scalar_bits(value + 0.0F); /* -0 becomes 0 */
	u = u & 0x80000000U ? ~u : u | 0x80000000U;
	return (uint64_t)u << 32 | (uint32_t)~place;
}

SCALAR float scalar_rank_value(uint64_t rank)
{
	uint32_t u = (uint32_t)(rank >> 32);
	return scalar_float(u & 0x80000000U ? u & 0x7fffffffU : ~u);
}

SCALAR uint32_t scalar_rank_place(uint64_t rank)
{
	return ~(uint32_t)rank;
}

#endif
