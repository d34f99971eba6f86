/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* ggml's tensor types: sizes of all, values of those that are read. The formulas are those of ggml-quants.c,
 * dequantize_row_*: every product and sum is rounded to f32 by itself. */
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/format/gguf.h"
#include "engine/format/gguf_blocks.h"

#define BLOCK 32

static float half_at(const unsigned char *p)
{
	uint16_t h;

	memcpy(&h, p, 2);
	return cwe_f32_from_f16(h);
}

/* 18 bytes: f16 d; 16 bytes, low nibbles are the first 16 values. */
static void decode_q4_0(const unsigned char *p, float *dst, size_t n)
{
	for (size_t b = 0; b < n / BLOCK; b++, p += 18, dst += BLOCK) {
		float d = half_at(p);

		for (int j = 0; j < 16; j++) {
			dst[j] = (float)((p[2 + j] & 15) - 8) * d;
			dst[j + 16] = (float)((p[2 + j] >> 4) - 8) * d;
		}
	}
}

/* 20 bytes: f16 d, f16 m; nibbles as in Q4_0. */
static void decode_q4_1(const unsigned char *p, float *dst, size_t n)
{
	for (size_t b = 0; b < n / BLOCK; b++, p += 20, dst += BLOCK) {
		float d = half_at(p), m = half_at(p + 2);

		for (int j = 0; j < 16; j++) {
			dst[j] = (float)(p[4 + j] & 15) * d + m;
			dst[j + 16] = (float)(p[4 + j] >> 4) * d + m;
		}
	}
}

/* The 32 values of 5 bits of Q5_0 and Q5_1: 4 bytes of high bits, one a value, then nibbles as in Q4_0. */
static int five_bits(const unsigned char *p, int j)
{
	return (j < 16 ? p[4 + j] & 15 : p[4 + j - 16] >> 4) | (p[j / 8] >> j % 8 & 1) << 4;
}

/* 22 bytes: f16 d; values of 5 bits. */
static void decode_q5_0(const unsigned char *p, float *dst, size_t n)
{
	for (size_t b = 0; b < n / BLOCK; b++, p += 22, dst += BLOCK) {
		float d = half_at(p);

		for (int j = 0; j < BLOCK; j++)
			dst[j] = (float)(five_bits(p + 2, j) - 16) * d;
	}
}

/* 24 bytes: f16 d, f16 m; values of 5 bits. */
static void decode_q5_1(const unsigned char *p, float *dst, size_t n)
{
	for (size_t b = 0; b < n / BLOCK; b++, p += 24, dst += BLOCK) {
		float d = half_at(p), m = half_at(p + 2);

		for (int j = 0; j < BLOCK; j++)
			dst[j] = (float)five_bits(p + 4, j) * d + m;
	}
}

/* 34 bytes: f16 d; 32 signed bytes. */
static void decode_q8_0(const unsigned char *p, float *dst, size_t n)
{
	for (size_t b = 0; b < n / BLOCK; b++, p += 34, dst += BLOCK) {
		float d = half_at(p);

		for (int j = 0; j < BLOCK; j++)
			dst[j] = (float)(int8_t)p[2 + j] * d;
	}
}

static void decode_f32(const unsigned char *p, float *dst, size_t n)
{
	cwe_f32_from_dtype(dst, p, CWP_F32, n);
}

static void decode_f16(const unsigned char *p, float *dst, size_t n)
{
	cwe_f32_from_dtype(dst, p, CWP_F16, n);
}

static void decode_bf16(const unsigned char *p, float *dst, size_t n)
{
	cwe_f32_from_dtype(dst, p, CWP_BF16, n);
}

static const struct {
	struct cwe_gguf_block block;
	void (*decode)(const unsigned char *src, float *dst, size_t n); /* NULL: known by size only */
} types[] = {
	[CWE_GGUF_TYPE_F32] = {{"F32", 1, 4}, decode_f32},
	[CWE_GGUF_TYPE_F16] = {{"F16", 1, 2}, decode_f16},
	[CWE_GGUF_TYPE_Q4_0] = {{"Q4_0", 32, 18}, decode_q4_0},
	[CWE_GGUF_TYPE_Q4_1] = {{"Q4_1", 32, 20}, decode_q4_1},
	[CWE_GGUF_TYPE_Q5_0] = {{"Q5_0", 32, 22}, decode_q5_0},
	[CWE_GGUF_TYPE_Q5_1] = {{"Q5_1", 32, 24}, decode_q5_1},
	[CWE_GGUF_TYPE_Q8_0] = {{"Q8_0", 32, 34}, decode_q8_0},
	[9] = {{"Q8_1", 32, 40}, NULL},
	[CWE_GGUF_TYPE_Q2_K] = {{"Q2_K", 256, 84}, cwe_gguf_decode_q2_k},
	[CWE_GGUF_TYPE_Q3_K] = {{"Q3_K", 256, 110}, cwe_gguf_decode_q3_k},
	[CWE_GGUF_TYPE_Q4_K] = {{"Q4_K", 256, 144}, cwe_gguf_decode_q4_k},
	[CWE_GGUF_TYPE_Q5_K] = {{"Q5_K", 256, 176}, cwe_gguf_decode_q5_k},
	[CWE_GGUF_TYPE_Q6_K] = {{"Q6_K", 256, 210}, cwe_gguf_decode_q6_k},
	[CWE_GGUF_TYPE_Q8_K] = {{"Q8_K", 256, 292}, cwe_gguf_decode_q8_k},
	[16] = {{"IQ2_XXS", 256, 66}, NULL},
	[17] = {{"IQ2_XS", 256, 74}, NULL},
	[18] = {{"IQ3_XXS", 256, 98}, NULL},
	[19] = {{"IQ1_S", 256, 50}, NULL},
	[20] = {{"IQ4_NL", 32, 18}, NULL},
	[21] = {{"IQ3_S", 256, 110}, NULL},
	[22] = {{"IQ2_S", 256, 82}, NULL},
	[23] = {{"IQ4_XS", 256, 136}, NULL},
	[24] = {{"I8", 1, 1}, NULL},
	[25] = {{"I16", 1, 2}, NULL},
	[26] = {{"I32", 1, 4}, NULL},
	[27] = {{"I64", 1, 8}, NULL},
	[28] = {{"F64", 1, 8}, NULL},
	[29] = {{"IQ1_M", 256, 56}, NULL},
	[CWE_GGUF_TYPE_BF16] = {{"BF16", 1, 2}, decode_bf16},
	[34] = {{"TQ1_0", 256, 54}, NULL},
	[35] = {{"TQ2_0", 256, 66}, NULL},
	[39] = {{"MXFP4", 32, 17}, NULL},
	[40] = {{"NVFP4", 64, 36}, NULL},
	[41] = {{"Q1_0", 128, 18}, NULL},
};

int cwe_gguf_block(uint32_t type, struct cwe_gguf_block *ret)
{
	if (type >= sizeof types / sizeof *types || !types[type].block.name)
		return -1;
	*ret = types[type].block;
	return 0;
}

int cwe_gguf_decodable(uint32_t type)
{
	return type < sizeof types / sizeof *types && types[type].decode;
}

void cwe_gguf_decode(uint32_t type, const void *src, float *dst, size_t n)
{
	types[type].decode(src, dst, n);
}
