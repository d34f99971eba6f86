/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Element types: names, sizes, conversions. */
#include "engine/format/dtype.h"

#include <string.h>

/* Tensor files are little endian and are read straight into arrays. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "written for little-endian machines");

static const struct {
	const char *name;
	unsigned bits;
} types[CWE_DTYPE_COUNT] = {
	[CWE_DTYPE_BOOL] = {"BOOL", 8},
	[CWE_DTYPE_F4] = {"F4", 4},
	[CWE_DTYPE_F6_E2M3] = {"F6_E2M3", 6},
	[CWE_DTYPE_F6_E3M2] = {"F6_E3M2", 6},
	[CWE_DTYPE_U8] = {"U8", 8},
	[CWE_DTYPE_I8] = {"I8", 8},
	[CWE_DTYPE_F8_E5M2] = {"F8_E5M2", 8},
	[CWE_DTYPE_F8_E4M3] = {"F8_E4M3", 8},
	[CWE_DTYPE_F8_E8M0] = {"F8_E8M0", 8},
	[CWE_DTYPE_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
	[CWE_DTYPE_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
	[CWE_DTYPE_I16] = {"I16", 16},
	[CWE_DTYPE_U16] = {"U16", 16},
	[CWE_DTYPE_F16] = {"F16", 16},
	[CWE_DTYPE_BF16] = {"BF16", 16},
	[CWE_DTYPE_I32] = {"I32", 32},
	[CWE_DTYPE_U32] = {"U32", 32},
	[CWE_DTYPE_F32] = {"F32", 32},
	[CWE_DTYPE_C64] = {"C64", 64},
	[CWE_DTYPE_F64] = {"F64", 64},
	[CWE_DTYPE_I64] = {"I64", 64},
	[CWE_DTYPE_U64] = {"U64", 64},
};

static uint32_t bits_of(float x)
{
	uint32_t u;

	memcpy(&u, &x, sizeof u);
	return u;
}

static float float_of(uint32_t u)
{
	float x;

	memcpy(&x, &u, sizeof x);
	return x;
}

const char *cwe_dtype_name(enum cwe_dtype dtype)
{
	return (unsigned)dtype < CWE_DTYPE_COUNT ? types[dtype].name : "unknown";
}

unsigned cwe_dtype_bits(enum cwe_dtype dtype)
{
	return types[dtype].bits;
}

int cwe_dtype_find(const char *name)
{
	for (int i = 0; i < CWE_DTYPE_COUNT; i++)
		if (!strcmp(types[i].name, name))
			return i;
	return -1;
}

int cwe_dtype_bytes(enum cwe_dtype dtype, uint32_t rank, const uint64_t *shape, uint64_t *ret_bytes)
{
	uint64_t n = 1;

	for (uint32_t i = 0; i < rank; i++)
		if (__builtin_mul_overflow(n, shape[i], &n))
			return -1;
	if (__builtin_mul_overflow(n, (uint64_t)types[dtype].bits, &n) || n % 8)
		return -1;
	*ret_bytes = n / 8;
	return 0;
}

uint32_t cwe_dtype_to_cwp(enum cwe_dtype dtype)
{
	switch (dtype) {
	case CWE_DTYPE_F32:
		return CWP_F32;
	case CWE_DTYPE_BF16:
		return CWP_BF16;
	case CWE_DTYPE_F16:
		return CWP_F16;
	default:
		return 0;
	}
}

size_t cwe_cwp_dtype_size(uint32_t dtype)
{
	return dtype == CWP_F32 ? 4 : 2;
}

uint16_t cwe_bf16_from_f32(float x)
{
	uint32_t u = bits_of(x);

	if ((u & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(u >> 16 | 0x40); /* rounding could carry a NaN into infinity */
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

float cwe_f32_from_bf16(uint16_t x)
{
	return float_of((uint32_t)x << 16);
}

uint16_t cwe_f16_from_f32(float x)
{
	uint32_t u = bits_of(x), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;

	if (a > 0x7f800000)
		return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
	if (a >= 0x477ff000) /* 65520, halfway between 65504 and the next step */
		return (uint16_t)(sign | 0x7c00);
	if (a < 0x38800000) /* below 2^-14: the sum's last place is 2^-24, a subnormal's step */
		return (uint16_t)(sign | (bits_of(float_of(a) + 0.5f) - bits_of(0.5f)));
	a += 0xfff + (a >> 13 & 1);
	return (uint16_t)(sign | ((a - (112u << 23)) >> 13));
}

float cwe_f32_from_f16(uint16_t x)
{
	uint32_t sign = (uint32_t)(x & 0x8000) << 16, e = x >> 10 & 31, m = x & 0x3ff;

	if (e == 31)
		return float_of(sign | 0x7f800000 | m << 13);
	if (e == 0)
		return float_of(sign | bits_of((float)m * 0x1p-24f));
	return float_of(sign | (e + 112) << 23 | m << 13);
}

uint8_t cwe_e4m3_from_f32(float x)
{
	uint32_t u = bits_of(x), sign = u >> 24 & 0x80, a = u & 0x7fffffff;

	if (a > 0x7f800000)
		return (uint8_t)(sign | 0x7f);
	if (a >= 0x43e00000) /* 448 */
		return (uint8_t)(sign | 0x7e);
	if (a < 0x3c800000) /* below 2^-6: the sum's last place is 2^-9, a subnormal's step */
		return (uint8_t)(sign | (bits_of(float_of(a) + 0x1p14f) - bits_of(0x1p14f)));
	a += 0x7ffff + (a >> 20 & 1);
	return (uint8_t)(sign | ((a >> 20) - (120u << 3)));
}

float cwe_f32_from_e4m3(uint8_t x)
{
	uint32_t sign = (uint32_t)(x & 0x80) << 24, e = x >> 3 & 15, m = x & 7;

	if ((x & 0x7f) == 0x7f)
		return float_of(sign | 0x7fc00000);
	if (e == 0)
		return float_of(sign | bits_of((float)m * 0x1p-9f));
	return float_of(sign | (e + 120) << 23 | m << 20);
}

/* Eight numbers at a time, in what vectors every processor has: the loops below stand in every job's way. */
enum { LANES = 8 };
typedef uint16_t half_lanes __attribute__((vector_size(LANES * 2)));
typedef uint32_t bit_lanes __attribute__((vector_size(LANES * 4)));
typedef float float_lanes __attribute__((vector_size(LANES * 4)));
typedef int32_t sign_lanes __attribute__((vector_size(LANES * 4)));

/* As cwe_bf16_from_f32, in the upper halves; the lower ones are whatever they are. */
static void round_lanes(const float *x, bit_lanes *ret)
{
	bit_lanes u, near, is_nan;

	memcpy(&u, x, sizeof u);
	near = u + 0x7fff + (u >> 16 & 1);
	is_nan = (bit_lanes)((sign_lanes)(u & 0x7fffffff) > 0x7f800000);
	*ret = (near & ~is_nan) | ((u | 0x400000) & is_nan);
}

void cwe_bf16_round(float *x, size_t n)
{
	size_t i = 0;

	for (; n - i >= LANES; i += LANES) {
		bit_lanes u;

		round_lanes(x + i, &u);
		u &= 0xffff0000;
		memcpy(x + i, &u, sizeof u);
	}
	for (; i < n; i++)
		x[i] = cwe_f32_from_bf16(cwe_bf16_from_f32(x[i]));
}

static void to_bf16(unsigned char *p, const float *src, size_t n)
{
	size_t i = 0;
	uint16_t h;

	for (; n - i >= LANES; i += LANES) {
		half_lanes x;
		bit_lanes u;

		round_lanes(src + i, &u);
		x = __builtin_convertvector(u >> 16, half_lanes);
		memcpy(p + 2 * i, &x, sizeof x);
	}
	for (; i < n; i++) {
		h = cwe_bf16_from_f32(src[i]);
		memcpy(p + 2 * i, &h, 2);
	}
}

static inline __attribute__((always_inline)) void widen_bf16(float *dst, const unsigned char *p, size_t n)
{
	size_t i = 0;
	uint16_t h;

	for (; n - i >= LANES; i += LANES) {
		half_lanes x;
		bit_lanes u;

		memcpy(&x, p + 2 * i, sizeof x);
		u = __builtin_convertvector(x, bit_lanes) << 16;
		memcpy(dst + i, &u, sizeof u);
	}
	for (; i < n; i++) {
		memcpy(&h, p + 2 * i, 2);
		dst[i] = cwe_f32_from_bf16(h);
	}
}

#if defined(__x86_64__)
/* The same with registers that hold all lanes: most weights come this way. */
__attribute__((target("avx2"))) static void widen_bf16_avx2(float *dst, const unsigned char *p, size_t n)
{
	widen_bf16(dst, p, n);
}
#endif

static void from_bf16(float *dst, const unsigned char *p, size_t n)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2")) {
		widen_bf16_avx2(dst, p, n);
		return;
	}
#endif
	widen_bf16(dst, p, n);
}

/* As cwe_f32_from_f16, with all three cases computed and one chosen. */
static void from_f16(float *dst, const unsigned char *p, size_t n)
{
	size_t i = 0;
	uint16_t h;

	for (; n - i >= LANES; i += LANES) {
		half_lanes x;
		bit_lanes u, a, normal, small, is_small, is_odd;
		float_lanes f;

		memcpy(&x, p + 2 * i, sizeof x);
		u = __builtin_convertvector(x, bit_lanes);
		a = u & 0x7fff;
		f = __builtin_convertvector(a & 0x3ff, float_lanes) * 0x1p-24f;
		small = (bit_lanes)f;
		normal = (a << 13) + (112u << 23);
		is_small = (bit_lanes)(a < 0x400);
		is_odd = (bit_lanes)(a >= 0x7c00);
		normal = (normal & ~is_small) | (small & is_small);
		u = (u & 0x8000) << 16 | normal | (is_odd & 0x7f800000);
		memcpy(dst + i, &u, sizeof u);
	}
	for (; i < n; i++) {
		memcpy(&h, p + 2 * i, 2);
		dst[i] = cwe_f32_from_f16(h);
	}
}

void cwe_f32_from_dtype(float *dst, const void *src, uint32_t dtype, size_t n)
{
	if (dtype == CWP_F32)
		memcpy(dst, src, n * sizeof *dst);
	else if (dtype == CWP_BF16)
		from_bf16(dst, src, n);
	else
		from_f16(dst, src, n);
}

void cwe_f32_to_dtype(void *dst, const float *src, uint32_t dtype, size_t n)
{
	unsigned char *p = dst;
	uint16_t h;

	if (dtype == CWP_F32) {
		memcpy(dst, src, n * sizeof *src);
		return;
	}
	if (dtype == CWP_BF16) {
		to_bf16(p, src, n);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		h = cwe_f16_from_f32(src[i]);
		memcpy(p + 2 * i, &h, 2);
	}
}
