/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the search for scales asks for, with AVX2 and FMA. Grids lie in lanes, so that each sum is formed weight by weight, as in
 * plain C; compiled without contraction of products and sums into one rounding. */
#include <immintrin.h>
#include <stddef.h>

#include "plugins/quantizers/rows/lanes_avx2.h"
#include "plugins/quantizers/rows/quotient.h"
#include "plugins/quantizers/rows/rows.h"

enum { LANES = 8 };

struct grids {
	__m256 scale, inverse, rest, low, high; /* limits are those of codes without their zero point */
	int products;
};

/* Eight grids from `at` on; those that there are not have the scale 1. */
static struct grids grids_at(const struct row_grids *g, uint32_t at)
{
	const __m256 one = _mm256_set1_ps(1);
	float scale[LANES], zero[LANES];
	struct grids r = {.products = 1};

	for (uint32_t i = 0; i < LANES; i++) {
		scale[i] = at + i < g->n ? g->scale[at + i] : 1;
		zero[i] = at + i < g->n ? g->zero[at + i] : 0;
		r.products &= quotient_by_products(scale[i]);
	}
	r.scale = _mm256_loadu_ps(scale);
	r.inverse = _mm256_div_ps(one, r.scale);
	r.rest = _mm256_mul_ps(_mm256_fnmadd_ps(r.scale, r.inverse, one), r.inverse);
	r.low = _mm256_sub_ps(_mm256_set1_ps(g->low), _mm256_loadu_ps(zero));
	r.high = _mm256_sub_ps(_mm256_set1_ps(g->high), _mm256_loadu_ps(zero));
	return r;
}

/* The square of what rounding by each of four grids adds to w. */
static inline __m256d square(__m128 value, __m256d w)
{
	const __m256d error = _mm256_sub_pd(_mm256_cvtps_pd(value), w);

	return _mm256_mul_pd(error, error);
}

static inline void add_up(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, const struct grids *g, int products, double *ret)
{
	__m256d lower = _mm256_setzero_pd(), upper = lower;

	for (uint64_t c = first; c < first + n; c++) {
		if (mask != NULL && is_protected(mask, c)) {
			continue;
		}
		const __m256 w = _mm256_set1_ps(v[c]);
		const __m256d exact = _mm256_set1_pd((double)v[c]);
		const __m256 q = products ? _mm256_fmadd_ps(w, g->inverse, _mm256_mul_ps(w, g->rest)) : _mm256_div_ps(w, g->scale);
		const __m256 code = _mm256_round_ps(_mm256_min_ps(_mm256_max_ps(q, g->low), g->high),
			_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
		const __m256 value = _mm256_mul_ps(code, g->scale);
		lower = _mm256_add_pd(lower, square(_mm256_castps256_ps128(value), exact));
		upper = _mm256_add_pd(upper, square(_mm256_extractf128_ps(value, 1), exact));
	}
	_mm256_storeu_pd(ret, lower);
	_mm256_storeu_pd(ret + LANES / 2, upper);
}

void row_squares_avx2(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, const struct row_grids *grids, double *ret)
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

uint64_t row_count_avx2(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, int magnitudes, int32_t limit)
{
	const __m256i all = _mm256_set1_epi32(0x7fffffff), most = _mm256_set1_epi32(limit), none = _mm256_setzero_si256();
	const uint64_t end = first + n;
	uint64_t count = 0, i = first;

	for (; end - i >= LANES; i += LANES) {
		const __m256i bits = _mm256_loadu_si256((const __m256i *)(const void *)(v + i));
		const __m256i out = mask != NULL ? protected_lanes(mask, i) : none;
		const __m256i key = magnitudes ? _mm256_and_si256(bits, all)
			: _mm256_xor_si256(bits, _mm256_and_si256(_mm256_srai_epi32(bits, 31), all));
		const __m256i not_one = _mm256_or_si256(_mm256_cmpgt_epi32(key, most), out);
		count += LANES - (unsigned)__builtin_popcount((unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(not_one)));
	}
	return count + row_kernels_scalar.count(v, mask, i, end - i, magnitudes, limit);
}

void row_errors_avx2(const float *v, uint64_t n, float scale, float zero, float low, float high, float *ret)
{
	const int products = quotient_by_products(scale);
	const __m256 by = _mm256_set1_ps(scale), inverse = _mm256_div_ps(_mm256_set1_ps(1), by),
		     rest = _mm256_mul_ps(_mm256_fnmadd_ps(by, inverse, _mm256_set1_ps(1)), inverse), least = _mm256_set1_ps(low - zero),
		     most = _mm256_set1_ps(high - zero);
	uint64_t i = 0;

	for (; n - i >= LANES; i += LANES) {
		const __m256 w = _mm256_loadu_ps(v + i);
		const __m256 q = products ? _mm256_fmadd_ps(w, inverse, _mm256_mul_ps(w, rest)) : _mm256_div_ps(w, by);
		const __m256 code = _mm256_round_ps(_mm256_min_ps(_mm256_max_ps(q, least), most),
			_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
		_mm256_storeu_ps(ret + i, _mm256_sub_ps(_mm256_mul_ps(code, by), w));
	}
	row_kernels_scalar.errors(v + i, n - i, scale, zero, low, high, ret + i);
}

/* Columns [k, k + 16) of all four. */
static void weigh_columns(const float *e, uint64_t n, const float *gram, uint64_t stride, uint64_t k, float *y)
{
	__m256 a = _mm256_setzero_ps(), b = a, c = a, d = a, p = a, q = a, r = a, s = a;

	for (uint64_t j = 0; j < n; j++) {
		const float *from = gram + j * stride + k;
		const __m256 g = _mm256_loadu_ps(from), h = _mm256_loadu_ps(from + LANES);
		const __m256 e0 = _mm256_set1_ps(e[j]), e1 = _mm256_set1_ps(e[n + j]), e2 = _mm256_set1_ps(e[2 * n + j]),
			e3 = _mm256_set1_ps(e[3 * n + j]);
		a = _mm256_add_ps(a, _mm256_mul_ps(e0, g));
		b = _mm256_add_ps(b, _mm256_mul_ps(e1, g));
		c = _mm256_add_ps(c, _mm256_mul_ps(e2, g));
		d = _mm256_add_ps(d, _mm256_mul_ps(e3, g));
		p = _mm256_add_ps(p, _mm256_mul_ps(e0, h));
		q = _mm256_add_ps(q, _mm256_mul_ps(e1, h));
		r = _mm256_add_ps(r, _mm256_mul_ps(e2, h));
		s = _mm256_add_ps(s, _mm256_mul_ps(e3, h));
	}
	const __m256 sums[2][ROW_ERRORS] = {{a, b, c, d}, {p, q, r, s}};
	for (uint64_t i = 0; i < ROW_ERRORS; i++) {
		_mm256_storeu_ps(y + i * n + k, sums[0][i]);
		_mm256_storeu_ps(y + i * n + k + LANES, sums[1][i]);
	}
}

static float weigh_one(const float *e, uint64_t n, const float *gram, uint64_t stride)
{
	float sum = 0;

	for (uint64_t j = 0; j < n; j++) {
		sum += e[j] * gram[j * stride];
	}
	return sum;
}

void row_weigh_avx2(const float *e, uint64_t n, const float *gram, uint64_t stride, float *y)
{
	uint64_t k = 0;

	for (; n - k >= 2 * LANES; k += 2 * LANES) {
		weigh_columns(e, n, gram, stride, k, y);
	}
	for (; k < n; k++) {
		for (uint64_t i = 0; i < ROW_ERRORS; i++) {
			y[i * n + k] = weigh_one(e + i * n, n, gram + k, stride);
		}
	}
}
