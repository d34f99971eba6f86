/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Samples of the reference scores ($CWP_SHARED/golden/scores-smollm2/samples.json). Their texts,
 * read back from the ids and written as answers, pairs and text, must give the same ids and
 * weights; and so must the data sets that they were taken from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "engine/text/items.h"
#include "engine/text/samples.h"
#include "tests/golden/tokens_file.h"

static struct cwe_tokenizer *tokenizer;
static struct cwe_chat *chat;
static json_t *golden;

static int setup(void **state)
{
	(void)state;
	size_t length;
	struct cwb_err err = {0};
	tokenizer = load_tokenizer("smollm2", NULL, NULL);
	const struct cwe_chat_question question = {"smollm2", tokenizer, NULL, NULL};
	assert_int_equal(cwe_chat_find(&question, &chat, &err), 0);
	char *text = read_whole(shared_path("golden/scores-smollm2/samples.json"), &length);
	golden = json_loadb(text, length, 0, NULL);
	free(text);
	return golden ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	json_decref(golden);
	cwe_chat_free(chat);
	cwe_tokenizer_free(tokenizer);
	return 0;
}

/* The text of ids[from..to) of a sequence. */
static char *text_of(const json_t *sequence, size_t from, size_t to)
{
	struct cwb_err err = {0};
	uint32_t id[1024] = {0};
	char *text;
	size_t length;
	const json_t *ids = json_object_get(sequence, "ids");
	assert_true(to - from <= 1024 && to <= json_array_size(ids));
	for (size_t i = from; i < to; i++)
		id[i - from] = (uint32_t)json_integer_value(json_array_get(ids, i));
	assert_int_equal(
		cwe_tokenizer_decode(tokenizer, id, to - from, 0, &text, &length, &err), 0);
	return text;
}

static size_t first_weight(const json_t *sequence)
{
	const json_t *weights = json_object_get(sequence, "weights");
	size_t i = 0;
	while (i < json_array_size(weights) && json_number_value(json_array_get(weights, i)) == 0)
		i++;
	return i;
}

static json_t *sequence_of(const json_t *sample, size_t i)
{
	return json_array_get(json_object_get(sample, "sequences"), i);
}

/* One item of each kind from one golden sample. */
static json_t *answer_item(const json_t *sample)
{
	const json_t *s = sequence_of(sample, 0);
	size_t first = first_weight(s);
	char *context = text_of(s, 0, first);
	char *answer = text_of(s, first, json_array_size(json_object_get(s, "ids")));
	char *prompt = strstr(context, "<|im_start|>user\n");
	assert_non_null(prompt);
	prompt += strlen("<|im_start|>user\n");
	char *end = strstr(prompt, "<|im_end|>");
	assert_non_null(end);
	json_t *item =
		json_pack("{s:s#,s:s}", "prompt", prompt, (size_t)(end - prompt), "answer", answer);
	free(context);
	free(answer);
	return item;
}

static json_t *pair_item(const json_t *sample)
{
	const json_t *more = sequence_of(sample, 0);
	const json_t *less = sequence_of(sample, 1);
	char *context = text_of(more, 0, first_weight(more));
	char *a = text_of(more, first_weight(more), json_array_size(json_object_get(more, "ids")));
	char *b = text_of(less, first_weight(less), json_array_size(json_object_get(less, "ids")));
	json_t *item = json_pack("{s:s,s:s,s:s}", "context", context, "more", a, "less", b);
	free(context);
	free(a);
	free(b);
	return item;
}

static json_t *text_item(const json_t *sample)
{
	const json_t *s = sequence_of(sample, 0);
	char *text = text_of(s, 0, json_array_size(json_object_get(s, "ids")));
	json_t *item = json_pack("{s:s}", "text", text);
	free(text);
	return item;
}

static void check_sequence(const struct cwe_sequence *s, const json_t *expected)
{
	const json_t *ids = json_object_get(expected, "ids");
	const json_t *weights = json_object_get(expected, "weights");
	struct cwe_ids have = {s->id, s->count};
	check_ids("sample", 0, &have, ids);
	for (size_t i = 0; i < s->count; i++) {
		float want = (float)json_number_value(json_array_get(weights, i));
		if (s->weight[i] != want)
			fail_msg("weight %zu is %.9g, expected %.9g", i, (double)s->weight[i],
				(double)want);
	}
}

static void check_set(const char *name, const char *data, json_t *(*make)(const json_t *sample))
{
	const json_t *samples = json_object_get(json_object_get(golden, "samples"), name);
	assert_true(json_array_size(samples) >= 8);
	for (size_t i = 0; i < json_array_size(samples); i++) {
		const json_t *sample = json_array_get(samples, i);
		char path[] = "/tmp/cwp-samples-XXXXXX.jsonl";
		int fd = mkstemps(path, 6);
		assert_true(fd >= 0);
		FILE *f = fdopen(fd, "w");
		json_t *item = make(sample);
		assert_int_equal(json_dumpf(item, f, JSON_COMPACT), 0);
		assert_int_equal(fclose(f), 0);
		json_decref(item);
		struct cwe_sample_set set;
		struct cwb_err err = {0};
		struct cwj_set job = {.name = (char *)name, .data = (char *)data, .path = path};
		if (cwe_samples_read(&job, tokenizer, chat, 0, 8192, 49152, &set, &err) < 0)
			fail_msg("%s: %s", name, err.message);
		unlink(path);
		assert_int_equal(set.count, 1);
		assert_int_equal(
			set.sample[0].count, json_array_size(json_object_get(sample, "sequences")));
		for (size_t j = 0; j < set.sample[0].count; j++)
			check_sequence(&set.sample[0].sequence[j], sequence_of(sample, j));
		cwe_samples_free(&set);
	}
}

static int is_same(const struct cwe_sequence *s, const json_t *expected)
{
	const json_t *ids = json_object_get(expected, "ids");
	const json_t *weights = json_object_get(expected, "weights");
	int same = s->count == json_array_size(ids);
	for (size_t i = 0; same && i < s->count; i++)
		same = s->id[i] == json_integer_value(json_array_get(ids, i)) &&
		       s->weight[i] == (float)json_number_value(json_array_get(weights, i));
	return same;
}

/* How many samples of a set are the same as the golden one, and the identity of the last. */
static size_t count_same(
	const struct cwe_sample_set *set, const json_t *expected, char ret[CWE_ITEM_IDENTITY])
{
	const json_t *sequences = json_object_get(expected, "sequences");
	size_t n = 0;
	for (size_t i = 0; i < set->count; i++) {
		const struct cwe_sample *s = &set->sample[i];
		int same = s->count == json_array_size(sequences);
		for (size_t j = 0; same && j < s->count; j++)
			same = is_same(&s->sequence[j], json_array_get(sequences, j));
		if (same)
			snprintf(ret, CWE_ITEM_IDENTITY, "%s", s->identity);
		n += (size_t)same;
	}
	return n;
}

/* The golden samples of a set whose id begins with `prefix` must be in the data set, each once.
 * What was cut has the length of the golden sample. */
static void check_data(
	const char *name, const char *prefix, const char *data, const char *file, int has_identity)
{
	const json_t *samples = json_object_get(json_object_get(golden, "samples"), name);
	char path[4096];
	size_t checked = 0;
	snprintf(path, sizeof(path), "%s", shared_path("data/%s", file));
	for (size_t i = 0; i < json_array_size(samples); i++) {
		const json_t *sample = json_array_get(samples, i);
		const char *id = json_string_value(json_object_get(sample, "id"));
		char identity[CWE_ITEM_IDENTITY] = "";
		struct cwe_sample_set set;
		struct cwb_err err = {0};
		struct cwj_set job = {.name = (char *)name, .data = (char *)data, .path = path};
		if (strncmp(id, prefix, strlen(prefix)) != 0)
			continue;
		if (strcmp(name, "pair") != 0)
			job.length =
				json_array_size(json_object_get(sequence_of(sample, 0), "ids"));
		if (cwe_samples_read(&job, tokenizer, chat, 0, 8192, 49152, &set, &err) < 0)
			fail_msg("%s: %s", name, err.message);
		size_t n = count_same(&set, sample, identity);
		if (n != 1)
			fail_msg("%s is in %s %zu times", id, file, n);
		if (has_identity && !strstr(identity, id + strlen(prefix)))
			fail_msg("%s is called %s", id, identity);
		cwe_samples_free(&set);
		checked++;
	}
	assert_true(checked > 0);
}

static void test_data(void **state)
{
	(void)state;
	need_file(shared_path("data/advbench/harmful_behaviors.csv"));
	check_data("safe", "advbench-", "advbench", "advbench/harmful_behaviors.csv", 0);
	check_data("instr", "seed_task", "instructions", "instructions/seed_tasks.jsonl", 1);
	check_data("pair", "stereoset-", "stereoset", "stereoset-multi/intrasentence_en.jsonl", 1);
	check_data("text", "wikitext-", "wikitext2", "wikitext2/wikitext-test.txt", 0);
	check_data("text", "ud-fr", "ud-text", "ud-text/fr_pud-ud-test.text.conllu", 0);
	check_data("text", "ud-nl", "ud-text", "ud-text/nl_lassysmall-ud-test.text.conllu", 0);
	check_data("text", "ud-es", "ud-text", "ud-text/es_pud-ud-test.text.conllu", 0);
	check_data("text", "ud-tr", "ud-text", "ud-text/tr_pud-ud-test.text.conllu", 0);
}

static void test_safe(void **state)
{
	(void)state;
	check_set("safe", "answers", answer_item);
}

static void test_instructions(void **state)
{
	(void)state;
	check_set("instr", "answers", answer_item);
}

static void test_pairs(void **state)
{
	(void)state;
	check_set("pair", "pairs", pair_item);
}

static void test_text(void **state)
{
	(void)state;
	check_set("text", "text", text_item);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_safe),
		cmocka_unit_test(test_instructions),
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_data),
	};
	need_file(shared_path("golden/scores-smollm2/samples.json"));
	return cmocka_run_group_tests_name("samples", tests, setup, teardown);
}
