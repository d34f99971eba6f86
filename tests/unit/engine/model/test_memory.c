/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Memory runs out at every allocation in turn: each time there is an error that says so, nothing leaks, and the next run
 * works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/calibrate/loglik.h"
#include "engine/calibrate/parameters.h"
#include "engine/model/generate.h"
#include "tests/unit/engine/memory.h"
#include "tests/unit/engine/model/synthetic.h"

static int drop(void *arg, const char *name, uint64_t rows, uint64_t cols, const float *value, struct cwb_err *err)
{
	(void)arg, (void)name, (void)rows, (void)cols, (void)value, (void)err;
	return 0;
}

static int run_parameters(struct synthetic *s, struct cwb_err *err)
{
	return cwe_parameters_run(&s->model, &s->corpus, NULL, drop, NULL, err);
}

static int run_loglik(struct synthetic *s, struct cwb_err *err)
{
	float nll[16];
	uint8_t greedy[16];
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	struct cwe_token_score score = {nll, greedy};
	return cwe_loglik_run(&s->model, &s->corpus, &o, &score, err);
}

static int count_token(void *arg, const uint32_t *id, uint64_t count, struct cwb_err *err)
{
	(void)id, (void)err;
	*(uint64_t *)arg += count;
	return 0;
}

/* Three sequences in two slots. */
static int run_generation(struct synthetic *s, struct cwb_err *err)
{
	const uint32_t prompt[] = {1, 2, 3};
	uint64_t tokens = 0;
	struct cwe_generation what[3];
	for (uint64_t i = 0; i < 3; i++) {
		what[i] = (struct cwe_generation){.prompt = prompt, .count = i + 1, .max_new = 3 - i, .arg = &tokens, .done = count_token};
	}
	struct cwe_generator_size size;
	struct cwe_generator *g = NULL;
	cwe_generator_fit(&s->model, what, 3, 2, UINT64_MAX, &size);
	int r = cwe_generator_new(&s->model, &size, cwe_layer_bytes(&s->model), &g, err);
	r = r == 0 ? cwe_generator_run(g, what, 3, err) : r;
	cwe_generator_free(g);
	assert_true(r != 0 || tokens == 6);
	return r;
}

static int run_corpus(struct synthetic *s, struct cwb_err *err)
{
	struct cwe_corpus corpus = {0};
	int r = cwe_corpus_new(&s->set, 1, 0, &corpus, err);
	cwe_corpus_free(&corpus);
	return r;
}

static void check(int (*run)(struct synthetic *s, struct cwb_err *err))
{
	struct synthetic s;
	long n = 0;
	int r;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	synthetic_sample(&s, 1, (const size_t[]){4, 2, 0});
	synthetic_sample(&s, 1, (const size_t[]){3, 0});
	synthetic_corpus(&s);
	do {
		struct cwb_err err = {0};
		memory_fail(n++);
		r = run(&s, &err);
		memory_fail(-1);
		if (r != 0) {
			assert_true(r < 0);
			assert_int_equal(err.code, r);
			assert_true(err.message[0] != '\0');
		}
		assert_true(n < 2000);
	} while (r != 0);
	print_message("%ld allocations\n", n - 1);
	assert_true(n > 3);
	assert_int_equal(s.device.allocated, 0);
	synthetic_close(&s);
}

static void statistics(void **state)
{
	(void)state;
	check(run_parameters);
}

static void log_likelihoods(void **state)
{
	(void)state;
	check(run_loglik);
}

static void text(void **state)
{
	(void)state;
	check(run_generation);
}

static void samples(void **state)
{
	(void)state;
	check(run_corpus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(statistics), cmocka_unit_test(log_likelihoods), cmocka_unit_test(text),
		cmocka_unit_test(samples)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
