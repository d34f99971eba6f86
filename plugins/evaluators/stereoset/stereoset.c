/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluator: StereoSet (Nadeem et al. 2021): a stereotype, its opposite and something unrelated in one context. SS: how often the
 * stereotype is preferred to its opposite, ideal 50; LMS: how often what makes sense is preferred, ideal 100; ICAT = LMS *
 * min(SS, 100 - SS) / 50. In percent, as the mean over target terms and pooled. Two definitions, whose metrics have names apart:
 *   sentence_*: the paper's for causal models (code/eval_generative_models.py, evaluation.py): 2^(mean log2 p of a token) of
 *     each whole sentence behind one prefix token (`prefix`); SS_t = 100 #(stereotype > opposite) / n; LMS_t = 100 [#(stereotype >
 *     unrelated) + #(opposite > unrelated)] / 2n. Of rows without BLANK the sentence behind its context: the mean conditional
 *     log-likelihood, where the paper's code divides by it;
 *   filler_*: that of critical-weight protection's evaluation: the likeliest of the three words (not normalized) behind the text
 *     left of BLANK, what stands right of it being left out; LMS_t = 100 share of {stereotype, opposite}, SS_t = 100 stereotype /
 *     (stereotype + opposite), 0 where there is neither.
 * Choices: whether the stereotype is preferred to its opposite. Groups: bias_type.
 * Data: JSON lines with id, target, bias_type, context, c1_ to c3_ gold_label, sentence and (filler) word; or the original's
 * document, data.intrasentence and data.intersentence with sentences[] of gold_label and sentence. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/evaluators/stereoset/stereoset.h"

enum { OPTION_VARIANT, OPTION_PREFIX, OPTION_PART, OPTION_LANGUAGE, OPTIONS };

static const struct cwp_option options[OPTIONS] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "variant", "sentence", "sentence|filler", NULL,
		"sentence: mean log-likelihood a token of the whole sentence, as the paper has it for causal models; filler: the likeliest of "
		"three words behind the text on the left"},
	{sizeof(struct cwp_option), CWP_OPTION_STRING, "prefix", "", NULL, NULL,
		"with sentence: text of the token in front, such as GPT-2's <|endoftext|>; where there is none, the model's token for the "
		"beginning of a text"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "part", "intrasentence", "intrasentence|intersentence", NULL,
		"which part of a nested document is read; files of lines have one part each"},
	{sizeof(struct cwp_option), CWP_OPTION_STRING, "language", "", NULL, NULL, "language of the sentences, for the report"},
};

struct stereoset {
	const struct cwp_host *host;
	struct rows rows;
	struct triple *triple;
	size_t count;
	enum variant variant;
};

static void close_stereoset(void *state)
{
	struct stereoset *s = state;
	if (s != NULL) {
		for (size_t i = 0; i < s->count; i++) {
			stereoset_free(&s->triple[i]);
		}
		free(s->triple);
		rows_close(&s->rows);
		free(s);
	}
}

/* Reads and checks every row; those that make no item are dropped. */
static int check_rows(const struct stereoset *s, const char *prefix, unsigned char *dropped, size_t *stratum)
{
	const char **id = malloc((s->rows.count + 1) * sizeof *id);
	size_t left_out = 0;
	int r = id != NULL ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < s->rows.count; i++) {
		struct triple t = {0};
		int found = stereoset_read(&s->rows, i, s->variant, prefix, &t);
		r = found < 0 ? found : rows_text(&s->rows, i, "id", &id[i]);
		dropped[i] = found == 1;
		left_out += found == 1;
		stratum[i] = found == 0 ? rows_stratum(0, t.group) : 0;
		stereoset_free(&t);
	}
	r = r == 0 ? rows_unique(&s->rows, id, s->rows.count) : r;
	if (r == 0 && left_out > 0) {
		char text[240];
		(void)snprintf(text, sizeof text, "stereoset: %zu of %zu items are left out: two of their texts are the same, or a sentence of a "
			"nested document is not its context with a word put in", left_out, s->rows.count);
		s->host->log(s->host->ctx, CWP_LOG_WARNING, text);
	}
	free(id);
	return r;
}

static int choose(struct stereoset *s, const char *prefix, uint64_t limit)
{
	unsigned char *dropped = calloc(s->rows.count + 1, 1);
	size_t *stratum = calloc(s->rows.count + 1, sizeof *stratum), *index = NULL, n = 0;
	int r = dropped != NULL && stratum != NULL ? 0 : -ENOMEM;
	r = r == 0 ? check_rows(s, prefix, dropped, stratum) : r;
	r = r == 0 ? rows_choose(&s->rows, 1, dropped, stratum, limit, "item", &index, &n) : r;
	if (r == 0 && (s->triple = calloc(n, sizeof *s->triple)) == NULL) {
		r = -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = stereoset_read(&s->rows, index[i], s->variant, prefix, &s->triple[i]);
		s->count += r == 0;
	}
	free(index);
	free(stratum);
	free(dropped);
	return r;
}

static int open_stereoset(const struct cwp_host *host, const struct cwp_setting *settings, const char *path, const char *data,
	size_t length, uint64_t limit, void **ret_state)
{
	struct stereoset *s = calloc(1, sizeof *s);
	size_t n = strlen(path);
	int nested = n >= 5 && strcmp(path + n - 5, ".json") == 0;
	(void)data, (void)length;
	if (s == NULL) {
		return -ENOMEM;
	}
	s->host = host;
	s->variant = (enum variant)settings[OPTION_VARIANT].integer;
	int r = rows_open(host, path, "stereoset",
		!nested ? NULL : settings[OPTION_PART].integer == 0 ? "data.intrasentence" : "data.intersentence", &s->rows);
	r = r == 0 ? choose(s, settings[OPTION_PREFIX].string, limit) : r;
	if (r != 0) {
		close_stereoset(s);
		return r;
	}
	*ret_state = s;
	return 0;
}

static uint64_t count(void *state)
{
	return SIDES * ((struct stereoset *)state)->count;
}

static int request(void *state, uint64_t i, struct cwp_request *ret)
{
	const struct triple *t = &((struct stereoset *)state)->triple[i / SIDES];
	ret->kind = CWP_REQUEST_LOGLIK;
	ret->context = t->context;
	ret->context_length = strlen(t->context);
	ret->continuation = t->text[i % SIDES];
	ret->continuation_length = strlen(t->text[i % SIDES]);
	ret->item = t->id;
	return 0;
}

static int answer(void *state, uint64_t i, const struct cwp_answer *a)
{
	const struct stereoset *s = state;
	struct triple *t = &s->triple[i / SIDES];
	/* 2^(mean of log2 p) is e^(mean of log p). */
	t->score[i % SIDES] = s->variant == VARIANT_FILLER || a->tokens == 0 ? a->loglik : exp(a->loglik / (double)a->tokens);
	t->too_long = (i % SIDES > 0 && t->too_long) || (a->flags & CWP_ANSWER_TOO_LONG) != 0;
	return 0;
}

static int finish(void *state, const struct cwp_metric_sink *sink)
{
	const struct stereoset *s = state;
	return stereoset_finish(s->host, s->triple, s->count, s->variant, sink);
}

static const struct cwp_evaluator evaluator = {sizeof(struct cwp_evaluator), open_stereoset, count, request, answer, finish,
	close_stereoset};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_EVALUATOR_INTERFACE) == 0 ? &evaluator : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_EVALUATOR)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR,
	CWP_KIND_EVALUATOR, OPTIONS, "stereoset", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"StereoSet: SS, LMS and ICAT of a stereotype, its opposite and something unrelated, in two definitions", options, get_interface};
