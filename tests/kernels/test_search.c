/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the search for scales asks for, in every tier that this machine has, against plain C, bit for bit: sums of squared errors of
 * many grids, counts of weights and errors times a Gram matrix, with scales of every size, zero points, masks that begin anywhere, and arrays that end at
 * pages without access or begin at them. Then the scales that are found against what static/scales.h says, by the simplest way. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/rows.h"
#include "plugins/quantizers/static/scales.h"
#include "tests/kernels/guarded.h"

enum { LONGEST = 300 };

static uint64_t state = 1;

static uint32_t number(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33);
}

/* What one call sees: weights of a magnitude that is about `unit`. */
struct input {
	struct guarded v, mask;
	uint64_t first, n;
	const float *row; /* weights [first, first + n) may be read, no other */
	const uint8_t *bits;
};

static struct input input_new(uint64_t n, int at_end, float unit)
{
	struct input r = {.n = n, .first = number() % 41};
	const uint64_t skipped = r.first >> 3, bytes = ((r.first + n + 7) >> 3) - skipped;

	r.v = guarded_new(n * sizeof(float), at_end);
	r.row = (float *)r.v.p - r.first;
	r.mask = guarded_new(bytes, at_end);
	r.bits = (uint8_t *)r.mask.p - skipped;
	for (uint64_t i = 0; i < bytes; i++) {
		((uint8_t *)r.mask.p)[i] = (uint8_t)(number() >> 8 & number());
	}
	for (uint64_t i = 0; i < n; i++) {
		const int half = (int)(number() % 600) - 300; /* ties and zeros of both signs among others */
		const float v = number() % 4 == 0 ? (float)half * 0.5f * unit : ldexpf((float)number() - 0x40000000, -26) * unit;
		((float *)r.v.p)[i] = number() % 16 == 0 ? -0.0f * v : v;
	}
	return r;
}

static void input_free(struct input *r)
{
	guarded_free(&r->v);
	guarded_free(&r->mask);
}

static struct row_grids some_grids(float unit)
{
	const int bits = 2 + (int)(number() % 7), wide = number() % 4 == 0, zeros = number() % 2 == 0;
	struct row_grids g = {.n = 1 + number() % ROW_GRIDS, .low = -(float)(1 << (bits - 1)), .high = (float)(1 << (bits - 1)) - 1};

	for (uint32_t i = 0; i < g.n; i++) {
		const float scale = unit * (1 + (float)(number() % 1024) / 512);
		g.scale[i] = wide && number() % 8 == 0 ? scale : usable_scale(scale);
		g.zero[i] = zeros ? g.low + (float)(number() % (1u << bits)) : 0;
	}
	return g;
}

static void same_squares(const struct row_kernels *k, const struct input *in, const uint8_t *mask, float unit)
{
	const struct row_grids g = some_grids(unit);
	double want[ROW_GRIDS], got[ROW_GRIDS];

	row_kernels_scalar.squares(in->row, mask, in->first, in->n, &g, want);
	k->squares(in->row, mask, in->first, in->n, &g, got);
	assert_memory_equal(want, got, g.n * sizeof *want);
	if (mask == NULL) {
		struct guarded e = guarded_new(in->n * sizeof(float), (int)(in->first & 1));
		float plain[LONGEST];
		row_kernels_scalar.errors(in->v.p, in->n, g.scale[0], g.zero[0], g.low, g.high, plain);
		k->errors(in->v.p, in->n, g.scale[0], g.zero[0], g.low, g.high, e.p);
		assert_memory_equal(plain, e.p, in->n * sizeof *plain);
		guarded_free(&e);
	}
}

static void same_counts(const struct row_kernels *k, const struct input *in, const uint8_t *mask)
{
	for (int magnitudes = 0; magnitudes < 2; magnitudes++) {
		for (int i = 0; i < 6; i++) {
			const uint64_t at = in->n > 0 ? number() % in->n : 0;
			const int32_t bits = in->n > 0 ? (int32_t)float_bits(in->row[in->first + at]) : 0;
			const int32_t key = magnitudes ? bits & 0x7fffffff : row_key(bits);
			const int32_t limit = i == 0 ? INT32_MAX : i == 1 ? INT32_MIN : i == 2 ? key - (key > INT32_MIN) : key;
			assert_int_equal(row_kernels_scalar.count(in->row, mask, in->first, in->n, magnitudes, limit),
				k->count(in->row, mask, in->first, in->n, magnitudes, limit));
		}
	}
}

/* Of all columns but those that the rows of gram have beside. */
static void same_weighing(const struct row_kernels *k, uint64_t n, int at_end)
{
	enum { BESIDE = 5 };
	const uint64_t stride = n + BESIDE, there = n > 0 ? (n - 1) * stride + n : 0;
	struct guarded gram = guarded_new(there * sizeof(float), at_end), e = guarded_new(ROW_ERRORS * n * sizeof(float), at_end),
		       y = guarded_new(ROW_ERRORS * n * sizeof(float), at_end);
	static float want[ROW_ERRORS * LONGEST];

	for (uint64_t i = 0; i < there; i++) {
		((float *)gram.p)[i] = ldexpf((float)number() - 0x40000000, -20 - (int)(number() % 12));
	}
	for (uint64_t i = 0; i < ROW_ERRORS * n; i++) {
		((float *)e.p)[i] = number() % 8 == 0 ? 0 : ldexpf((float)number() - 0x40000000, -34 - (int)(number() % 6));
	}
	row_kernels_scalar.weigh(e.p, n, gram.p, stride, want);
	k->weigh(e.p, n, gram.p, stride, y.p);
	assert_memory_equal(want, y.p, ROW_ERRORS * n * sizeof *want);
	guarded_free(&gram);
	guarded_free(&e);
	guarded_free(&y);
}

static void compare(const struct row_kernels *k, uint64_t n, int at_end)
{
	/* Scales from subnormal reciprocals to such as are subnormal nearly. */
	const float unit = number() % 2 == 0 ? 0.01f : bits_float((2 + number() % 240) << 23);
	struct input in = input_new(n, at_end, unit);

	same_squares(k, &in, NULL, unit);
	same_squares(k, &in, in.bits, unit);
	same_counts(k, &in, NULL);
	same_counts(k, &in, in.bits);
	same_weighing(k, n, at_end);
	input_free(&in);
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
		for (int i = 0; i < 60; i++) {
			compare(k, number() % LONGEST + 1, i & 1);
		}
	}
}

/* ---- what is found ---- */

struct found {
	float scale;
	int8_t zero;
};

static struct found of_range(const struct scale_rule *rule, float low, float high)
{
	const float least = -(float)(1 << (rule->bits - 1)), most = -least - 1;
	struct found f = {usable_scale(high / most), 0};

	if (!rule->symmetric) {
		f.scale = usable_scale((float)(((double)high - (double)low) / (double)(most - least)));
		f.zero = code_int(-low, f.scale, least, least, most);
	}
	return f;
}

static double error_of(const struct scale_rule *rule, const struct found *f, const float *w, uint64_t n)
{
	const float least = -(float)(1 << (rule->bits - 1));
	double sum = 0;

	for (uint64_t i = 0; i < n; i++) {
		const double error = (double)value_int(w[i], f->scale, f->zero, least, -least - 1) - (double)w[i];
		const double square = error * error;
		sum += square;
	}
	return sum;
}

static struct found by_error(const struct scale_rule *rule, const float *w, uint64_t n)
{
	float low = 0, high = 0;
	struct found best = {0, 0};
	double least = INFINITY;

	for (uint64_t i = 0; i < n; i++) {
		low = w[i] < low ? w[i] : low;
		high = w[i] > high ? w[i] : high;
	}
	if (rule->symmetric) {
		high = -low > high ? -low : high;
		low = -high;
	}
	for (int step = 0; step <= 60; step++) {
		const float part = 1 - 0.01f * (float)step;
		const struct found f = of_range(rule, low * part, high * part);
		const double error = error_of(rule, &f, w, n);
		if (error < least) {
			least = error;
			best = f;
		}
	}
	return best;
}

static int by_size(const void *a, const void *b)
{
	const float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static struct found by_rank(const struct scale_rule *rule, const float *w, uint64_t n)
{
	float sorted[LONGEST] = {0};
	uint64_t rank = (uint64_t)ceil(rule->percentile / 100 * (double)n);

	rank = rank < 1 ? 1 : rank;
	for (uint64_t i = 0; i < n; i++) {
		sorted[i] = rule->symmetric ? fabsf(w[i]) : w[i];
	}
	qsort(sorted, n, sizeof *sorted, by_size);
	const float high = n > 0 && sorted[rank - 1] > 0 ? sorted[rank - 1] : 0, low = n > 0 && sorted[n - rank] < 0 ? sorted[n - rank] : 0;
	return of_range(rule, rule->symmetric ? -high : low, high);
}

static void find(const struct scale_rule *rule, const struct input *in, const uint8_t *mask)
{
	float free_ones[LONGEST];
	uint64_t n = 0;
	struct found got;

	for (uint64_t c = in->first; c < in->first + in->n; c++) {
		if (mask == NULL || !is_protected(mask, c)) {
			free_ones[n++] = in->row[c];
		}
	}
	const struct found want = rule->method == SCALE_MSE ? by_error(rule, free_ones, n) : by_rank(rule, free_ones, n);
	scale_find(rule, in->row, mask, in->first, in->n, &got.scale, &got.zero);
	assert_int_equal(float_bits(want.scale), float_bits(got.scale));
	assert_int_equal(want.zero, got.zero);
}

static void test_found(void **unused)
{
	(void)unused;
	for (int tier = ROW_SCALAR; tier <= (int)row_best(); tier++) {
		row_kernels_use((enum row_tier)tier);
		for (int i = 0; i < 120; i++) {
			const float unit = i < 80 ? 0.01f : i < 90 ? 0 : bits_float((2 + number() % 240) << 23);
			struct input in = input_new(1 + number() % (LONGEST - 1), i & 1, unit);
			for (int symmetric = 0; symmetric < 2; symmetric++) {
				struct scale_rule rule = {SCALE_MSE, 0, 2 + (int)(number() % 7), symmetric};
				find(&rule, &in, NULL);
				find(&rule, &in, in.bits);
				rule.method = SCALE_PERCENTILE;
				rule.percentile = i % 5 == 0 ? 100 : 51 + number() % 49;
				find(&rule, &in, NULL);
				find(&rule, &in, in.bits);
			}
			input_free(&in);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tiers),
		cmocka_unit_test(test_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
