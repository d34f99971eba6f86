/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Each kernel of each tier of this machine against the plain C one: random and extreme numbers, odd
 * lengths, and no byte touched outside the arrays, which end at (and in a second round begin at)
 * pages without access. The kernels are listed once, below, with the tolerance in units of the last
 * place that each is held to. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/kernels/guarded.h"
#include "tests/kernels/support.h"

enum { MOST = 1200 }; /* elements of an array */

/* What one kernel sees: inputs [n], and outputs that hold numbers before. */
struct arrays {
	size_t n;
	const float *a, *b, *c;
	float *x, *y;
	double *d, *e;
	float scalar; /* what the kernel returned */
};

/* As many rows of 41 as B has room for, with up to 7 of them. */
static void few_products(const struct kernels *k, const struct arrays *s)
{
	size_t n = s->n / 41;
	const struct gemm g = {0, 1, 1, n < 7 ? n : 7, n, 41, s->a, 41, s->b, 41, s->x, n};
	k->few(&g);
}

typedef void (*run_kernel)(const struct kernels *k, struct arrays *s);

#define KERNEL(name, body)                                                                         \
	static void run_##name(const struct kernels *k, struct arrays *s)                          \
	{                                                                                          \
		body;                                                                              \
	}

/* name, tolerance (in units of 2^-23 of the wanted value, or of 1 where that is less; a sum of two
 * products may be rounded once or twice, which shows where they cancel), numbers, how it is called
 */
#define KERNELS(K)                                                                                 \
	K(dot, 64, MODEST, s->scalar = k->dot(s->a, s->b, s->n))                                   \
	K(few, 64, MODEST, few_products(k, s))                                                     \
	K(add, 0, EXTREME, k->add(s->x, s->a, s->n))                                               \
	K(axpy, 64, EXTREME, k->axpy(s->x, 0.7F, s->a, s->n))                                      \
	K(scale, 0, EXTREME, k->scale(s->x, 0.7F, s->n))                                           \
	K(bf16, 0, EXTREME, k->bf16(s->x, halves(s->a), s->n))                                     \
	K(f16, 0, EXTREME, k->f16(s->x, halves(s->a), s->n))                                       \
	K(silu, 4, EXTREME, k->silu(s->a, s->b, s->n, s->x))                                       \
	K(gelu, 64, EXTREME, k->gelu(s->a, s->b, s->n, s->x))                                      \
	K(silu_backward, 64, GATE, k->silu_backward(s->a, s->b, s->c, s->n, s->x, s->y))           \
	K(gelu_backward, 128, GATE, k->gelu_backward(s->a, s->b, s->c, s->n, s->x, s->y))          \
	K(rmsnorm, 16, MODEST, s->scalar = k->rmsnorm(s->a, s->b, 1.0F, 1e-5F, s->n, s->x))        \
	K(rmsnorm_dx, 64, MODEST, k->rmsnorm_dx(s->a, s->b, s->c, 0.0F, 0.7F, s->n, 1, s->x))      \
	K(rmsnorm_dw, 1024, GATE, k->rmsnorm_dw(s->a, s->b, 0.7F, s->n, s->x))                     \
	K(rope, 2048, GATE, k->rope(s->x, s->n / 2, s->a, s->b, -1.0F))                            \
	K(absmax, 0, EXTREME, s->scalar = k->absmax(s->a, s->n))                                   \
	K(fake_int8, 0, EXTREME, k->fake_int8(s->a, 0.03F, 0.0F, s->n, s->x))                      \
	K(fake_int8_zero, 0, EXTREME, k->fake_int8(s->a, 0.03F, -7.0F, s->n, s->x))                \
	K(outliers, 0, EXTREME, s->scalar = k->outliers(s->a, 3.0F, s->n, s->x))                   \
	K(fake_outliers, 0, EXTREME, k->fake_outliers(s->a, 40.0F, 0.025F, 3.0F, s->b, s->n, s->x))\
	K(fake_e4m3, 0, EXTREME, k->fake_e4m3(s->a, 0.013F, s->n, s->x))                           \
	K(act_stats, 0, EXTREME, k->act_stats(s->a, s->n, s->d, s->e, s->x))                       \
	K(scores, 1, EXTREME, s->scalar = k->scores(s->x, s->n, 0.3F, 0.0F))                       \
	K(scores_capped, 16, EXTREME, s->scalar = k->scores(s->x, s->n, 0.3F, 5.0F))               \
	K(exp_sum, 256, MODEST, s->scalar = k->exp_sum(s->x, s->n, 3.0F))                          \
	K(probs, 8, EXTREME, k->probs(s->x, s->y, s->n, 0.3F, 0.0F, 1.0F))                         \
	K(probs_capped, 64, MODEST, k->probs(s->x, s->y, s->n, 0.3F, 5.0F, 1.0F))                  \
	K(dscores, 4, EXTREME, k->dscores(s->x, s->a, s->b, s->n, 0.1F, 0.3F, 0.0F))               \
	K(dscores_capped, 16, MODEST, k->dscores(s->x, s->a, s->b, s->n, 0.1F, 0.3F, 5.0F))        \
	K(                                                                                         \
		argmax, 0, EXTREME,                                                                \
		if (s->n) { s->x[0] = (float)k->argmax(s->a, s->n, &s->scalar); })                 \
	K(sum_exp, 64, MODEST, s->scalar = (float)k->sum_exp(s->a, s->n, 3.0F))                    \
	K(softmax_weight, 8, EXTREME, k->softmax_weight(s->x, s->n, 1.0F, 1e-8F, -0.5F))

/* GATE: extreme ones in the first input only, so that what cancels is not multiplied by anything.
 */
enum numbers { MODEST, EXTREME, GATE };

/* The same bytes as numbers of 16 bits. */
static const uint16_t *halves(const float *x)
{
	const void *bytes = x;
	return bytes;
}

#define DEFINE(name, tolerance, numbers, body) KERNEL(name, body)
KERNELS(DEFINE)
#undef DEFINE

static const struct {
	const char *name;
	double tolerance;
	enum numbers numbers;
	run_kernel run;
} list[] = {
#define ENTRY(name, tolerance, numbers, body) {#name, tolerance, numbers, run_##name},
	KERNELS(ENTRY)
#undef ENTRY
};

static const float extremes[] = {0.0F, -0.0F, 1.0F, -1.0F, 0x1p-149F, -0x1p-140F, 0x1p-126F,
	3.4e38F, -3.4e38F, 1e19F, -1e19F, 88.7F, -88.7F, -103.0F, 104.0F, -104.0F, -200.0F, 200.0F,
	20.0F, -20.0F, 0.5F, 1.5F, 2.5F, -2.5F, 448.0F, 464.0F, INFINITY, -INFINITY, NAN};

static void fill(uint64_t *seed, float *x, size_t n, enum numbers numbers)
{
	const size_t count = sizeof(extremes) / sizeof(extremes[0]);
	for (size_t i = 0; i < n; i++) {
		uint64_t r = test_random(seed);
		x[i] = test_uniform(seed, -4.0F, 4.0F);
		if (numbers == EXTREME && r % 4 == 0) {
			x[i] = extremes[r / 4 % count];
		}
	}
}

enum { INPUTS = 3, OUTPUTS = 4 };

struct memory {
	struct guarded in[INPUTS], out[OUTPUTS];
};

static struct memory memory_new(uint64_t seed, size_t n, enum numbers numbers, int at_end)
{
	struct memory m;
	for (int i = 0; i < INPUTS; i++) {
		m.in[i] = guarded_new(n * sizeof(float), at_end);
		fill(&seed, m.in[i].p, n, numbers == GATE ? (i ? MODEST : EXTREME) : numbers);
	}
	for (int i = 0; i < OUTPUTS; i++) {
		size_t each = i < 2 ? sizeof(float) : sizeof(double);
		m.out[i] = guarded_new(n * each, at_end);
		memset(m.out[i].p, 0, n * each);
		if (i < 2) {
			fill(&seed, m.out[i].p, n, numbers == GATE ? MODEST : numbers);
		}
	}
	return m;
}

static void memory_free(struct memory *m)
{
	for (int i = 0; i < INPUTS; i++) {
		guarded_free(&m->in[i]);
	}
	for (int i = 0; i < OUTPUTS; i++) {
		guarded_free(&m->out[i]);
	}
}

static struct arrays arrays_of(const struct memory *m, size_t n)
{
	return (struct arrays){.n = n,
		.a = m->in[0].p,
		.b = m->in[1].p,
		.c = m->in[2].p,
		.x = m->out[0].p,
		.y = m->out[1].p,
		.d = m->out[2].p,
		.e = m->out[3].p};
}

static int near(double got, double want, double tolerance)
{
	if (isnan(want) || isnan(got)) {
		return isnan(want) && isnan(got);
	}
	if (isinf(want) || isinf(got)) {
		/* An overflow may come one rounding earlier or later. */
		double other = isinf(want) ? got : want, limit = isinf(want) ? want : got;
		return got == want || (tolerance > 0.0 && fabs(other) > 3.4e38 &&
					      signbit(other) == signbit(limit));
	}
	return fabs(got - want) <= tolerance * 0x1p-23 * fmax(1.0, fabs(want));
}

static void compare(const char *what, const char *tier, size_t n, const struct arrays *got,
	const struct arrays *want, double tolerance)
{
	if (!near((double)got->scalar, (double)want->scalar, tolerance)) {
		fail_msg("%s %s of %zu returned %.9g, want %.9g", tier, what, n,
			(double)got->scalar, (double)want->scalar);
	}
	for (size_t i = 0; i < n; i++) {
		if (!near((double)got->x[i], (double)want->x[i], tolerance) ||
			!near((double)got->y[i], (double)want->y[i], tolerance) ||
			!near(got->d[i], want->d[i], tolerance) ||
			!near(got->e[i], want->e[i], tolerance)) {
			fail_msg("%s %s of %zu, element %zu (a %.9g b %.9g c %.9g): x %.9g y %.9g "
				 "d %.17g e %.17g, want "
				 "x %.9g y %.9g d %.17g e %.17g",
				tier, what, n, i, (double)got->a[i], (double)got->b[i],
				(double)got->c[i], (double)got->x[i], (double)got->y[i], got->d[i],
				got->e[i], (double)want->x[i], (double)want->y[i], want->d[i],
				want->e[i]);
		}
	}
}

static void one_length(const struct kernels *k, const struct kernels *c, size_t at, size_t n,
	uint64_t seed, int at_end)
{
	struct memory mine = memory_new(seed, n, list[at].numbers, at_end);
	struct memory plain = memory_new(seed, n, list[at].numbers, at_end);
	struct arrays got = arrays_of(&mine, n), want = arrays_of(&plain, n);
	list[at].run(k, &got);
	list[at].run(c, &want);
	compare(list[at].name, k->name, n, &got, &want, list[at].tolerance);
	for (int i = 0; i < INPUTS; i++) {
		assert_memory_equal(mine.in[i].p, plain.in[i].p, n * sizeof(float));
	}
	memory_free(&mine);
	memory_free(&plain);
}

static void test_elements(void **state)
{
	(void)state;
	static const size_t lengths[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100,
		127, 129, 576, 1023, MOST};
	struct kernels c, k;
	kernels_fill(&c, TIER_SCALAR);
	for (int tier = TIER_SCALAR; tier <= (int)kernels_best(); tier++) {
		kernels_fill(&k, (enum tier)tier);
		for (size_t at = 0; at < sizeof(list) / sizeof(list[0]); at++) {
			for (size_t i = 0; i < 2 * sizeof(lengths) / sizeof(lengths[0]); i++) {
				one_length(&k, &c, at, lengths[i / 2], i * 977 + at, i & 1);
			}
		}
	}
}

/* Panels and register tiles, which every tier has in its own size: against sums in f64. */
static void one_tile(const struct kernels *k, size_t depth, size_t rows, size_t cols)
{
	uint64_t seed = depth + rows;
	size_t cell = (size_t)k->mr * k->nr, ld = cols + rows;
	struct guarded src = guarded_new(depth * ld * sizeof(float), 1);
	struct guarded a = guarded_new(depth * k->mr * sizeof(float), 1),
		       b = guarded_new(depth * k->nr * sizeof(float), 1);
	struct guarded out = guarded_new(4 * cell * sizeof(float), 1);
	float *from = src.p, *g = out.p;
	fill(&seed, from, depth * ld, MODEST);
	k->pack(a.p, depth * k->mr, from, ld, depth, rows, k->mr);
	k->pack(b.p, depth * k->nr, from + rows, ld, depth, cols, k->nr);
	struct ahead next = {src.p, src.p, 64, 64};
	struct micro_stats s = {g + cell, g + 2 * cell, g + 3 * cell};
	for (size_t i = 0; i < cell; i++) {
		g[i] = 0.25F;
		s.sum[i] = 1.0F;
		s.abs[i] = 2.0F;
		s.sq[i] = 3.0F;
	}
	k->micro_stats(depth, a.p, b.p, &next, g, &s);
	k->micro(depth, a.p, b.p, &next, 1, g);
	for (size_t i = 0; i < cell; i++) {
		size_t r = i / k->nr, c = i % k->nr;
		double want = 0.25;
		for (size_t p = 0; r < rows && c < cols && p < depth; p++) {
			want += (double)from[p * ld + r] * (double)from[p * ld + rows + c];
		}
		double all[] = {want, 1.0 + want, 2.0 + fabs(want), 3.0 + want * want};
		for (size_t j = 0; j < 4; j++) {
			if (!near((double)g[j * cell + i], all[j], 1024.0)) {
				fail_msg("%s tile [%zu, %zu] over %zu: part %zu, element %zu is "
					 "%.9g, want %.9g",
					k->name, rows, cols, depth, j, i, (double)g[j * cell + i],
					all[j]);
			}
		}
	}
	struct guarded *all[] = {&src, &a, &b, &out};
	for (size_t i = 0; i < 4; i++) {
		guarded_free(all[i]);
	}
}

static void test_tiles(void **state)
{
	(void)state;
	static const size_t depths[] = {1, 2, 7, 8, 9, 40, 256};
	for (int tier = TIER_SCALAR; tier <= (int)kernels_best(); tier++) {
		struct kernels k;
		kernels_fill(&k, (enum tier)tier);
		for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
			one_tile(&k, depths[i], k.mr, k.nr);
			one_tile(&k, depths[i], 1, 1);
			one_tile(&k, depths[i], k.mr - 1, k.nr - 1);
		}
	}
}

/* A kernel that is not listed above would not be tested: the table has as many as the list and
 * test_tiles. */
static void test_complete(void **state)
{
	(void)state;
	size_t fields = (sizeof(struct kernels) - offsetof(struct kernels, gemm)) / sizeof(void *);
	size_t not_pointers = 1; /* mr and nr share the room of one */
	/* scores, probs and dscores are listed with and without the cap, fake_int8 with a zero
	 * point and without. */
	size_t variants = 4;
	size_t elsewhere = 4;    /* gemm (test_ops), pack, micro, micro_stats */
	assert_int_equal(
		fields - not_pointers - elsewhere, sizeof(list) / sizeof(list[0]) - variants);
	for (int tier = TIER_SCALAR; tier <= (int)kernels_best(); tier++) {
		struct kernels k;
		void *p[sizeof(k) / sizeof(void *)];
		kernels_fill(&k, (enum tier)tier);
		memcpy(p, &k, sizeof(p));
		for (size_t i = 0; i < sizeof(p) / sizeof(p[0]); i++) {
			assert_non_null(p[i]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_elements),
		cmocka_unit_test(test_tiles),
		cmocka_unit_test(test_complete),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
