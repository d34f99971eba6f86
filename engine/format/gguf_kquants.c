/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Blocks of 256 values whose sub-blocks have scales of their own. All but Q8_K keep the low bits of four or two sub-blocks
 * of 32 values in the same bytes: value j of sub-block s of a run lies at bit 2s (or 4s) of byte j. */
#include "engine/format/gguf_blocks.h"

#include <stdint.h>
#include <string.h>

#include "engine/format/dtype.h"

#define BLOCK 256
#define SUB 32 /* values that share bytes of low bits */

static float half_at(const unsigned char *p)
{
	uint16_t h;

	memcpy(&h, p, 2);
	return cwe_f32_from_f16(h);
}

/* 84 bytes: 16 bytes, low nibble a scale and high nibble a minimum of 16 values; 64 bytes of 2 bits; f16 d, f16 dmin. */
void cwe_gguf_decode_q2_k(const unsigned char *src, float *dst, size_t n)
{
	for (size_t b = 0; b < n / BLOCK; b++, src += 84, dst += BLOCK) {
		float d = half_at(src + 80), dmin = half_at(src + 82);

		for (int i = 0; i < BLOCK; i++) {
			int half = i / 128, s = i % 128 / SUB, j = i % SUB;
			float scale = d * (float)(src[i / 16] & 15), min = dmin * (float)(src[i / 16] >> 4);
			float product = scale * (float)(src[16 + 32 * half + j] >> 2 * s & 3);

			dst[i] = product - min;
		}
	}
}

/* The k-th of Q3_K's 16 scales of 6 bits, less 32: low nibbles in 8 bytes, then two high bits of four in each of 4. */
static int scale3(const unsigned char *p, int k)
{
	return ((k < 8 ? p[k] & 15 : p[k - 8] >> 4) | (p[8 + k % 4] >> 2 * (k / 4) & 3) << 4) - 32;
}

/* 110 bytes: 32 bytes of third bits, where a clear one means 4 less; 64 bytes of 2 bits; 12 bytes of scales; f16 d. */
void cwe_gguf_decode_q3_k(const unsigned char *src, float *dst, size_t n)
{
	for (size_t b = 0; b < n / BLOCK; b++, src += 110, dst += BLOCK) {
		float d = half_at(src + 108);

		for (int i = 0; i < BLOCK; i++) {
			int half = i / 128, s = i % 128 / SUB, j = i % SUB;
			int q = (src[32 + 32 * half + j] >> 2 * s & 3) - (src[j] >> (4 * half + s) & 1 ? 0 : 4);
			float scale = d * (float)scale3(src + 96, i / 16);

			dst[i] = scale * (float)q;
		}
	}
}

/* The k-th scale and minimum of Q4_K and Q5_K, of 6 bits each: the first four of both in the low bits of 8 bytes, the
 * others' low nibbles in 4 more and their high bits above the first ones. */
static void scale_and_min(const unsigned char *p, int k, int *ret_scale, int *ret_min)
{
	if (k < 4) {
		*ret_scale = p[k] & 63;
		*ret_min = p[k + 4] & 63;
		return;
	}
	*ret_scale = (p[k + 4] & 15) | (p[k - 4] >> 6) << 4;
	*ret_min = p[k + 4] >> 4 | (p[k] >> 6) << 4;
}

/* f16 d, f16 dmin, 12 bytes of scales; high bits when they are not NULL: bit k of byte j for value j of sub-block k;
 * 128 bytes of nibbles. */
static void decode_q45_k(const unsigned char *src, const unsigned char *high, const unsigned char *low, float *dst)
{
	float d = half_at(src), dmin = half_at(src + 2);

	for (int k = 0; k < BLOCK / SUB; k++) {
		int scale, min;
		float step, offset;

		scale_and_min(src + 4, k, &scale, &min);
		step = d * (float)scale;
		offset = dmin * (float)min;
		for (int j = 0; j < SUB; j++) {
			int q = (low[32 * (k / 2) + j] >> 4 * (k % 2) & 15) | (high ? (high[j] >> k & 1) << 4 : 0);
			float product = step * (float)q;

			dst[SUB * k + j] = product - offset;
		}
	}
}

void cwe_gguf_decode_q4_k(const unsigned char *src, float *dst, size_t n)
{
	for (size_t b = 0; b < n / BLOCK; b++, src += 144, dst += BLOCK)
		decode_q45_k(src, NULL, src + 16, dst);
}

void cwe_gguf_decode_q5_k(const unsigned char *src, float *dst, size_t n)
{
	for (size_t b = 0; b < n / BLOCK; b++, src += 176, dst += BLOCK)
		decode_q45_k(src, src + 16, src + 48, dst);
}

/* 210 bytes: 128 bytes of low nibbles, those of sub-blocks s and s + 2 of a half in one byte; 64 bytes of 2 high bits;
 * 16 signed scales of 16 values; f16 d. Values are from -32 on. */
void cwe_gguf_decode_q6_k(const unsigned char *src, float *dst, size_t n)
{
	for (size_t b = 0; b < n / BLOCK; b++, src += 210, dst += BLOCK) {
		float d = half_at(src + 208);

		for (int i = 0; i < BLOCK; i++) {
			int half = i / 128, s = i % 128 / SUB, j = i % SUB;
			int low = src[64 * half + 32 * (s % 2) + j] >> 4 * (s / 2) & 15;
			int high = src[128 + 32 * half + j] >> 2 * s & 3;
			float scale = d * (float)(int8_t)src[192 + i / 16];

			dst[i] = scale * (float)((low | high << 4) - 32);
		}
	}
}

/* 292 bytes: f32 d; 256 signed bytes; 16 sums, which only products need. */
void cwe_gguf_decode_q8_k(const unsigned char *src, float *dst, size_t n)
{
	for (size_t b = 0; b < n / BLOCK; b++, src += 292, dst += BLOCK) {
		float d;

		memcpy(&d, src, sizeof d);
		for (int i = 0; i < BLOCK; i++)
			dst[i] = d * (float)(int8_t)src[4 + i];
	}
}
