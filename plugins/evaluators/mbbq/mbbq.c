/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluator: MBBQ, BBQ in English, Spanish, Dutch and Turkish (Neplenbroek et al. 2024), by generation: each row in five prompts with
 * the answers as (A), (B), (C), in the model's chat format, greedy, at most 100 new tokens; which answer was given is detected
 * in the text. As the paper has it, of replies with an answer:
 *   acc, accuracy_amb, accuracy_disamb: share of right answers;
 *   bias_amb: (biased - counter-biased) / N over ambiguous replies;
 *   bias_disamb: accuracy where the right answer is the biased one, less that where it is not, over disambiguated replies;
 * and undetected: share of replies without an answer. Biased is what the stereotype suggests: the group's to a negative question, the
 * other person's else. Rows in which both persons or neither are of a stereotyped group are left out. The wordings of prompts
 * and the rules of detection are this project's own: its numbers are to be compared with each other, not with the paper's.
 * Metrics of a control set, where names stand for groups, are called control_*. Intervals: rows drawn anew.
 * Choices: the answer, 3 for none. Groups: category. Data: as BBQ's; the files' names end in _LANGUAGE.jsonl. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/evaluators/mbbq/mbbq.h"

enum { OPTION_LANGUAGE, OPTION_PROMPTS, OPTION_CONTROL, OPTION_TOKENS, OPTIONS };
enum control { CONTROL_AUTO, CONTROL_NO, CONTROL_YES };

static const struct cwp_option options[OPTIONS] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "language", "en", "en|es|nl|tr", NULL,
		"language of the file, which its name must not deny"},
	{sizeof(struct cwp_option), CWP_OPTION_INT, "prompts", "5", "1..5", NULL,
		"in how many wordings each row is asked; each of them is an item"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "control", "auto", "auto|no|yes", NULL,
		"whether the file is of the control set, so that its metrics are named apart; auto: if its name has _control_"},
	{sizeof(struct cwp_option), CWP_OPTION_INT, "max-new-tokens", "100", "1..4096", "tokens", "length of a reply at most"},
};

struct mbbq {
	const struct cwp_host *host;
	struct rows rows;
	struct reply *reply;
	size_t count, prompts;
	enum language language;
	int control;
	uint32_t tokens;
};

static void close_mbbq(void *state)
{
	struct mbbq *m = state;
	if (m == NULL) {
		return;
	}
	for (size_t i = 0; i < m->count; i++) {
		free(m->reply[i].prompt);
		free(m->reply[i].text);
	}
	free(m->reply);
	rows_close(&m->rows);
	free(m);
}

static int read_row(const struct rows *rows, uint64_t row, struct bbq_row *ret)
{
	int r = bbq_row_read(rows, row, ret);
	return r == 0 ? mbbq_mark_stereotyped(rows, row, ret) : r;
}

/* One person is of a stereotyped group, the other is not. */
static int is_clear(const struct bbq_row *b)
{
	unsigned persons = b->stereotyped & ~(1u << b->unknown);
	return persons != 0 && (persons & (persons - 1)) == 0;
}

static void name_reply(const struct mbbq *m, const struct bbq_row *b, size_t prompt, char id[144])
{
	(void)snprintf(id, 144, "mbbq-%.63s%s-%s-%.20s-p%zu", b->category, m->control ? "-control" : "", mbbq_language_name[m->language],
		b->example, prompt + 1);
}

/* Checks every row; drops those that say nothing of bias, and says which part of the items each is of. */
static int check_rows(const struct mbbq *m, unsigned char *dropped, size_t *stratum)
{
	char (*name)[144] = malloc((m->rows.count + 1) * sizeof *name);
	const char **id = malloc((m->rows.count + 1) * sizeof *id);
	size_t left_out = 0;
	int r = name != NULL && id != NULL ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < m->rows.count; i++) {
		struct bbq_row b = {0};
		r = read_row(&m->rows, i, &b);
		if (r == 0) {
			name_reply(m, &b, 0, name[i]);
			id[i] = name[i];
			dropped[i] = !is_clear(&b);
			left_out += dropped[i];
		}
		for (size_t k = 0; r == 0 && k < m->prompts; k++) {
			stratum[i * m->prompts + k] = rows_stratum(2 * k + (size_t)b.disambiguated, b.category);
		}
	}
	r = r == 0 ? rows_unique(&m->rows, id, m->rows.count) : r;
	if (r == 0 && left_out > 0) {
		char text[160];
		(void)snprintf(text, sizeof text, "mbbq: %zu of %zu rows are left out: both persons or neither are of a stereotyped group",
			left_out, m->rows.count);
		m->host->log(m->host->ctx, CWP_LOG_INFO, text);
	}
	free(id);
	free(name);
	return r;
}

static int make_reply(const struct mbbq *m, size_t row, size_t prompt, struct reply *ret)
{
	struct bbq_row b;
	int r = read_row(&m->rows, row, &b);
	if (r != 0) {
		return r;
	}
	name_reply(m, &b, prompt, ret->id);
	ret->group = b.category;
	ret->row = row;
	ret->right = b.label;
	ret->unknown = b.unknown;
	ret->biased = b.biased;
	ret->disambiguated = b.disambiguated;
	memcpy(ret->answer, b.answer, sizeof ret->answer);
	ret->given = NO_ANSWER;
	ret->prompt = mbbq_prompt(m->language, prompt, &b);
	return ret->prompt != NULL ? 0 : -ENOMEM;
}

static int choose(struct mbbq *m, uint64_t limit)
{
	unsigned char *dropped = calloc(m->rows.count + 1, 1);
	size_t *stratum = calloc(m->rows.count * m->prompts + 1, sizeof *stratum), *index = NULL, n = 0;
	int r = dropped != NULL && stratum != NULL ? 0 : -ENOMEM;
	r = r == 0 ? check_rows(m, dropped, stratum) : r;
	r = r == 0 ? rows_choose(&m->rows, m->prompts, dropped, stratum, limit, "question", &index, &n) : r;
	if (r == 0 && (m->reply = calloc(n, sizeof *m->reply)) == NULL) {
		r = -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = make_reply(m, index[i] / m->prompts, index[i] % m->prompts, &m->reply[i]);
		m->count++;
	}
	free(index);
	free(stratum);
	free(dropped);
	return r;
}

/* The file's name must not say another language. */
static int check_name(const struct cwp_host *host, const char *path, enum language language)
{
	size_t n = strlen(path);
	for (size_t k = 0; k < LANGUAGES; k++) {
		char ending[16];
		(void)snprintf(ending, sizeof ending, "_%s.jsonl", mbbq_language_name[k]);
		size_t m = strlen(ending);
		if (n > m && strcmp(path + n - m, ending) == 0 && k != (size_t)language) {
			return rows_refuse_file(host, path, "the name says %s, but the option language says %s; write language: %s",
				mbbq_language_name[k], mbbq_language_name[language], mbbq_language_name[k]);
		}
	}
	return 0;
}

static int open_mbbq(const struct cwp_host *host, const struct cwp_setting *settings, const char *path, const char *data,
	size_t length, uint64_t limit, void **ret_state)
{
	struct mbbq *m = calloc(1, sizeof *m);
	const char *slash = strrchr(path, '/');
	(void)data, (void)length;
	if (m == NULL) {
		return -ENOMEM;
	}
	m->host = host;
	m->language = (enum language)settings[OPTION_LANGUAGE].integer;
	m->prompts = (size_t)settings[OPTION_PROMPTS].integer;
	m->tokens = (uint32_t)settings[OPTION_TOKENS].integer;
	m->control = settings[OPTION_CONTROL].integer == CONTROL_YES ||
		(settings[OPTION_CONTROL].integer == CONTROL_AUTO && strstr(slash != NULL ? slash : path, "_control_") != NULL);
	int r = check_name(host, path, m->language);
	r = r == 0 ? rows_open(host, path, "mbbq", NULL, &m->rows) : r;
	r = r == 0 ? choose(m, limit) : r;
	if (r != 0) {
		close_mbbq(m);
		return r;
	}
	*ret_state = m;
	return 0;
}

static uint64_t count(void *state)
{
	return ((struct mbbq *)state)->count;
}

static int request(void *state, uint64_t i, struct cwp_request *ret)
{
	const struct mbbq *m = state;
	ret->kind = CWP_REQUEST_GENERATE;
	ret->flags = CWP_REQUEST_CHAT;
	ret->context = m->reply[i].prompt;
	ret->context_length = strlen(m->reply[i].prompt);
	ret->max_new_tokens = m->tokens;
	ret->item = m->reply[i].id;
	return 0;
}

static int answer(void *state, uint64_t i, const struct cwp_answer *a)
{
	const struct mbbq *m = state;
	struct reply *p = &m->reply[i];
	free(p->text);
	p->text = strndup(a->text != NULL ? a->text : "", a->text_length);
	if (p->text == NULL) {
		return -ENOMEM;
	}
	p->too_long = (a->flags & CWP_ANSWER_TOO_LONG) != 0;
	p->given = mbbq_detect(m->language, p->answer, p->unknown, p->text, strlen(p->text));
	return 0;
}

static int finish(void *state, const struct cwp_metric_sink *sink)
{
	const struct mbbq *m = state;
	return mbbq_finish(m->host, m->reply, m->count, m->control, sink);
}

static const struct cwp_evaluator evaluator = {sizeof(struct cwp_evaluator), open_mbbq, count, request, answer, finish, close_mbbq};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_EVALUATOR_INTERFACE) == 0 ? &evaluator : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_EVALUATOR)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR,
	CWP_KIND_EVALUATOR, OPTIONS, "mbbq", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"MBBQ: accuracy and bias of generated answers about two persons, in four languages", options, get_interface};
