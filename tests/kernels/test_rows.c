/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Ranges and codes of every tier that this machine has against plain C, bit for bit: random and extreme weights, ties, all
 * short lengths, any alignment, masks that begin anywhere, and no byte touched outside the arrays, which end at pages
 * without access and in a second round begin at them; and scales of every exponent, with weights at and beside ties. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/rows.h"
#include "tests/kernels/guarded.h"

enum { LONGEST = 300, ROUNDS = 40 };

static const float extreme[] = {0.0f, -0.0f, 1e-45f, -1e-45f, 1.1754942e-38f, -1.17549435e-38f, 0.5f, -0.5f, 1.5f, -2.5f, 6.5f,
	7.5f, -7.5f, -8.5f, 126.5f, 127.5f, -127.5f, -128.5f, 0.015625f, 0.0009765625f, 0.0029296875f, -0.0048828125f, 0.015136719f,
	448.0f, 464.0f, -480.0f, 1e30f, -3.4028235e38f, 3.4028235e38f};
static const float scales[] = {1.0f, 0.0078125f, 0.333984375f, 1.17549435e-38f, 2.6584559915698317e36f, 0.099609375f};
enum { EXTREMES = sizeof extreme / sizeof *extreme, SCALES = sizeof scales / sizeof *scales };

static uint64_t state = 1;

static uint32_t number(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33);
}

/* What one call sees. */
struct rows {
	struct guarded v, mask, codes;
	uint64_t first, n;
	float *row; /* weights [first, first + n) may be read, no other */
};

static void begin(struct rows *r, uint64_t n, int at_end)
{
	*r = (struct rows){.n = n, .first = number() % 41};
	r->v = guarded_new(n * sizeof(float), at_end);
	r->row = (float *)r->v.p - r->first;
	/* The mask's first byte that holds a bit of ours is the first that may be read. */
	uint64_t skipped = r->first >> 3, bytes = ((r->first + n + 7) >> 3) - skipped;
	r->mask = guarded_new(bytes, at_end);
	for (uint64_t i = 0; i < bytes; i++) {
		((uint8_t *)r->mask.p)[i] = (uint8_t)number();
	}
	r->codes = guarded_new(n, at_end);
	for (uint64_t i = 0; i < n; i++) {
		float v = number() % 3 == 0 ? extreme[number() % EXTREMES] : ldexpf((float)number() - 0x40000000, -(int)(number() % 40));
		((float *)r->v.p)[i] = v;
	}
}

static const uint8_t *mask_of(const struct rows *r)
{
	return (const uint8_t *)r->mask.p - (r->first >> 3);
}

static void end(struct rows *r)
{
	guarded_free(&r->v);
	guarded_free(&r->mask);
	guarded_free(&r->codes);
}

static void same_ranges(const struct row_kernels *k, const struct rows *r, const uint8_t *mask)
{
	float low, high, l, h;

	row_kernels_scalar.range(r->row, mask, r->first, r->n, &low, &high);
	k->range(r->row, mask, r->first, r->n, &l, &h);
	assert_int_equal(float_bits(low), float_bits(l));
	assert_int_equal(float_bits(high), float_bits(h));
}

static void same_codes(const struct row_kernels *k, const struct rows *r)
{
	uint8_t want[LONGEST + 1];
	const float *v = r->v.p;
	const float scale = scales[number() % SCALES];

	for (int bits = 2; bits <= 8; bits++) {
		const float low = -(float)(1 << (bits - 1)), high = -low - 1;
		const float zero = number() % 2 == 0 ? 0 : (float)(int)(number() % (1u << bits)) + low;
		row_kernels_scalar.code_int(v, r->n, scale, zero, low, high, want);
		k->code_int(v, r->n, scale, zero, low, high, r->codes.p);
		assert_memory_equal(want, r->codes.p, r->n);
	}
	row_kernels_scalar.code_e4m3(v, r->n, scale, want);
	k->code_e4m3(v, r->n, scale, r->codes.p);
	assert_memory_equal(want, r->codes.p, r->n);
}

static void compare(const struct row_kernels *k, uint64_t n, int at_end)
{
	struct rows r;

	begin(&r, n, at_end);
	assert_int_equal(row_kernels_scalar.top(r.v.p, n), k->top(r.v.p, n));
	assert_int_equal(row_kernels_scalar.top_masked(r.row, mask_of(&r), r.first, n), k->top_masked(r.row, mask_of(&r), r.first, n));
	for (uint64_t group = 1; n > 0 && group <= 2 * n; group = 3 * group + 1) {
		float want[LONGEST + 1], got[LONGEST + 1];
		row_kernels_scalar.tops(r.v.p, n, group, want);
		k->tops(r.v.p, n, group, got);
		assert_memory_equal(want, got, ((n - 1) / group + 1) * sizeof *want);
	}
	same_ranges(k, &r, NULL);
	same_ranges(k, &r, mask_of(&r));
	same_codes(k, &r);
	if (n > 0) {
		/* One weight that is no finite number, anywhere. */
		const float odd[] = {NAN, -NAN, INFINITY, -INFINITY};
		((float *)r.v.p)[number() % n] = odd[number() % 4];
		assert_true(k->top(r.v.p, n) >= 0x7f800000);
		assert_int_equal(row_kernels_scalar.top(r.v.p, n), k->top(r.v.p, n));
	}
	end(&r);
}

static void test_tiers(void **unused)
{
	(void)unused;
	for (int tier = ROW_SCALAR; tier <= (int)row_best(); tier++) {
		const struct row_kernels *k = row_kernels_of((enum row_tier)tier);
		for (uint64_t n = 0; n <= 70; n++) {
			compare(k, n, 0);
			compare(k, n, 1);
		}
		for (int i = 0; i < ROUNDS; i++) {
			compare(k, number() % LONGEST + 1, i & 1);
		}
	}
}

/* Every pair of neighbours of E4M3 has its tie, and those beside it; all exponents of finite numbers occur. */
static void test_e4m3_ties(void **unused)
{
	(void)unused;
	float v[3 * 256];
	uint8_t want[3 * 256], got[3 * 256];

	for (uint32_t upper = 0; upper < 0x10000; upper += 256) {
		for (uint32_t i = 0; i < 256; i++) {
			const uint32_t bits = (upper + i) << 16 | (number() % 2 == 0 ? 0 : 0x8000);
			if ((bits & 0x7f800000) == 0x7f800000) {
				v[3 * i] = v[3 * i + 1] = v[3 * i + 2] = 0;
				continue;
			}
			v[3 * i] = bits_float(bits - (bits & 0xffff ? 1 : 0));
			v[3 * i + 1] = bits_float(bits);
			v[3 * i + 2] = bits_float(bits + 1);
		}
		row_kernels_scalar.code_e4m3(v, 768, 1.0f, want);
		for (int tier = ROW_SCALAR; tier <= (int)row_best(); tier++) {
			row_kernels_of((enum row_tier)tier)->code_e4m3(v, 768, 1.0f, got);
			assert_memory_equal(want, got, sizeof got);
		}
	}
}

/* Weights whose quotients by the scale are ties, or as near to one as their own last place allows, on both sides. */
static uint64_t near_ties(float scale, int e4m3, float *v, uint64_t n)
{
	uint64_t at = 0;

	while (at + 6 <= n) {
		const uint32_t bits = number() % 0x7e;
		const float code = bits < 8 ? ldexpf((float)bits, -9) : ldexpf((float)(8 + bits % 8), (int)(bits / 8) - 10);
		const float half = bits < 8 ? 0x1p-10f : ldexpf(1, (int)(bits / 8) - 11);
		const float tie = e4m3 ? code + half : (float)(number() % 260) + 0.5f;
		const float w = (float)((double)tie * (double)scale);
		if (!(w <= FLT_MAX)) {
			v[at++] = FLT_MAX;
			continue;
		}
		v[at++] = w;
		v[at++] = nextafterf(w, 0);
		v[at++] = nextafterf(w, FLT_MAX);
		v[at++] = -w;
		v[at++] = -nextafterf(w, 0);
		v[at++] = -nextafterf(w, FLT_MAX);
	}
	return at;
}

static void same_at_ties(const struct row_kernels *k, float scale)
{
	enum { N = 192 };
	float v[N];
	uint8_t want[N], got[N];
	uint64_t n = near_ties(scale, 1, v, N);

	row_kernels_scalar.code_e4m3(v, n, scale, want);
	k->code_e4m3(v, n, scale, got);
	assert_memory_equal(want, got, n);
	n = near_ties(scale, 0, v, N);
	for (int bits = 2; bits <= 8; bits++) {
		const float low = -(float)(1 << (bits - 1)), zero = number() % 2 == 0 ? 0 : (float)(int)(number() % (1u << bits)) + low;
		row_kernels_scalar.code_int(v, n, scale, zero, low, -low - 1, want);
		k->code_int(v, n, scale, zero, low, -low - 1, got);
		assert_memory_equal(want, got, n);
	}
}

/* Scales of all exponents, subnormal ones and those whose reciprocal is, with eight significant bits and with more: by products and
 * by division. */
static void test_ties_of_scales(void **unused)
{
	(void)unused;
	for (int tier = ROW_SCALAR + 1; tier <= (int)row_best(); tier++) {
		const struct row_kernels *k = row_kernels_of((enum row_tier)tier);
		for (uint32_t exponent = 0; exponent < 255; exponent++) {
			for (int i = 0; i < 12; i++) {
				const uint32_t wide = exponent << 23 | (number() & 0x7fffff);
				same_at_ties(k, bits_float(wide & 0xffff0000u ? wide & 0xffff0000u : 0x00010000u));
				same_at_ties(k, bits_float(wide | 1));
			}
		}
	}
}

/* Each exponent of a weight with each of a scale: from quotients that vanish to those that no number can hold. */
static void test_all_exponents(void **unused)
{
	enum { N = 2 * 255 };
	float v[N];
	uint8_t want[N], got[N];

	(void)unused;
	for (uint32_t exponent = 1; exponent < 255; exponent++) {
		const float scale = bits_float(exponent << 23 | (number() & 0x7f0000));
		for (uint32_t e = 0; e < 255; e++) {
			v[2 * e] = bits_float(e << 23 | (number() & 0x7fffff));
			v[2 * e + 1] = -v[2 * e];
		}
		for (int tier = ROW_SCALAR + 1; tier <= (int)row_best(); tier++) {
			const struct row_kernels *k = row_kernels_of((enum row_tier)tier);
			row_kernels_scalar.code_e4m3(v, N, scale, want);
			k->code_e4m3(v, N, scale, got);
			assert_memory_equal(want, got, N);
			row_kernels_scalar.code_int(v, N, scale, -3, -128, 127, want);
			k->code_int(v, N, scale, -3, -128, 127, got);
			assert_memory_equal(want, got, N);
		}
	}
}

/* Any weights by any scale of eight bits. */
static void test_quotients(void **unused)
{
	enum { N = 512 };
	float v[N];
	uint8_t want[N], got[N];

	(void)unused;
	for (int i = 0; i < 2000; i++) {
		const float scale = bits_float((60 + number() % 130) << 23 | (number() & 0x7f0000));
		for (int j = 0; j < N; j++) {
			v[j] = ldexpf((float)number() - 0x40000000, -31) * 256 * scale * ldexpf(1, -(int)(number() % 18));
		}
		for (int tier = ROW_SCALAR + 1; tier <= (int)row_best(); tier++) {
			const struct row_kernels *k = row_kernels_of((enum row_tier)tier);
			row_kernels_scalar.code_e4m3(v, N, scale, want);
			k->code_e4m3(v, N, scale, got);
			assert_memory_equal(want, got, N);
			row_kernels_scalar.code_int(v, N, scale, 0, -128, 127, want);
			k->code_int(v, N, scale, 0, -128, 127, got);
			assert_memory_equal(want, got, N);
		}
	}
}

/* The rows' own functions: a group at a time, the last one shorter, with and without zero points. */
static void test_rows(void **unused)
{
	(void)unused;
	enum { COLS = 150 };
	float row[COLS], scale[10], low, high, l, h;
	int8_t zero[10];
	uint8_t mask[(COLS + 7) / 8], want[COLS], got[COLS];

	for (int i = 0; i < COLS; i++) {
		row[i] = ldexpf((float)number() - 0x40000000, -30);
	}
	for (int i = 0; i < 10; i++) {
		scale[i] = round_bf16(0.01f + ldexpf((float)number(), -33));
		zero[i] = (int8_t)(number() % 16) - 8;
	}
	memset(mask, 0x5a, sizeof mask);
	for (int tier = ROW_SCALAR; tier <= (int)row_best(); tier++) {
		row_kernels_use((enum row_tier)tier);
		codes_int(row, COLS, 16, scale, zero, 4, want);
		row_codes_int(row, COLS, 16, scale, zero, 4, got);
		assert_memory_equal(want, got, COLS);
		codes_int(row, COLS, COLS, scale, NULL, 8, want);
		row_codes_int(row, COLS, COLS, scale, NULL, 8, got);
		assert_memory_equal(want, got, COLS);
		codes_e4m3(row, COLS, scale[0], want);
		row_codes_e4m3(row, COLS, scale[0], got);
		assert_memory_equal(want, got, COLS);
		assert_true(row_absmax_of(row, NULL, 7, 90) == absmax_of(row, NULL, 7, 90));
		assert_true(row_absmax_of(row, mask, 7, 90) == absmax_of(row, mask, 7, 90));
		range_of(row, mask, 3, 99, &low, &high);
		row_range_of(row, mask, 3, 99, &l, &h);
		assert_true(low == l && high == h);
		assert_true(row_all_finite(row, COLS));
	}
	row[149] = NAN;
	assert_false(row_all_finite(row, COLS));
}

/* Of a part of a row: what is not finite at each of its columns and around it. */
static void test_finite_absmax(void **unused)
{
	enum { COLS = 150 };
	const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
	uint8_t mask[COLS / 8 + 1] = {0};
	float row[COLS], absmax, absmaxes[6];

	(void)unused;
	for (int i = 0; i < COLS; i++) {
		row[i] = (float)number();
	}
	row[40] = -FLT_MAX;
	mask[5] = 1;
	for (int tier = ROW_SCALAR; tier <= (int)row_best(); tier++) {
		row_kernels_use((enum row_tier)tier);
		assert_true(row_finite_absmax(row, NULL, 7, 90, &absmax) && absmax == FLT_MAX);
		assert_true(row_finite_absmax(row, mask, 7, 90, &absmax) && absmax == absmax_of(row, mask, 7, 90) && absmax < FLT_MAX);
		for (int i = 0; i < COLS; i++) {
			const float saved = row[i];
			const int inside = i >= 7 && i < 97;
			row[i] = bad[i % 4];
			assert_int_equal(row_finite_absmax(row, NULL, 7, 90, &absmax), !inside);
			assert_int_equal(row_finite_absmax(row, mask, 7, 90, &absmax), !inside);
			assert_int_equal(row_finite_absmaxes(row + 7, 90, 16, absmaxes), !inside);
			row[i] = saved;
		}
	}
}

/* Ranges, scales and codes of a row at a time, whose groups fit a page or do not, against those of each group alone. */
static void test_quantize_int(void **unused)
{
	enum { COLS = 2300 };
	static const uint64_t groups[] = {1, 7, 32, 128, 500, 1024, 1500, COLS, 5000};
	static float row[COLS], want_scale[COLS], scale[COLS];
	static uint8_t want[COLS], got[COLS];

	(void)unused;
	for (int i = 0; i < COLS; i++) {
		row[i] = i < 128 ? 0 : ldexpf((float)number() - 0x40000000, -(int)(20 + number() % 20));
	}
	for (int tier = ROW_SCALAR; tier <= (int)row_best(); tier++) {
		row_kernels_use((enum row_tier)tier);
		for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
			const int bits = 2 + (int)(number() % 7);
			uint64_t n = 0;
			for (uint64_t first = 0; first < COLS; first += groups[g]) {
				const uint64_t some = COLS - first < groups[g] ? COLS - first : groups[g];
				want_scale[n++] = usable_scale(absmax_of(row, NULL, first, some) / (float)((1 << (bits - 1)) - 1));
			}
			codes_int(row, COLS, groups[g], want_scale, NULL, bits, want);
			assert_true(row_quantize_int(row, COLS, groups[g], bits, scale, got));
			assert_memory_equal(want_scale, scale, n * sizeof *scale);
			assert_memory_equal(want, got, COLS);
			const uint64_t bad = number() % COLS;
			const float saved = row[bad];
			row[bad] = number() % 2 == 0 ? NAN : -INFINITY;
			assert_false(row_quantize_int(row, COLS, groups[g], bits, scale, got));
			row[bad] = saved;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tiers),
		cmocka_unit_test(test_e4m3_ties),
		cmocka_unit_test(test_ties_of_scales),
		cmocka_unit_test(test_all_exponents),
		cmocka_unit_test(test_quotients),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_finite_absmax),
		cmocka_unit_test(test_quantize_int),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
