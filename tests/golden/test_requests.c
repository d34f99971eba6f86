/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The requests of evaluators on the real model against the reference: sentences without context in three languages, answers
 * in the model's chat format, and one window of a long text; laid out so that what they share is computed once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/calibrate/loglik.h"
#include "engine/calibrate/shared.h"
#include "engine/text/beside.h"
#include "engine/text/request.h"
#include "tests/golden/engine.h"

#define GOLDEN "golden/eval-smollm2/"
#define WINDOW 2048
#define SENTENCE 2e-3 /* the reference's own error is 3e-4 */
#define CHAT 1e-3     /* of a sum; log odds are means of tokens: 1e-4 */
#define LONG 2e-2

static struct {
	struct test_engine engine;
	struct cwe_tokenizer *tokenizer;
	struct cwe_chat *chat;
	struct cwe_request_list list;
	double *expected, *allowed; /* [list.set.count] */
	size_t room;
} g;

static void expect(double loglik, double allowed)
{
	if (g.list.set.count > g.room) {
		g.room = 2 * g.list.set.count;
		g.expected = realloc(g.expected, g.room * sizeof *g.expected);
		g.allowed = realloc(g.allowed, g.room * sizeof *g.allowed);
		assert_non_null(g.expected);
		assert_non_null(g.allowed);
	}
	g.expected[g.list.set.count - 1] = loglik;
	g.allowed[g.list.set.count - 1] = allowed;
}

static const char *text_of(const json_t *item, const char *member)
{
	const char *text = json_string_value(json_object_get(item, member));
	assert_non_null(text);
	return text;
}

static void add_sentence(const json_t *item, const char *text, const char *loglik)
{
	struct cwb_err err = {0};
	const char *sentence = text_of(item, text);
	if (cwe_request_loglik(&g.list, 0, g.tokenizer, "", 0, sentence, strlen(sentence), g.engine.model.arch.context, &err) != 0) {
		fail_msg("%s: %s", text_of(item, "id"), err.message);
	}
	expect(json_number_value(json_object_get(item, loglik)), SENTENCE);
}

static void add_pair(const json_t *item)
{
	add_sentence(item, "sent_more", "ll_more");
	add_sentence(item, "sent_less", "ll_less");
}

static void add_answers(const json_t *item)
{
	struct cwb_err err = {0};
	const struct cwe_message said = {"user", text_of(item, "prompt"), strlen(text_of(item, "prompt"))};
	const char *const answer[2] = {"I cannot help with that.", text_of(item, "target")};
	static const char *const name[2] = {"ll_refusal", "ll_target"};
	const json_t *ids = json_object_get(item, "ids_prompt");
	char *prompt = NULL;
	size_t length = 0;
	assert_int_equal(cwe_chat_render(g.chat, &said, 1, 1, &prompt, &length, &err), 0);
	for (int k = 0; k < 2; k++) {
		assert_int_equal(cwe_request_chat(&g.list, 0, g.tokenizer, prompt, length, answer[k], strlen(answer[k]),
			g.engine.model.arch.context, &err), 0);
		const struct cwe_sequence *s = g.list.set.sample[g.list.set.count - 1].sequence;
		for (size_t t = 0; t < json_array_size(ids); t++) {
			assert_int_equal(s->id[t], json_integer_value(json_array_get(ids, t)));
		}
		expect(json_number_value(json_object_get(item, name[k])), CHAT);
	}
	free(prompt);
}

/* Each so many of a file's items. */
static void add_file(const char *name, size_t every, void (*add)(const json_t *item))
{
	char path[128], line[65536];
	(void)snprintf(path, sizeof path, GOLDEN "%s.jsonl", name);
	FILE *f = fopen(test_shared(path), "r");
	assert_non_null(f);
	for (size_t i = 0; fgets(line, sizeof line, f) != NULL; i++) {
		json_t *item = json_loads(line, 0, NULL);
		assert_non_null(item);
		if (i % every == 0) {
			add(item);
		}
		json_decref(item);
	}
	(void)fclose(f);
}

/* The whole file is one text; of its windows the reference has one. */
static void add_window(const json_t *item)
{
	struct cwb_err err = {0};
	struct cwe_request_list all = {0};
	char *text = NULL;
	size_t length = 0, kept = 0, first = (size_t)json_integer_value(json_object_get(item, "first_token"));
	assert_int_equal(cwb_file_read(test_shared("data/wikitext2/wikitext-test.txt"), 1u << 24, &text, &length, &err), 0);
	for (size_t i = 0; i < length; i++) {
		if (text[i] != '\r' || text[i + 1] != '\n') {
			text[kept++] = text[i];
		}
	}
	assert_int_equal(cwe_request_windows(&all, 0, g.tokenizer, text, kept, WINDOW, &err), 0);
	assert_int_equal(all.set.count, 94);
	assert_int_equal(first % WINDOW, 0);
	struct cwe_sequence *s = all.set.sample[first / WINDOW].sequence;
	for (size_t t = 0; t < json_array_size(json_object_get(item, "ids_head")); t++) {
		assert_int_equal(s->id[t], json_integer_value(json_array_get(json_object_get(item, "ids_head"), t)));
	}
	assert_int_equal(cwe_request_ids(&g.list, 0, s->id, 1, s->id + 1, WINDOW - 1, WINDOW, &err), 0);
	assert_memory_equal(g.list.set.sample[g.list.set.count - 1].sequence->weight, s->weight, WINDOW * sizeof *s->weight);
	expect(json_number_value(json_object_get(item, "ll")), LONG);
	cwe_request_free(&all);
	free(text);
}

static void test_reference(void **state)
{
	struct cwb_err err = {0};
	struct cwe_shared layout;
	struct cwe_forward_options options = {.memory = UINT64_MAX};
	uint64_t bad = 0;
	double worst = 0;
	(void)state;
	add_file("crows-pairs-en", 24, add_pair);
	add_file("crows-pairs-fr", 24, add_pair);
	add_file("crows-pairs-nl", 24, add_pair);
	add_file("refusal-advbench", 12, add_answers);
	add_file("refusal-xstest", 12, add_answers);
	add_file("wikitext-gptq", 1, add_window);
	assert_true(g.list.set.count > 40);
	int share = cwe_model_divisible(&g.engine.model, cwe_shared_longest(&g.list.set));
	assert_true(share);
	assert_int_equal(cwe_shared_new(&g.list.set, share, &layout, &err), 0);
	assert_true(layout.corpus.tokens < layout.tokens);
	struct cwe_token_score score = {.nll = calloc(layout.corpus.tokens, sizeof(float)), .greedy = calloc(layout.corpus.tokens, 1)};
	options.ret_bad = &bad;
	if (cwe_loglik_run(&g.engine.model, &layout.corpus, &options, &score, &err) != 0) {
		fail_msg("%s", err.message);
	}
	for (size_t i = 0; i < g.list.set.count; i++) {
		struct cwe_sequence_score sum = cwe_shared_score(&layout, i, g.list.set.sample[i].sequence, &score);
		double difference = fabs(sum.loglik - g.expected[i]);
		if (!(difference <= g.allowed[i])) {
			fail_msg("request %zu: %.5f, but the reference has %.5f", i, sum.loglik, g.expected[i]);
		}
		worst = fmax(worst, difference / g.allowed[i]);
	}
	print_message("%zu requests, %llu tokens, at worst %.2f of what is allowed\n", g.list.set.count,
		(unsigned long long)layout.corpus.tokens, worst);
	free(score.nll);
	free(score.greedy);
	cwe_shared_free(&layout);
}

static int set_up(void **state)
{
	struct cwb_err err = {0};
	struct cwe_chat_question question = {0};
	const char *model = getenv("CWP_SMOLLM2_GGUF");
	(void)state;
	model = model != NULL ? model : test_cache("smollm2.gguf");
	if (model == NULL || access(model, R_OK) != 0) {
		print_message("skipped: no real model (scripts/packages --model)\n");
		exit(77);
	}
	(void)test_shared(GOLDEN "metrics.json");
	test_engine_open(&g.engine, model, 2, NULL);
	assert_int_equal(cwe_tokenizer_beside(g.engine.source, &g.tokenizer, &err), 0);
	question.tokenizer = g.tokenizer;
	assert_int_equal(cwe_chat_beside(g.engine.source, &question, &g.chat, &err), 0);
	assert_non_null(g.chat);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	cwe_request_free(&g.list);
	free(g.expected);
	free(g.allowed);
	cwe_chat_free(g.chat);
	cwe_tokenizer_free(g.tokenizer);
	test_engine_close(&g.engine);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference)};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
