/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Blocks of Q8_0 and Q4_0 from codes. Both are d * q in ggml, with an f16 d: what cwe_dequantize computes of the same scale. */
#include "engine/format/gguf_encode.h"

#include <math.h>
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/format/output.h"

#define SMALLEST 0x1p-24f /* of F16 above 0 */
#define GREATEST 65504.0f

uint32_t cwe_gguf_grid_type(const struct cwp_grid *grid)
{
	return grid->bits == 8 ? CWE_GGUF_TYPE_Q8_0 : CWE_GGUF_TYPE_Q4_0;
}

static int is_half(float scale)
{
	return scale >= 0x1p-17f ? scale <= GREATEST && cwe_f32_from_f16(cwe_f16_from_f32(scale)) == scale :
				   ceilf(scale / SMALLEST) * SMALLEST == scale;
}

/* One scale and its codes [count]. */
static int settle_group(uint8_t *code, uint64_t count, float *scale)
{
	float old = *scale;

	if (is_half(old))
		return 0;
	if (!(old <= 0x1p-17f))
		return CWP_EVALUE;
	*scale = ceilf(old / SMALLEST) * SMALLEST;
	for (uint64_t c = 0; c < count; c++)
		code[c] = (uint8_t)(int8_t)rintf((float)(int8_t)code[c] * old / *scale);
	return 0;
}

int cwe_gguf_settle(const struct cwp_grid *grid, uint64_t rows, uint64_t cols, uint8_t *codes, float *scales, uint64_t *ret_wrong)
{
	uint64_t n = cwe_grid_scales(grid, cols), width = n > 1 ? grid->group : cols;

	for (uint64_t r = 0; r < rows; r++)
		for (uint64_t g = 0; g < n; g++) {
			uint64_t count = g + 1 < n ? width : cols - g * width;

			if (settle_group(codes + r * cols + g * width, count, &scales[r * n + g])) {
				*ret_wrong = r * n + g;
				return CWP_EVALUE;
			}
		}
	return 0;
}

static void encode_q8_0(const uint8_t *code, uint16_t d, uint8_t *dst)
{
	memcpy(dst, &d, 2);
	memcpy(dst + 2, code, CWE_GGUF_GROUP);
}

static void encode_q4_0(const uint8_t *code, uint16_t d, uint8_t *dst)
{
	memcpy(dst, &d, 2);
	for (int j = 0; j < CWE_GGUF_GROUP / 2; j++)
		dst[2 + j] = (uint8_t)(((code[j] + 8) & 15) | ((code[j + 16] + 8) & 15) << 4);
}

size_t cwe_gguf_encode_row(uint32_t type, const struct cwp_grid *grid, uint64_t cols, const uint8_t *codes, const float *scales,
	void *dst)
{
	uint64_t width = cwe_grid_scales(grid, cols) > 1 ? grid->group : cols;
	uint8_t *to = dst;

	for (uint64_t c = 0; c < cols; c += CWE_GGUF_GROUP) {
		uint16_t d = cwe_f16_from_f32(scales[c / width]);

		if (type == CWE_GGUF_TYPE_Q8_0) {
			encode_q8_0(codes + c, d, to);
			to += 2 + CWE_GGUF_GROUP;
		} else {
			encode_q4_0(codes + c, d, to);
			to += 2 + CWE_GGUF_GROUP / 2;
		}
	}
	return (size_t)(to - (uint8_t *)dst);
}
