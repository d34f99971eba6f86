/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Attention of a backend, forward, backward and of one new token, against the CPU's.
 *
 * With bf16 the reference gets q, k, v and dout rounded; what remains is the rounding of probabilities and of their gradients
 * before the second product: 2^-8 of each at most, in sums whose weights are at most 1, hence 5e-3 of the largest forward, and
 * 2e-2 backward, where two such roundings and the difference dp - delta follow one another. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/cuda/pair.h"

struct shape {
	uint32_t heads, kv_heads, head_dim, window;
	float softcap;
};

struct attention {
	struct cwp_attention a;
	uint64_t length; /* of attention_decode */
};

static int call_forward(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct attention *w = arg;
	return ops->attention(b, &w->a, p[0], p[1], p[2], p[3], p[4]);
}

static int call_backward(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct attention *w = arg;
	return ops->attention_backward(b, &w->a, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8]);
}

static int call_decode(const struct cwp_backend *ops, void *b, void *const *p, const void *arg)
{
	const struct attention *w = arg;
	return ops->attention_decode(b, &w->a, p[0], p[1], p[2], w->length, p[3]);
}

static struct attention attention_of(const struct shape *s)
{
	return (struct attention){.a = {.size = sizeof(struct cwp_attention), .heads = s->heads, .kv_heads = s->kv_heads,
		.head_dim = s->head_dim, .window = s->window, .scale = 1.0F / sqrtf((float)s->head_dim), .softcap = s->softcap}};
}

struct tensors {
	size_t q, k, lse; /* elements */
	float *x[4];      /* q, k, v, dout */
	float *rounded[4];
};

static struct tensors tensors_new(const struct shape *s, uint64_t tokens, uint64_t keys)
{
	uint64_t seed = tokens * 31 + s->heads * 7 + s->head_dim + s->window;
	struct tensors t = {.q = tokens * s->heads * s->head_dim, .k = keys * s->kv_heads * s->head_dim, .lse = tokens * s->heads};
	for (int i = 0; i < 4; i++) {
		size_t n = i == 0 || i == 3 ? t.q : t.k;
		t.x[i] = pair_normal(&seed, n, 1.0F);
		t.rounded[i] = pair_rounded(t.x[i], n);
	}
	return t;
}

static void tensors_free(struct tensors *t)
{
	for (int i = 0; i < 4; i++) {
		free(t->x[i]);
		free(t->rounded[i]);
	}
}

static const char *describe(const char *op, const struct shape *s, const struct cwp_sequences *q, size_t shift)
{
	static char what[200];
	snprintf(what, sizeof(what), "%s %u heads of %u over %u, window %u, softcap %g, %llu sequences, %llu tokens, shift %zu", op, s->heads,
		s->head_dim, s->kv_heads, s->window, (double)s->softcap, (unsigned long long)q->count,
		(unsigned long long)(q->count ? q->start[q->count] : 0), shift);
	return what;
}

static void one(const struct shape *s, struct cwp_sequences q, const struct cwp_prefixes *prefixes, size_t shift)
{
	struct attention w = attention_of(s);
	w.a.sequences = q;
	w.a.prefixes = prefixes;
	uint64_t tokens = q.count ? q.start[q.count] : 0;
	struct tensors t = tensors_new(s, tokens, tokens);
	double forward = pair.bf16 ? 5e-3 : 1e-5, backward = pair.bf16 ? 2e-2 : 2e-5;
	const struct pair_array f[] = {{.role = PAIR_IN, .n = t.q, .data = t.x[0], .reference = t.rounded[0], .shift = shift},
		{.role = PAIR_IN, .n = t.k, .data = t.x[1], .reference = t.rounded[1], .shift = shift},
		{.role = PAIR_IN, .n = t.k, .data = t.x[2], .reference = t.rounded[2], .shift = shift},
		{.role = PAIR_OUT, .n = t.q, .bound = forward, .shift = shift, .unit = 1.0},
		{.role = PAIR_OUT, .n = t.lse, .bound = forward, .shift = shift, .unit = 1.0}};
	pair_check(describe("attention", s, &q, shift), f, 5, call_forward, &w);
	if (prefixes) {
		tensors_free(&t);
		return;
	}
	float *out = test_filled(t.q, 0.0F), *lse = test_filled(t.lse, 0.0F);
	assert_int_equal(cpu_backend.attention(pair.reference, &w.a, t.rounded[0], t.rounded[1], t.rounded[2], out, lse), 0);
	const struct pair_array g[] = {f[0], f[1], f[2], {.role = PAIR_IN, .n = t.q, .data = out, .shift = shift},
		{.role = PAIR_IN, .n = t.lse, .data = lse, .shift = shift},
		{.role = PAIR_IN, .n = t.q, .data = t.x[3], .reference = t.rounded[3], .shift = shift},
		{.role = PAIR_OUT, .n = t.q, .bound = backward, .shift = shift, .unit = 1.0},
		{.role = PAIR_OUT, .n = t.k, .bound = backward, .shift = shift, .unit = 1.0},
		{.role = PAIR_OUT, .n = t.k, .bound = backward, .shift = shift, .unit = 1.0}};
	pair_check(describe("attention_backward", s, &q, shift), g, 9, call_backward, &w);
	free(out);
	free(lse);
	tensors_free(&t);
}

static const struct shape shapes[] = {{3, 1, 64, 0, 0.0F}, {4, 4, 32, 0, 0.0F}, {6, 2, 96, 0, 0.0F}, {8, 2, 80, 0, 0.0F}, {4, 2, 128, 0, 0.0F},
	{2, 1, 256, 0, 0.0F}, {3, 3, 64, 33, 0.0F}, {4, 1, 128, 64, 2.0F}, {2, 2, 64, 0, 30.0F}, {2, 1, 256, 100, 50.0F}, {2, 1, 16, 1, 0.0F},
	{7, 7, 8, 0, 0.0F}, {1, 1, 10, 0, 0.0F}, {5, 1, 112, 5, 0.0F}};

static void test_shapes(void **state)
{
	(void)state;
	static const uint64_t mixed[] = {0, 0, 1, 8, 73, 137, 265, 394, 394}, none[] = {0, 0}, tiny[] = {0, 1, 8, 73};
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		int small = pair.sizes == PAIR_TINY;
		one(&shapes[i], (struct cwp_sequences){small ? 3 : 8, small ? tiny : mixed}, NULL, i % 3 == 2 ? 1 + i % 4 : 0);
	}
	one(&shapes[0], (struct cwp_sequences){1, none}, NULL, 0);
	one(&shapes[0], (struct cwp_sequences){0, none}, NULL, 0);
}

static void test_lengths(void **state)
{
	(void)state;
	for (uint64_t length = 1; length < 200; length += length < 60 ? 13 : 31) {
		const uint64_t start[] = {0, length, 2 * length};
		one(&shapes[length % 2 ? 0 : 4], (struct cwp_sequences){2, start}, NULL, 0);
	}
}

static void test_prefixes(void **state)
{
	(void)state;
	/* Sequence 0 is whole; 1 goes on after 25 rows of it; 2 after those and 5 rows of 1; 3 after all of 2. */
	static const uint64_t start[] = {0, 40, 49, 189, 190}, range[] = {0, 0, 1, 3, 6}, first[] = {0, 0, 40, 0, 40, 49},
			      count[] = {25, 25, 5, 25, 5, 100};
	const struct cwp_prefixes p = {range, first, count};
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		one(&shapes[i], (struct cwp_sequences){4, start}, &p, 0);
	}
}

static void test_large(void **state)
{
	(void)state;
	static const uint64_t mixed[] = {0, 2000, 2000, 2001, 2008, 2520}, four[] = {0, 512, 1024, 1536, 2048};
	static const struct shape large[] = {{28, 4, 128, 0, 0.0F}, {9, 3, 64, 0, 0.0F}, {8, 4, 256, 512, 50.0F}};
	if (pair.sizes != PAIR_LARGE) {
		skip();
	}
	for (size_t i = 0; i < sizeof(large) / sizeof(*large); i++) {
		one(&large[i], (struct cwp_sequences){4, four}, NULL, 0);
		one(&large[i], (struct cwp_sequences){5, mixed}, NULL, 0);
	}
}

static void test_decode(void **state)
{
	(void)state;
	static const uint64_t lengths[] = {1, 2, 31, 64, 65, 255, 257, 1000, 3000};
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		for (size_t j = 0; j < sizeof(lengths) / sizeof(*lengths) - (pair.sizes == PAIR_TINY ? 2 : 0); j++) {
			struct attention w = attention_of(&shapes[i]);
			w.length = lengths[j];
			size_t shift = (i + j) % 3 == 1 ? 1 : 0;
			struct tensors t = tensors_new(&shapes[i], 1, lengths[j]);
			/* A backend may do this one in f32 whatever its precision: the bound allows both. */
			double bound = pair.bf16 ? 1e-2 : 1e-5;
			const struct pair_array a[] = {{.role = PAIR_IN, .n = t.q, .data = t.x[0], .shift = shift},
				{.role = PAIR_IN, .n = t.k, .data = t.x[1], .shift = shift}, {.role = PAIR_IN, .n = t.k, .data = t.x[2], .shift = shift},
				{.role = PAIR_OUT, .n = t.q, .bound = bound, .shift = shift}};
			const uint64_t start[] = {0, lengths[j]};
			const struct cwp_sequences q = {1, start};
			pair_check(describe("attention_decode", &shapes[i], &q, shift), a, 4, call_decode, &w);
			tensors_free(&t);
		}
	}
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_large),
	};
	return cmocka_run_group_tests_name("attentions", tests, NULL, NULL);
}

int main(void)
{
	return pair_main(group, 1);
}
