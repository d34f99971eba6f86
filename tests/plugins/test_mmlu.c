/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* MMLU: prompts without and with examples, one file and all of a folder, subjects by column, and refusals. */
#include "tests/plugins/evaluators.h"

#define HEADER "question,choice0,choice1,choice2,choice3,answer\n"
#define ABOUT "The following are multiple choice questions (with answers) about "

static void remove_file(const char *name)
{
	char path[128];
	(void)snprintf(path, sizeof path, "%s/%s", data_folder, name);
	(void)unlink(path);
}

static void answer_with(struct under_test *u, uint64_t item, unsigned letter)
{
	for (unsigned k = 0; k < 4; k++) {
		give_loglik(u, 4 * item + k, k == letter ? -1 : -2, 1, 0);
	}
}

static void test_one(void **state)
{
	struct under_test u;
	struct kept t = {0};
	(void)state;
	use_plugin(&u, "mmlu", NULL);
	write_data("world_history_test.csv", HEADER "\" Who?\n\",a,b,c,d,2\n\"Why, then?\",e,f,g,h,A\n");
	assert_int_equal(open_data(&u, 0), 0);
	assert_int_equal(u.evaluator->count(u.state), 8);
	assert_request(&u, 0, ABOUT "world history.\n\nWho?\nA. a\nB. b\nC. c\nD. d\nAnswer:", " A");
	assert_request(&u, 7, ABOUT "world history.\n\nWhy, then?\nA. e\nB. f\nC. g\nD. h\nAnswer:", " D");
	answer_with(&u, 0, 2);
	answer_with(&u, 1, 3);
	finish(&u, &t);
	assert_value(&t, "acc", 0.5);
	const struct kept_metric *acc = metric_of(&t, "acc");
	assert_true(acc->item[0].choice == 2 && acc->item[1].choice == 3);
	assert_string_equal(acc->item[1].id, "mmlu-world_history-1");
	give_loglik(&u, 5, 0, 0, CWP_ANSWER_TOO_LONG);
	finish(&u, &t);
	assert_value(&t, "acc", 1);
	leave_plugin(&u);
	forget(&t);
}

static void test_shots(void **state)
{
	struct under_test u;
	(void)state;
	use_plugin(&u, "mmlu", (const char *const[]){"shots=2", "dev=.", NULL});
	write_data("law_dev.csv", HEADER "One?,1,2,3,4,1\nTwo?,5,6,7,8,D\nThree?,1,2,3,4,0\n");
	write_data("law_test.csv", HEADER "Four?,a,b,c,d,0\n");
	assert_int_equal(open_data(&u, 0), 0);
	assert_request(&u, 1, ABOUT "law.\n\nOne?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: B\n\nTwo?\nA. 5\nB. 6\nC. 7\nD. 8\nAnswer: D\n\n"
		"Four?\nA. a\nB. b\nC. c\nD. d\nAnswer:", " B");
	leave_plugin(&u);
	use_plugin(&u, "mmlu", (const char *const[]){"shots=5", "dev=.", NULL});
	write_data("law_test.csv", HEADER "Four?,a,b,c,d,0\n");
	assert_refused(&u, CWP_EVALUE, "law_dev.csv: 3 examples are in the file, and 5 are asked for");
	remove_file("law_dev.csv");
	write_data("law_test.csv", HEADER "Four?,a,b,c,d,0\n");
	assert_refused(&u, -2, "law_dev.csv");
	leave_plugin(&u);
}

static void test_all(void **state)
{
	struct under_test u;
	struct kept t = {0};
	(void)state;
	use_plugin(&u, "mmlu", (const char *const[]){"subjects=all", NULL});
	write_data("b_test.csv", HEADER "B0?,a,b,c,d,0\nB1?,a,b,c,d,0\nB2?,a,b,c,d,0\nB3?,a,b,c,d,0\n");
	write_data("other.csv", "x\n");
	write_data("a_test.csv", HEADER "A0?,a,b,c,d,0\nA1?,a,b,c,d,0\n");
	assert_int_equal(open_data(&u, 3), 0);
	remove_file("b_test.csv");
	remove_file("other.csv");
	assert_int_equal(u.evaluator->count(u.state), 12);
	for (uint64_t i = 0; i < 3; i++) {
		answer_with(&u, i, 0);
	}
	finish(&u, &t);
	const struct kept_metric *acc = metric_of(&t, "acc");
	assert_true(strncmp(acc->item[0].id, "mmlu-a-", 7) == 0 && strncmp(acc->item[1].id, "mmlu-b-", 7) == 0 && strncmp(acc->item[2].id, "mmlu-b-", 7) == 0);
	leave_plugin(&u);
	forget(&t);
}

static void test_column(void **state)
{
	struct under_test u;
	(void)state;
	use_plugin(&u, "mmlu", NULL);
	write_data("data.csv", "subject,question,choice0,choice1,choice2,choice3,answer\nlaw,Q?,a,b,c,d,0\nold_art,P?,a,b,c,d,0\n");
	assert_int_equal(open_data(&u, 0), 0);
	assert_request(&u, 0, ABOUT "law.\n\nQ?\nA. a\nB. b\nC. c\nD. d\nAnswer:", " A");
	assert_request(&u, 4, ABOUT "old art.\n\nP?\nA. a\nB. b\nC. c\nD. d\nAnswer:", " A");
	leave_plugin(&u);
}

static void test_refusals(void **state)
{
	static const struct refused_data bad[] = {
		{"", CWP_EVALUE, "no question is in the file"},
		{HEADER, CWP_EVALUE, "no question is in the file"},
		{HEADER "Q?,a,b,c,d,4\n", CWP_EVALUE, "x_test.csv:2: answer: \"4\" is none of 0, 1, 2, 3, A, B, C, D"},
		{HEADER "Q?,a,b,c,d,1\nP?,a,,c,d,1\n", CWP_EMISSING, "x_test.csv:3: choice1: is empty"},
		{"question,choice0,choice1,choice2,answer\nQ?,a,b,c,1\n", CWP_EMISSING, "x_test.csv:2: choice3: is missing"},
		{"Q?,a,b,c,d,B\nP?,a,b,c,d,A\n", CWP_EMISSING, "x_test.csv:2: question: is missing"},
		{"subject,question,choice0,choice1,choice2,choice3,answer\n../etc,Q?,a,b,c,d,0\n", CWP_EVALUE, "subject: \"../etc\""},
		{"subject,question,choice0,choice1,choice2,choice3,answer\n..,Q?,a,b,c,d,0\n", CWP_EVALUE, "is no plain name"},
		{HEADER "Q?,a,b,c\n", CWP_EFORMAT, "x_test.csv:2"},
	};
	struct under_test u;
	(void)state;
	use_plugin(&u, "mmlu", NULL);
	assert_each_refused(&u, "x_test.csv", bad, sizeof bad / sizeof *bad);
	calibrate_on(&u, "mmlu/");
	write_data("x_test.csv", HEADER "Q?,a,b,c,d,1\n");
	assert_refused(&u, CWP_EVALUE, "calibrates on every question");
	leave_plugin(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one),
		cmocka_unit_test(test_shots),
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_column),
		cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests(tests, make_data_folder, remove_data_folder);
}
