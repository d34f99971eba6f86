/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* JSON lines in and out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

static int render_messages(const json_t *line, size_t number, const struct cwe_chat *chat, char **ret, size_t *ret_length,
	struct cwb_err *err)
{
	const json_t *list = json_object_get(line, "messages");
	size_t n = json_array_size(list);
	if (chat == NULL) {
		return cwb_err_set(err, CWP_EMISSING, "standard input:%zu: the model has no chat format that is known here", number);
	}
	struct cwe_message *m = calloc(n + 1, sizeof *m);
	if (m == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %zu messages", n);
	}
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		const json_t *role = json_object_get(json_array_get(list, i), "role");
		const json_t *content = json_object_get(json_array_get(list, i), "content");
		if (!json_is_string(role) || !json_is_string(content)) {
			r = cwb_err_set(err, CWP_EVALUE, "standard input:%zu: messages[%zu] needs \"role\" and \"content\"", number, i);
		} else {
			m[i] = (struct cwe_message){json_string_value(role), json_string_value(content), json_string_length(content)};
		}
	}
	r = r == 0 ? cwe_chat_render(chat, m, n, json_is_true(json_object_get(line, "add_generation_prompt")), ret, ret_length,
			     err)
		   : r;
	free(m);
	return r;
}

int cwi_line_ids(const json_t *line, size_t number, const struct cwe_tokenizer *t, const struct cwe_chat *chat,
	struct cwe_ids *ret, struct cwb_err *err)
{
	const json_t *text = json_object_get(line, "text");
	if (json_object_get(line, "ids") != NULL) {
		return cwi_ids_read(json_object_get(line, "ids"), "ids", number, &ret->id, &ret->count, err);
	}
	if (json_is_array(json_object_get(line, "messages"))) {
		char *rendered = NULL;
		size_t length = 0;
		int r = render_messages(line, number, chat, &rendered, &length, err);
		r = r == 0 ? cwe_tokenizer_encode(t, rendered, length, 0, ret, err) : r;
		free(rendered);
		return r;
	}
	if (!json_is_string(text)) {
		return cwb_err_set(err, CWP_EMISSING, "standard input:%zu: one of \"text\", \"messages\", \"ids\" is needed", number);
	}
	int special = json_is_true(json_object_get(line, "add_special_tokens"));
	int r = cwe_tokenizer_encode(t, json_string_value(text), json_string_length(text), special, ret, err);
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
