/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Encodes and decodes with any number of tokenizers, for comparing with the reference. One JSON
 * object a line on standard input, one answer a line: {"open": PATH of a tokenizer.json} -> {},
 * {"text", "special"} -> {"ids"}, {"ids", "skip"} ->
 * {"text"}; or {"error"}. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/text/tokenizer.h"

static int open_tokenizer(const char *path, struct cwe_tokenizer **t, struct cwb_err *err)
{
	char *json;
	size_t length;
	cwe_tokenizer_free(*t);
	*t = NULL;
	int rc = cwb_file_read(path, (size_t)1 << 30, &json, &length, err);
	if (rc < 0)
		return rc;
	rc = cwe_tokenizer_new(json, length, NULL, 0, t, err);
	free(json);
	return rc;
}

static json_t *encode(const struct cwe_tokenizer *t, const json_t *line, struct cwb_err *err)
{
	const json_t *text = json_object_get(line, "text");
	struct cwe_ids ids = {0};
	json_t *list = json_array();
	if (cwe_tokenizer_encode(t, json_string_value(text), json_string_length(text),
		    json_is_true(json_object_get(line, "special")), &ids, err) < 0) {
		json_decref(list);
		return NULL;
	}
	for (size_t i = 0; i < ids.count; i++)
		json_array_append_new(list, json_integer(ids.id[i]));
	free(ids.id);
	return json_pack("{s:o}", "ids", list);
}

static json_t *decode(const struct cwe_tokenizer *t, const json_t *line, struct cwb_err *err)
{
	const json_t *list = json_object_get(line, "ids");
	size_t n = json_array_size(list);
	uint32_t *id = calloc(n + 1, sizeof(*id));
	char *text = NULL;
	size_t length = 0;
	for (size_t i = 0; id && i < n; i++)
		id[i] = (uint32_t)json_integer_value(json_array_get(list, i));
	int rc = id ? cwe_tokenizer_decode(t, id, n, json_is_true(json_object_get(line, "skip")),
			      &text, &length, err)
		    : cwb_err_set(err, CWP_ELIMIT, "out of memory");
	json_t *answer = rc < 0 ? NULL : json_pack("{s:o}", "text", json_stringn(text, length));
	free(id);
	free(text);
	return answer;
}

static json_t *answer_line(const json_t *line, struct cwe_tokenizer **t)
{
	struct cwb_err err = {0};
	const json_t *path = json_object_get(line, "open");
	json_t *answer = NULL;
	if (path)
		answer =
			open_tokenizer(json_string_value(path), t, &err) < 0 ? NULL : json_object();
	else if (!*t)
		(void)cwb_err_set(&err, CWP_EMISSING, "no tokenizer is open");
	else
		answer = json_object_get(line, "text") ? encode(*t, line, &err)
						       : decode(*t, line, &err);
	return answer ? answer : json_pack("{s:s}", "error", err.message);
}

int main(void)
{
	struct cwe_tokenizer *t = NULL;
	char *text = NULL;
	size_t room = 0;
	ssize_t n;
	while ((n = getline(&text, &room, stdin)) > 0) {
		json_t *line = json_loadb(text, (size_t)n, JSON_ALLOW_NUL, NULL);
		json_t *answer = answer_line(line, &t);
		if (!line || !answer || json_dumpf(answer, stdout, JSON_COMPACT) < 0)
			return 1;
		putchar('\n');
		json_decref(answer);
		json_decref(line);
	}
	free(text);
	cwe_tokenizer_free(t);
	return 0;
}
