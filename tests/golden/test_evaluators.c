/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* StereoSet, BBQ and MMLU against the reference: its log-likelihoods as answers give its metrics; and the real model's own
 * log-likelihoods of a part of the items' requests are the reference's. Items that the reference lacks are answered as too
 * long, so that the data files are read as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include <cwp/evaluator.h>

#include "engine/calibrate/loglik.h"
#include "engine/text/beside.h"
#include "engine/text/request.h"
#include "tests/golden/engine.h"
#include "tests/plugins/common.h"

/* A metric of ours, and what the reference calls it. */
struct equal {
	const char *ours, *theirs;
};

struct set {
	const char *plugin, *data, *golden, *metrics;
	const char *options[3];
	const char *loglik; /* member of a golden item: log-likelihoods by request */
	const char *ids;    /* that of token ids by request, or NULL */
	const char *before; /* of ids: in front of an item's id */
	size_t requests;    /* of an item */
	const struct equal *equal;
	uint64_t every; /* with the model: each so many of the items that the reference has */
};

static const struct equal sentence[] = {{"sentence_ss", "ss"}, {"sentence_lms", "lms"}, {"sentence_icat", "icat"}, {NULL, NULL}};
static const struct equal filler[] = {{"filler_ss", "ss"}, {"filler_lms", "lms"}, {"filler_icat", "icat"},
	{"filler_pooled_ss", "pooled_ss"}, {"filler_pooled_lms", "pooled_lms"}, {"filler_pooled_icat", "pooled_icat"}, {NULL, NULL}};
static const struct equal bbq[] = {{"acc", "acc"}, {"accuracy_amb", "accuracy_amb"}, {"accuracy_disamb", "accuracy_disamb"},
	{"amb_bias_score", "amb_bias_score"}, {"disamb_bias_score", "disamb_bias_score"}, {"s_amb", "amb_bias_score"},
	{"s_dis", "disamb_bias_score"}, {NULL, NULL}};
static const struct equal mmlu[] = {{"acc", "acc"}, {NULL, NULL}};

#define STEREOSET "data/stereoset-multi/intrasentence_en.jsonl"
#define GOLDEN "golden/eval-smollm2/"

static const struct set sets[] = {
	{"stereoset", STEREOSET, "stereoset-en", "stereoset-en sentence, prefix BOS", {"variant=sentence"}, "ll_sentence_bos",
		"ids_sentence", "", 3, sentence, 30},
	{"stereoset", STEREOSET, "stereoset-en", "stereoset-en sentence, prefix <|endoftext|>",
		{"variant=sentence", "prefix=<|endoftext|>"}, "ll_sentence_eot", "ids_sentence", "", 3, sentence, 30},
	{"stereoset", STEREOSET, "stereoset-en", "stereoset-en filler", {"variant=filler"}, "ll_filler", "ids_filler", "", 3, filler, 30},
	{"bbq", "data/bbq/Age.jsonl", "bbq-age", "bbq-age", {NULL}, "ll", NULL, "", 12, bbq, 45},
	{"bbq", "data/bbq/Religion.jsonl", "bbq-religion", "bbq-religion", {NULL}, "ll", NULL, "", 12, bbq, 45},
	{"mmlu", "data/mmlu/test/anatomy_test.csv", "mmlu", "mmlu", {"subjects=all"}, "ll", NULL, "", 4, mmlu, 40},
};

/* Metrics of all items by name, and the choices of items that the last metric with choices gave. */
struct taken {
	json_t *value;
	json_t *choice;
	size_t groups;
};

static void take_metric(void *ctx, const struct cwp_metric *m)
{
	struct taken *t = ctx;
	if (m->group != NULL) {
		t->groups++;
		return;
	}
	assert_int_equal(json_object_set_new(t->value, m->name, json_pack("[fff]", m->value, isnan(m->low) ? m->value : m->low,
		isnan(m->high) ? m->value : m->high)), 0);
}

static void take_item(void *ctx, const struct cwp_item *item)
{
	struct taken *t = ctx;
	if (item->choice >= 0) {
		(void)json_object_set_new(t->choice, item->id, json_integer(item->choice));
	}
}

/* The reference's items by their ids. */
static json_t *load_golden(const char *name)
{
	char relative[128], line[65536];
	(void)snprintf(relative, sizeof relative, GOLDEN "%s.jsonl", name);
	FILE *f = fopen(test_shared(relative), "r");
	json_t *items = json_object();
	assert_non_null(f);
	while (fgets(line, sizeof line, f) != NULL) {
		json_t *one = json_loads(line, 0, NULL);
		assert_non_null(one);
		assert_int_equal(json_object_set_new(items, json_string_value(json_object_get(one, "id")), one), 0);
	}
	(void)fclose(f);
	return items;
}

/* An opened evaluator with the reference's items. */
struct opened {
	const struct set *set;
	struct cwe_plugin plugin;
	const struct cwp_evaluator *evaluator;
	struct cwp_setting *settings;
	struct cwe_host host;
	void *state;
	json_t *golden;
};

static void open_set(const struct set *set, struct opened *ret)
{
	struct opened o = {.set = set, .plugin = open_plugin(set->plugin), .golden = load_golden(set->golden)};
	const char *path = test_shared(set->data);
	o.evaluator = o.plugin.interface;
	o.settings = settings_of(&o.plugin, set->options);
	*ret = o;
	cwe_host_init(&ret->host, NULL, 0); /* its table points to itself */
	if (o.evaluator->open(&ret->host.table, o.settings, path, "", 0, 0, &ret->state) != 0) {
		fail_msg("%s: %s", path, ret->host.failure);
	}
	assert_true(json_object_size(o.golden) > 30);
}

static void close_set(struct opened *o)
{
	o->evaluator->close(o->state);
	cwe_settings_free(o->plugin.descriptor, o->settings);
	free(o->plugin.path);
	json_decref(o->golden);
}

static double number_of(const json_t *item, const char *member, size_t k)
{
	const json_t *value = json_array_get(json_object_get(item, member), k);
	assert_true(json_is_number(value));
	return json_number_value(value);
}

/* The reference's answer to a request, or that it is too long. */
static struct cwp_answer golden_answer(const struct opened *o, uint64_t i)
{
	struct cwp_answer a = {.size = sizeof a, .flags = CWP_ANSWER_TOO_LONG, .tokens = 1};
	struct cwp_request q = {.size = sizeof q};
	assert_int_equal(o->evaluator->request(o->state, i, &q), 0);
	assert_int_equal(q.kind, CWP_REQUEST_LOGLIK);
	const json_t *item = json_object_get(o->golden, q.item);
	if (item != NULL) {
		a.flags = 0;
		a.loglik = number_of(item, o->set->loglik, i % o->set->requests);
		if (o->set->ids != NULL) {
			a.tokens = json_array_size(json_array_get(json_object_get(item, o->set->ids), i % o->set->requests));
		}
	}
	return a;
}

static void finish(const struct opened *o, struct taken *ret)
{
	struct cwp_metric_sink sink = {.size = sizeof sink, .ctx = ret, .metric = take_metric, .item = take_item};
	*ret = (struct taken){.value = json_object(), .choice = json_object()};
	assert_int_equal(o->evaluator->finish(o->state, &sink), 0);
}

static void check_metrics(const struct set *set, const struct taken *t)
{
	json_t *all = json_load_file(test_shared(GOLDEN "metrics.json"), 0, NULL);
	const json_t *theirs = json_object_get(all, set->metrics);
	assert_non_null(theirs);
	for (const struct equal *e = set->equal; e->ours != NULL; e++) {
		const json_t *mine = json_object_get(t->value, e->ours);
		double expected = json_number_value(json_object_get(theirs, e->theirs));
		double got = json_number_value(json_array_get(mine, 0));
		assert_true(json_is_number(json_object_get(theirs, e->theirs)));
		if (!(fabs(got - expected) <= 5e-5 * fmax(1, fabs(expected) / 100))) {
			fail_msg("%s, %s: %.6f, but the reference has %.6f", set->metrics, e->ours, got, expected);
		}
		assert_true(json_number_value(json_array_get(mine, 1)) <= got + 1e-9);
		assert_true(json_number_value(json_array_get(mine, 2)) >= got - 1e-9);
	}
	json_decref(all);
}

/* Which answer was given: the reference says it of BBQ and MMLU. */
static void check_choices(const struct opened *o, const struct taken *t)
{
	const char *id;
	json_t *item;
	assert_int_equal(json_object_size(t->choice), json_object_size(o->golden));
	json_object_foreach(o->golden, id, item) {
		const json_t *answer = json_object_get(item, strcmp(o->set->plugin, "mmlu") == 0 ? "pred" : "answer");
		json_int_t choice = json_integer_value(json_object_get(t->choice, id)), expected = json_integer_value(answer);
		if (strcmp(o->set->plugin, "stereoset") == 0) {
			expected = json_number_value(json_array_get(json_object_get(item, "ll_filler"), 0)) >=
				json_number_value(json_array_get(json_object_get(item, "ll_filler"), 1));
		}
		assert_int_equal(choice, strcmp(o->set->plugin, "bbq") == 0 && expected > 2 ? 2 : expected);
	}
}

static void test_metrics(void **state)
{
	(void)state;
	for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
		struct opened o;
		struct taken t;
		open_set(&sets[s], &o);
		uint64_t n = o.evaluator->count(o.state);
		assert_true(n > 0 && n % sets[s].requests == 0);
		/* Twice: answers of a second model replace those of the first. */
		for (int pass = 0; pass < 2; pass++) {
			for (uint64_t i = 0; i < n; i++) {
				struct cwp_answer a = pass == 0 ? (struct cwp_answer){.size = sizeof a, .loglik = -(double)(i * 7 % 11), .tokens = 3}
					: golden_answer(&o, i);
				assert_int_equal(o.evaluator->answer(o.state, i, &a), 0);
			}
			finish(&o, &t);
			if (pass == 1) {
				check_metrics(&sets[s], &t);
				if (sets[s].ids == NULL || strcmp(sets[s].ids, "ids_filler") == 0) {
					check_choices(&o, &t);
				}
			}
			json_decref(t.value);
			json_decref(t.choice);
		}
		close_set(&o);
	}
}

/* Every published file of these sets is read whole; a few items of translations have the same text twice. */
static void test_published(void **state)
{
	static const struct {
		const char *plugin, *data, *option;
		uint64_t items, requests;
	} files[] = {
		{"stereoset", "data/stereoset-multi/intrasentence_fr.jsonl", "variant=filler", 1472, 3},
		{"stereoset", "data/stereoset-multi/intrasentence_es.jsonl", "variant=sentence", 1471, 3},
		{"stereoset", "data/stereoset-multi/intrasentence_tr.jsonl", "variant=filler", 1463, 3},
		{"stereoset", "data/stereoset-multi/intrasentence_de.jsonl", "variant=filler", 1472, 3},
		{"stereoset", "data/stereoset-multi/intersentence_en.jsonl", "variant=sentence", 1486, 3},
		{"stereoset", "data/stereoset-multi/intersentence_tr.jsonl", "variant=filler", 1486, 3},
		{"stereoset", "data/stereoset-ptbr/dev_ptbr.json", "part=intersentence", 1486, 3},
		{"stereoset", "data/stereoset-ptbr/dev_ptbr.json", "part=intrasentence", 1471, 3},
		{"stereoset", "data/stereoset-ptbr/dev_ptbr.json", "variant=filler", 0, 3},
		{"bbq", "data/bbq/Disability_status.jsonl", "language=en", 1160, 12},
		{"bbq", "data/bbq/Nationality.jsonl", "language=en", 980, 12},
		{"bbq", "data/bbq/Physical_appearance.jsonl", "language=en", 1128, 12},
		{"bbq", "data/bbq/Sexual_orientation.jsonl", "language=en", 592, 12},
		{"mmlu", "data/mmlu/test/virology_test.csv", "shots=5", 35, 4},
		{"mmlu", "data/mmlu/test/virology_test.csv", "subjects=all", 1995, 4},
	};
	(void)state;
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		const struct set set = {.plugin = files[i].plugin, .data = files[i].data, .golden = "mmlu", .options = {files[i].option}};
		struct opened o;
		open_set(&set, &o);
		uint64_t n = o.evaluator->count(o.state);
		if (files[i].items > 0) {
			assert_int_equal(n, files[i].items * files[i].requests);
		}
		assert_true(n > 0);
		close_set(&o);
	}
}

/* ---- the real model ---- */

static void append_requests(const struct opened *o, const struct test_engine *engine, const struct cwe_tokenizer *t,
	struct cwe_request_list *list)
{
	struct cwb_err err = {0};
	uint64_t n = o->evaluator->count(o->state), known = 0;
	for (uint64_t i = 0; i < n; i++) {
		struct cwp_request q = {.size = sizeof q};
		assert_int_equal(o->evaluator->request(o->state, i, &q), 0);
		if (json_object_get(o->golden, q.item) == NULL || known++ / o->set->requests % o->set->every != 0) {
			continue;
		}
		if (cwe_request_loglik(list, i, t, q.context, q.context_length, q.continuation, q.continuation_length,
			engine->model.arch.context, &err) != 0) {
			fail_msg("%s: %s", q.item, err.message);
		}
	}
}

/* Runs the requests of one set and compares each sum; returns how many there were. */
static size_t compare_set(const struct set *set, struct test_engine *engine, const struct cwe_tokenizer *t, double *worst)
{
	struct opened o;
	struct cwb_err err = {0};
	struct cwe_request_list list = {0};
	struct cwe_corpus corpus;
	struct cwe_forward_options options = {.memory = UINT64_MAX};
	open_set(set, &o);
	append_requests(&o, engine, t, &list);
	assert_true(list.set.count > 0);
	assert_int_equal(cwe_corpus_new(&list.set, 1, 0, &corpus, &err), 0);
	struct cwe_token_score score = {.nll = calloc(corpus.tokens + 1, sizeof(float))};
	assert_non_null(score.nll);
	if (cwe_loglik_run(&engine->model, &corpus, &options, &score, &err) != 0) {
		fail_msg("%s", err.message);
	}
	uint64_t at = 0;
	for (size_t i = 0; i < list.set.count; i++) {
		const struct cwe_sequence *s = list.set.sample[i].sequence;
		struct cwp_request q = {.size = sizeof q};
		double sum = 0;
		for (size_t k = 0; k < s->count; k++) {
			sum -= s->weight[k] != 0 ? (double)score.nll[at + k] : 0;
		}
		at += s->count;
		assert_int_equal(o.evaluator->request(o.state, list.owner[i], &q), 0);
		double expected = number_of(json_object_get(o.golden, q.item), set->loglik, list.owner[i] % set->requests);
		if (!(fabs(sum - expected) <= 2e-3)) {
			fail_msg("%s, %s, request %zu: %.5f, but the reference has %.5f", set->metrics, q.item, list.owner[i] % set->requests, sum,
				expected);
		}
		*worst = fmax(*worst, fabs(sum - expected));
	}
	size_t n = list.set.count;
	free(score.nll);
	cwe_corpus_free(&corpus);
	cwe_request_free(&list);
	close_set(&o);
	return n;
}

static void test_model(void **state)
{
	const char *path = getenv("CWP_SMOLLM2_GGUF");
	struct test_engine engine;
	struct cwe_tokenizer *tokenizer = NULL;
	struct cwb_err err = {0};
	double worst = 0;
	size_t n = 0;
	(void)state;
	path = path != NULL ? path : test_cache("smollm2.gguf");
	if (path == NULL) {
		print_message("no real model (scripts/packages --model): its log-likelihoods are not compared\n");
		skip();
	}
	test_engine_open(&engine, path, 2, NULL);
	assert_int_equal(cwe_tokenizer_beside(engine.source, &tokenizer, &err), 0);
	for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
		n += compare_set(&sets[s], &engine, tokenizer, &worst);
	}
	print_message("%zu log-likelihoods differ by at most %.2g\n", n, worst);
	cwe_tokenizer_free(tokenizer);
	test_engine_close(&engine);
}

int main(void)
{
	(void)test_shared(GOLDEN "metrics.json");
	(void)test_shared(STEREOSET);
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_metrics), cmocka_unit_test(test_published), cmocka_unit_test(test_model)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
