/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Panels of BF16 numbers, for the two tiers that multiply pairs of them: two neighbouring tokens of a column lie in one word of
 * 32 bits, the first in its lower half. Both tiers copy blocks of up to 16 columns by 32 tokens, and their statistics leave the
 * register tile in the same way. */

#define INLINE static inline __attribute__((always_inline))

enum { BLOCK = 16, BLOCK_TOKENS = 32 };

static inline __mmask16 first16(size_t n)
{
	return (__mmask16)(n < BLOCK ? (1U << n) - 1U : 0xFFFFU);
}

/* 16 pairs from up to 16 columns (mask) of two rows of tokens; second NULL: 0. */
INLINE __m512i pairs_across(const float *first, const float *second, __mmask16 mask)
{
	const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20,
		4, 19, 3, 18, 2, 17, 1, 16, 0);
	__m512 low = _mm512_maskz_loadu_ps(mask, first);
	__m512 high = second ? _mm512_maskz_loadu_ps(mask, second) : _mm512_setzero_ps();
	return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/* 16 pairs from up to 32 tokens that lie together. */
INLINE __m512i pairs_along(const float *src, size_t k)
{
	__m512 low = _mm512_maskz_loadu_ps(first16(k), src);
	__m512 high = k > BLOCK ? _mm512_maskz_loadu_ps(first16(k - BLOCK), src + BLOCK) : _mm512_setzero_ps();
	return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* Word j of vector i becomes word i of vector j. */
INLINE void transpose(__m512i v[BLOCK])
{
	__m512i t[BLOCK];
#pragma GCC unroll 8
	for (size_t i = 0; i < BLOCK; i += 2) {
		t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
	}
#pragma GCC unroll 4
	for (size_t i = 0; i < BLOCK; i += 4) {
		v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
		v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
		v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
		v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	/* v[4a + b] holds, in its lane of 128 bits l, the words 4l + b of vectors 4a .. 4a + 3. */
#pragma GCC unroll 4
	for (size_t b = 0; b < 4; b++) {
		__m512i low0 = _mm512_shuffle_i32x4(v[b], v[4 + b], 0x88), low1 = _mm512_shuffle_i32x4(v[8 + b], v[12 + b], 0x88);
		__m512i high0 = _mm512_shuffle_i32x4(v[b], v[4 + b], 0xDD), high1 = _mm512_shuffle_i32x4(v[8 + b], v[12 + b], 0xDD);
		t[b] = _mm512_shuffle_i32x4(low0, low1, 0x88);
		t[8 + b] = _mm512_shuffle_i32x4(low0, low1, 0xDD);
		t[4 + b] = _mm512_shuffle_i32x4(high0, high1, 0x88);
		t[12 + b] = _mm512_shuffle_i32x4(high0, high1, 0xDD);
	}
#pragma GCC unroll 16
	for (size_t i = 0; i < BLOCK; i++) {
		v[i] = t[i];
	}
}

/* A block of k tokens and n columns, 0 beyond: vector i has the pair i of 16 columns, or with by_column 16 pairs of column i.
 * along and by_column are constants where this is inlined. */
INLINE void load_block(__m512i v[BLOCK], const struct pack *p, size_t token, size_t column, size_t columns, int along, int by_column)
{
	size_t k = p->k - token, n = column < p->n ? p->n - column : 0;
	n = n < columns ? n : columns;
	if (along) {
#pragma GCC unroll 16
		for (size_t i = 0; i < BLOCK; i++) {
			v[i] = i < n ? pairs_along(p->src + (column + i) * p->ld + token, k) : _mm512_setzero_si512();
		}
	} else {
		const float *src = p->src + token * p->ld + column;
		__mmask16 mask = first16(n);
#pragma GCC unroll 16
		for (size_t i = 0; i < BLOCK; i++) {
			v[i] = 2 * i < k && n ? pairs_across(src + 2 * i * p->ld, 2 * i + 1 < k ? src + (2 * i + 1) * p->ld : NULL, mask)
				: _mm512_setzero_si512();
		}
	}
	if (along != by_column) {
		transpose(v);
	}
}

/* Columns of a panel in strips of up to 16, from rows of [n, k]: the words of a pair are `stride` bytes apart; only `pairs` are
 * written. */
INLINE void pack_strip(const struct pack *p, char *dst, size_t stride, size_t column, size_t columns, size_t pairs)
{
	__m512i v[BLOCK];
	for (size_t token = 0; token < p->k; token += BLOCK_TOKENS) {
		load_block(v, p, token, column, columns, 1, 0);
		size_t left = pairs - token / 2 < BLOCK ? pairs - token / 2 : BLOCK;
		for (size_t i = 0; i < left; i++) {
			_mm512_mask_storeu_epi32(dst + (token / 2 + i) * stride, first16(columns), v[i]);
		}
	}
}

/* One pair of rows of [k, n], or of one row and nothing, into its words of all panels. */
INLINE void pack_rows(const struct pack *p, size_t pair, size_t width)
{
	const float *first = p->src + 2 * pair * p->ld, *second = 2 * pair + 1 < p->k ? first + p->ld : NULL;
	char *dst = (char *)p->dst + pair * width * 4;
	for (size_t column = 0; column < p->n; column += width, dst += p->distance) {
		for (size_t i = 0; i < width; i += BLOCK) {
			size_t columns = width - i < BLOCK ? width - i : BLOCK, at = column + i, n = at < p->n ? p->n - at : 0;
			__m512i v = pairs_across(first + at, second ? second + at : NULL, first16(n < columns ? n : columns));
			_mm512_mask_storeu_epi32(dst + i * 4, first16(columns), v);
		}
	}
}

/* Panels of pairs, `width` columns wide; both sizes are constants where this is inlined. */
INLINE void pack_pairs(const struct pack *p, size_t width, size_t step)
{
	size_t pairs = (p->k + step - 1) / step * step / 2;
	char *dst = p->dst;
	if (!p->along) {
		for (size_t pair = 0; 2 * pair < p->k; pair++) {
			pack_rows(p, pair, width);
		}
		for (size_t column = 0; column < p->n; column += width, dst += p->distance) {
			memset(dst + (p->k + 1) / 2 * width * 4, 0, (pairs - (p->k + 1) / 2) * width * 4);
		}
		return;
	}
	for (size_t column = 0; column < p->n; column += width, dst += p->distance) {
		for (size_t i = 0; i < width; i += BLOCK) {
			pack_strip(p, dst + i * 4, width * 4, column + i, width - i < BLOCK ? width - i : BLOCK, pairs);
		}
	}
}

/* Adds the statistics of vector i of a tile. */
INLINE void add_stats(const struct micro_stats *s, size_t i, __m512 g)
{
	if (s->sum) {
		_mm512_storeu_ps(s->sum + i * BLOCK, _mm512_add_ps(_mm512_loadu_ps(s->sum + i * BLOCK), g));
	}
	if (s->abs) {
		_mm512_storeu_ps(s->abs + i * BLOCK, _mm512_add_ps(_mm512_loadu_ps(s->abs + i * BLOCK), _mm512_abs_ps(g)));
	}
	if (s->sq) {
		_mm512_storeu_ps(s->sq + i * BLOCK, _mm512_fmadd_ps(g, g, _mm512_loadu_ps(s->sq + i * BLOCK)));
	}
}
