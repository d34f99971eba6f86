/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Verbs that start from text: tokens, loglik, generate. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/loglik.h"
#include "engine/model/generate.h"
#include "engine/text/beside.h"
#include "engine/text/request.h"
#include "inspect/inspect.h"

static json_t *ids_json(const uint32_t *id, size_t count)
{
	json_t *a = json_array();
	for (size_t i = 0; i < count; i++) {
		(void)json_array_append_new(a, json_integer(id[i]));
	}
	return a;
}

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
			cwi_print(json_pack("{s:o}", "ids", ids_json(ids.id, ids.count)));
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

static void print_scores(const struct cwe_request_list *list, const struct cwe_token_score *score)
{
	uint64_t at = 0;
	for (size_t i = 0; i < list->set.count; i++) {
		const struct cwe_sequence *s = list->set.sample[i].sequence;
		double loglik = 0;
		int greedy = 1;
		json_int_t tokens = 0;
		for (size_t k = 0; k < s->count; k++) {
			if (s->weight[k] != 0) {
				loglik -= (double)score->nll[at + k];
				greedy &= score->greedy[at + k];
				tokens++;
			}
		}
		at += s->count;
		cwi_print(json_pack("{s:f,s:I,s:b}", "loglik", loglik, "tokens", tokens, "greedy", greedy));
	}
}

int cwi_loglik(const struct cwi_options *o)
{
	struct cwb_err err = {0};
	struct cwi_engine e;
	struct cwe_tokenizer *t = NULL;
	struct cwe_request_list list = {0};
	struct cwe_corpus corpus = {0};
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
	struct cwe_token_score score = {0};
	if (r == 0 && list.set.count > 0 && (r = cwe_corpus_new(&list.set, 1, &corpus, &err)) == 0) {
		struct cwe_forward_options f = {.scratch = o->scratch, .memory = o->scratch != NULL ? 256u << 20 : UINT64_MAX};
		score = (struct cwe_token_score){calloc(corpus.tokens + 1, sizeof(float)), calloc(corpus.tokens + 1, 1)};
		r = score.nll != NULL && score.greedy != NULL ? cwe_loglik_run(&e.model, &corpus, &f, &score, &err)
							      : cwb_err_set(&err, -ENOMEM, "no memory for scores");
	}
	if (r == 0) {
		print_scores(&list, &score);
	}
	free(score.nll);
	free(score.greedy);
	cwe_corpus_free(&corpus);
	cwe_request_free(&list);
	cwi_lines_free(&lines);
	cwe_tokenizer_free(t);
	cwi_engine_close(&e);
	return r == 0 ? 0 : cwi_fail(&err);
}

/* Where generation stops: "stop" of the line (ids or texts of single tokens), else the end token. */
static int read_stops(const json_t *line, size_t number, const struct cwe_tokenizer *t, uint32_t **ret, size_t *ret_count,
	struct cwb_err *err)
{
	const json_t *stop = json_object_get(line, "stop");
	if (stop != NULL && !json_is_array(stop)) {
		return cwb_err_set(err, CWP_EVALUE, "standard input:%zu: \"stop\" must be an array of token ids or tokens' texts", number);
	}
	int64_t eos = t != NULL ? cwe_tokenizer_eos(t) : -1;
	size_t n = json_is_array(stop) ? json_array_size(stop) : 0;
	uint32_t *id = malloc((n + 1) * sizeof *id);
	if (id == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for stops");
	}
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(stop, i);
		int64_t one = json_is_integer(v) ? json_integer_value(v)
			: json_is_string(v) && t != NULL ? cwe_tokenizer_id(t, json_string_value(v)) : -1;
		if (one < 0 || one > UINT32_MAX) {
			free(id);
			return cwb_err_set(err, CWP_EVALUE, "standard input:%zu: \"stop\"[%zu] is neither a token id nor a token's text",
				number, i);
		}
		id[i] = (uint32_t)one;
	}
	if (stop == NULL && eos >= 0) {
		id[n++] = (uint32_t)eos;
	}
	*ret = id;
	*ret_count = n;
	return 0;
}

/* The generator of earlier lines, or a larger one. */
static int ensure_generator(struct cwi_engine *e, const struct cwi_options *o, uint64_t positions,
	struct cwe_generator **g, uint64_t *capacity, struct cwb_err *err)
{
	if (positions <= *capacity) {
		return 0;
	}
	cwe_generator_free(*g);
	*g = NULL;
	*capacity = 0;
	positions = positions < 1024 ? 1024 : positions;
	positions = positions < e->model.arch.context ? positions : e->model.arch.context;
	int r = cwe_generator_new(&e->model, o->memory, positions, g, err);
	*capacity = r == 0 ? positions : 0;
	return r;
}

static int generate_line(struct cwi_engine *e, const struct cwi_options *o, const json_t *line, size_t number,
	struct cwi_texts *texts, struct cwe_generator **g, uint64_t *capacity, struct cwb_err *err)
{
	const struct cwe_tokenizer *t = texts->t;
	struct cwe_ids prompt = {0};
	uint32_t *stop = NULL, *id = NULL;
	size_t stops = 0, length = 0;
	uint64_t count = 0;
	char *text = NULL;
	const json_t *most = json_object_get(line, "max_new_tokens");
	json_int_t limit = most == NULL ? 128 : json_is_integer(most) ? json_integer_value(most) : -1;
	int r = cwi_line_ids(line, number, texts, &prompt, err);
	r = r == 0 ? read_stops(line, number, t, &stop, &stops, err) : r;
	if (r == 0 && (limit < 0 || limit > (json_int_t)e->model.arch.context)) {
		r = cwb_err_set(err, CWP_EVALUE, "standard input:%zu: \"max_new_tokens\" must be a whole number from 0 to the model's "
			"context of %u",
			number, e->model.arch.context);
	}
	uint64_t positions = prompt.count + (uint64_t)(limit > 0 ? limit : 1);
	positions = positions < e->model.arch.context ? positions : e->model.arch.context;
	r = r == 0 ? ensure_generator(e, o, positions, g, capacity, err) : r;
	struct cwe_generation what = {.prompt = prompt.id, .count = prompt.count, .max_new = (uint64_t)limit, .stop = stop,
		.stops = stops};
	if (r == 0 && (r = cwe_generator_run(*g, &what, &id, &count, err)) != 0) {
		r = cwb_err_prefix(err, "standard input:%zu", number);
	}
	r = r == 0 && t != NULL ? cwe_tokenizer_decode(t, id, count, 1, &text, &length, err) : r;
	if (r == 0) {
		cwi_print(json_pack("{s:o,s:o}", "ids", ids_json(id, count), "text",
			text != NULL ? json_stringn(text, length) : json_null()));
	}
	free(prompt.id);
	free(stop);
	free(id);
	free(text);
	return r;
}

int cwi_generate(const struct cwi_options *o)
{
	struct cwb_err err = {0};
	struct cwi_engine e;
	struct cwi_texts texts = {0};
	struct cwe_generator *g = NULL;
	uint64_t capacity = 0;
	struct cwi_lines lines = {0};
	json_t *line;
	int r = cwi_engine_open(o, o->operand, &e, &err);
	if (r != 0) {
		return cwi_fail(&err);
	}
	r = cwi_texts_open(e.source, o->chat, 0, &texts, &err);
	while (r == 0 && (r = cwi_lines_next(&lines, &line, &err)) == 1) {
		r = generate_line(&e, o, line, lines.number, &texts, &g, &capacity, &err);
		json_decref(line);
	}
	cwi_lines_free(&lines);
	cwe_generator_free(g);
	cwi_texts_close(&texts);
	cwi_engine_close(&e);
	return r == 0 ? 0 : cwi_fail(&err);
}
