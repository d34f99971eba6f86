/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Verbs that start from text: tokens, loglik. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/loglik.h"
#include "engine/calibrate/shared.h"
#include "engine/text/beside.h"
#include "engine/text/request.h"
#include "inspect/inspect.h"

int cwi_tokens(const struct cwi_options *o)
{
	struct cwb_err err = {0};
	struct cwe_source *source = NULL;
	struct cwi_texts texts = {0};
	struct cwi_lines lines = {0};
	json_t *line;
	int r = cwe_source_open(o->operand, CWE_SOURCE_NO_WEIGHTS, &source, &err);
	r = r == 0 ? cwi_texts_open(source, o->chat, 1, &texts, &err) : r;
	while (r == 0 && (r = cwi_lines_next(&lines, &line, &err)) == 1) {
		struct cwe_ids ids = {0};
		r = cwi_line_ids(line, lines.number, &texts, &ids, &err);
		if (r == 0) {
			cwi_print(json_pack("{s:o}", "ids", cwi_ids_json(ids.id, ids.count)));
		}
		free(ids.id);
		json_decref(line);
	}
	cwi_lines_free(&lines);
	cwi_texts_close(&texts);
	cwe_source_close(source);
	return r == 0 ? 0 : cwi_fail(&err);
}

/* Lines of ids need no tokenizer: its absence is told when a text comes. */
static int open_if_there(struct cwe_source *source, struct cwe_tokenizer **ret, struct cwb_err *err)
{
	struct cwb_err local = {0};
	int r = cwe_tokenizer_beside(source, ret, &local);
	return r == 0 || r == CWP_EMISSING ? 0 : cwb_err_set(err, r, "%s", local.message);
}

/* One line of loglik -> a request. */
static int add_request(const json_t *line, size_t number, size_t owner, const struct cwe_tokenizer *t, size_t context,
	struct cwe_request_list *list, struct cwb_err *err)
{
	const json_t *before = json_object_get(line, "context"), *after = json_object_get(line, "continuation");
	if (json_is_string(before) && json_is_string(after)) {
		if (t == NULL) {
			return cwb_err_set(err, CWP_EMISSING, "standard input:%zu: the model has no tokenizer; give \"context_ids\" and "
				"\"continuation_ids\"", number);
		}
		int r = cwe_request_loglik(list, owner, t, json_string_value(before), json_string_length(before),
			json_string_value(after), json_string_length(after), context, err);
		return r == 0 ? 0 : cwb_err_prefix(err, "standard input:%zu", number);
	}
	uint32_t *a = NULL, *b = NULL;
	size_t n = 0, k = 0;
	int r = cwi_ids_read(json_object_get(line, "context_ids"), "context_ids", number, &a, &n, err);
	r = r == 0 ? cwi_ids_read(json_object_get(line, "continuation_ids"), "continuation_ids", number, &b, &k, err) : r;
	if (r == 0 && (r = cwe_request_ids(list, owner, a, n, b, k, context, err)) != 0) {
		r = cwb_err_prefix(err, "standard input:%zu", number);
	}
	free(a);
	free(b);
	return r;
}

static void print_scores(const struct cwe_request_list *list, const struct cwe_shared *shared, const struct cwe_token_score *score)
{
	for (size_t i = 0; i < list->set.count; i++) {
		struct cwe_sequence_score sum = cwe_shared_score(shared, i, list->set.sample[i].sequence, score);
		cwi_print(json_pack("{s:f,s:I,s:b}", "loglik", sum.loglik, "tokens", (json_int_t)sum.tokens, "greedy", sum.greedy));
	}
}

/* Scores all requests and prints what they got. */
static int run_requests(const struct cwi_options *o, struct cwi_engine *e, const struct cwe_request_list *list, struct cwb_err *err)
{
	struct cwe_shared shared = {0};
	int share = cwe_model_divisible(&e->model, cwe_shared_longest(&list->set));
	int r = cwe_shared_new(&list->set, share, &shared, err);
	if (r != 0) {
		return r;
	}
	struct cwe_forward_options f = {.scratch = o->scratch, .memory = o->scratch != NULL ? 256u << 20 : UINT64_MAX};
	struct cwe_token_score score = {calloc(shared.corpus.tokens + 1, sizeof(float)), calloc(shared.corpus.tokens + 1, 1)};
	r = score.nll != NULL && score.greedy != NULL ? cwe_loglik_run(&e->model, &shared.corpus, &f, &score, err)
						      : cwb_err_set(err, -ENOMEM, "no memory for scores");
	if (r == 0) {
		print_scores(list, &shared, &score);
	}
	free(score.nll);
	free(score.greedy);
	cwe_shared_free(&shared);
	return r;
}

int cwi_loglik(const struct cwi_options *o)
{
	struct cwb_err err = {0};
	struct cwi_engine e;
	struct cwe_tokenizer *t = NULL;
	struct cwe_request_list list = {0};
	struct cwi_lines lines = {0};
	json_t *line;
	int r = cwi_engine_open(o, o->operand, &e, &err);
	if (r != 0) {
		return cwi_fail(&err);
	}
	r = open_if_there(e.source, &t, &err);
	while (r == 0 && (r = cwi_lines_next(&lines, &line, &err)) == 1) {
		r = add_request(line, lines.number, list.set.count, t, e.model.arch.context, &list, &err);
		json_decref(line);
	}
	r = r == 0 && list.set.count > 0 ? run_requests(o, &e, &list, &err) : r;
	cwe_request_free(&list);
	cwi_lines_free(&lines);
	cwe_tokenizer_free(t);
	cwi_engine_close(&e);
	return r == 0 ? 0 : cwi_fail(&err);
}
