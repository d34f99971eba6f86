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
#include "plugins/backends/cpu/rounding.h"
#include "tests/kernels/plain_tiles.h"
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
static void few_products(void (*few)(const struct gemm *g), const struct arrays *s)
{
	size_t n = s->n / 41;
	const struct gemm g = {0, 1, 1, n < 7 ? n : 7, n, 41, s->a, 41, s->b, 41, s->x, n};
	few(&g);
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
	K(few, 64, MODEST, few_products(k->few, s))                                                \
	K(few_bf16, 512, MODEST, few_products(k->few_bf16, s))                                     \
	K(round_bf16, 0, EXTREME, k->round_bf16(s->x, s->a, s->n))                                 \
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

/* Panels and register tiles, which every tier has in its own size: against sums in f64. The two sources are [depth, n] or,
 * when `along`, [n, depth]. */
struct tile_case {
	const struct panels *p;
	int bf16, along, at_end;
	size_t depth, rows, cols;
	enum numbers numbers;
};

static double operand(const struct tile_case *t, const float *from, size_t ld, size_t token, size_t i)
{
	float x = t->along ? from[i * ld + token] : from[token * ld + i];
	return (double)(t->bf16 ? bf16_rounded(x) : x);
}

static void pack_case(const struct tile_case *t, const struct guarded *to, const struct guarded *from, size_t n, int b)
{
	size_t ld = t->along ? t->depth : n;
	memset(to->p, 0x7f, to->bytes);
	const struct pack p = {.dst = to->p, .src = from->p, .ld = ld, .along = t->along, .k = t->depth, .n = n};
	(b ? t->p->pack_b : t->p->pack_a)(&p);
}

static void check_tile(const struct tile_case *t, const float *a, const float *b, const float *g)
{
	size_t nr = t->p->nr, cell = t->p->mr * nr;
	for (size_t i = 0; i < cell; i++) {
		size_t r = i / nr, c = i % nr;
		if (t->numbers == EXTREME && (r >= t->rows || c >= t->cols)) {
			continue; /* infinity times 0 */
		}
		double sum = 0.0, start = t->numbers == EXTREME ? 0.0 : 0.25;
		for (size_t p = 0; r < t->rows && c < t->cols && p < t->depth; p++) {
			sum += operand(t, a, t->along ? t->depth : t->rows, p, r) *
			       operand(t, b, t->along ? t->depth : t->cols, p, c);
		}
		if (t->numbers == EXTREME) {
			sum = (double)(float)sum;
		}
		double g2 = (start + sum) * (start + sum);
		double all[] = {start + sum, 1.0 + start + sum, 2.0 + fabs(start + sum),
			3.0 + (t->numbers == EXTREME ? (double)(float)g2 : g2)};
		for (size_t j = 0; j < 4; j++) {
			if (!near((double)g[j * cell + i], all[j], 1024.0)) {
				fail_msg("%s tile [%zu, %zu] over %zu, along %d: part %zu, element %zu is %.9g, want %.9g",
					t->p->name, t->rows, t->cols, t->depth, t->along, j, i, (double)g[j * cell + i], all[j]);
			}
		}
	}
}

static void one_tile(const struct tile_case *t)
{
	const struct panels *p = t->p;
	uint64_t seed = t->depth + t->rows;
	size_t cell = (size_t)p->mr * p->nr, deep = (t->depth + p->step - 1) / p->step * p->step;
	struct guarded from_a = guarded_new(t->depth * t->rows * sizeof(float), t->at_end),
		       from_b = guarded_new(t->depth * t->cols * sizeof(float), t->at_end);
	struct guarded a = guarded_new(deep * p->mr * p->size, t->at_end), b = guarded_new(deep * p->nr * p->size, t->at_end);
	struct guarded out = guarded_new(4 * cell * sizeof(float), t->at_end);
	float *g = out.p;
	fill(&seed, from_a.p, t->depth * t->rows, t->numbers);
	fill(&seed, from_b.p, t->depth * t->cols, t->numbers);
	pack_case(t, &a, &from_a, t->rows, 0);
	pack_case(t, &b, &from_b, t->cols, 1);
	struct ahead next = {a.p, b.p, 64, 64};
	struct micro_stats s = {g + cell, g + 2 * cell, g + 3 * cell};
	for (size_t i = 0; i < cell; i++) {
		g[i] = t->numbers == EXTREME ? 0.0F : 0.25F;
		s.sum[i] = 1.0F;
		s.abs[i] = 2.0F;
		s.sq[i] = 3.0F;
	}
	if (p->begin) {
		p->begin();
	}
	p->micro_stats(deep, a.p, b.p, &next, t->numbers == EXTREME ? NULL : g, &s);
	p->micro(deep, a.p, b.p, &next, t->numbers != EXTREME, g, p->nr);
	if (p->end) {
		p->end();
	}
	check_tile(t, from_a.p, from_b.p, g);
	struct guarded *all[] = {&from_a, &from_b, &a, &b, &out};
	for (size_t i = 0; i < 5; i++) {
		guarded_free(all[i]);
	}
}

/* Random numbers at any depth; extreme ones where there is but one product, which is the same in any order. */
static void tiles_of(const struct panels *p, int bf16)
{
	static const size_t depths[] = {1, 2, 3, 7, 8, 9, 31, 32, 33, 40, 63, 256};
	const size_t sizes[][2] = {{p->mr, p->nr}, {1, 1}, {p->mr - 1, p->nr - 1}, {(p->mr + 1) / 2, p->nr / 2 + 1}};
	for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
		for (size_t j = 0; j < 16; j++) {
			struct tile_case t = {p, bf16, j & 1, j >> 1 & 1, depths[i], sizes[j / 4][0], sizes[j / 4][1], MODEST};
			one_tile(&t);
			if (t.depth == 1) {
				t.numbers = EXTREME;
				one_tile(&t);
			}
		}
	}
}

/* Several panels in one call, the last one in part. */
static void panels_of(const struct panels *p)
{
	size_t depth = 37, deep = (depth + p->step - 1) / p->step * p->step;
	for (int i = 0; i < 4; i++) {
		size_t width = i & 1 ? p->nr : p->mr, n = 2 * width + 1, bytes = deep * width * p->size;
		uint64_t seed = 9;
		struct guarded from = guarded_new(depth * n * sizeof(float), 1), all = guarded_new(3 * bytes, 1),
			       one = guarded_new(bytes, 1);
		fill(&seed, from.p, depth * n, MODEST);
		struct pack call = {.dst = all.p, .distance = bytes, .src = from.p, .along = i >> 1, .k = depth, .n = n};
		call.ld = call.along ? depth : n;
		void (*pack)(const struct pack *p) = i & 1 ? p->pack_b : p->pack_a;
		pack(&call);
		for (size_t j = 0; j < 3; j++) {
			call.dst = one.p;
			call.src = (const float *)from.p + j * width * (call.along ? depth : 1);
			call.n = j < 2 ? width : 1;
			pack(&call);
			assert_memory_equal(one.p, (char *)all.p + j * bytes, bytes);
		}
		guarded_free(&from);
		guarded_free(&all);
		guarded_free(&one);
	}
}

static void test_tiles(void **state)
{
	(void)state;
	for (int tier = TIER_SCALAR; tier <= (int)kernels_best(); tier++) {
		struct kernels k;
		kernels_fill(&k, (enum tier)tier);
		tiles_of(&k.f32, 0);
		tiles_of(&k.bf16_panels, 1);
		panels_of(&k.f32);
		panels_of(&k.bf16_panels);
	}
#if defined(__x86_64__)
	if (test_has_plain_tiles()) {
		struct kernels k;
		kernels_plain_tiles(&k);
		tiles_of(&k.bf16_panels, 1);
		panels_of(&k.bf16_panels);
	}
#endif
}

/* A kernel that is not listed above would not be tested: the table has as many as the list, and
 * panels, which test_tiles looks at. */
static void test_complete(void **state)
{
	(void)state;
	size_t panels = sizeof(struct kernels) - 2 * sizeof(struct panels);
	size_t fields = (panels - offsetof(struct kernels, gemm)) / sizeof(void *);
	/* scores, probs and dscores are listed with and without the cap, fake_int8 with a zero
	 * point and without. */
	size_t variants = 4;
	size_t elsewhere = 1; /* gemm (test_ops) */
	assert_int_equal(fields - elsewhere, sizeof(list) / sizeof(list[0]) - variants);
	for (int tier = TIER_SCALAR; tier <= (int)kernels_best(); tier++) {
		struct kernels k;
		void *p[(sizeof(k) - 2 * sizeof(k.f32)) / sizeof(void *)];
		kernels_fill(&k, (enum tier)tier);
		memcpy(p, &k, sizeof(p));
		for (size_t i = 0; i < sizeof(p) / sizeof(p[0]); i++) {
			assert_non_null(p[i]);
		}
		const struct panels *both[] = {&k.f32, &k.bf16_panels};
		for (size_t i = 0; i < 2; i++) {
			assert_true(both[i]->pack_a && both[i]->pack_b && both[i]->micro && both[i]->micro_stats);
			assert_true(both[i]->mr <= MOST_MR && both[i]->nr <= MOST_NR);
			assert_true(both[i]->step && MOST_STEP % both[i]->step == 0 && both[i]->fetch && both[i]->size);
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
