/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* JSON lines in and out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/beside.h"
#include "inspect/inspect.h"

#define LINE_LIMIT (64u << 20)

int cwi_lines_next(struct cwi_lines *l, json_t **ret, struct cwb_err *err)
{
	for (;;) {
		errno = 0;
		ssize_t n = getline(&l->text, &l->capacity, stdin);
		if (n < 0) {
			return errno != 0 ? cwb_err_errno(err, "standard input") : 0;
		}
		l->number++;
		if (n > (ssize_t)LINE_LIMIT) {
			return cwb_err_set(err, CWP_ELIMIT, "standard input:%zu: the line is longer than %u bytes", l->number, LINE_LIMIT);
		}
		if (n == 1 && l->text[0] == '\n') {
			continue;
		}
		json_error_t at;
		/* Texts may hold NUL: they are taken with their length. */
		json_t *line = json_loadb(l->text, (size_t)n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &at);
		if (!json_is_object(line)) {
			json_decref(line);
			return cwb_err_set(err, CWP_EFORMAT, "standard input:%zu: not a JSON object: %s", l->number,
				line == NULL ? at.text : "another value");
		}
		*ret = line;
		return 1;
	}
}

void cwi_lines_free(struct cwi_lines *l)
{
	free(l->text);
	memset(l, 0, sizeof *l);
}

int cwi_ids_read(const json_t *array, const char *field, size_t line, uint32_t **ret, size_t *ret_count, struct cwb_err *err)
{
	size_t n = json_array_size(array);
	if (!json_is_array(array)) {
		return cwb_err_set(err, CWP_EVALUE, "standard input:%zu: \"%s\" must be an array of token ids", line, field);
	}
	uint32_t *id = malloc((n + 1) * sizeof *id);
	if (id == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %zu ids", n);
	}
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(array, i);
		if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX) {
			free(id);
			return cwb_err_set(err, CWP_EVALUE, "standard input:%zu: \"%s\"[%zu] is no token id", line, field, i);
		}
		id[i] = (uint32_t)json_integer_value(v);
	}
	*ret = id;
	*ret_count = n;
	return 0;
}

json_t *cwi_ids_json(const uint32_t *id, size_t count)
{
	json_t *a = json_array();
	for (size_t i = 0; i < count; i++) {
		(void)json_array_append_new(a, json_integer(id[i]));
	}
	return a;
}

int cwi_texts_open(struct cwe_source *source, const char *chat, int needs_tokenizer, struct cwi_texts *ret,
	struct cwb_err *err)
{
	struct cwb_err own = {0};
	struct cwi_texts t = {.warnings = json_array()};
	int r = t.warnings != NULL ? cwe_tokenizer_beside(source, &t.t, &own) : cwb_err_set(&own, -ENOMEM, "no memory");
	if (r == CWP_EMISSING && !needs_tokenizer) {
		cwb_err_clear(&own);
		r = 0;
	}
	const struct cwe_chat_question q = {.asked = chat, .tokenizer = t.t, .warnings = t.warnings};
	if (r == 0 && (t.t != NULL || chat != NULL)) {
		r = cwe_chat_beside(source, &q, &t.chat, &own);
	}
	if (r != 0) {
		cwi_texts_close(&t);
		return (err != NULL ? (*err = own) : own).code;
	}
	*ret = t;
	return 0;
}

void cwi_texts_close(struct cwi_texts *texts)
{
	cwe_chat_free(texts->chat);
	cwe_tokenizer_free(texts->t);
	json_decref(texts->warnings);
	*texts = (struct cwi_texts){0};
}

static void print_warnings(struct cwi_texts *texts)
{
	size_t i;
	json_t *text;
	json_array_foreach (texts->warnings, i, text) {
		(void)fprintf(stderr, "cwp-inspect: warning: %s\n", json_string_value(text));
	}
	(void)json_array_clear(texts->warnings);
}

static int read_messages(const json_t *list, size_t number, struct cwe_message *ret, struct cwb_err *err)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *role = json_object_get(json_array_get(list, i), "role");
		const json_t *content = json_object_get(json_array_get(list, i), "content");
		if (!json_is_string(role) || !json_is_string(content)) {
			return cwb_err_set(err, CWP_EVALUE, "standard input:%zu: messages[%zu] needs \"role\" and \"content\"", number, i);
		}
		ret[i] = (struct cwe_message){json_string_value(role), json_string_value(content), json_string_length(content)};
	}
	return 0;
}

static int render_messages(const json_t *line, size_t number, struct cwi_texts *texts, char **ret, size_t *ret_length,
	struct cwb_err *err)
{
	const json_t *list = json_object_get(line, "messages");
	size_t n = json_array_size(list);
	print_warnings(texts);
	if (texts->chat == NULL) {
		return cwb_err_set(err, CWP_EMISSING, "standard input:%zu: there is no chat format for \"messages\"; name one with "
			"--chat, or the path of a format file", number);
	}
	struct cwe_message *m = calloc(n + 1, sizeof *m);
	if (m == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %zu messages", n);
	}
	int r = read_messages(list, number, m, err);
	int generation = json_is_true(json_object_get(line, "add_generation_prompt"));
	if (r == 0 && (r = cwe_chat_render(texts->chat, m, n, generation, ret, ret_length, err)) != 0) {
		r = cwb_err_prefix(err, "standard input:%zu", number);
	}
	free(m);
	return r;
}

int cwi_line_ids(const json_t *line, size_t number, struct cwi_texts *texts, struct cwe_ids *ret, struct cwb_err *err)
{
	const json_t *text = json_object_get(line, "text");
	if (json_object_get(line, "ids") != NULL) {
		return cwi_ids_read(json_object_get(line, "ids"), "ids", number, &ret->id, &ret->count, err);
	}
	if (texts->t == NULL) {
		return cwb_err_set(err, CWP_EMISSING, "standard input:%zu: the model has no tokenizer; give \"ids\"", number);
	}
	if (json_is_array(json_object_get(line, "messages"))) {
		char *rendered = NULL;
		size_t length = 0;
		int r = render_messages(line, number, texts, &rendered, &length, err);
		if (r == 0 && (r = cwe_tokenizer_encode(texts->t, rendered, length, 0, ret, err)) != 0) {
			r = cwb_err_prefix(err, "standard input:%zu", number);
		}
		free(rendered);
		return r;
	}
	if (!json_is_string(text)) {
		return cwb_err_set(err, CWP_EMISSING, "standard input:%zu: one of \"text\", \"messages\", \"ids\" is needed", number);
	}
	int special = json_is_true(json_object_get(line, "add_special_tokens"));
	int r = cwe_tokenizer_encode(texts->t, json_string_value(text), json_string_length(text), special, ret, err);
	return r == 0 ? 0 : cwb_err_prefix(err, "standard input:%zu", number);
}

void cwi_print(json_t *object)
{
	(void)json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_PRESERVE_ORDER);
	(void)fputc('\n', stdout);
	json_decref(object);
}

int cwi_fail(const struct cwb_err *err)
{
	int unsaid = err->nearest[0] != '\0' && strstr(err->message, err->nearest) == NULL;
	(void)fprintf(stderr, "cwp-inspect: %s%s%s%s\n", err->message, unsaid ? " (nearest: " : "", unsaid ? err->nearest : "",
		unsaid ? ")" : "");
	return cwb_err_exit(err->code);
}
