/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* On a backend with memory of its own the engine gives the bytes that it gives on the CPU, wherever boundaries lie. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/calibrate/loglik.h"
#include "engine/calibrate/parameters.h"
#include "tests/unit/engine/model/synthetic.h"

/* What a run gave, one after another. */
struct numbers {
	char *data;
	size_t count;
};

static void keep(struct numbers *n, const void *data, size_t bytes)
{
	n->data = realloc(n->data, n->count + bytes + 1);
	assert_non_null(n->data);
	memcpy(n->data + n->count, data, bytes);
	n->count += bytes;
}

static int keep_parameter(void *arg, const char *name, uint64_t rows, uint64_t cols, const float *value, struct cwb_err *err)
{
	(void)err;
	keep(arg, name, strlen(name));
	keep(arg, value, rows * (cols > 0 ? cols : 1) * sizeof *value);
	return 0;
}

static void assert_same(const struct numbers *a, const struct numbers *b)
{
	assert_int_equal(a->count, b->count);
	assert_memory_equal(a->data, b->data, a->count);
}

/* precision NULL: on the CPU. */
static void open_on(struct synthetic *s, const char *config, const char *precision)
{
	assert_int_equal(precision != NULL ? setenv("CWP_TEST_REMOTE", precision, 1) : unsetenv("CWP_TEST_REMOTE"), 0);
	synthetic_open(s, config);
	assert_int_equal(unsetenv("CWP_TEST_REMOTE"), 0);
	for (size_t i = 0; i < 5; i++) {
		synthetic_sample(s, 1.0f / (float)(i + 1), (const size_t[]){9 + i, 700 * (i % 3), 0});
	}
	synthetic_corpus(s);
	assert_true(s->corpus.pieces > 1);
}

/* Everything that is measured. room: of boundaries on the device; scratch: NULL, or a folder that takes them instead of memory. */
static struct numbers measure(const char *config, const char *precision, uint64_t room, const char *scratch)
{
	struct numbers n = {0};
	struct synthetic s;
	struct cwb_err err = {0};
	open_on(&s, config, precision);
	s.device.boundary_room = room;
	if (cwe_parameters_run(&s.model, &s.corpus, scratch, keep_parameter, &n, &err) != 0) {
		fail_msg("%s", err.message);
	}
	struct cwe_token_score score = {.nll = calloc(s.corpus.tokens, sizeof(float)), .greedy = calloc(s.corpus.tokens, 1)};
	struct cwe_forward_options o = {.memory = scratch != NULL ? 0 : UINT64_MAX, .scratch = scratch};
	if (cwe_loglik_run(&s.model, &s.corpus, &o, &score, &err) != 0) {
		fail_msg("%s", err.message);
	}
	keep(&n, score.nll, s.corpus.tokens * sizeof *score.nll);
	keep(&n, score.greedy, s.corpus.tokens);
	free(score.nll);
	free(score.greedy);
	assert_int_equal(s.device.allocated, 0);
	synthetic_close(&s);
	return n;
}

static void same_as_the_cpu(void **state)
{
	(void)state;
	for (size_t f = 0; f < SYNTHETIC_FAMILIES; f++) {
		struct numbers cpu = measure(synthetic_family[f], NULL, 0, NULL);
		const uint64_t room[] = {UINT64_MAX, 100000, 0};
		for (size_t i = 0; i < sizeof room / sizeof *room; i++) {
			struct numbers remote = measure(synthetic_family[f], "f32", room[i], i == 1 ? NULL : "/tmp");
			assert_same(&cpu, &remote);
			free(remote.data);
		}
		free(cpu.data);
	}
}

/* What comes to pass with a model that was changed: the error, the same on both. */
static void fails(const char *tensor, const char *memory, int code, const char *text)
{
	for (int remote = 0; remote < 2; remote++) {
		struct numbers n = {0};
		struct synthetic s;
		struct cwb_err err = {0};
		if (memory != NULL && !remote) {
			continue;
		}
		assert_int_equal(memory != NULL ? setenv("CWP_FAKE_MEMORY", memory, 1) : 0, 0);
		open_on(&s, SYNTHETIC_CONFIG, remote ? "f32" : NULL);
		if (tensor != NULL) {
			const uint32_t nan = 0x7fc00000;
			memcpy(synthetic_tensor(&s, tensor, NULL) + 3, &nan, sizeof nan);
		}
		int r = cwe_parameters_run(&s.model, &s.corpus, NULL, keep_parameter, &n, &err);
		if (r != code || strstr(err.message, text) == NULL) {
			fail_msg("%d: %s", r, err.message);
		}
		assert_int_equal(s.device.allocated, 0);
		synthetic_close(&s);
		free(n.data);
		assert_int_equal(unsetenv("CWP_FAKE_MEMORY"), 0);
	}
}

static void bad_weights(void **state)
{
	(void)state;
	fails("model.layers.0.mlp.up_proj.weight", NULL, CWP_ENUMBER, "model.layers.0.mlp.up_proj.weight holds nan at element 3");
	fails("model.layers.1.self_attn.k_proj.bias", NULL, CWP_ENUMBER, "model.layers.1.self_attn.k_proj.bias holds nan at element 3");
	fails("model.norm.weight", NULL, CWP_ENUMBER, "model.norm.weight holds nan at element 3");
	fails("model.embed_tokens.weight", NULL, CWP_ENUMBER, "model.embed_tokens.weight holds nan at element 3");
}

static void small_device(void **state)
{
	(void)state;
	fails(NULL, "300000", -ENOMEM, "checking backend f32: no memory for ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_as_the_cpu),
		cmocka_unit_test(bad_weights),
		cmocka_unit_test(small_device),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
