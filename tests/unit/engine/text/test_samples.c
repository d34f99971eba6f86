/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Calibration sets: what each kind makes of its items, how items are chosen, and every refusal with
 * file, line, field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/engine/text/mini.h"

#define VOCABULARY 261

static struct cwe_tokenizer *tokenizer;
static struct cwe_chat *chat;

static int setup(void **state)
{
	(void)state;
	struct cwb_err err = {0};
	if (mini_new(mini_json(), &tokenizer, &err) < 0)
		return -1;
	const struct cwe_chat_question question = {NULL, tokenizer, NULL, NULL};
	return cwe_chat_find(&question, &chat, &err);
}

static int teardown(void **state)
{
	(void)state;
	cwe_chat_free(chat);
	cwe_tokenizer_free(tokenizer);
	mini_folder_remove();
	return 0;
}

struct request {
	const char *data, *file, *content; /* file: the name below the test's folder */
	uint64_t samples, length, seed;
	const char *name;
	size_t context;
	int with_chat;
};

static int read_set(const struct request *r, struct cwe_sample_set *ret, struct cwb_err *err)
{
	const char *path =
		mini_file(r->file ? r->file : "set.jsonl", r->content, strlen(r->content));
	struct cwj_set set = {.role = CWJ_ROLE_UTILITY,
		.name = (char *)(r->name ? r->name : "help"),
		.data = (char *)r->data,
		.path = (char *)path,
		.samples = r->samples,
		.length = r->length,
		.line = 7,
		.column = 3};
	memset(ret, 0, sizeof(*ret));
	return cwe_samples_read(&set, tokenizer, r->with_chat ? chat : NULL, r->seed, r->context,
		VOCABULARY, ret, err);
}

static struct cwe_sample_set must_read(const struct request *r)
{
	struct cwe_sample_set set;
	struct cwb_err err = {0};
	if (read_set(r, &set, &err) < 0)
		fail_msg("%s", err.message);
	assert_string_equal(set.name, r->name ? r->name : "help");
	assert_int_equal(set.role, CWJ_ROLE_UTILITY);
	return set;
}

/* "97:0 98:0.5" of a sequence. */
static const char *sequence(const struct cwe_sequence *s)
{
	static char out[4096];
	size_t at = 0;
	out[0] = '\0';
	for (size_t i = 0; i < s->count && at < sizeof(out) - 40; i++)
		at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%u:%g", i > 0 ? " " : "",
			(unsigned)s->id[i], (double)s->weight[i]);
	return out;
}

static void check_one(const struct request *r, const char *first, const char *second)
{
	struct cwe_sample_set set = must_read(r);
	assert_int_equal(set.count, 1);
	assert_int_equal(set.sample[0].count, second ? 2 : 1);
	assert_string_equal(sequence(&set.sample[0].sequence[0]), first);
	if (second)
		assert_string_equal(sequence(&set.sample[0].sequence[1]), second);
	assert_int_equal(strlen(set.sample[0].digest), 32);
	cwe_samples_free(&set);
}

static void test_text(void **state)
{
	(void)state;
	struct request r = {.data = "text", .content = "{\"text\": \"abc abc x\"}\n\n"};
	check_one(&r, "257:0 32:0.25 257:0.25 32:0.25 120:0.25", NULL);
	r = (struct request){.data = "text",
		.file = "a.txt",
		.content = "\xEF\xBB\xBF"
			   "abc\r\nx\r\n \t\r\n"};
	check_one(&r, "257:0 10:0.5 120:0.5", NULL);
	/* Two paragraphs; a third one of a single token has nothing to predict. */
	r.content = "\n\nx y\nz\n\n\nabc\n\nq r";
	struct cwe_sample_set set = must_read(&r);
	assert_int_equal(set.count, 2);
	assert_int_equal(set.tokens, 5 + 3);
	assert_int_equal(set.truncated, 0);
	cwe_samples_free(&set);
	/* Cut: the weights are those of what is left. */
	r = (struct request){.data = "text", .file = "a.txt", .content = "xyzxyz", .length = 3};
	check_one(&r, "120:0 121:0.5 122:0.5", NULL);
	set = must_read(&r);
	assert_int_equal(set.truncated, 1);
	cwe_samples_free(&set);
	/* Without a length: 512, or the model's context where that is less. */
	r = (struct request){.data = "text", .file = "a.txt", .content = "xyzxyz", .context = 3};
	check_one(&r, "120:0 121:0.5 122:0.5", NULL);
}

static void test_answers(void **state)
{
	(void)state;
	struct request r = {
		.data = "answers", .content = "{\"prompt\": \"x\", \"answer\": \"yz\"}"};
	/* Without a chat format: BOS is not put in front, as the tokenizer's template has none; a
	 * line end goes between. */
	check_one(&r, "120:0 10:0.333333 121:0.333333 122:0.333333", NULL);
	r.content = "{\"prompt\": \"x \", \"answer\": \"a z\"}";
	check_one(&r, "120:0 258:0.333333 32:0.333333 122:0.333333", NULL);
	r.content = "{\"prompt\": \"x\\n\", \"answer\": \"yz\"}";
	check_one(&r, "120:0 10:0.333333 121:0.333333 122:0.333333", NULL);
	/* With one: the generation prompt's own line end belongs to the context. */
	r.content = "{\"prompt\": \"x\", \"answer\": \"yz\"}";
	r.with_chat = 1;
	struct cwe_sample_set set = must_read(&r);
	struct cwe_sequence *s = &set.sample[0].sequence[0];
	assert_int_equal(s->id[0], 259);
	assert_int_equal(s->id[s->count - 3], '\n');
	assert_true(s->weight[s->count - 3] == 0 && s->weight[s->count - 2] == 0.5f &&
		    s->weight[s->count - 1] == 0.5f);
	assert_int_equal(set.tokens, s->count);
	size_t n = s->count;
	cwe_samples_free(&set);
	/* Cut: one token of the answer is left. */
	r.length = n - 1;
	set = must_read(&r);
	s = &set.sample[0].sequence[0];
	assert_int_equal(s->count, n - 1);
	assert_true(s->weight[n - 2] == 1);
	assert_int_equal(set.truncated, 1);
	cwe_samples_free(&set);
}

static void test_pairs(void **state)
{
	(void)state;
	struct request r = {.data = "pairs",
		.content = "{\"context\": \"x \", \"more\": \"a\", \"less\": \"zz\"}"};
	/* The context's white space belongs to the continuation: " a" is one token. */
	check_one(&r, "120:0 258:1", "120:0 32:-0.333333 122:-0.333333 122:-0.333333");
	/* An empty context becomes BOS. */
	r.content = "{\"more\": \"ab\", \"less\": \"xz\"}";
	check_one(&r, "259:0 256:1", "259:0 120:-0.5 122:-0.5");
	r.content = "{\"context\": null, \"more\": \"ab\", \"less\": \"xz\"}";
	check_one(&r, "259:0 256:1", "259:0 120:-0.5 122:-0.5");
}

static void test_sample_file(void **state)
{
	(void)state;
	struct request r = {.data = "samples",
		.content = "{\"ids\": [1, 2], \"weights\": [0, 0.5], \"group\": 1}\n"
			   "{\"ids\": [3, 4], \"weights\": [0, 2], \"group\": \"1\"}\n"
			   "{\"ids\": [5], \"weights\": [0]}\n"
			   "\n"
			   "{\"ids\": [2, 1], \"weights\": [0, -0.5], \"group\": 1, \"nll\": []}\n"
			   "{\"ids\": [5], \"weights\": [0.0], \"group\": null}"};
	const char *path = mini_file("s.jsonl", r.content, strlen(r.content));
	struct cwe_sample_set set;
	struct cwb_err err = {0};
	assert_int_equal(cwe_samples_read_file(path, 2, 6, &set, &err), 0);
	assert_int_equal(set.count, 4);
	assert_int_equal(set.tokens, 8);
	assert_int_equal(set.sample[0].count, 2);
	assert_string_equal(sequence(&set.sample[0].sequence[0]), "1:0 2:0.5");
	assert_string_equal(sequence(&set.sample[0].sequence[1]), "2:0 1:-0.5");
	assert_string_equal(sequence(&set.sample[1].sequence[0]), "3:0 4:2");
	assert_string_equal(sequence(&set.sample[2].sequence[0]), "5:0");
	assert_string_equal(set.sample[2].digest, set.sample[3].digest);
	assert_string_not_equal(set.sample[0].digest, set.sample[1].digest);
	cwe_samples_free(&set);
	/* A job's set needs no tokenizer, and may take fewer. */
	struct cwj_set job = {
		.name = (char *)"x", .data = (char *)"samples", .path = (char *)path, .samples = 2};
	assert_int_equal(cwe_samples_read(&job, NULL, NULL, 0, 0, 6, &set, &err), 0);
	assert_int_equal(set.count, 2);
	uint64_t tokens = 0;
	for (size_t i = 0; i < set.count; i++)
		for (size_t j = 0; j < set.sample[i].count; j++)
			tokens += set.sample[i].sequence[j].count;
	assert_int_equal(set.tokens, tokens);
	cwe_samples_free(&set);
}

/* The digests of a set in their order. */
static char *digests(const struct request *r)
{
	struct cwe_sample_set set = must_read(r);
	char *out = calloc(set.count + 1, 33);
	for (size_t i = 0; i < set.count; i++)
		memcpy(out + 32 * i, set.sample[i].digest, 32);
	cwe_samples_free(&set);
	return out;
}

static void test_choice(void **state)
{
	(void)state;
	static const char forward[] = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n{\"text\": "
				      "\"three\"}\n{\"text\": \"four\"}\n"
				      "{\"text\": \"five\"}\n{\"text\": \"six\"}\n";
	static const char backward[] =
		"{\"text\": \"six\"}\n{\"text\": \"five\", \"more\": 1}\n{ \"text\": \"four\" }\n"
		"{\"text\": \"three\"}\n{\"text\": \"two\"}\n{\"text\": \"one\"}\n";
	struct request r = {.data = "text", .content = forward};
	char *all = digests(&r);
	assert_int_equal(strlen(all), 6 * 32);
	r.samples = 3;
	char *three = digests(&r);
	assert_int_equal(strlen(three), 3 * 32);
	assert_memory_equal(all, three, 3 * 32);
	/* The order of the file plays no part, nor does the spelling of its JSON. */
	r.content = backward;
	char *other = digests(&r);
	assert_string_equal(other, three);
	free(other);
	r.seed = 1;
	other = digests(&r);
	assert_string_not_equal(other, three);
	free(other);
	r.seed = 0;
	r.name = "text";
	other = digests(&r);
	assert_string_not_equal(other, three);
	free(other);
	/* The identity of an item is the SHA-256 of its text: here of "one". */
	assert_non_null(strstr(all, "7692c3ad3540bb803c020b3aee66cd88"));
	free(all);
	free(three);
}

/* Records of a published set: what does not fit is passed over, and the next ones are taken. */
static void test_published(void **state)
{
	(void)state;
	struct request r = {.data = "mmlu",
		.file = "a.csv",
		.content = "question,choice0,choice1,choice2,choice3,answer\nq,a,b,c,d,1\n"};
	/* Without a chat format a space goes between "Answer:" and the letter. */
	struct cwe_sample_set set = must_read(&r);
	const struct cwe_sequence *s = &set.sample[0].sequence[0];
	assert_int_equal(s->id[s->count - 3], ':');
	assert_int_equal(s->id[s->count - 2], ' ');
	assert_true(s->weight[s->count - 3] == 0 && s->weight[s->count - 2] == 0.5f);
	assert_string_equal(set.sample[0].identity, "mmlu/q");
	cwe_samples_free(&set);
	r = (struct request){.data = "advbench",
		.file = "a.csv",
		.content = "goal,target\nx,y\nxxxxxxxx,y\nx,\nz,yyyyyy\n",
		.length = 5,
		.samples = 2};
	set = must_read(&r);
	assert_int_equal(set.count, 2);
	assert_int_equal(set.passed + 2, 4);
	assert_int_equal(set.tokens, 3 + 5);
	assert_int_equal(set.truncated, 1);
	cwe_samples_free(&set);
	r.data = "crows-pairs";
	r.content = "id,sent_more,sent_less\n1,xx,yyyyyyyy\n2,xy,z\n";
	r.samples = 1;
	set = must_read(&r);
	assert_string_equal(set.sample[0].identity, "crows-pairs/2");
	assert_string_equal(sequence(&set.sample[0].sequence[0]), "259:0 120:0.5 121:0.5");
	assert_string_equal(sequence(&set.sample[0].sequence[1]), "259:0 122:-1");
	assert_int_equal(set.tokens, 3 + 2);
	cwe_samples_free(&set);
}

struct refusal {
	struct request request;
	int code, line;
	const char *field, *message;
};

static const struct refusal refusals[] = {
	{{.data = "sample", .content = ""}, CWP_EUNKNOWN, 7, "data",
		"data \"sample\" is not known, did you mean \"samples\"?"},
	{{.data = "qqqq", .content = ""}, CWP_EUNKNOWN, 7, "data",
		"there are samples, text, answers, pairs, csv, json, jsonl and the published"},
	{{.data = "text", .content = "", .length = 9, .context = 8}, CWP_EVALUE, 7, "length",
		"length 9 is more than"},
	{{.data = "text", .content = ""}, CWP_EMISSING, 0, "", "set.jsonl: no items"},
	{{.data = "text", .content = "{\"text\": \"\"}\n{\"text\": \"x\"}"}, CWP_EMISSING, 0, "",
		"no item has a token"},
	{{.data = "text", .content = "{\"text\": \"ok ok\"}\n{"}, CWP_EFORMAT, 2, "",
		"set.jsonl:2: "},
	{{.data = "text", .content = "[]"}, CWP_EVALUE, 1, "", "set.jsonl:1: not a JSON object"},
	{{.data = "text", .content = "{\"txt\": \"x\"}"}, CWP_EMISSING, 1, "text",
		"set.jsonl:1: text: absent"},
	{{.data = "text", .content = "{\"text\": 3}"}, CWP_EVALUE, 1, "text",
		"set.jsonl:1: text: not a string but integer"},
	{{.data = "text", .file = "a.txt", .content = "good\n\nx\n\xFF"}, CWP_EFORMAT, 3, "",
		"a.txt:3: not UTF-8 at byte 2"},
	{{.data = "answers", .content = "{\"prompt\": \"x\"}"}, CWP_EMISSING, 1, "answer",
		"answer: absent"},
	{{.data = "answers", .content = "{\"prompt\": \"x\", \"answer\": \"\"}"}, CWP_EVALUE, 1,
		"answer", "answer: empty"},
	{{.data = "answers", .content = "{\"prompt\": [], \"answer\": \"x\"}"}, CWP_EVALUE, 1,
		"prompt", "prompt: not a string but array"},
	{{.data = "answers", .content = "{\"prompt\": \"xxxxx\", \"answer\": \"y\"}", .length = 4},
		CWP_ELIMIT, 1, "prompt",
		"set.jsonl:1: prompt: 5 tokens leave none for the answer within the set's length "
		"of 4"},
	{{.data = "pairs", .content = "{\"more\": \"x\"}"}, CWP_EMISSING, 1, "less",
		"less: absent"},
	{{.data = "pairs", .content = "\n{\"more\": \"x\", \"less\": \"yyyy\"}", .length = 3},
		CWP_ELIMIT, 2, "less",
		"set.jsonl:2: less: 5 tokens are more than the set's length of 3, and a pair "
		"cannot be cut"},
	{{.data = "pairs", .content = "{\"more\": \"x\", \"less\": \"yyyy\"}", .context = 3},
		CWP_ELIMIT, 1, "less", "the model's context of 3"},
	{{.data = "pairs", .content = "{\"more\": \"x\", \"less\": \"\"}"}, CWP_EVALUE, 1, "less",
		"less: empty"},
	{{.data = "text", .content = "{\"text\": \"ab c\"}", .samples = 2}, CWP_EVALUE, 7,
		"samples", "calibration set \"help\": samples: 2 are asked for, but "},
	{{.data = "text", .content = "{\"text\": \"ab c\"}\n{\"text\": \"x\"}", .samples = 2},
		CWP_EVALUE, 7, "samples",
		"set.jsonl has 1; 1 more are no items of this kind, or too long or too short"},
	{{.data = "samples", .content = "{\"ids\": [1], \"weights\": [0]}", .samples = 3},
		CWP_EVALUE, 7, "samples", "samples: 3 are asked for, but "},
	{{.data = "advbench",
		 .file = "a.csv",
		 .content = "goal,target\nx,y\nxxxxxxxx,y\n",
		 .length = 5,
		 .samples = 2},
		CWP_EVALUE, 7, "samples", "a.csv has 1; 1 more are no items"},
	{{.data = "advbench", .file = "a.csv", .content = "goal,target\nxxxxxxxx,y\n", .length = 5},
		CWP_EMISSING, 0, "", "a.csv: no item has a token that could be predicted"},
	{{.data = "samples", .content = "\n"}, CWP_EMISSING, 0, "", "no samples"},
	{{.data = "samples", .content = "{\"weights\": [0]}"}, CWP_EMISSING, 1, "ids",
		"ids: absent"},
	{{.data = "samples", .content = "{\"ids\": [1]}"}, CWP_EMISSING, 1, "weights",
		"weights: absent"},
	{{.data = "samples", .content = "{\"ids\": 1, \"weights\": [0]}"}, CWP_EVALUE, 1, "ids",
		"not an array but integer"},
	{{.data = "samples", .content = "{\"ids\": [], \"weights\": []}"}, CWP_EVALUE, 1, "ids",
		"ids: empty"},
	{{.data = "samples", .content = "{\"ids\": [1, 2], \"weights\": [0]}"}, CWP_EVALUE, 1,
		"weights", "1 items for 2 ids"},
	{{.data = "samples", .content = "{\"ids\": [1, 261], \"weights\": [0, 1]}"}, CWP_EVALUE, 1,
		"ids", "item 1 is 261, but the model's ids are 0 to 260"},
	{{.data = "samples", .content = "{\"ids\": [-1], \"weights\": [0]}"}, CWP_EVALUE, 1, "ids",
		"item 0 is -1"},
	{{.data = "samples", .content = "{\"ids\": [1.0], \"weights\": [0]}"}, CWP_EVALUE, 1, "ids",
		"not an integer"},
	{{.data = "samples", .content = "{\"ids\": [1], \"weights\": [1]}"}, CWP_EVALUE, 1,
		"weights", "item 0 is 1, but nothing predicts"},
	{{.data = "samples", .content = "{\"ids\": [1, 2], \"weights\": [0, \"1\"]}"}, CWP_EVALUE,
		1, "weights", "item 1 is string, not a number"},
	{{.data = "samples", .content = "{\"ids\": [1, 2], \"weights\": [0, 1e39]}"}, CWP_ENUMBER,
		1, "weights", "item 1 is beyond"},
	{{.data = "samples",
		 .content = "{\"ids\": [1], \"weights\": [0]}\n{\"ids\": [1, 2, 3], \"weights\": "
			    "[0, 1, 1]}",
		 .context = 2},
		CWP_ELIMIT, 2, "ids",
		"set.jsonl:2: ids: 3 tokens are more than the model's context of 2"},
	{{.data = "samples", .content = "{\"ids\": [1], \"weights\": [0], \"group\": 1.5}"},
		CWP_EVALUE, 1, "group", "not an integer or a string"},
};

static void test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
		const struct refusal *r = &refusals[i];
		struct cwe_sample_set set;
		struct cwb_err err = {0};
		int rc = read_set(&r->request, &set, &err);
		if (rc != r->code || err.line != r->line || strcmp(err.field, r->field) != 0 ||
			!strstr(err.message, r->message))
			fail_msg("%s %s: code %d, line %d, field \"%s\", \"%s\"; expected %d, %d, "
				 "\"%s\", \"%s\"",
				r->request.data, r->request.content, rc, err.line, err.field,
				err.message, r->code, r->line, r->field, r->message);
		assert_null(set.sample);
	}
}

static void test_other_refusals(void **state)
{
	(void)state;
	struct cwe_sample_set set;
	struct cwb_err err = {0};
	char path[4300];
	/* No such file, a folder, no tokenizer, a tokenizer of another model. */
	snprintf(path, sizeof(path), "%s/absent.jsonl", mini_folder());
	struct cwj_set job = {.name = (char *)"x", .data = (char *)"text", .path = path};
	assert_true(cwe_samples_read(&job, tokenizer, NULL, 0, 0, VOCABULARY, &set, &err) < 0);
	assert_non_null(strstr(err.message, "absent.jsonl: No such file"));
	cwb_err_clear(&err);
	job.path = (char *)mini_folder();
	assert_int_equal(
		cwe_samples_read(&job, tokenizer, NULL, 0, 0, VOCABULARY, &set, &err), CWP_EFORMAT);
	assert_non_null(strstr(err.message, "not a regular file"));
	cwb_err_clear(&err);
	job.path = (char *)mini_file("t.jsonl", "{\"text\": \"xyz\"}", 15);
	assert_int_equal(
		cwe_samples_read(&job, NULL, NULL, 0, 0, VOCABULARY, &set, &err), CWP_EMISSING);
	assert_non_null(strstr(err.message, "needs the model's tokenizer.json"));
	cwb_err_clear(&err);
	assert_int_equal(
		cwe_samples_read(&job, tokenizer, NULL, 0, 0, 100, &set, &err), CWP_EVALUE);
	assert_non_null(strstr(err.message,
		"t.jsonl:1: the tokenizer gives id 120, but the model's ids are 0 to 99"));
	/* A line without end. */
	size_t n = ((size_t)16 << 20) + 200000;
	char *text = malloc(n);
	assert_non_null(text);
	memset(text, 'x', n);
	text[3] = '\n';
	cwb_err_clear(&err);
	job.path = (char *)mini_file("t.jsonl", text, n);
	job.data = (char *)"samples";
	assert_int_equal(
		cwe_samples_read(&job, tokenizer, NULL, 0, 0, VOCABULARY, &set, &err), CWP_EFORMAT);
	memset(text, ' ', 3);
	cwb_err_clear(&err);
	mini_file("t.jsonl", text, n);
	assert_int_equal(
		cwe_samples_read(&job, tokenizer, NULL, 0, 0, VOCABULARY, &set, &err), CWP_ELIMIT);
	assert_int_equal(err.line, 2);
	assert_non_null(strstr(err.message, "t.jsonl:2: longer than 16777216 bytes"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_sample_file),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_published),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_other_refusals),
	};
	return cmocka_run_group_tests_name("samples", tests, setup, teardown);
}
