/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluator: MMLU (Hendrycks et al. 2021) as lm-evaluation-harness' task mmlu has it. Prompt: "The following are multiple choice
 * questions (with answers) about {subject, _ as a space}.\n\n", then for each of the first `shots` rows of the subject's dev
 * file "{question}\nA. {choice0}\nB. {choice1}\nC. {choice2}\nD. {choice3}\nAnswer: {letter}\n\n", then the question itself up
 * to "Answer:"; continuations " A" to " D", the greatest log p is the answer, the first of equals. Questions lose white space
 * at both ends. acc: share of right answers, each question counting once (the micro average).
 * Choices: the letter. Groups: subject. Data: CSV with question, choice0 to choice3, answer (0 to 3, or a letter) and, where
 * there is one, subject; else the subject is the file's name without _test.csv. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/evaluators/common/statistic.h"
#include "plugins/evaluators/mmlu/mmlu.h"

enum { OPTION_SHOTS, OPTION_DEV, OPTION_SUBJECTS, OPTION_LANGUAGE, OPTIONS };

static const struct cwp_option options[OPTIONS] = {
	{sizeof(struct cwp_option), CWP_OPTION_INT, "shots", "0", "0..64", NULL,
		"examples in front of each question, the first of the subject's dev file; 0 or 5 are customary"},
	{sizeof(struct cwp_option), CWP_OPTION_STRING, "dev", "../dev", NULL, NULL,
		"folder of the files SUBJECT_dev.csv that the examples come from, seen from the folder of the data file"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "subjects", "one", "one|all", NULL,
		"one: the data file alone; all: each file *_test.csv in its folder"},
	{sizeof(struct cwp_option), CWP_OPTION_STRING, "language", "en", NULL, NULL, "language of the questions, for the report"},
};

struct problem {
	char id[96];
	size_t subject; /* by number in the list */
	char *context;
	size_t right;
	double loglik[LETTERS];
	int too_long;
};

struct mmlu {
	const struct cwp_host *host;
	struct rows *rows; /* [files] */
	size_t files;
	struct subject *subject;
	size_t subjects, room;
	struct problem *problem;
	size_t count;
	char *folder; /* of the dev files */
	size_t shots;
};

/* A row by its file and its number there. */
struct place {
	size_t file, row, subject;
};

static void close_mmlu(void *state)
{
	struct mmlu *m = state;
	if (m == NULL) {
		return;
	}
	for (size_t i = 0; i < m->files; i++) {
		rows_close(&m->rows[i]);
	}
	for (size_t i = 0; i < m->subjects; i++) {
		free(m->subject[i].preamble);
	}
	for (size_t i = 0; i < m->count; i++) {
		free(m->problem[i].context);
	}
	free(m->rows);
	free(m->subject);
	free(m->problem);
	free(m->folder);
	free(m);
}

static int open_files(struct mmlu *m, const char *path, int all)
{
	char **files = NULL;
	size_t count = 0;
	int r = 0;
	if (all) {
		r = mmlu_files(m->host, path, &files, &count);
	}
	size_t n = all ? count : 1;
	if (r == 0 && (m->rows = calloc(n, sizeof *m->rows)) == NULL) {
		r = -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = rows_open(m->host, all ? files[i] : path, "mmlu", NULL, &m->rows[i]);
		m->files += r == 0;
	}
	mmlu_files_free(files, count);
	return r;
}

/* The number of a subject by its name, begun where it is new. */
static int find_subject(struct mmlu *m, const char *name, size_t *ret)
{
	for (size_t i = m->subjects; i-- > 0;) {
		if (strcmp(m->subject[i].name, name) == 0) {
			*ret = i;
			return 0;
		}
	}
	if (m->subjects == m->room) {
		size_t room = m->room > 0 ? 2 * m->room : 64;
		struct subject *more = realloc(m->subject, room * sizeof *more);
		if (more == NULL) {
			return -ENOMEM;
		}
		m->subject = more;
		m->room = room;
	}
	struct subject s = {.preamble = NULL};
	(void)snprintf(s.name, sizeof s.name, "%s", name);
	int r = mmlu_preamble(m->host, m->folder, s.name, m->shots, &s.preamble);
	if (r == 0) {
		*ret = m->subjects;
		m->subject[m->subjects++] = s;
	}
	return r;
}

/* A row is whole, and of a subject. */
static int check_row(struct mmlu *m, const struct rows *rows, uint64_t row, size_t *ret_subject)
{
	char name[64], *text = NULL;
	const char *column = NULL;
	size_t length, right;
	int r = mmlu_question(rows, row, &text);
	free(text);
	r = r == 0 ? mmlu_right(rows, row, &right) : r;
	mmlu_subject_of(rows->path, name);
	if (r == 0 && m->host->records_text(m->host->ctx, rows->records, row, "subject", &column, &length) > 0) {
		r = rows_group(rows, row, "subject", &column);
		if (r == 0 && (strchr(column, '.') != NULL)) {
			r = rows_refuse(rows, row, "subject", "\"%.40s\" is no plain name", column);
		}
		(void)snprintf(name, sizeof name, "%s", r == 0 ? column : "");
	}
	return r == 0 ? find_subject(m, name, ret_subject) : r;
}

static int make_problem(const struct mmlu *m, const struct place *p, struct problem *ret)
{
	const struct rows *rows = &m->rows[p->file];
	const struct subject *s = &m->subject[p->subject];
	(void)snprintf(ret->id, sizeof ret->id, "mmlu-%s-%zu", s->name, p->row);
	ret->subject = p->subject;
	ret->context = strdup(s->preamble);
	int r = ret->context != NULL ? mmlu_question(rows, p->row, &ret->context) : -ENOMEM;
	return r == 0 ? mmlu_right(rows, p->row, &ret->right) : r;
}

/* All rows of all files, but for those that are calibrated on. */
static int list_rows(struct mmlu *m, struct place **ret, size_t *ret_count)
{
	size_t total = 0, n = 0;
	for (size_t i = 0; i < m->files; i++) {
		total += m->rows[i].count;
	}
	struct place *place = calloc(total + 1, sizeof *place);
	int r = place != NULL ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < m->files; i++) {
		for (size_t k = 0; r == 0 && k < m->rows[i].count; k++) {
			struct place p = {.file = i, .row = k};
			r = check_row(m, &m->rows[i], k, &p.subject);
			if (r == 0 && m->host->records_calibrated(m->host->ctx, m->rows[i].records, k) == 0) {
				place[n++] = p;
			}
		}
	}
	if (r == 0 && n == 0) {
		(void)rows_refuse_file(m->host, m->rows[0].path, total > 0 ? "the job calibrates on every question of this data, so that none is "
			"left to evaluate; give calibration fewer samples" : "no question is in the file");
		r = CWP_EVALUE;
	}
	if (r != 0) {
		free(place);
		return r;
	}
	*ret = place;
	*ret_count = n;
	return 0;
}

static int choose(struct mmlu *m, uint64_t limit)
{
	struct place *place = NULL;
	size_t total = 0, *stratum = NULL, *index = NULL, n = 0;
	int r = list_rows(m, &place, &total);
	if (r == 0 && (stratum = calloc(total, sizeof *stratum)) == NULL) {
		r = -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < total; i++) {
		stratum[i] = place[i].subject;
	}
	if (r == 0 && (n = statistic_choose(m->host, total, NULL, stratum, limit, &index)) == SIZE_MAX) {
		r = -ENOMEM;
	}
	if (r == 0 && (m->problem = calloc(n + 1, sizeof *m->problem)) == NULL) {
		r = -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		m->count++;
		r = make_problem(m, &place[index[i]], &m->problem[i]);
	}
	free(index);
	free(stratum);
	free(place);
	return r;
}

static int open_mmlu(const struct cwp_host *host, const struct cwp_setting *settings, const char *path, const char *data,
	size_t length, uint64_t limit, void **ret_state)
{
	struct mmlu *m = calloc(1, sizeof *m);
	(void)data, (void)length;
	if (m == NULL) {
		return -ENOMEM;
	}
	m->host = host;
	m->shots = (size_t)settings[OPTION_SHOTS].integer;
	m->folder = mmlu_beside(path, settings[OPTION_DEV].string);
	int r = m->folder != NULL ? open_files(m, path, settings[OPTION_SUBJECTS].integer != 0) : -ENOMEM;
	r = r == 0 ? choose(m, limit) : r;
	if (r != 0) {
		close_mmlu(m);
		return r;
	}
	*ret_state = m;
	return 0;
}

static uint64_t count(void *state)
{
	return LETTERS * ((struct mmlu *)state)->count;
}

static const char *const letters[LETTERS] = {" A", " B", " C", " D"};

static int request(void *state, uint64_t i, struct cwp_request *ret)
{
	const struct problem *p = &((struct mmlu *)state)->problem[i / LETTERS];
	ret->kind = CWP_REQUEST_LOGLIK;
	ret->context = p->context;
	ret->context_length = strlen(p->context);
	ret->continuation = letters[i % LETTERS];
	ret->continuation_length = 2;
	ret->item = p->id;
	return 0;
}

static int answer(void *state, uint64_t i, const struct cwp_answer *a)
{
	struct problem *p = &((struct mmlu *)state)->problem[i / LETTERS];
	p->loglik[i % LETTERS] = a->loglik;
	p->too_long = (i % LETTERS > 0 && p->too_long) || (a->flags & CWP_ANSWER_TOO_LONG) != 0;
	return 0;
}

static size_t chosen(const struct problem *p)
{
	size_t best = 0;
	for (size_t k = 1; k < LETTERS; k++) {
		best = p->loglik[k] > p->loglik[best] ? k : best;
	}
	return best;
}

static int finish(void *state, const struct cwp_metric_sink *sink)
{
	const struct mmlu *m = state;
	double *right = calloc(m->count + 1, sizeof *right), sum = 0;
	size_t n = 0;
	if (right == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < m->count; i++) {
		if (!m->problem[i].too_long) {
			right[n] = chosen(&m->problem[i]) == m->problem[i].right;
			sum += right[n++];
		}
	}
	struct cwp_metric metric = {.size = sizeof metric, .name = "acc", .direction = CWP_HIGHER_IS_BETTER, .ideal = 1,
		.form = CWP_FORM_MEAN};
	statistic_mean(right, n, &metric);
	statistic_wilson(sum, (double)n, &metric.low, &metric.high);
	sink->metric(sink->ctx, &metric);
	for (size_t i = 0; i < m->count; i++) {
		const struct problem *p = &m->problem[i];
		const char *preamble = m->subject[p->subject].preamble;
		size_t best = chosen(p);
		struct cwp_item item = {.size = sizeof item, .id = p->id, .group = m->subject[p->subject].name, .weight = 1,
			.value = best == p->right, .choice = (int64_t)best, .prompt = p->context + strlen(preamble),
			.prompt_length = strlen(p->context) - strlen(preamble), .answer = letters[best] + 1, .answer_length = 1};
		if (!p->too_long) {
			sink->item(sink->ctx, &item);
		}
	}
	free(right);
	return 0;
}

static const struct cwp_evaluator evaluator = {sizeof(struct cwp_evaluator), open_mmlu, count, request, answer, finish,
	close_mmlu};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_EVALUATOR_INTERFACE) == 0 ? &evaluator : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_EVALUATOR)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR,
	CWP_KIND_EVALUATOR, OPTIONS, "mmlu", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"MMLU: accuracy in questions with four choices, as lm-evaluation-harness has it", options, get_interface};
