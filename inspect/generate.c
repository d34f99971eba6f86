/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The verb generate: all lines are read, then continued several at a time; answers come in the order of the lines. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/generate.h"
#include "engine/text/ends.h"
#include "engine/text/stop.h"
#include "inspect/inspect.h"

#define MOST_NEW 128         /* tokens, where a line does not say */
#define CACHES (1ull << 30)  /* memory beside weights that decides how many sequences go at once */

struct session;

/* What one line asks for, and its answer once it is there. */
struct line {
	struct session *session;
	size_t number;
	struct cwe_ids prompt, end;
	uint64_t most;
	struct cwe_stop *stop; /* NULL: without a tokenizer */
	json_t *answer;
};

struct session {
	const struct cwi_options *o;
	struct cwi_engine engine;
	struct cwi_texts texts;
	struct cwe_ids end;    /* where a line does not say */
	struct line *line;
	size_t count, capacity, printed;
};

/* "stop" of a line: token ids, texts of special tokens, and strings that end the text. */
static int read_stops(const struct session *s, const json_t *stop, struct line *l, struct cwb_err *err)
{
	struct cwe_stop_string string[CWE_STOP_STRINGS + 1];
	const struct cwe_tokenizer *t = s->texts.t;
	size_t strings = 0, n = json_array_size(stop);
	int r = 0;
	l->end.id = malloc((n + s->end.count + 1) * sizeof *l->end.id);
	if (l->end.id == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for stops");
	}
	for (size_t i = 0; stop == NULL && i < s->end.count; i++) {
		l->end.id[l->end.count++] = s->end.id[i];
	}
	if (stop != NULL && !json_is_array(stop)) {
		return cwb_err_set(err, CWP_EVALUE, "\"stop\" must be an array of token ids and texts");
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		const json_t *v = json_array_get(stop, i);
		int64_t id = json_is_integer(v) ? json_integer_value(v) : -1;
		if (json_is_string(v) && t != NULL) {
			r = cwe_stop_token(t, json_string_value(v), json_string_length(v), &id, err);
		}
		if (r == 0 && id >= 0 && id <= UINT32_MAX) {
			l->end.id[l->end.count++] = (uint32_t)id;
		} else if (r == 0 && json_is_string(v) && t != NULL) {
			if (strings <= CWE_STOP_STRINGS) { /* one too many is refused below */
				string[strings++] = (struct cwe_stop_string){json_string_value(v), json_string_length(v)};
			}
		} else if (r == 0) {
			r = cwb_err_set(err, CWP_EVALUE, "\"stop\"[%zu] is neither a token id nor a text%s", i,
				json_is_string(v) ? " that a model without a tokenizer could have" : "");
		}
	}
	return r == 0 && t != NULL ? cwe_stop_new(t, string, strings, &l->stop, err) : r;
}

static int token(void *arg, const uint32_t *id, uint64_t count, int *ret_end, struct cwb_err *err)
{
	struct line *l = arg;
	return cwe_stop_seen(l->stop, id, count, ret_end, err);
}

/* Keeps a line's answer, and prints those whose turn it is. */
static int done(void *arg, const uint32_t *id, uint64_t count, struct cwb_err *err)
{
	struct line *l = arg;
	struct session *s = l->session;
	char *text = NULL;
	size_t length = 0;
	int r = l->stop != NULL ? cwe_stop_text(l->stop, id, count, &text, &length, err) : 0;
	if (r == 0) {
		l->answer = json_pack("{s:o,s:o}", "ids", cwi_ids_json(id, count), "text",
			text != NULL ? json_stringn(text, length) : json_null());
		r = l->answer != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for an answer");
	}
	free(text);
	while (s->printed < s->count && s->line[s->printed].answer != NULL) {
		cwi_print(s->line[s->printed].answer);
		s->line[s->printed++].answer = NULL;
	}
	return r;
}

static struct cwe_generation generation_of(struct line *l)
{
	return (struct cwe_generation){.prompt = l->prompt.id, .count = l->prompt.count, .max_new = l->most, .stop = l->end.id,
		.stops = l->end.count, .arg = l, .token = l->stop != NULL ? token : NULL, .done = done};
}

static int read_line(struct session *s, const json_t *json, struct line *l, struct cwb_err *err)
{
	uint32_t context = s->engine.model.arch.context;
	const json_t *most = json_object_get(json, "max_new_tokens");
	json_int_t limit = most == NULL ? (context < MOST_NEW ? context : MOST_NEW)
		: json_is_integer(most) ? json_integer_value(most) : -1;
	int r = cwi_line_ids(json, l->number, &s->texts, &l->prompt, err);
	if (r != 0) {
		return r;
	}
	r = read_stops(s, json_object_get(json, "stop"), l, err);
	if (r == 0 && (limit < 0 || limit > (json_int_t)context)) {
		r = cwb_err_set(err, CWP_EVALUE, "\"max_new_tokens\" must be a whole number from 0 to the model's context of %u", context);
	}
	l->most = (uint64_t)limit;
	const struct cwe_generation what = generation_of(l);
	r = r == 0 ? cwe_generation_check(&s->engine.model, &what, err) : r;
	return r == 0 ? 0 : cwb_err_prefix(err, "standard input:%zu", l->number);
}

static void free_line(struct line *l)
{
	free(l->prompt.id);
	free(l->end.id);
	cwe_stop_free(l->stop);
	json_decref(l->answer);
}

/* All lines, up to the first that cannot be answered. */
static int read_all(struct session *s, struct cwb_err *err)
{
	struct cwi_lines lines = {0};
	json_t *json;
	int r;
	while ((r = cwi_lines_next(&lines, &json, err)) == 1) {
		struct line l = {.number = lines.number};
		if (s->count == s->capacity) {
			size_t capacity = s->capacity > 0 ? 2 * s->capacity : 64;
			struct line *more = realloc(s->line, capacity * sizeof *more);
			s->line = more != NULL ? more : s->line;
			s->capacity = more != NULL ? capacity : s->capacity;
		}
		r = s->count < s->capacity ? read_line(s, json, &l, err) : cwb_err_set(err, -ENOMEM, "no memory for a line");
		json_decref(json);
		if (r != 0) {
			free_line(&l);
			break;
		}
		s->line[s->count++] = l;
	}
	cwi_lines_free(&lines);
	return r;
}

static int answer_all(struct session *s, struct cwb_err *err)
{
	struct cwe_model *model = &s->engine.model;
	struct cwe_generator_size size;
	struct cwe_generator *g = NULL;
	struct cwe_generation *what = calloc(s->count + 1, sizeof *what);
	if (what == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %zu lines", s->count);
	}
	for (size_t i = 0; i < s->count; i++) {
		s->line[i].session = s;
		what[i] = generation_of(&s->line[i]);
	}
	cwe_generator_fit(model, what, s->count, s->o->batch > 0 ? s->o->batch : CWE_GENERATOR_SLOTS,
		s->o->batch > 0 ? UINT64_MAX : CACHES, &size);
	int r = cwe_generator_new(model, &size, s->o->memory, &g, err);
	r = r == 0 ? cwe_generator_run(g, what, s->count, err) : r;
	cwe_generator_free(g);
	free(what);
	return r;
}

int cwi_generate(const struct cwi_options *o)
{
	struct cwb_err err = {0}, late = {0};
	struct session s = {.o = o};
	int r = cwi_engine_open(o, o->operand, &s.engine, &err);
	if (r != 0) {
		return cwi_fail(&err);
	}
	r = cwi_texts_open(s.engine.source, o->chat, 0, &s.texts, &err);
	r = r == 0 ? cwe_end_tokens(s.engine.source, s.texts.t, &s.end, &err) : r;
	r = r == 0 ? read_all(&s, &err) : r;
	/* What can be answered is, also before a line that cannot. */
	int late_r = s.count > 0 ? answer_all(&s, &late) : 0;
	for (size_t i = 0; i < s.count; i++) {
		free_line(&s.line[i]);
	}
	free(s.line);
	free(s.end.id);
	cwi_texts_close(&s.texts);
	cwi_engine_close(&s.engine);
	return late_r != 0 ? cwi_fail(&late) : r != 0 ? cwi_fail(&err) : 0;
}
