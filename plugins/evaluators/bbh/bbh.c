/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluator: BIG-Bench Hard (Suzgun et al. 2022), one of its 27 tasks, after lm-evaluation-harness' tasks bbh_cot_fewshot,
 * bbh_fewshot and bbh_zeroshot.
 *   cot       instruction, three questions with reasoning, "Q: {input}\nA: Let's think step by step.\n"; the answer is what
 *             (?<=the answer is )(.*)(?=.) finds first, so that the last character of its line, the full stop, is left out
 *   direct    instruction, the same three questions with their answers alone, "Q: {input}\nA:"; the answer is the whole text
 *   zeroshot  instruction, "Q: {input}\nA:"; the same, compared without case and punctuation
 * Greedy; "</s>", "Q" and an empty line end the text, even in a word with a Q. exact_match: share of the answers, white space at
 * both ends aside, that are the target. The prompts are the files of the authors; the harness has the same texts, but versions
 * of it differ in a space before answers.
 * Data: bbh/<task>.json with examples[]: input, target; and cot-prompts/<task>.txt. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/evaluator.h>

#include "plugins/evaluators/bbh/shots.h"
#include "plugins/evaluators/common/rows.h"
#include "plugins/evaluators/common/safe_file.h"
#include "plugins/evaluators/common/statistic.h"

enum { OPTION_VARIANT, OPTION_TASK, OPTION_PROMPTS, OPTION_NEW, OPTIONS };

#define NEW_COT 1024 /* the harness' own */
#define NEW_OTHERS 256

static const struct cwp_option options[OPTIONS] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "variant", "cot", "cot|direct|zeroshot", NULL,
		"three questions with reasoning before each question, with answers alone, or none"},
	{sizeof(struct cwp_option), CWP_OPTION_STRING, "task", "", NULL, NULL, "name of the task; that of the file where nothing is named"},
	{sizeof(struct cwp_option), CWP_OPTION_STRING, "prompts", "cot-prompts", NULL, NULL,
		"folder of the few-shot prompts, seen from that of the data"},
	{sizeof(struct cwp_option), CWP_OPTION_INT, "max-new-tokens", "0", "0..8192", "tokens",
		"length of answers at most; 0: 1024 with reasoning, 256 without"},
};

struct question {
	const char *input, *target;
	size_t input_length, target_length;
	char id[32];
	char *prompt;
	size_t prompt_length;
	char *text; /* what the model said */
	size_t length;
	int right, missing;
};

struct bbh {
	struct rows rows;
	struct question *question;
	size_t count;
	enum variant variant;
	uint32_t new_tokens;
	char task[64];
};

static void close_bbh(void *state)
{
	struct bbh *x = state;
	if (x == NULL) {
		return;
	}
	for (size_t i = 0; i < x->count; i++) {
		free(x->question[i].prompt);
		free(x->question[i].text);
	}
	rows_close(&x->rows);
	free(x->question);
	free(x);
}

static int name_task(const struct cwp_host *host, struct bbh *x, const char *option, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = *option != '\0' ? option : slash != NULL ? slash + 1 : path;
	const char *dot = *option != '\0' ? NULL : strrchr(name, '.');
	size_t n = dot != NULL ? (size_t)(dot - name) : strlen(name);
	if (n == 0 || n >= sizeof x->task || memchr(name, '/', n) != NULL) {
		return safe_fail(host, CWP_EVALUE, "task: \"%.80s\" is no name of a task, such as boolean_expressions", name);
	}
	memcpy(x->task, name, n);
	x->task[n] = '\0';
	return 0;
}

static int read_question(const struct bbh *x, size_t record, const char *before, struct question *q)
{
	const struct cwp_host *host = x->rows.host;
	int r = host->records_need(host->ctx, x->rows.records, record, "input", &q->input, &q->input_length);
	r = r == 0 ? host->records_need(host->ctx, x->rows.records, record, "target", &q->target, &q->target_length) : r;
	if (r != 0) {
		return r;
	}
	const char *behind = x->variant == VARIANT_COT ? "\nA: Let's think step by step.\n" : "\nA:";
	size_t size = strlen(before) + q->input_length + 64;
	(void)snprintf(q->id, sizeof q->id, "%zu", record + 1);
	q->prompt = malloc(size);
	if (q->prompt == NULL) {
		return -ENOMEM;
	}
	q->prompt_length = (size_t)snprintf(q->prompt, size, "%s\n\nQ: %s%s", before, q->input, behind);
	return 0;
}

static int set_up(const struct cwp_host *host, struct bbh *x, const struct cwp_setting *s, const char *path, uint64_t limit)
{
	char *before = NULL;
	size_t *index = NULL, count = 0;
	x->variant = (enum variant)s[OPTION_VARIANT].integer;
	x->new_tokens = (uint32_t)s[OPTION_NEW].integer;
	x->new_tokens = x->new_tokens > 0 ? x->new_tokens : x->variant == VARIANT_COT ? NEW_COT : NEW_OTHERS;
	int r = name_task(host, x, s[OPTION_TASK].string, path);
	r = r == 0 ? shots_read(host, path, s[OPTION_PROMPTS].string, x->task, x->variant, &before) : r;
	r = r == 0 ? rows_open(host, path, "bbh", NULL, &x->rows) : r;
	r = r == 0 ? rows_choose(&x->rows, 1, NULL, NULL, limit, "question", &index, &count) : r;
	if (r == 0 && (x->question = calloc(count, sizeof *x->question)) == NULL) {
		r = -ENOMEM;
	}
	x->count = r == 0 ? count : 0;
	for (size_t i = 0; r == 0 && i < x->count; i++) {
		r = read_question(x, index[i], before, &x->question[i]);
	}
	free(index);
	free(before);
	return r;
}

static int open_bbh(const struct cwp_host *host, const struct cwp_setting *settings, const char *path, const char *data,
	size_t length, uint64_t limit, void **ret_state)
{
	struct bbh *x = calloc(1, sizeof *x);
	(void)data, (void)length;
	if (x == NULL) {
		return -ENOMEM;
	}
	int r = set_up(host, x, settings, path, limit);
	if (r != 0) {
		close_bbh(x);
		return r;
	}
	*ret_state = x;
	return 0;
}

static uint64_t count(void *state)
{
	return ((struct bbh *)state)->count;
}

static int request(void *state, uint64_t i, struct cwp_request *ret)
{
	static const char *const stop[] = {"</s>", "Q", "\n\n"};
	const struct bbh *x = state;
	ret->kind = CWP_REQUEST_GENERATE;
	ret->context = x->question[i].prompt;
	ret->context_length = x->question[i].prompt_length;
	ret->max_new_tokens = x->new_tokens;
	ret->stop = stop;
	ret->stops = sizeof stop / sizeof *stop;
	ret->item = x->question[i].id;
	return 0;
}

static int answer(void *state, uint64_t i, const struct cwp_answer *a)
{
	const struct bbh *x = state;
	struct question *q = &x->question[i];
	const char *said = a->text != NULL ? a->text : "", *found;
	size_t length = a->text != NULL ? a->text_length : 0, found_length;
	char *copy = malloc(length + 1);
	if (copy == NULL) {
		return -ENOMEM;
	}
	memcpy(copy, said, length);
	copy[length] = '\0';
	free(q->text);
	q->text = copy;
	q->length = length;
	q->missing = (a->flags & CWP_ANSWER_TOO_LONG) != 0;
	q->right = shots_answer(x->variant, copy, length, &found, &found_length) &&
		shots_equal(x->variant, found, found_length, q->target, q->target_length);
	return 0;
}

static int finish(void *state, const struct cwp_metric_sink *sink)
{
	const struct bbh *x = state;
	double *right = calloc(x->count + 1, sizeof *right), k = 0;
	size_t n = 0;
	if (right == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < x->count; i++) {
		if (!x->question[i].missing) {
			k += right[n++] = x->question[i].right;
		}
	}
	struct cwp_metric m = {.size = sizeof m, .name = "exact_match", .direction = CWP_HIGHER_IS_BETTER, .ideal = 1,
		.form = CWP_FORM_MEAN};
	statistic_mean(right, n, &m);
	statistic_wilson(k, (double)n, &m.low, &m.high);
	free(right);
	sink->metric(sink->ctx, &m);
	for (size_t i = 0; i < x->count; i++) {
		const struct question *q = &x->question[i];
		struct cwp_item item = {.size = sizeof item, .id = q->id, .weight = 1, .value = q->right, .choice = q->right, .group = x->task,
			.prompt = q->input, .prompt_length = q->input_length, .answer = q->text, .answer_length = q->length};
		if (!q->missing) {
			sink->item(sink->ctx, &item);
		}
	}
	return 0;
}

static const struct cwp_evaluator evaluator = {sizeof(struct cwp_evaluator), open_bbh, count, request, answer, finish, close_bbh};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_EVALUATOR_INTERFACE) == 0 ? &evaluator : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_EVALUATOR)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR,
	CWP_KIND_EVALUATOR, OPTIONS, "bbh", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"BIG-Bench Hard: a task's questions with and without reasoning, as lm-evaluation-harness scores them", options, get_interface};
