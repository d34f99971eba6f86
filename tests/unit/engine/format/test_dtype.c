/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Conversions of element types, against definitions by arithmetic and over all small values. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/dtype.h"

static uint32_t bits_of(float x)
{
	uint32_t u;

	memcpy(&u, &x, 4);
	return u;
}

static float float_of(uint32_t u)
{
	float x;

	memcpy(&x, &u, 4);
	return x;
}

/* Value of a small float with e exponent and m mantissa bits, by its definition. */
static double small_value(unsigned x, int e, int m, int bias)
{
	unsigned exponent = x >> m & ((1u << e) - 1), mantissa = x & ((1u << m) - 1);
	double value = exponent ? ldexp(1 + ldexp(mantissa, -m), (int)exponent - bias) : ldexp(mantissa, 1 - bias - m);

	return x >> (e + m) & 1 ? -value : value;
}

static void test_names(void **state)
{
	uint64_t shape[3] = {2, 3, 5}, bytes = 0;

	(void)state;
	for (int i = 0; i < CWE_DTYPE_COUNT; i++)
		assert_int_equal(cwe_dtype_find(cwe_dtype_name((enum cwe_dtype)i)), i);
	assert_int_equal(cwe_dtype_find("F8_E4M3FN"), -1);
	assert_int_equal(cwe_dtype_find(""), -1);
	assert_int_equal(cwe_dtype_bytes(CWE_DTYPE_BF16, 3, shape, &bytes), 0);
	assert_int_equal(bytes, 60);
	assert_int_equal(cwe_dtype_bytes(CWE_DTYPE_F6_E3M2, 1, shape, &bytes), -1); /* 12 bits */
	assert_int_equal(cwe_dtype_bytes(CWE_DTYPE_I64, 0, NULL, &bytes), 0);
	assert_int_equal(bytes, 8);
	shape[0] = shape[1] = 1ull << 32;
	assert_int_equal(cwe_dtype_bytes(CWE_DTYPE_U8, 2, shape, &bytes), -1);
	shape[0] = 1ull << 29;
	assert_int_equal(cwe_dtype_bytes(CWE_DTYPE_U64, 2, shape, &bytes), -1); /* the bits overflow */
}

static void test_f16_decode(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 65536; i++) {
		float x = cwe_f32_from_f16((uint16_t)i);

		if ((i & 0x7c00) != 0x7c00)
			assert_true((double)x == small_value(i, 5, 10, 15));
		else if (i & 0x3ff)
			assert_true(isnan(x));
		else
			assert_true(isinf(x));
		assert_int_equal(bits_of(x) >> 31, i >> 15);
		if (!isnan(x))
			assert_int_equal(cwe_f16_from_f32(x), i);
		else
			assert_true(isnan(cwe_f32_from_f16(cwe_f16_from_f32(x))));
	}
}

static void test_bf16(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 65536; i++) {
		float x = cwe_f32_from_bf16((uint16_t)i);

		assert_int_equal(bits_of(x), i << 16);
		if (isnan(x)) {
			assert_true(isnan(cwe_f32_from_bf16(cwe_bf16_from_f32(x))));
			assert_true(isnan(cwe_f32_from_bf16(cwe_bf16_from_f32(float_of(i << 16 | 0xffff)))));
			continue;
		}
		assert_int_equal(cwe_bf16_from_f32(x), i);
		if ((i & 0x7fff) >= 0x7f80)
			continue;
		/* Below, at and above the middle between this value and the next larger one in magnitude. */
		assert_int_equal(cwe_bf16_from_f32(float_of(i << 16 | 0x7fff)), i);
		assert_int_equal(cwe_bf16_from_f32(float_of(i << 16 | 0x8000)), i + (i & 1));
		assert_int_equal(cwe_bf16_from_f32(float_of(i << 16 | 0x8001)), i + 1);
	}
	/* A NaN whose payload is in the lower half only must not become infinity. */
	assert_true(isnan(cwe_f32_from_bf16(cwe_bf16_from_f32(float_of(0x7f800001)))));
	assert_true(isnan(cwe_f32_from_bf16(cwe_bf16_from_f32(float_of(0x7fffffff)))));
	assert_int_equal(cwe_bf16_from_f32(float_of(0xff800001)) >> 15, 1);
	/* Many at once: the same. */
	for (uint32_t i = 0; i < 1u << 16; i++) {
		static const uint32_t low[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
		float x[6], want;
		for (size_t k = 0; k < 6; k++) {
			x[k] = float_of(i << 16 | low[k]);
		}
		cwe_bf16_round(x, 6);
		for (size_t k = 0; k < 6; k++) {
			want = cwe_f32_from_bf16(cwe_bf16_from_f32(float_of(i << 16 | low[k])));
			assert_memory_equal(&x[k], &want, sizeof want);
		}
	}
}

/* Between neighbours a < b of the small format: nearest, and on the middle the even one. */
static void check_between(unsigned low, float a, float b, unsigned (*encode)(float))
{
	float middle = (float)(((double)a + (double)b) / 2);

	assert_true((double)middle == ((double)a + (double)b) / 2); /* the middle has few digits: exact in f32 */
	assert_int_equal(encode(nextafterf(middle, a)), low);
	assert_int_equal(encode(middle), low + (low & 1));
	assert_int_equal(encode(nextafterf(middle, b)), low + 1);
	assert_int_equal(encode(nextafterf(a, b)), low);
	assert_int_equal(encode(nextafterf(b, a)), low + 1);
}

static unsigned encode_f16(float x)
{
	return cwe_f16_from_f32(x);
}

static unsigned encode_e4m3(float x)
{
	return cwe_e4m3_from_f32(x);
}

static void test_f16_encode(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 0x7bff; i++)
		check_between(i, cwe_f32_from_f16((uint16_t)i), cwe_f32_from_f16((uint16_t)(i + 1)), encode_f16);
	assert_int_equal(cwe_f16_from_f32(65519.996f), 0x7bff);
	assert_int_equal(cwe_f16_from_f32(65520), 0x7c00);
	assert_int_equal(cwe_f16_from_f32(-1e30f), 0xfc00);
	assert_int_equal(cwe_f16_from_f32(1e-30f), 0);
	assert_int_equal(cwe_f16_from_f32(-0.0f), 0x8000);
}

static void test_e4m3(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 256; i++) {
		float x = cwe_f32_from_e4m3((uint8_t)i);

		if ((i & 0x7f) == 0x7f)
			assert_true(isnan(x));
		else
			assert_true((double)x == small_value(i, 4, 3, 7));
		assert_int_equal(cwe_e4m3_from_f32(x), i);
	}
	for (unsigned i = 0; i < 0x7e; i++)
		check_between(i, cwe_f32_from_e4m3((uint8_t)i), cwe_f32_from_e4m3((uint8_t)(i + 1)), encode_e4m3);
	assert_int_equal(cwe_e4m3_from_f32(1e9f), 0x7e);
	assert_int_equal(cwe_e4m3_from_f32(-INFINITY), 0xfe);
	assert_int_equal(cwe_e4m3_from_f32(-NAN) & 0x7f, 0x7f);
	assert_int_equal(cwe_e4m3_from_f32(-0.0f), 0x80);
}

static void test_arrays(void **state)
{
	static const uint32_t dtypes[] = {CWP_F32, CWP_BF16, CWP_F16};
	float in[5] = {0, -1.5f, 0.375f, 256, -2}, out[5];
	uint8_t raw[1 + sizeof in]; /* read from an odd address */

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		cwe_f32_to_dtype(raw + 1, in, dtypes[i], 5);
		memset(out, 0xff, sizeof out);
		cwe_f32_from_dtype(out, raw + 1, dtypes[i], 5);
		assert_memory_equal(in, out, sizeof in);
		assert_int_equal(cwe_cwp_dtype_size(dtypes[i]), i ? 2 : 4);
	}
}

/* All numbers of 16 bits, several at a time: the same bits as one by one, whatever is left over at the end. */
static void test_long_arrays(void **state)
{
	enum { ALL = 65536 };
	uint16_t *raw = malloc(ALL * sizeof *raw);
	float *out = malloc((ALL + 1) * sizeof *out);

	(void)state;
	for (unsigned i = 0; i < ALL; i++)
		raw[i] = (uint16_t)(i * 40503u); /* odd, so that each comes once */
	for (unsigned n = ALL - 9; n <= ALL; n++) {
		for (int half = 0; half < 2; half++) {
			memset(out, 0x5a, (ALL + 1) * sizeof *out);
			cwe_f32_from_dtype(out, raw, half ? CWP_F16 : CWP_BF16, n);
			for (unsigned i = 0; i < n; i++) {
				float one = half ? cwe_f32_from_f16(raw[i]) : cwe_f32_from_bf16(raw[i]);

				if (bits_of(one) != bits_of(out[i]))
					fail_msg("number %04x, half %d: %a and %a", raw[i], half, (double)one, (double)out[i]);
			}
			assert_int_equal(((unsigned char *)&out[n])[0], 0x5a);
		}
	}
	free(raw);
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_f16_decode),
		cmocka_unit_test(test_f16_encode),
		cmocka_unit_test(test_bf16),
		cmocka_unit_test(test_e4m3),
		cmocka_unit_test(test_arrays),
		cmocka_unit_test(test_long_arrays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
