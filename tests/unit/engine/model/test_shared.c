/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sequences that begin alike: each beginning is laid out once, and the log-likelihoods are those of whole sequences. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/calibrate/loglik.h"
#include "engine/calibrate/shared.h"
#include "tests/unit/engine/model/synthetic.h"

enum { COUNT = 60 };

/* Contexts of 9 to 40 tokens with up to four continuations each; some are equal, some are the beginning of others, some share
 * less than what is worth it; what counts is the continuation, or all of a sequence. */
static void make(struct synthetic *s)
{
	uint32_t seed = 7;
	for (size_t i = 0; i < COUNT; i++) {
		synthetic_sample(s, 1, (const size_t[]){12 + i % 5 + i % 7 * 5, 0});
		struct cwe_sequence *q = s->set.sample[i].sequence;
		size_t context = q->count - 2 - i % 5;
		for (size_t t = 0; t < q->count; t++) {
			seed = seed * 1664525u + 1013904223u;
			q->id[t] = t < context ? (uint32_t)(t * 7 + i % 7 / 2) % 31 : (seed >> 16) % 31;
			q->weight[t] = t > 0 && (t >= context || i % 3 == 0) ? 1 : 0;
		}
	}
	/* The same as another, and the beginning of one. */
	memcpy(s->set.sample[7].sequence->id, s->set.sample[42].sequence->id, s->set.sample[7].sequence->count * sizeof(uint32_t));
}

static int run(struct synthetic *s, const struct cwe_corpus *c, float *nll, uint8_t *greedy)
{
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	struct cwe_token_score score = {.nll = nll, .greedy = greedy};
	struct cwb_err err = {0};
	int rc = cwe_loglik_run(&s->model, c, &o, &score, &err);
	if (rc != 0)
		fail_msg("%s", err.message);
	return rc;
}

/* The sum of a sequence, and the place of its last token. */
static void check_score(const struct cwe_shared *shared, size_t i, const struct cwe_sequence *q, const struct cwe_token_score *score,
	const float *whole)
{
	struct cwe_sequence_score sum = cwe_shared_score(shared, i, q, score);
	double want = 0;
	for (size_t t = 0; t < q->count; t++)
		want -= q->weight[t] != 0 ? (double)whole[t] : 0;
	assert_true(fabs(sum.loglik - want) < 2e-4 && sum.tokens > 0);
	assert_int_equal(shared->corpus.id[cwe_shared_row(shared, i, q->count - 1)], q->id[q->count - 1]);
}

static void test_family(const char *config)
{
	struct synthetic s;
	struct cwe_shared shared;
	float *nll[2];
	uint8_t *greedy[2];
	size_t at = 0, rows = 0;
	synthetic_open(&s, config);
	make(&s);
	synthetic_corpus(&s);
	if (!cwe_model_divisible(&s.model, s.corpus.longest)) {
		assert_non_null(strstr(config, "longrope"));
		synthetic_close(&s);
		return;
	}
	assert_int_equal(cwe_shared_new(&s.set, 1, &shared, NULL), 0);
	assert_int_equal(shared.tokens, s.corpus.tokens);
	assert_true(shared.corpus.tokens < s.corpus.tokens * 3 / 4);
	assert_int_equal(shared.corpus.longest, s.corpus.longest);
	for (int k = 0; k < 2; k++) {
		nll[k] = calloc(s.corpus.tokens, sizeof(float));
		greedy[k] = calloc(s.corpus.tokens, 1);
		run(&s, k == 0 ? &s.corpus : &shared.corpus, nll[k], greedy[k]);
	}
	for (size_t i = 0; i < COUNT; i++) {
		const struct cwe_sequence *q = s.set.sample[i].sequence;
		size_t t = 0;
		for (uint64_t r = shared.run[i]; r < shared.run[i + 1]; r++) {
			for (uint64_t k = 0; k < shared.count[r]; k++, t++) {
				uint64_t row = shared.first[r] + k;
				assert_int_equal(shared.corpus.id[row], q->id[t]);
				assert_int_equal(shared.corpus.position[row], t);
				if (q->weight[t] != 0) {
					assert_true(fabsf(nll[1][row] - nll[0][at + t]) < 2e-5F);
					rows += greedy[1][row] != greedy[0][at + t];
				}
			}
		}
		assert_int_equal(t, q->count);
		check_score(&shared, i, q, &(struct cwe_token_score){nll[1], greedy[1]}, nll[0] + at);
		at += q->count;
	}
	assert_true(rows == 0);
	assert_int_equal(cwe_shared_longest(&s.set), s.corpus.longest);
	struct cwe_shared apart;
	assert_int_equal(cwe_shared_new(&s.set, 0, &apart, NULL), 0);
	assert_int_equal(apart.corpus.tokens, s.corpus.tokens);
	cwe_shared_free(&apart);
	for (int k = 0; k < 2; k++) {
		free(nll[k]);
		free(greedy[k]);
	}
	cwe_shared_free(&shared);
	synthetic_close(&s);
}

static void test_families(void **state)
{
	(void)state;
	test_family(SYNTHETIC_CONFIG);
	for (size_t i = 0; i < SYNTHETIC_FAMILIES; i++)
		test_family(synthetic_family[i]);
}

/* Many sequences after one long beginning: it is laid out again in each piece, and no piece is longer than it may be. */
static void test_pieces(void **state)
{
	(void)state;
	struct synthetic s;
	struct cwe_shared shared;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	for (size_t i = 0; i < 100; i++) {
		synthetic_sample(&s, 1, (const size_t[]){600, 0});
		for (size_t t = 0; t < 600; t++)
			s.set.sample[i].sequence->id[t] = t < 560 ? t % 31 : (uint32_t)(t * i + t % (i + 1)) % 31;
	}
	assert_int_equal(cwe_shared_new(&s.set, 1, &shared, NULL), 0);
	assert_true(shared.corpus.pieces > 1 && shared.corpus.pieces < 5);
	assert_true(shared.corpus.widest <= CWE_PIECE_TOKENS);
	uint64_t total = 0;
	for (size_t i = 0; i < shared.corpus.pieces; i++)
		total += shared.corpus.piece[i].tokens;
	assert_int_equal(total, shared.corpus.tokens);
	assert_true(total < 100 * 42 + 560 * shared.corpus.pieces);
	cwe_shared_free(&shared);
	synthetic_close(&s);
	struct cwe_sample_set none = {0};
	assert_int_equal(cwe_shared_new(&none, 1, &shared, NULL), 0);
	assert_int_equal(shared.corpus.pieces, 0);
	cwe_shared_free(&shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_families), cmocka_unit_test(test_pieces)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
