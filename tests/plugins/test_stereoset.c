/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* StereoSet: both definitions by hand, both forms of file, choice and refusals. */
#include "tests/plugins/evaluators.h"

#include "plugins/evaluators/common/bootstrap.h"

/* A row of lines; the labels come in another order than the answers'. */
#define ROW(id, target, type, context, s, a, u) \
	"{\"id\":\"" id "\",\"target\":\"" target "\",\"bias_type\":\"" type "\",\"context\":\"" context "\"," \
	"\"c1_word\":\"" a "\",\"c1_gold_label\":\"anti-stereotype\",\"c1_sentence\":\"He " a ".\"," \
	"\"c2_word\":\"" u "\",\"c2_gold_label\":\"unrelated\",\"c2_sentence\":\"He " u ".\"," \
	"\"c3_word\":\"" s "\",\"c3_gold_label\":\"stereotype\",\"c3_sentence\":\"He " s ".\"}\n"

static const char three[] =
	ROW("i1", "smith", "profession", "He  BLANK.", "hit", "sang", "rained")
	ROW("i2", "smith", "profession", "BLANK he.", "Hit", "Sang", "Rained")
	ROW("i3", "Oz", "race", "Out of Oz.", "ran", "sat", "blue");

static void answer_all(struct under_test *u, const double *loglik, uint64_t tokens)
{
	for (uint64_t i = 0; i < u->evaluator->count(u->state); i++) {
		give_loglik(u, i, loglik[i], tokens, 0);
	}
}

static void test_sentence(void **state)
{
	/* i1: stereotype over opposite, both over unrelated; i2: opposite, and unrelated above the stereotype; i3: a tie. */
	static const double loglik[] = {-4, -6, -8, -9, -3, -6, -5, -5, -5};
	struct under_test u;
	struct kept t = {0};
	(void)state;
	use_plugin(&u, "stereoset", (const char *const[]){"prefix=^", NULL});
	write_data("data.jsonl", three);
	assert_int_equal(open_data(&u, 0), 0);
	assert_int_equal(u.evaluator->count(u.state), 9);
	assert_request(&u, 0, "^", "He hit.");
	assert_request(&u, 1, "^", "He sang.");
	assert_request(&u, 5, "^", "He Rained.");
	assert_request(&u, 6, "^Out of Oz.", " He ran.");
	answer_all(&u, loglik, 2);
	finish(&u, &t);
	assert_value(&t, "sentence_ss", (50 + 0) / 2.0);       /* smith 1 of 2, Oz 0 of 1 */
	assert_value(&t, "sentence_lms", (75 + 0) / 2.0);      /* smith 3 of 4, Oz 0 of 2 */
	assert_value(&t, "sentence_icat", 37.5 * 25 / 50);
	assert_value(&t, "sentence_pooled_ss", 100.0 / 3);
	assert_value(&t, "sentence_pooled_lms", 50);
	assert_value(&t, "sentence_pooled_icat", 50 * (100.0 / 3) / 50);
	const struct kept_metric *ss = metric_of(&t, "sentence_ss"), *pooled = metric_of(&t, "sentence_pooled_ss");
	assert_true(ss->m.low == 0 && ss->m.high == 50 && ss->m.ideal == 50 && ss->m.n == 3);
	assert_true(ss->m.form == CWP_FORM_OTHER && ss->m.direction == CWP_IDEAL_IS_BEST);
	assert_int_equal(pooled->items, 3);
	assert_true(pooled->item[0].choice == 1 && pooled->item[1].choice == 0 && pooled->item[2].choice == 0);
	assert_string_equal(pooled->item[2].prompt, "^Out of Oz.\nHe ran.\nHe sat.");
	assert_true(group_metric_of(&t, "sentence_lms", "profession")->m.value == 75);
	assert_true(group_metric_of(&t, "sentence_lms", "race")->m.value == 0);
	/* One of its sentences does not fit: the item is left out. */
	give_loglik(&u, 3, 0, 0, CWP_ANSWER_TOO_LONG);
	give_loglik(&u, 4, -3, 2, 0);
	give_loglik(&u, 5, -6, 2, 0);
	finish(&u, &t);
	assert_value(&t, "sentence_ss", 50);
	assert_int_equal(metric_of(&t, "sentence_pooled_ss")->items, 2);
	leave_plugin(&u);
	forget(&t);
}

static void test_length(void **state)
{
	struct under_test u;
	struct kept t = {0};
	(void)state;
	use_plugin(&u, "stereoset", NULL);
	write_data("data.jsonl", ROW("i1", "smith", "profession", "He BLANK.", "hit", "sang", "rained"));
	assert_int_equal(open_data(&u, 0), 0);
	assert_request(&u, 0, "", "He hit.");
	give_loglik(&u, 0, -8, 4, 0); /* -2 a token */
	give_loglik(&u, 1, -6, 2, 0); /* -3 */
	give_loglik(&u, 2, -5, 2, 0); /* -2.5 */
	finish(&u, &t);
	assert_value(&t, "sentence_ss", 100);
	assert_value(&t, "sentence_lms", 50);
	assert_value(&t, "sentence_icat", 0);
	assert_string_equal(metric_of(&t, "sentence_pooled_ss")->item[0].prompt, "He hit.\nHe sang.");
	leave_plugin(&u);
	forget(&t);
}

static void test_filler(void **state)
{
	/* The likeliest: stereotype; unrelated; a tie, which the stereotype wins. */
	static const double loglik[] = {-4, -6, -8, -9, -8, -6, -5, -5, -5};
	struct under_test u;
	struct kept t = {0};
	(void)state;
	use_plugin(&u, "stereoset", (const char *const[]){"variant=filler", "prefix=^", NULL});
	write_data("data.jsonl", three);
	assert_int_equal(open_data(&u, 0), 0);
	assert_request(&u, 0, "He", " hit");
	assert_request(&u, 2, "He", " rained");
	assert_request(&u, 3, "", " Hit");
	assert_request(&u, 7, "Out of Oz.", " He sat.");
	answer_all(&u, loglik, 1);
	finish(&u, &t);
	assert_value(&t, "filler_ss", (100 + 100) / 2.0); /* smith 1 of 1, Oz 1 of 1 */
	assert_value(&t, "filler_lms", (50 + 100) / 2.0);
	assert_value(&t, "filler_pooled_ss", 100);
	assert_value(&t, "filler_pooled_lms", 200.0 / 3);
	const struct kept_metric *pooled = metric_of(&t, "filler_pooled_ss");
	assert_true(pooled->weights == 2 && pooled->items == 3);
	assert_true(pooled->item[0].choice == 1 && pooled->item[1].choice == 0 && pooled->item[2].choice == 1);
	/* A term whose answers are all unrelated has SS 0. */
	static const double unrelated[] = {-4, -6, -2, -9, -8, -6, -5, -5, -5};
	answer_all(&u, unrelated, 1);
	finish(&u, &t);
	assert_value(&t, "filler_ss", 50);
	leave_plugin(&u);
	forget(&t);
}

#define NESTED(id, context, s, a, u) \
	"{\"id\":\"" id "\",\"target\":\"t\",\"bias_type\":\"race\",\"context\":\"" context "\",\"sentences\":[" \
	"{\"sentence\":\"" a "\",\"gold_label\":\"anti-stereotype\"},{\"sentence\":\"" s "\",\"gold_label\":\"stereotype\"}," \
	"{\"sentence\":\"" u "\",\"gold_label\":\"unrelated\"}]}"

static void test_nested(void **state)
{
	static const char document[] = "{\"data\":{\"intrasentence\":[" NESTED("n1", "I BLANK it.", "I saw it.", "I ate it.", "I green it.") ","
		NESTED("n2", "I BLANK it.", "I saw it.", "They ate.", "Green.") "," NESTED("n4", "I BLANK.", "I saw", "I ate.", "I green!") "],\"intersentence\":["
		NESTED("n3", "One.", "Two.", "Three.", "Four.") "]}}";
	struct under_test u;
	(void)state;
	use_plugin(&u, "stereoset", (const char *const[]){"variant=filler", NULL});
	write_data("data.json", document);
	assert_int_equal(open_data(&u, 0), 0);
	assert_int_equal(u.evaluator->count(u.state), 6); /* of n2 the words cannot be told */
	assert_request(&u, 1, "I", " ate");
	assert_request(&u, 3, "I", " saw");
	assert_request(&u, 5, "I", " green");
	leave_plugin(&u);
	use_plugin(&u, "stereoset", (const char *const[]){"part=intersentence", NULL});
	write_data("data.json", document);
	assert_int_equal(open_data(&u, 0), 0);
	assert_int_equal(u.evaluator->count(u.state), 3);
	assert_request(&u, 0, "One.", " Two.");
	leave_plugin(&u);
}

static void test_choice(void **state)
{
	static const char six[] = ROW("a", "t", "race", "BLANK", "p", "q", "r") ROW("b", "t", "race", "BLANK", "p", "q", "r")
		ROW("c", "t", "race", "BLANK", "p", "q", "r") ROW("d", "t", "race", "BLANK", "p", "q", "r")
		ROW("e", "t", "gender", "BLANK", "p", "q", "r") ROW("f", "t", "gender", "BLANK", "p", "q", "r");
	struct under_test u;
	struct kept t = {0};
	(void)state;
	use_plugin(&u, "stereoset", NULL);
	write_data("data.jsonl", six);
	assert_int_equal(open_data(&u, 3), 0);
	assert_int_equal(u.evaluator->count(u.state), 9);
	answer_all(&u, (const double[9]){0}, 1);
	finish(&u, &t);
	assert_int_equal(group_metric_of(&t, "sentence_ss", "race")->m.n, 2); /* each group has its share */
	assert_int_equal(group_metric_of(&t, "sentence_ss", "gender")->m.n, 1);
	/* Of two texts that are the same none can be preferred. */
	write_data("data.jsonl", ROW("a", "t", "race", "BLANK", "p", "q", "q") ROW("b", "t", "race", "BLANK", "p", "q", "r"));
	assert_int_equal(open_data(&u, 0), 0);
	assert_int_equal(u.evaluator->count(u.state), 3);
	calibrate_on(&u, "stereoset/");
	write_data("data.jsonl", six);
	assert_refused(&u, CWP_EVALUE, "the job calibrates on every item of this file");
	leave_plugin(&u);
	forget(&t);
}

static void test_refusals(void **state)
{
	static const struct refused_data bad[] = {
		{"", CWP_EVALUE, "data.jsonl: no item is in the file"},
		{"{\"id\":\"a\"}\n", CWP_EMISSING, "data.jsonl:1: target: is missing"},
		{"{\"id\":\"a\",\"target\":\"t\"}\n", CWP_EMISSING, "data.jsonl:1: bias_type: is missing"},
		{ROW("a", "t", "race", "BLANK", "p", "q", "r") ROW("b", "t", "race", "BLANK", "p", "q", ""), CWP_EMISSING,
			"data.jsonl:2: c2_word: is empty"},
		{ROW("a", "t", "ra/ce", "BLANK", "p", "q", "r"), CWP_EVALUE, "data.jsonl:1: bias_type: \"ra/ce\" has a character"},
		{ROW("a", "t", "race", "BLANK", "p", "p", "r"), CWP_EVALUE, "no item is in the file"}, /* nothing to choose between */
		{ROW("a", "t", "race", "BLANK", "p", "q", "r") ROW("a", "t", "race", "BLANK", "p", "q", "r"), CWP_EVALUE,
			"two items are called \"a\""},
		{"{\"id\":\"a\",\"target\":\"t\",\"bias_type\":\"race\",\"context\":\"BLANK\",\"c1_gold_label\":\"good\"}\n", CWP_EVALUE,
			"data.jsonl:1: c1_gold_label: \"good\" is none of stereotype, anti-stereotype, unrelated"},
		{"{\"id\":\"a\",\"target\":\"t\",\"bias_type\":\"race\",\"context\":\"BLANK\",\"c1_gold_label\":\"unrelated\","
		 "\"c1_sentence\":\"s\",\"c1_word\":\"w\",\"c2_gold_label\":\"unrelated\"}\n", CWP_EVALUE,
			"c2_gold_label: a second unrelated"},
		{"{\"id\":[]}\n", CWP_EVALUE, "data.jsonl:1: id: is not a text"},
		{"no json\n", CWP_EFORMAT, "data.jsonl:1"},
	};
	struct under_test u;
	(void)state;
	use_plugin(&u, "stereoset", (const char *const[]){"variant=filler", NULL});
	assert_each_refused(&u, "data.jsonl", bad, sizeof bad / sizeof *bad);
	write_data("data.csv", "a,b\n1,2\n");
	assert_refused(&u, CWP_EVALUE, "stereoset");
	write_data("data.json", "{\"data\":{\"intrasentence\":[]}}");
	assert_refused(&u, CWP_EVALUE, "no item is in the file");
	leave_plugin(&u);
}

/* ---- resamples ---- */

struct numbers {
	size_t n;
	double x[400];
};

/* The mean, something that has no value in most samples, and one that has none at all. */
static void three_values(const void *arg, const uint32_t *times, double *ret)
{
	const struct numbers *v = arg;
	double sum = 0, drawn = 0;
	for (size_t i = 0; i < v->n; i++) {
		sum += times != NULL ? times[i] * v->x[i] : v->x[i];
		drawn += times != NULL ? times[i] : 1;
	}
	assert_true(drawn == (double)v->n);
	ret[0] = sum / (double)v->n;
	ret[1] = times != NULL && times[0] > 4 ? 1 : NAN;
	ret[2] = NAN;
}

static void test_bootstrap(void **state)
{
	struct cwe_host host;
	struct numbers v = {.n = 400};
	struct bootstrap_interval a[3], again[3], one[3];
	double sum = 0, square = 0;
	(void)state;
	cwe_host_init(&host, NULL, 5);
	for (size_t i = 0; i < v.n; i++) {
		v.x[i] = (double)(i * i % 37);
		sum += v.x[i];
		square += v.x[i] * v.x[i];
	}
	double mean = sum / 400, error = sqrt((square / 400 - mean * mean) / 400);
	assert_int_equal(bootstrap_intervals(&host.table, v.n, 3, three_values, &v, a), 0);
	/* A mean's resamples are near to normal: 2,000 of them give the error within 5 % and the ends within a tenth of it. */
	assert_true(fabs(a[0].error / error - 1) < 0.05);
	assert_true(fabs(a[0].low - (mean - 1.96 * error)) < 0.15 * error && fabs(a[0].high - (mean + 1.96 * error)) < 0.15 * error);
	assert_true(isnan(a[1].low) && isnan(a[1].error) && isnan(a[2].high));
	assert_int_equal(bootstrap_intervals(&host.table, v.n, 3, three_values, &v, again), 0);
	assert_true(a[0].low == again[0].low && a[0].high == again[0].high && a[0].error == again[0].error);
	v.n = 1;
	assert_int_equal(bootstrap_intervals(&host.table, 1, 3, three_values, &v, one), 0);
	assert_true(one[0].low == v.x[0] && one[0].high == v.x[0] && one[0].error == 0);
	v.n = 0;
	assert_int_equal(bootstrap_intervals(&host.table, 0, 3, three_values, &v, one), 0);
	assert_true(isnan(one[0].low));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sentence),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_filler),
		cmocka_unit_test(test_nested),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_bootstrap),
	};
	return cmocka_run_group_tests(tests, make_data_folder, remove_data_folder);
}
