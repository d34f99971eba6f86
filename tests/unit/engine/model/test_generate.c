/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Continuations: a sequence gets the same tokens alone, in any company and with any memory, and those that a pass over all
 * its tokens gives; where a sequence ends, what is refused, and the memory that is stated. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/calibrate/loglik.h"
#include "engine/model/generate.h"
#include "tests/unit/engine/model/synthetic.h"

#define REQUESTS 9
#define TOKENS 32

/* Frequencies for long sequences from the 9th token on. */
static const char longrope[] = "{\"model_type\": \"phi3\", \"num_hidden_layers\": 2, \"hidden_size\": 24,"
	" \"num_attention_heads\": 3, \"num_key_value_heads\": 1, \"intermediate_size\": 17, \"vocab_size\": 31, \"pad_token_id\": 0,"
	" \"max_position_embeddings\": 64, \"original_max_position_embeddings\": 8, \"rope_theta\": 100, \"rope_scaling\":"
	" {\"type\": \"longrope\", \"short_factor\": [1, 1.1, 1.2, 1.3], \"long_factor\": [2, 3, 5, 9]}}";

/* A request, and the tokens that it got. */
struct answer {
	uint32_t prompt[TOKENS], id[TOKENS];
	struct cwe_generation what;
	uint64_t count;
	int calls;
};

static int keep(void *arg, const uint32_t *id, uint64_t count, struct cwb_err *err)
{
	struct answer *a = arg;
	(void)err;
	assert_true(count <= TOKENS);
	memcpy(a->id, id, count * sizeof *id);
	a->count = count;
	a->calls++;
	return 0;
}

/* Prompts of unequal lengths behind `same` tokens that all begin with, and different numbers of new tokens. */
static void ask_behind(const struct synthetic *s, uint64_t same, struct answer *a)
{
	static const uint64_t length[REQUESTS] = {5, 1, 12, 3, 7, 1, 2, 9, 8}, fresh[REQUESTS] = {9, 12, 3, 0, 1, 7, 14, 5, 4};
	memset(a, 0, REQUESTS * sizeof *a);
	for (size_t i = 0; i < REQUESTS; i++) {
		for (uint64_t t = 0; t < same + length[i]; t++) {
			a[i].prompt[t] = (uint32_t)(cwe_random(3, t < same ? REQUESTS : i, t) % s->model.arch.vocabulary);
		}
		a[i].what = (struct cwe_generation){.prompt = a[i].prompt, .count = same + length[i], .max_new = fresh[i], .arg = &a[i],
			.done = keep};
	}
}

static void ask(const struct synthetic *s, struct answer *a)
{
	ask_behind(s, 0, a);
}

static int try(struct synthetic *s, struct answer *a, size_t n, uint64_t slots, uint64_t memory, struct cwb_err *err)
{
	struct cwe_generation what[REQUESTS];
	struct cwe_generator_size size;
	struct cwe_generator *g = NULL;
	for (size_t i = 0; i < n; i++) {
		what[i] = a[i].what;
	}
	cwe_generator_fit(&s->model, what, n, slots, UINT64_MAX, &size);
	int r = cwe_generator_new(&s->model, &size, memory, &g, err);
	r = r == 0 ? cwe_generator_run(g, what, n, err) : r;
	cwe_generator_free(g);
	return r;
}

static void run(struct synthetic *s, struct answer *a, size_t n, uint64_t slots, uint64_t memory)
{
	struct cwb_err err = {0};
	if (try(s, a, n, slots, memory, &err) != 0) {
		fail_msg("%s: %s", s->model.arch.family, err.message);
	}
}

struct last {
	uint64_t vocabulary;
	float logit[64];
};

static int take_last(void *arg, uint64_t sequence, uint64_t tokens, uint64_t first, uint64_t n, const float *logits,
	struct cwb_err *err)
{
	struct last *l = arg;
	(void)sequence, (void)err;
	assert_true(first + n <= sizeof l->logit / sizeof *l->logit);
	memcpy(l->logit + first, logits + (tokens - 1) * n, n * sizeof *logits);
	l->vocabulary = first + n;
	return 0;
}

/* Every new token against the logits of a pass over all tokens before it. */
static void check_recomputed(struct synthetic *s, const struct answer *a)
{
	struct cwb_err err = {0};
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	for (uint64_t k = 0; k < a->count; k++) {
		uint64_t n = a->what.count + k;
		struct last l = {0};
		cwe_samples_free(&s->set);
		synthetic_sample(s, 1, (const size_t[]){n, 0});
		memcpy(s->set.sample[0].sequence[0].id, a->what.prompt, a->what.count * sizeof *a->prompt);
		memcpy(s->set.sample[0].sequence[0].id + a->what.count, a->id, k * sizeof *a->id);
		synthetic_corpus(s);
		assert_int_equal(cwe_logits_run(&s->model, &s->corpus, &o, take_last, &l, &err), 0);
		float best = -INFINITY;
		for (uint64_t v = 0; v < l.vocabulary; v++) {
			best = fmaxf(best, l.logit[v]);
		}
		if (l.logit[a->id[k]] < best - 1e-5f * fmaxf(1, fabsf(best))) {
			fail_msg("%s: token %llu after %llu has logit %g, the best has %g", s->model.arch.family, (unsigned long long)k,
				(unsigned long long)a->what.count, (double)l.logit[a->id[k]], (double)best);
		}
	}
}

static void check_model(const char *config, uint64_t same)
{
	struct answer alone[REQUESTS], together[REQUESTS];
	struct synthetic s;
	synthetic_open(&s, config);
	uint64_t layer = cwe_layer_bytes(&s.model);
	const struct {
		uint64_t slots, memory;
	} way[] = {{1, 0}, {3, layer}, {4, UINT64_MAX}, {CWE_GENERATOR_SLOTS, 0}};
	ask_behind(&s, same, alone);
	for (size_t i = 0; i < REQUESTS; i++) {
		run(&s, &alone[i], 1, 1, UINT64_MAX);
		assert_int_equal(alone[i].count, alone[i].what.max_new);
		check_recomputed(&s, &alone[i]);
	}
	for (size_t w = 0; w < sizeof way / sizeof *way; w++) {
		ask_behind(&s, same, together);
		run(&s, together, REQUESTS, way[w].slots, way[w].memory);
		for (size_t i = 0; i < REQUESTS; i++) {
			assert_int_equal(together[i].calls, 1);
			assert_int_equal(together[i].count, alone[i].count);
			assert_memory_equal(together[i].id, alone[i].id, alone[i].count * sizeof *alone[i].id);
		}
	}
	assert_int_equal(s.device.allocated, 0);
	synthetic_close(&s);
}

static void any_company(void **state)
{
	(void)state;
	check_model(SYNTHETIC_CONFIG, 0);
	check_model(SYNTHETIC_CONFIG, 11);
	for (size_t i = 0; i < SYNTHETIC_FAMILIES; i++) {
		check_model(synthetic_family[i], 0);
		check_model(synthetic_family[i], 8);
	}
}

static void beyond_the_original_context(void **state)
{
	struct synthetic s;
	(void)state;
	synthetic_open(&s, longrope);
	/* The requests begin on both sides, and cross it. */
	assert_int_equal(cwe_rope_extended(&s.model.arch, 8), 0);
	assert_int_equal(cwe_rope_extended(&s.model.arch, 9), 1);
	synthetic_close(&s);
	check_model(longrope, 0);
	check_model(longrope, 8);
}

/* Sums of several vectors. */
static const char wide[] = "{\"model_type\": \"qwen3_moe\", \"num_hidden_layers\": 2, \"hidden_size\": 80,"
	" \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 20, \"intermediate_size\": 112,"
	" \"vocab_size\": 31, \"num_experts\": 3, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 50,"
	" \"mlp_only_layers\": [0]}";

#define SEQUENCES CWE_GENERATOR_SLOTS
#define LENGTH 20

static float *random_floats(struct synthetic *s, uint64_t n, uint64_t seed)
{
	struct cwb_err err = {0};
	float *x;
	assert_int_equal(cwe_device_floats(&s->device, n, &x, &err), 0);
	for (uint64_t i = 0; i < n; i++) {
		x[i] = (float)(cwe_random(seed, 1, i) >> 40) / (float)(1 << 24) - 0.5f;
	}
	return x;
}

/* One token of several sequences through a layer: to the last bit what each gives alone. */
static void check_rows(const char *config)
{
	struct synthetic s;
	struct cwb_err err = {0};
	struct cwe_layer layer;
	struct cwe_workspace ws;
	float *k[SEQUENCES], *v[SEQUENCES];
	synthetic_open(&s, config);
	const struct cwe_arch *a = &s.model.arch;
	uint64_t d = a->hidden, cache = LENGTH * a->kv_heads * a->head_dim;
	uint64_t length[SEQUENCES];
	uint32_t at[SEQUENCES];
	float *x = random_floats(&s, SEQUENCES * d, 20), *alone = random_floats(&s, SEQUENCES * d, 20);
	for (uint32_t i = 0; i < SEQUENCES; i++) {
		k[i] = random_floats(&s, cache, 100 + i);
		v[i] = random_floats(&s, cache, 200 + i);
		length[i] = at[i] = i;
	}
	assert_int_equal(cwe_layer_new(&s.model, &layer, &err), 0);
	assert_int_equal(cwe_workspace_new(&s.model, SEQUENCES, LENGTH, 0, &ws, &err), 0);
	for (uint32_t l = 0; l < a->layers; l++) {
		assert_int_equal(cwe_layer_load(&s.model, l, &layer, &err), 0);
		const struct cwe_decode all = {SEQUENCES, length, at, k, v};
		assert_int_equal(cwe_layer_decode(&s.model, &layer, x, &all, &ws, &err), 0);
		for (uint32_t i = 0; i < SEQUENCES; i++) {
			const struct cwe_decode one = {1, &length[i], &at[i], &k[i], &v[i]};
			assert_int_equal(cwe_layer_decode(&s.model, &layer, alone + i * d, &one, &ws, &err), 0);
		}
		assert_memory_equal(x, alone, SEQUENCES * d * sizeof *x);
	}
	for (uint32_t i = 0; i < SEQUENCES; i++) {
		cwe_device_free(&s.device, k[i], cache * sizeof **k);
		cwe_device_free(&s.device, v[i], cache * sizeof **v);
	}
	cwe_device_free(&s.device, x, SEQUENCES * d * sizeof *x);
	cwe_device_free(&s.device, alone, SEQUENCES * d * sizeof *alone);
	cwe_workspace_free(&s.model, &ws);
	cwe_layer_free(&s.model, &layer);
	assert_int_equal(s.device.allocated, 0);
	synthetic_close(&s);
}

static void rows_to_the_bit(void **state)
{
	(void)state;
	check_rows(wide);
	check_rows(SYNTHETIC_CONFIG);
	for (size_t i = 0; i < SYNTHETIC_FAMILIES; i++) {
		check_rows(synthetic_family[i]);
	}
}

/* Ends after the third token. */
static int third(void *arg, const uint32_t *id, uint64_t count, int *ret_end, struct cwb_err *err)
{
	(void)arg, (void)id, (void)err;
	assert_true(count <= 3);
	*ret_end = count == 3;
	return 0;
}

static int broken_token(void *arg, const uint32_t *id, uint64_t count, int *ret_end, struct cwb_err *err)
{
	(void)arg, (void)id, (void)ret_end;
	return count == 2 ? cwb_err_set(err, CWP_EFORMAT, "second") : 0;
}

static int broken_done(void *arg, const uint32_t *id, uint64_t count, struct cwb_err *err)
{
	(void)arg, (void)id, (void)count;
	return cwb_err_set(err, CWP_EFORMAT, "done");
}

static void ends(void **state)
{
	struct answer a[REQUESTS], b[REQUESTS];
	struct cwb_err err = {0};
	struct synthetic s;
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	ask(&s, a);
	run(&s, a, REQUESTS, 4, UINT64_MAX);
	/* A stop is kept and ends its sequence, not the others; nobody is asked about it. */
	ask(&s, b);
	uint32_t stop[2] = {36, a[0].id[4]};
	uint64_t first = 0;
	while (a[0].id[first] != stop[0] && a[0].id[first] != stop[1]) {
		first++;
	}
	b[0].what.stop = stop;
	b[0].what.stops = 2;
	b[1].what.token = third;
	run(&s, b, REQUESTS, 4, UINT64_MAX);
	assert_int_equal(b[0].count, first + 1);
	assert_int_equal(b[1].count, 3);
	for (size_t i = 0; i < REQUESTS; i++) {
		assert_int_equal(b[i].calls, 1);
		assert_true(i < 2 || b[i].count == a[i].count);
		assert_memory_equal(b[i].id, a[i].id, b[i].count * sizeof *b[i].id);
	}
	/* What a callback says is passed on. */
	ask(&s, b);
	b[6].what.token = broken_token;
	assert_int_equal(try(&s, b, REQUESTS, 4, UINT64_MAX, &err), CWP_EFORMAT);
	assert_string_equal(err.message, "second");
	cwb_err_clear(&err);
	ask(&s, b);
	b[3].what.done = broken_done; /* the one without new tokens */
	assert_int_equal(try(&s, b, REQUESTS, 2, UINT64_MAX, &err), CWP_EFORMAT);
	assert_string_equal(err.message, "done");
	assert_int_equal(s.device.allocated, 0);
	synthetic_close(&s);
}

/* What no sequence may be is found before the first one begins. */
static void refused(void **state)
{
	static uint32_t prompt[4097];
	struct answer a[REQUESTS];
	struct cwb_err err = {0};
	struct synthetic s;
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	const struct {
		uint64_t count;
		uint32_t id;
		int code;
		const char *text;
	} bad[] = {{0, 0, CWP_ELIMIT, "a prompt of 0 tokens"}, {4097, 0, CWP_ELIMIT, "a prompt of 4097 tokens"},
		{3, 37, CWP_EVALUE, "token id 37 is not in the model's vocabulary of 37"}};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		ask(&s, a);
		prompt[2] = bad[i].id;
		a[8].what.prompt = prompt;
		a[8].what.count = bad[i].count;
		assert_int_equal(try(&s, a, REQUESTS, 2, UINT64_MAX, &err), bad[i].code);
		assert_non_null(strstr(err.message, bad[i].text));
		cwb_err_clear(&err);
		for (size_t k = 0; k < REQUESTS; k++) {
			assert_int_equal(a[k].calls, 0);
		}
	}
	/* A generator for less. */
	struct cwe_generator *g;
	ask(&s, a);
	const struct cwe_generator_size size[] = {{1, 11, 15}, {1, 12, 14}, {1, 12, 15}};
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(cwe_generator_new(&s.model, &size[i], 0, &g, &err), 0);
		assert_int_equal(cwe_generator_run(g, &a[2].what, 1, &err), i < 2 ? CWP_ELIMIT : 0);
		cwb_err_clear(&err);
		cwe_generator_free(g);
	}
	synthetic_close(&s);
}

static void at_the_limit(void **state)
{
	static const char config[] = "{\"model_type\": \"llama\", \"num_hidden_layers\": 1, \"hidden_size\": 8,"
		" \"num_attention_heads\": 2, \"intermediate_size\": 8, \"vocab_size\": 19, \"max_position_embeddings\": 10}";
	struct answer a[REQUESTS];
	struct synthetic s;
	(void)state;
	synthetic_open(&s, config);
	ask(&s, a);
	for (size_t i = 0; i < 3; i++) {
		a[i].what.prompt = a[2].prompt;
		a[i].what.count = 8 + i;
		a[i].what.max_new = UINT64_MAX;
	}
	run(&s, a, 3, 3, 0);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(a[i].calls, 1);
		assert_int_equal(a[i].count, 2 - i);
	}
	check_recomputed(&s, &a[0]);
	synthetic_close(&s);
}

struct cancelling {
	struct synthetic *s;
	struct answer *answer;
};

static int cancel(void *arg, const uint32_t *id, uint64_t count, int *ret_end, struct cwb_err *err)
{
	struct cancelling *c = arg;
	(void)id, (void)ret_end, (void)err;
	c->s->host.cancelled = count == 2;
	return 0;
}

static int keep_for(void *arg, const uint32_t *id, uint64_t count, struct cwb_err *err)
{
	return keep(((struct cancelling *)arg)->answer, id, count, err);
}

static void cancelled(void **state)
{
	struct answer a[REQUESTS];
	struct cwe_generator_size size;
	struct cwe_generator *g;
	struct cwb_err err = {0};
	struct synthetic s;
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	ask(&s, a);
	struct cancelling c = {&s, &a[0]};
	a[0].what.arg = &c;
	a[0].what.token = cancel;
	a[0].what.done = keep_for;
	cwe_generator_fit(&s.model, &a[0].what, 1, 1, 0, &size);
	assert_int_equal(cwe_generator_new(&s.model, &size, 0, &g, &err), 0);
	size_t before = s.device.allocated;
	assert_int_equal(cwe_generator_run(g, &a[0].what, 1, &err), CWP_ECANCELLED);
	assert_int_equal(a[0].calls, 0);
	assert_int_equal(s.device.allocated, before);
	cwb_err_clear(&err);
	/* And once more, to the end. */
	s.host.cancelled = 0;
	a[0].what.token = NULL;
	assert_int_equal(cwe_generator_run(g, &a[0].what, 1, &err), 0);
	assert_int_equal(a[0].count, 9);
	cwe_generator_free(g);
	synthetic_close(&s);
}

/* What is stated is kept, and not far from what is used. */
static void check_bytes(const char *config)
{
	static const uint64_t resident[] = {0, 1, UINT64_MAX};
	struct answer a[REQUESTS];
	struct cwe_generation what[REQUESTS];
	struct cwe_generator_size size;
	struct synthetic s;
	synthetic_open(&s, config);
	uint64_t layer = cwe_layer_bytes(&s.model);
	for (size_t i = 0; i < 3; i++) {
		for (uint64_t slots = 1; slots <= 4; slots += 3) {
			ask(&s, a);
			for (size_t k = 0; k < REQUESTS; k++) {
				/* All as large as the largest. */
				what[k] = a[k].what = a[2].what;
				what[k].arg = a[k].what.arg = &a[k];
			}
			s.device.peak = 0;
			run(&s, a, REQUESTS, slots, resident[i] == 1 ? layer : resident[i]);
			cwe_generator_fit(&s.model, what, REQUESTS, slots, UINT64_MAX, &size);
			assert_int_equal(size.slots, slots);
			uint64_t weights = resident[i] == 0 ? 0 : resident[i] == 1 ? layer
				: s.model.arch.layers * layer + (uint64_t)s.model.arch.vocabulary * s.model.arch.hidden * sizeof(float);
			uint64_t bound = cwe_generator_bytes(&s.model, &size) + weights;
			if (s.device.peak > bound || 4 * s.device.peak < bound) {
				fail_msg("%s, %llu slots: %zu bytes used, %llu stated", s.model.arch.family, (unsigned long long)slots,
					s.device.peak, (unsigned long long)bound);
			}
		}
	}
	/* As many slots as fit. */
	size.slots = 3;
	uint64_t three = cwe_generator_bytes(&s.model, &size);
	cwe_generator_fit(&s.model, what, REQUESTS, CWE_GENERATOR_SLOTS, three, &size);
	assert_int_equal(size.slots, 3);
	cwe_generator_fit(&s.model, what, REQUESTS, CWE_GENERATOR_SLOTS, three - 1, &size);
	assert_int_equal(size.slots, 2);
	cwe_generator_fit(&s.model, what, REQUESTS, CWE_GENERATOR_SLOTS, 0, &size);
	assert_int_equal(size.slots, 1);
	cwe_generator_fit(&s.model, what, 2, CWE_GENERATOR_SLOTS, UINT64_MAX, &size);
	assert_int_equal(size.slots, 2);
	synthetic_close(&s);
}

static void memory(void **state)
{
	(void)state;
	check_bytes(SYNTHETIC_CONFIG);
	check_bytes(longrope);
	for (size_t i = 0; i < SYNTHETIC_FAMILIES; i++) {
		check_bytes(synthetic_family[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(any_company), cmocka_unit_test(beyond_the_original_context),
		cmocka_unit_test(rows_to_the_bit), cmocka_unit_test(ends), cmocka_unit_test(refused), cmocka_unit_test(at_the_limit),
		cmocka_unit_test(cancelled), cmocka_unit_test(memory)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
