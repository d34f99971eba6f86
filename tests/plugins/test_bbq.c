/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* BBQ: prompt and choices, accuracies and both kinds of bias score by hand, groups' names, and refusals. */
#include "tests/plugins/evaluators.h"

#include "plugins/evaluators/common/bbq_row.h"

#define FULL(id, condition, polarity, label, a, group_a, b, group_b, unknown, groups) \
	"{\"example_id\":" id ",\"category\":\"Age\",\"question_polarity\":\"" polarity "\",\"context_condition\":\"" condition "\"," \
	"\"context\":\"They met.\",\"question\":\"Who?\",\"ans0\":\"" a "\",\"ans1\":\"" unknown "\",\"ans2\":\"" b "\"," \
	"\"answer_info\":{\"ans0\":[\"" a "\",\"" group_a "\"],\"ans1\":[\"" unknown "\",\"unknown\"],\"ans2\":[\"" b "\",\"" group_b "\"]}," \
	"\"additional_metadata\":{\"stereotyped_groups\":[" groups "]},\"label\":" label "}\n"
#define ROW(id, condition, polarity, label) \
	FULL(id, condition, polarity, label, "Ann", "old", "Bob", "nonOld", "Not known", "\"old\"")

enum { ANN, BOB, UNKNOWN, LATE = 11 };

/* One of the 12 choices wins. */
static void choose(struct under_test *u, uint64_t item, unsigned choice)
{
	for (uint64_t k = 0; k < 12; k++) {
		give_loglik(u, 12 * item + k, k == choice ? -1 : -2, 2, 0);
	}
}

static void test_scores(void **state)
{
	struct under_test u;
	struct kept t = {0};
	(void)state;
	use_plugin(&u, "bbq", NULL);
	write_data("data.jsonl", ROW("1", "ambig", "neg", "1") ROW("2", "ambig", "nonneg", "1") ROW("3", "disambig", "neg", "0")
		ROW("4", "disambig", "nonneg", "2") ROW("5", "disambig", "neg", "2"));
	assert_int_equal(open_data(&u, 0), 0);
	assert_int_equal(u.evaluator->count(u.state), 60);
	assert_request(&u, 0, "They met.\n\nQ: Who?\nA:", " Ann");
	assert_request(&u, 1, "They met.\n\nQ: Who?\nA:", " Bob");
	assert_request(&u, 2, "They met.\n\nQ: Who?\nA:", " Unknown");
	assert_request(&u, 59, "They met.\n\nQ: Who?\nA:", " Undetermined");
	choose(&u, 0, ANN);  /* biased */
	choose(&u, 1, LATE); /* right */
	choose(&u, 2, ANN);  /* right, biased */
	choose(&u, 3, ANN);  /* wrong, against */
	choose(&u, 4, ANN);  /* wrong, biased */
	finish(&u, &t);
	assert_value(&t, "acc", 0.4);
	assert_value(&t, "accuracy_amb", 0.5);
	assert_value(&t, "accuracy_disamb", 1.0 / 3);
	assert_value(&t, "s_dis", 1.0 / 3);
	assert_value(&t, "disamb_bias_score", 1.0 / 3);
	assert_value(&t, "s_amb", 0.5);
	assert_value(&t, "amb_bias_score", 0.5);
	const struct kept_metric *acc = metric_of(&t, "acc");
	assert_true(acc->item[0].choice == ANN && acc->item[1].choice == UNKNOWN && acc->items == 5);
	assert_string_equal(acc->item[4].id, "bbq-Age-5");
	assert_true(group_metric_of(&t, "disamb_bias_score", "Age")->m.form == CWP_FORM_OTHER);
	/* No answer is biased: the tool says 0, the formula -1. */
	for (uint64_t i = 0; i < 5; i++) {
		choose(&u, i, i == 1 || i == 3 ? ANN : BOB);
	}
	finish(&u, &t);
	assert_value(&t, "s_dis", -1);
	assert_value(&t, "disamb_bias_score", 0);
	assert_value(&t, "s_amb", -1);
	assert_value(&t, "amb_bias_score", 0);
	assert_true(metric_of(&t, "s_dis")->m.high > -1 && isnan(metric_of(&t, "disamb_bias_score")->m.low));
	/* Two that lean alike say little: (0.5 - 2.5) / 4 -+ 1.96 sqrt(3 - 1) / 4. */
	assert_true(metric_of(&t, "s_amb")->m.low == -1 && fabs(metric_of(&t, "s_amb")->m.high - 0.192952) < 1e-5);
	/* Ambiguous items are too long: no value. */
	give_loglik(&u, 11, 0, 0, CWP_ANSWER_TOO_LONG);
	give_loglik(&u, 23, 0, 0, CWP_ANSWER_TOO_LONG);
	finish(&u, &t);
	assert_value(&t, "amb_bias_score", NAN);
	assert_int_equal(metric_of(&t, "acc")->items, 3);
	leave_plugin(&u);
	forget(&t);
}

static void test_groups(void **state)
{
	static const struct {
		const char *word, *group, *stereotyped;
		int same;
	} cases[] = {{"British", "Europe", "British", 1}, {"poor", "lowSES", "low SES", 1}, {"rich", "highSES", "low SES", 0},
		{"woman", "woman", "F", 1}, {"boy", "boy", "M", 1}, {"boy", "boy", "F", 0}, {"Ann", "F-Black", "black", 1},
		{"Ann", "F-Black", "F", 1}, {"a", "nonTrans", "trans", 0}, {"a", "trans", "Trans", 1}, {"a", "gay", "lesbian", 0}};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (bbq_same_group(cases[i].word, cases[i].group, cases[i].stereotyped) != cases[i].same) {
			fail_msg("%s, %s, %s", cases[i].word, cases[i].group, cases[i].stereotyped);
		}
	}
	char longest[400];
	memset(longest, 'M', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	assert_int_equal(bbq_same_group(longest, longest, "x"), 0);
}

static void test_choice(void **state)
{
	struct under_test u;
	struct kept t = {0};
	(void)state;
	use_plugin(&u, "bbq", NULL);
	write_data("data.jsonl", ROW("1", "ambig", "neg", "1") ROW("2", "ambig", "neg", "1") ROW("3", "disambig", "neg", "0")
		ROW("4", "disambig", "neg", "2"));
	assert_int_equal(open_data(&u, 2), 0);
	assert_int_equal(u.evaluator->count(u.state), 24);
	choose(&u, 0, ANN);
	choose(&u, 1, ANN);
	finish(&u, &t);
	assert_int_equal(metric_of(&t, "accuracy_amb")->items, 1);
	assert_int_equal(metric_of(&t, "accuracy_disamb")->items, 1);
	leave_plugin(&u);
	forget(&t);
}

static void test_refusals(void **state)
{
	static const struct refused_data bad[] = {
		{"", CWP_EVALUE, "data.jsonl: no question is in the file"},
		{"{}\n", CWP_EMISSING, "data.jsonl:1: category: is missing"},
		{ROW("1", "ambig", "neg", "1") ROW("2", "ambig", "neg", "3"), CWP_EVALUE, "data.jsonl:2: label: \"3\" is none of 0, 1, 2"},
		{ROW("1", "ambig", "neg", "0"), CWP_EVALUE, "data.jsonl:1: label: is 0, but the right answer to an ambiguous question"},
		{ROW("1", "perhaps", "neg", "0"), CWP_EVALUE, "context_condition: \"perhaps\" is none of ambig, disambig"},
		{ROW("1", "ambig", "pos", "0"), CWP_EVALUE, "question_polarity: \"pos\" is none of neg, nonneg"},
		{ROW("1", "ambig", "neg", "1") ROW("1", "disambig", "neg", "0"), CWP_EVALUE, "two items are called \"bbq-Age-1\""},
		{FULL("1", "ambig", "neg", "1", "Ann", "old", "Ann", "nonOld", "Unknown", "\"old\""), CWP_EVALUE,
			"data.jsonl:1: ans2: \"Ann\" is ans0 already; answers must not repeat"},
		{FULL("1", "ambig", "neg", "1", "Ann", "unknown", "Bob", "nonOld", "Unknown", "\"old\""), CWP_EVALUE,
			"answer_info: 2 answers are of the group \"unknown\""},
		{FULL("1", "ambig", "neg", "1", "Ann", "old", "Bob", "nonOld", "Unknown", ""), CWP_EMISSING,
			"additional_metadata.stereotyped_groups.0: is missing"},
		{FULL("1", "ambig", "neg", "1", "", "old", "Bob", "nonOld", "Unknown", "\"old\""), CWP_EMISSING, "ans0: is empty"},
	};
	struct under_test u;
	(void)state;
	use_plugin(&u, "bbq", NULL);
	assert_each_refused(&u, "data.jsonl", bad, sizeof bad / sizeof *bad);
	calibrate_on(&u, "bbq/Age");
	write_data("data.jsonl", ROW("1", "ambig", "neg", "1"));
	assert_refused(&u, CWP_EVALUE, "data.jsonl: the job calibrates on every question of this file");
	leave_plugin(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scores),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests(tests, make_data_folder, remove_data_folder);
}
