/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* ggml's tensor types: sizes of all, values of those that are read. The formulas are those of ggml-quants.c,
 * dequantize_row_*: every product and sum is rounded to f32 by itself. */
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/format/gguf.h"

#define BLOCK 32

static const struct cwe_gguf_block blocks[] = {
	[0] = {"F32", 1, 4}, [1] = {"F16", 1, 2}, [2] = {"Q4_0", 32, 18}, [3] = {"Q4_1", 32, 20},
	[6] = {"Q5_0", 32, 22}, [7] = {"Q5_1", 32, 24}, [8] = {"Q8_0", 32, 34}, [9] = {"Q8_1", 32, 40},
	[10] = {"Q2_K", 256, 84}, [11] = {"Q3_K", 256, 110}, [12] = {"Q4_K", 256, 144}, [13] = {"Q5_K", 256, 176},
	[14] = {"Q6_K", 256, 210}, [15] = {"Q8_K", 256, 292}, [16] = {"IQ2_XXS", 256, 66}, [17] = {"IQ2_XS", 256, 74},
	[18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50}, [20] = {"IQ4_NL", 32, 18}, [21] = {"IQ3_S", 256, 110},
	[22] = {"IQ2_S", 256, 82}, [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1}, [25] = {"I16", 1, 2},
	[26] = {"I32", 1, 4}, [27] = {"I64", 1, 8}, [28] = {"F64", 1, 8}, [29] = {"IQ1_M", 256, 56},
	[30] = {"BF16", 1, 2}, [34] = {"TQ1_0", 256, 54}, [35] = {"TQ2_0", 256, 66}, [39] = {"MXFP4", 32, 17},
	[40] = {"NVFP4", 64, 36}, [41] = {"Q1_0", 128, 18},
};

int cwe_gguf_block(uint32_t type, struct cwe_gguf_block *ret)
{
	if (type >= sizeof blocks / sizeof *blocks || !blocks[type].name)
		return -1;
	*ret = blocks[type];
	return 0;
}

int cwe_gguf_decodable(uint32_t type)
{
	return type <= CWE_GGUF_TYPE_Q4_1 || type == CWE_GGUF_TYPE_Q8_0 || type == CWE_GGUF_TYPE_BF16;
}

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

/* 34 bytes: f16 d; 32 signed bytes. */
static void decode_q8_0(const unsigned char *p, float *dst, size_t n)
{
	for (size_t b = 0; b < n / BLOCK; b++, p += 34, dst += BLOCK) {
		float d = half_at(p);

		for (int j = 0; j < BLOCK; j++)
			dst[j] = (float)(int8_t)p[2 + j] * d;
	}
}

void cwe_gguf_decode(uint32_t type, const void *src, float *dst, size_t n)
{
	switch (type) {
	case CWE_GGUF_TYPE_F16:
		cwe_f32_from_dtype(dst, src, CWP_F16, n);
		return;
	case CWE_GGUF_TYPE_BF16:
		cwe_f32_from_dtype(dst, src, CWP_BF16, n);
		return;
	case CWE_GGUF_TYPE_Q4_0:
		decode_q4_0(src, dst, n);
		return;
	case CWE_GGUF_TYPE_Q4_1:
		decode_q4_1(src, dst, n);
		return;
	case CWE_GGUF_TYPE_Q8_0:
		decode_q8_0(src, dst, n);
		return;
	default:
		cwe_f32_from_dtype(dst, src, CWP_F32, n);
	}
}
