/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Packing of 4 and 8 bit codes. The host's byte order does not matter. */
#include "engine/format/packing.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

static unsigned per_word(unsigned bits)
{
	assert(bits == 4 || bits == 8);
	return 32 / bits;
}

uint64_t cwe_pack_words(uint64_t n, unsigned bits)
{
	unsigned elements = per_word(bits);

	return n / elements + (n % elements != 0);
}

/* Both pack 4-bit codes as far as whole blocks go, and return how many those were: low halves, moved by 8, then each pair into
 * a byte, then the bytes together. */
#if defined(__SSE2__)
static uint64_t pack_blocks(const uint8_t *codes, uint64_t cols, uint8_t *dst)
{
	const __m128i eight = _mm_set1_epi8(8), half = _mm_set1_epi8(15), low = _mm_set1_epi16(0xff);
	uint64_t c;

	for (c = 0; cols - c >= 32; c += 32) {
		__m128i a = _mm_loadu_si128((const __m128i *)(const void *)(codes + c));
		__m128i b = _mm_loadu_si128((const __m128i *)(const void *)(codes + c + 16));

		a = _mm_and_si128(_mm_xor_si128(a, eight), half);
		b = _mm_and_si128(_mm_xor_si128(b, eight), half);
		a = _mm_and_si128(_mm_or_si128(a, _mm_srli_epi16(a, 4)), low);
		b = _mm_and_si128(_mm_or_si128(b, _mm_srli_epi16(b, 4)), low);
		_mm_storeu_si128((__m128i *)(void *)(dst + c / 2), _mm_packus_epi16(a, b));
	}
	return c;
}
#else
static uint64_t pack_blocks(const uint8_t *codes, uint64_t cols, uint8_t *dst)
{
	uint64_t c;

	for (c = 0; cols - c >= 8; c += 8) {
		uint64_t x;
		uint32_t word;

		memcpy(&x, codes + c, sizeof x);
		x = le64toh(x);
		x = (x ^ 0x0808080808080808u) & 0x0f0f0f0f0f0f0f0fu;
		x = (x | x >> 4) & 0x00ff00ff00ff00ffu;
		x = (x | x >> 8) & 0x0000ffff0000ffffu;
		word = htole32((uint32_t)(x | x >> 16));
		memcpy(dst + c / 2, &word, sizeof word);
	}
	return c;
}
#endif

void cwe_pack_row(unsigned bits, const uint8_t *codes, uint64_t cols, uint8_t *dst)
{
	const uint64_t bytes = 4 * cwe_pack_words(cols, bits);
	uint64_t c;

	if (bits == 8) {
		for (c = 0; c < cols; c++)
			dst[c] = codes[c] ^ 0x80;
		memset(dst + cols, 0, bytes - cols);
		return;
	}
	c = pack_blocks(codes, cols, dst);
	memset(dst + c / 2, 0, bytes - c / 2);
	for (; c < cols; c++)
		dst[c / 2] |= (uint8_t)(((codes[c] + 8u) & 0xf) << (c % 2 * 4));
}

void cwe_unpack_row(unsigned bits, const uint8_t *src, uint64_t cols, uint8_t *codes)
{
	uint64_t c;

	per_word(bits);
	if (bits == 8) {
		for (c = 0; c < cols; c++)
			codes[c] = src[c] ^ 0x80;
		return;
	}
	for (c = 0; c < cols; c++)
		codes[c] = (uint8_t)((src[c / 2] >> (c % 2 * 4) & 0xf) - 8);
}

/* Where the element of a row and group lies: its byte within words [*, groups] that begin with word 0, and its shift. */
static uint64_t zero_place(unsigned bits, uint64_t row, uint64_t groups, uint64_t group, unsigned *ret_shift)
{
	uint64_t word = row / per_word(bits) * groups + group;
	unsigned bit = (unsigned)(row % per_word(bits)) * bits;

	*ret_shift = bit % 8;
	return word * 4 + bit / 8;
}

void cwe_pack_zeros(unsigned bits, const int8_t *zeros, uint64_t rows, uint64_t groups, uint8_t *dst)
{
	uint64_t r, g;
	unsigned shift;

	memset(dst, 0, 4 * cwe_pack_words(rows, bits) * groups);
	for (r = 0; r < rows; r++) {
		for (g = 0; g < groups; g++) {
			uint8_t *at = dst + zero_place(bits, r, groups, g, &shift);
			unsigned stored = (unsigned)zeros[r * groups + g] + (1u << (bits - 1));

			*at |= (uint8_t)((stored & ((1u << bits) - 1)) << shift);
		}
	}
}

int8_t cwe_unpack_zero(unsigned bits, const uint8_t *src, uint64_t base, uint64_t row, uint64_t groups, uint64_t group)
{
	uint64_t first = base / per_word(bits) * per_word(bits);
	unsigned shift;
	uint64_t at = zero_place(bits, row - first, groups, group, &shift);
	int stored = src[at] >> shift & ((1 << bits) - 1);

	return (int8_t)(stored - (1 << (bits - 1)));
}
