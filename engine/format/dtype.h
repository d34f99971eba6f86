/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Element types of tensor files and exact conversions between them and f32. Roundings are to the nearest value, ties
 * to the even one, as IEEE 754 and PyTorch have them. All functions are pure. [any-thread] */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <cwp/backend.h> /* enum cwp_dtype */

/* The types of safetensors in that format's order, which is increasing alignment: a file is laid out from the last to
 * the first. */
enum cwe_dtype {
	CWE_DTYPE_BOOL,
	CWE_DTYPE_F4,
	CWE_DTYPE_F6_E2M3,
	CWE_DTYPE_F6_E3M2,
	CWE_DTYPE_U8,
	CWE_DTYPE_I8,
	CWE_DTYPE_F8_E5M2,
	CWE_DTYPE_F8_E4M3, /* PyTorch's float8_e4m3fn */
	CWE_DTYPE_F8_E8M0,
	CWE_DTYPE_F8_E4M3FNUZ,
	CWE_DTYPE_F8_E5M2FNUZ,
	CWE_DTYPE_I16,
	CWE_DTYPE_U16,
	CWE_DTYPE_F16,
	CWE_DTYPE_BF16,
	CWE_DTYPE_I32,
	CWE_DTYPE_U32,
	CWE_DTYPE_F32,
	CWE_DTYPE_C64,
	CWE_DTYPE_F64,
	CWE_DTYPE_I64,
	CWE_DTYPE_U64,
	CWE_DTYPE_COUNT
};

const char *cwe_dtype_name(enum cwe_dtype dtype); /* "BF16"; never NULL */
unsigned cwe_dtype_bits(enum cwe_dtype dtype);    /* of one element */
int cwe_dtype_find(const char *name);             /* enum cwe_dtype, or -1 */

/* Bytes of a tensor. 0, or -1 when the product overflows or is no whole number of bytes. */
int cwe_dtype_bytes(enum cwe_dtype dtype, uint32_t rank, const uint64_t *shape, uint64_t *ret_bytes);

/* enum cwp_dtype of F32, BF16 and F16; 0 for the others. */
uint32_t cwe_dtype_to_cwp(enum cwe_dtype dtype);
/* Bytes of one element of an enum cwp_dtype: 4 or 2. */
size_t cwe_cwp_dtype_size(uint32_t dtype);

uint16_t cwe_bf16_from_f32(float x); /* a NaN stays one (quiet, sign and upper payload kept) */
float cwe_f32_from_bf16(uint16_t x);
void cwe_bf16_round(float *x, size_t n); /* n numbers to the nearest ones that bf16 has, as the two above do it */
uint16_t cwe_f16_from_f32(float x); /* beyond 65504: infinity */
float cwe_f32_from_f16(uint16_t x);
/* FP8 E4M3FN: beyond 448, infinity too, becomes 448 with its sign; NaN becomes 0x7f or 0xff; -0 stays. */
uint8_t cwe_e4m3_from_f32(float x);
float cwe_f32_from_e4m3(uint8_t x); /* 0x7f, 0xff: NaN */

/* n elements of an enum cwp_dtype, little endian and without alignment, -> f32. Exact. */
void cwe_f32_from_dtype(float *dst, const void *src, uint32_t dtype, size_t n);
/* n f32 -> elements of an enum cwp_dtype, rounded. */
void cwe_f32_to_dtype(void *dst, const float *src, uint32_t dtype, size_t n);
