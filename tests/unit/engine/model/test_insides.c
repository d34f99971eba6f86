/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What waits for the backward pass changes no byte of what is measured, whatever has room, and is not multiplied again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/insides.h"
#include "engine/calibrate/room.h"
#include "tests/unit/engine/model/numbers.h"
#include "tests/unit/engine/model/synthetic.h"

#define NEEDS \
	(CWP_STAT_GRAD_SUM | CWP_STAT_GRAD_ABS | CWP_STAT_GRAD_SQ | CWP_STAT_ACT_SUM | CWP_STAT_ACT_SQ | CWP_STAT_ACT_ABSMAX | \
		CWP_STAT_ACT_ABS | CWP_STAT_GRAM | CWP_STAT_ACT_HISTOGRAM | CWP_STAT_ACT_RANGE)

struct kept {
	struct numbers n; /* first: it is what modules are kept in */
	const struct cwe_arch *arch;
};

static int keep_module(void *arg, uint32_t layer, uint32_t set, uint32_t linear, const struct cwe_module_statistics *s,
	struct cwb_err *err)
{
	struct kept *k = arg;
	const void *all[] = {s->grad_sum, s->grad_abs, s->grad_sq, s->act_sum, s->act_sq, s->act_abs, s->act_absmax};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		assert_non_null(all[i]);
	}
	return numbers_keep_module(&k->n, layer, set, linear, s, err);
}

static int keep_norm(void *arg, uint32_t layer, uint32_t set, enum cwe_norm which, const float *dw, uint64_t samples, struct cwb_err *err)
{
	const uint64_t head[] = {layer, set, which, samples};
	struct kept *k = arg;
	(void)err;
	numbers_keep(&k->n, head, sizeof head);
	numbers_keep(&k->n, dw, samples * cwe_norm_width(k->arch, which) * sizeof *dw);
	return 0;
}

static int keep_embedding(void *arg, struct cwe_boundary *gradient, struct cwb_err *err)
{
	struct kept *k = arg;
	float *x = malloc(gradient->floats * sizeof *x);
	assert_non_null(x);
	int r = cwe_boundary_read(gradient, 0, 0, x, gradient->floats, err);
	numbers_keep(&k->n, x, gradient->floats * sizeof *x);
	free(x);
	return r;
}

/* The backend's operations, with those counted that the engine asks for. */
static struct cwp_backend counting;
static int (*real_matmul)(void *b, int ta, int tb, uint64_t m, uint64_t n, uint64_t k, const float *d_a, uint64_t lda, const float *d_b,
	uint64_t ldb, int accumulate, float *d_c, uint64_t ldc);
static int (*real_attention)(void *b, const struct cwp_attention *a, const float *d_q, const float *d_k, const float *d_v, float *d_o,
	float *d_lse);
static uint64_t products, attentions;

static int count_matmul(void *b, int ta, int tb, uint64_t m, uint64_t n, uint64_t k, const float *d_a, uint64_t lda, const float *d_b,
	uint64_t ldb, int accumulate, float *d_c, uint64_t ldc)
{
	products += !ta && tb; /* those of forward passes */
	return real_matmul(b, ta, tb, m, n, k, d_a, lda, d_b, ldb, accumulate, d_c, ldc);
}

static int count_attention(void *b, const struct cwp_attention *a, const float *d_q, const float *d_k, const float *d_v, float *d_o,
	float *d_lse)
{
	attentions++;
	return real_attention(b, a, d_q, d_k, d_v, d_o, d_lse);
}

static void count_operations(struct synthetic *s)
{
	counting = *s->device.ops;
	real_matmul = counting.matmul;
	real_attention = counting.attention;
	counting.matmul = count_matmul;
	counting.attention = count_attention;
	s->device.ops = &counting;
	products = attentions = 0;
}

/* Two sets in pieces of at most 50 tokens, of several samples. */
static void open_model(struct synthetic *s, struct cwe_corpus *corpus, const char *config)
{
	struct cwb_err err = {0};
	synthetic_open(s, config);
	for (size_t i = 0; i < 5; i++) {
		synthetic_sample(s, 1.0f / (float)(i + 1), (const size_t[]){9 + i, 21 * (i % 3), 0});
	}
	assert_int_equal(cwe_corpus_new((const struct cwe_sample_set[]){s->set, s->set}, 2, 50, corpus, &err), 0);
	assert_true(corpus->pieces > 4);
}

static struct numbers measure(struct synthetic *s, const struct cwe_corpus *corpus, uint64_t memory)
{
	struct kept k = {.arch = &s->model.arch};
	struct cwb_err err = {0};
	double loss[2] = {0, 0};
	struct cwe_head_trace trace = {0};
	struct cwe_calibration c = {.model = &s->model, .corpus = corpus, .needs = NEEDS, .boundary_memory = UINT64_MAX,
		.inside_memory = memory, .resume = s->model.arch.layers, .arg = &k, .module = keep_module, .set_loss = loss, .trace = &trace,
		.norm = keep_norm, .embedding = keep_embedding};
	if (cwe_calibrate_run(&c, &err) != 0) {
		fail_msg("%s", err.message);
	}
	numbers_keep(&k.n, loss, sizeof loss);
	numbers_keep(&k.n, trace.hidden, trace.rows * s->model.arch.hidden * sizeof *trace.hidden);
	numbers_keep(&k.n, trace.lse, trace.rows * sizeof *trace.lse);
	cwe_head_trace_free(&trace);
	assert_int_equal(s->device.allocated, 0);
	return k.n;
}

static void any_memory(void **state)
{
	(void)state;
	for (size_t f = 0; f < SYNTHETIC_FAMILIES; f++) {
		struct synthetic s;
		struct cwe_corpus corpus;
		open_model(&s, &corpus, synthetic_family[f]);
		count_operations(&s);
		uint64_t all = cwe_calibration_insides(&s.model, &corpus, NEEDS), logits = cwe_head_logits(&s.model, &corpus, UINT64_MAX);
		assert_int_equal(all, logits + cwe_insides_bytes(&s.model, &corpus));
		struct numbers none = measure(&s, &corpus, 0);
		uint64_t most = products, before = most, attention = attentions, twice = 2 * s.model.arch.layers * corpus.pieces;
		assert_int_equal(attention, twice);
		const uint64_t memory[] = {1, logits, logits + (all - logits) / 3, logits + (all - logits) / 2, all - 1, UINT64_MAX, all};
		/* A part, and all of it, for each family. */
		for (size_t i = f == 0 ? 0 : 3; i < sizeof memory / sizeof *memory; i += f == 0 ? 1 : 3) {
			products = attentions = 0;
			struct numbers some = measure(&s, &corpus, memory[i]);
			assert_int_equal(some.count, none.count);
			assert_memory_equal(some.data, none.data, none.count);
			free(some.data);
			/* More memory, less work. */
			assert_true(products <= before && attentions <= attention);
			assert_true(i != 1 || products < most);
			assert_true(i != 2 || attentions < twice);
			before = products;
			attention = attentions;
		}
		assert_int_equal(attentions, twice / 2);
		free(none.data);
		cwe_corpus_free(&corpus);
		synthetic_close(&s);
	}
}

static void which_are_kept(void **state)
{
	struct synthetic s;
	struct cwe_corpus corpus;
	struct cwe_insides in = {0};
	struct cwb_err err = {0};
	(void)state;
	open_model(&s, &corpus, SYNTHETIC_CONFIG);
	uint64_t all = cwe_insides_bytes(&s.model, &corpus), piece = cwe_workspace_inside_bytes(&s.model, 0, corpus.piece[0].tokens);
	assert_int_equal(s.model.arch.layers, 2);
	assert_null(cwe_insides_of(&in, 0, 0));
	/* The last layer and one piece of the first. */
	assert_int_equal(cwe_insides_new(&s.model, &corpus, all / 2 + piece, &in, &err), 0);
	assert_null(cwe_insides_of(&in, 0, 0));
	float *first = cwe_insides_make(&in, 0, 0);
	assert_non_null(first);
	assert_int_equal((uintptr_t)first % 64, 0);
	memset(first, 1, piece);
	assert_ptr_equal(cwe_insides_of(&in, 0, 0), first);
	assert_null(cwe_insides_make(&in, 0, 1));
	assert_null(cwe_insides_of(&in, 0, 1));
	assert_null(cwe_insides_make(&in, 1, 1)); /* the first one is not there */
	for (size_t i = 0; i < corpus.pieces; i++) {
		float *p = cwe_insides_make(&in, 1, i);
		assert_non_null(p);
		memset(p, 2, cwe_workspace_inside_bytes(&s.model, 1, corpus.piece[i].tokens));
	}
	assert_null(cwe_insides_make(&in, 1, corpus.pieces));
	assert_int_equal(((unsigned char *)first)[piece - 1], 1);
	cwe_insides_drop(&in, 1);
	assert_null(cwe_insides_of(&in, 1, 0));
	cwe_insides_free(&in);
	/* Nothing of the first layer where the last one does not fit. */
	assert_int_equal(cwe_insides_new(&s.model, &corpus, all / 2 - 1, &in, &err), 0);
	assert_null(cwe_insides_make(&in, 0, 0));
	assert_non_null(cwe_insides_make(&in, 1, 0));
	cwe_insides_free(&in);
	/* Not even a piece; and more than there is, which is computed again. */
	assert_int_equal(cwe_insides_new(&s.model, &corpus, piece - 1, &in, &err), 0);
	assert_null(cwe_insides_make(&in, 1, 0));
	cwe_insides_free(&in);
	cwe_corpus_free(&corpus);
	synthetic_close(&s);
}

static void rooms(void **state)
{
	struct cwe_room room;
	(void)state;
	assert_int_equal(cwe_room_new(0, &room), -ENOMEM);
	assert_null(room.p);
	assert_int_equal(cwe_room_new(UINT64_MAX, &room), -ENOMEM);
	assert_int_equal(cwe_room_new(UINT64_MAX / 2, &room), -ENOMEM);
	assert_null(room.p);
	cwe_room_free(&room);
	const uint64_t bytes[] = {1, 4097, (9u << 20) + 64};
	for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
		assert_int_equal(cwe_room_new(bytes[i], &room), 0);
		assert_int_equal(room.bytes, bytes[i]);
		assert_int_equal(room.p[bytes[i] - 1], 0);
		memset(room.p, 1, bytes[i]);
		cwe_room_free(&room);
		assert_null(room.p);
	}
	assert_true(cwe_room_available() > 1u << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_memory),
		cmocka_unit_test(which_are_kept),
		cmocka_unit_test(rooms),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
