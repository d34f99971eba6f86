/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Statistics of per-sample gradients of a backend against those of the CPU. With bf16 the reference gets X and dY rounded; a
 * single column, such as a bias's, may be summed from dY as it is. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/cuda/pair.h"

enum { SUM = 1, ABS = 2, SQ = 4 };

struct gradients {
	uint64_t rows, cols, ldx, lddy;
	struct cwp_sequences samples;
	int wanted;
};

static int call_gradients(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct gradients *g = arg;
	const struct cwp_grad_stats s = {.size = sizeof(s),
		.rows = g->rows,
		.cols = g->cols,
		.samples = g->samples,
		.d_x = p[0],
		.ldx = g->ldx,
		.d_dy = p[1],
		.lddy = g->lddy,
		.d_sum = g->wanted & SUM ? p[2] : NULL,
		.d_abs = g->wanted & ABS ? p[3] : NULL,
		.d_sq = g->wanted & SQ ? p[4] : NULL};
	return ops->grad_stats(b, &s);
}

static uint64_t longest(const struct cwp_sequences *s)
{
	uint64_t most = 1;
	for (uint64_t i = 0; i < s->count; i++) {
		most = s->start[i + 1] - s->start[i] > most ? s->start[i + 1] - s->start[i] : most;
	}
	return most;
}

static void one(struct gradients g, const unsigned *extra, size_t shift, int ones)
{
	uint64_t tokens = g.samples.count ? g.samples.start[g.samples.count] : 0, seed = g.rows * 7 + g.cols + tokens;
	g.ldx = g.cols + extra[0];
	g.lddy = g.rows + extra[1];
	size_t nx = tokens * g.ldx, ny = tokens * g.lddy, n = g.rows * g.cols;
	float *x = ones ? test_filled(nx, 1.0F) : pair_normal(&seed, nx, 1.0F), *dy = pair_normal(&seed, ny, 0.5F);
	float *rx = pair_rounded(x, nx), *rdy = ones ? pair_normal(&seed, 1, 1.0F) : pair_rounded(dy, ny);
	float *before[3];
	for (int i = 0; i < 3; i++) {
		before[i] = pair_normal(&seed, n, 0.1F);
	}
	/* One gradient's deviation, over all samples; a square doubles the relative difference. */
	double deep = (double)longest(&g.samples), many = (double)g.samples.count, unit = 0.5 * sqrt(deep);
	double bound = g.cols == 1 && pair.bf16 ? 1e-2 : 2.0 * pair_product_bound((size_t)deep);
	const struct pair_array arrays[] = {{.role = PAIR_IN, .n = nx, .data = x, .reference = rx, .shift = shift},
		{.role = PAIR_IN, .n = ny, .data = dy, .reference = ones ? NULL : rdy, .shift = shift},
		{.role = PAIR_BOTH, .n = n, .data = before[0], .bound = bound, .unit = unit * sqrt(many)},
		{.role = PAIR_BOTH, .n = n, .data = before[1], .bound = bound, .unit = unit},
		{.role = PAIR_BOTH, .n = n, .data = before[2], .bound = bound, .unit = unit * unit}};
	char what[160];
	snprintf(what, sizeof(what), "grad_stats [%llu, %llu] %llu samples, %llu tokens, ld +%u +%u, shift %zu, wanted %d%s",
		(unsigned long long)g.rows, (unsigned long long)g.cols, (unsigned long long)g.samples.count, (unsigned long long)tokens,
		extra[0], extra[1], shift, g.wanted, ones ? ", ones" : "");
	pair_check(what, arrays, 5, call_gradients, &g);
	float *all[] = {x, dy, rx, rdy, before[0], before[1], before[2]};
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		free(all[i]);
	}
}

static const uint64_t even[] = {0, 64, 128}, odd[] = {0, 1, 8, 8, 41, 104, 233}, single[] = {0, 1}, lengths[] = {0, 0, 1, 8, 520, 520},
		      around[] = {0, 15, 31, 48, 111, 175, 240, 367, 495};

static const struct cwp_sequences some[] = {{2, even}, {6, odd}, {1, single}, {8, around}, {5, lengths}};

static void test_wanted(void **state)
{
	(void)state;
	static const unsigned none[] = {0, 0};
	for (int wanted = 0; wanted < 8; wanted++) {
		one((struct gradients){.rows = 70, .cols = 130, .samples = some[wanted % 2], .wanted = wanted}, none, 0, 0);
	}
}

static void test_shapes(void **state)
{
	(void)state;
	static const uint64_t shapes[][2] = {{1, 1}, {3, 5}, {64, 64}, {128, 128}, {129, 127}, {1, 300}, {200, 1}, {192, 576}, {257, 260}};
	static const unsigned extra[][2] = {{0, 0}, {1, 3}, {8, 4}, {7, 0}};
	size_t n = sizeof(shapes) / sizeof(*shapes) - (pair.sizes == PAIR_TINY ? 3 : 0);
	for (size_t i = 0; i < n; i++) {
		for (size_t s = 0; s < sizeof(some) / sizeof(*some); s++) {
			struct gradients g = {.rows = shapes[i][0], .cols = shapes[i][1], .samples = some[s], .wanted = i % 2 ? SQ : SUM | SQ};
			if (pair.sizes == PAIR_TINY && s == 4) {
				continue;
			}
			one(g, extra[(i + s) % 4], (i + s) % 4 == 1 ? 1 + s % 3 : 0, 0);
		}
	}
	one((struct gradients){.rows = 8, .cols = 8, .samples = {0, NULL}, .wanted = SUM | ABS | SQ}, extra[0], 0, 0);
}

/* A bias's gradient: dY by a column of ones, which the caller keeps in one piece. */
static void test_bias(void **state)
{
	(void)state;
	static const unsigned none[] = {0, 0}, odd_ld[] = {0, 5};
	static const uint64_t rows[] = {1, 63, 576, 1000};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (size_t s = 0; s < sizeof(some) / sizeof(*some); s++) {
			one((struct gradients){.rows = rows[i], .cols = 1, .samples = some[s], .wanted = SUM | ABS | SQ}, s % 2 ? odd_ld : none, s % 2, 1);
		}
	}
}

static void test_large(void **state)
{
	(void)state;
	static const unsigned none[] = {0, 0}, odd_ld[] = {4, 12};
	static const uint64_t four[] = {0, 512, 1024, 1536, 2048}, mixed[] = {0, 2000, 2000, 2001, 2008, 2520, 3000};
	if (pair.sizes != PAIR_LARGE) {
		skip();
	}
	one((struct gradients){.rows = 576, .cols = 1536, .samples = {4, four}, .wanted = SUM | SQ}, none, 0, 0);
	one((struct gradients){.rows = 1536, .cols = 576, .samples = {4, four}, .wanted = SQ}, odd_ld, 0, 0);
	one((struct gradients){.rows = 3584, .cols = 3584, .samples = {4, four}, .wanted = SQ}, none, 0, 0);
	one((struct gradients){.rows = 1000, .cols = 1111, .samples = {6, mixed}, .wanted = SUM | ABS | SQ}, none, 0, 0);
	one((struct gradients){.rows = 512, .cols = 3584, .samples = {6, mixed}, .wanted = SUM | ABS | SQ}, odd_ld, 2, 0);
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wanted),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_bias),
		cmocka_unit_test(test_large),
	};
	return cmocka_run_group_tests_name("gradients", tests, NULL, NULL);
}

int main(void)
{
	return pair_main(group, 1);
}
