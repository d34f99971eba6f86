/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the search for scales asks for, with AVX-512. Grids lie in lanes, so that each sum is formed weight by weight, as in plain C;
 * compiled without contraction of products and sums into one rounding. */
#include <immintrin.h>
#include <stddef.h>

#include "plugins/quantizers/rows/lanes_avx512.h"
#include "plugins/quantizers/rows/quotient.h"
#include "plugins/quantizers/rows/rows.h"

enum { LANES = 16 };

struct grids {
	__m512 scale, inverse, rest, low, high; /* limits are those of codes without their zero point */
	int products;
};

/* Sixteen grids from `at` on; those that there are not have the scale 1. */
static struct grids grids_at(const struct row_grids *g, uint32_t at)
{
	const __mmask16 some = lanes(g->n - at);
	const __m512 one = _mm512_set1_ps(1), zero = _mm512_maskz_loadu_ps(some, g->zero + at);
	struct grids r = {.scale = _mm512_mask_loadu_ps(one, some, g->scale + at), .products = 1};

	for (uint32_t i = at; i < g->n && i < at + LANES; i++) {
		r.products &= quotient_by_products(g->scale[i]);
	}
	r.inverse = _mm512_div_ps(one, r.scale);
	r.rest = _mm512_mul_ps(_mm512_fnmadd_ps(r.scale, r.inverse, one), r.inverse);
	r.low = _mm512_sub_ps(_mm512_set1_ps(g->low), zero);
	r.high = _mm512_sub_ps(_mm512_set1_ps(g->high), zero);
	return r;
}

/* The square of what rounding by each of eight grids adds to w. */
static inline __m512d square(__m256 value, __m512d w)
{
	const __m512d error = _mm512_sub_pd(_mm512_cvtps_pd(value), w);

	return _mm512_mul_pd(error, error);
}

static inline void add_up(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, const struct grids *g, int products, double *ret)
{
	__m512d lower = _mm512_setzero_pd(), upper = lower;

	for (uint64_t c = first; c < first + n; c++) {
		if (mask != NULL && is_protected(mask, c)) {
			continue;
		}
		const __m512 w = _mm512_set1_ps(v[c]);
		const __m512d exact = _mm512_set1_pd((double)v[c]);
		const __m512 q = products ? _mm512_fmadd_ps(w, g->inverse, _mm512_mul_ps(w, g->rest)) : _mm512_div_ps(w, g->scale);
		const __m512 code = _mm512_roundscale_ps(_mm512_min_ps(_mm512_max_ps(q, g->low), g->high),
			_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
		const __m512 value = _mm512_mul_ps(code, g->scale);
		lower = _mm512_add_pd(lower, square(_mm512_castps512_ps256(value), exact));
		upper = _mm512_add_pd(upper, square(_mm512_extractf32x8_ps(value, 1), exact));
	}
	_mm512_storeu_pd(ret, lower);
	_mm512_storeu_pd(ret + LANES / 2, upper);
}

void row_squares_avx512(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, const struct row_grids *grids, double *ret)
{
	double sum[LANES];

	for (uint32_t at = 0; at < grids->n; at += LANES) {
		const struct grids g = grids_at(grids, at);
		if (g.products) {
			add_up(v, mask, first, n, &g, 1, sum);
		} else {
			add_up(v, mask, first, n, &g, 0, sum);
		}
		for (uint32_t i = 0; i < LANES && at + i < grids->n; i++) {
			ret[at + i] = sum[i];
		}
	}
}

uint64_t row_count_avx512(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, int magnitudes, int32_t limit)
{
	const __m512i all = _mm512_set1_epi32(0x7fffffff), most = _mm512_set1_epi32(limit);
	const uint64_t end = first + n;
	uint64_t count = 0;

	for (uint64_t i = first; i < end; i += LANES) {
		const __mmask16 there = lanes(end - i);
		const unsigned out = mask != NULL ? protected_bits(mask, i, end - i < LANES ? end - i : LANES) : 0;
		const __m512i bits = _mm512_maskz_loadu_epi32(there, v + i);
		const __m512i key = magnitudes ? _mm512_and_si512(bits, all)
			: _mm512_xor_si512(bits, _mm512_and_si512(_mm512_srai_epi32(bits, 31), all));
		count += (uint64_t)__builtin_popcount(_mm512_mask_cmple_epi32_mask((__mmask16)(there & ~out), key, most));
	}
	return count;
}

void row_errors_avx512(const float *v, uint64_t n, float scale, float zero, float low, float high, float *ret)
{
	const int products = quotient_by_products(scale);
	const __m512 by = _mm512_set1_ps(scale), inverse = _mm512_div_ps(_mm512_set1_ps(1), by),
		     rest = _mm512_mul_ps(_mm512_fnmadd_ps(by, inverse, _mm512_set1_ps(1)), inverse), least = _mm512_set1_ps(low - zero),
		     most = _mm512_set1_ps(high - zero);

	for (uint64_t i = 0; i < n; i += LANES) {
		const __mmask16 some = lanes(n - i);
		const __m512 w = _mm512_maskz_loadu_ps(some, v + i);
		const __m512 q = products ? _mm512_fmadd_ps(w, inverse, _mm512_mul_ps(w, rest)) : _mm512_div_ps(w, by);
		const __m512 code = _mm512_roundscale_ps(_mm512_min_ps(_mm512_max_ps(q, least), most),
			_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
		_mm512_mask_storeu_ps(ret + i, some, _mm512_sub_ps(_mm512_mul_ps(code, by), w));
	}
}

/* Columns [k, k + 32) of all four, those beyond n left out. */
static inline void weigh_columns(const float *e, uint64_t n, const float *gram, uint64_t stride, uint64_t k, float *y)
{
	const uint64_t left = n - k;
	const __mmask16 lower = lanes(left), upper = lanes(left < LANES ? 0 : left - LANES);
	__m512 a = _mm512_setzero_ps(), b = a, c = a, d = a, p = a, q = a, r = a, s = a;

	for (uint64_t j = 0; j < n; j++) {
		const float *from = gram + j * stride + k;
		const __m512 g = _mm512_maskz_loadu_ps(lower, from), h = _mm512_maskz_loadu_ps(upper, from + LANES);
		const __m512 e0 = _mm512_set1_ps(e[j]), e1 = _mm512_set1_ps(e[n + j]), e2 = _mm512_set1_ps(e[2 * n + j]),
			e3 = _mm512_set1_ps(e[3 * n + j]);
		a = _mm512_add_ps(a, _mm512_mul_ps(e0, g));
		b = _mm512_add_ps(b, _mm512_mul_ps(e1, g));
		c = _mm512_add_ps(c, _mm512_mul_ps(e2, g));
		d = _mm512_add_ps(d, _mm512_mul_ps(e3, g));
		p = _mm512_add_ps(p, _mm512_mul_ps(e0, h));
		q = _mm512_add_ps(q, _mm512_mul_ps(e1, h));
		r = _mm512_add_ps(r, _mm512_mul_ps(e2, h));
		s = _mm512_add_ps(s, _mm512_mul_ps(e3, h));
	}
	const __m512 sums[2][ROW_ERRORS] = {{a, b, c, d}, {p, q, r, s}};
	for (uint64_t i = 0; i < ROW_ERRORS; i++) {
		_mm512_mask_storeu_ps(y + i * n + k, lower, sums[0][i]);
		_mm512_mask_storeu_ps(y + i * n + k + LANES, upper, sums[1][i]);
	}
}

void row_weigh_avx512(const float *e, uint64_t n, const float *gram, uint64_t stride, float *y)
{
	for (uint64_t k = 0; k < n; k += 2 * LANES) {
		weigh_columns(e, n, gram, stride, k, y);
	}
}
