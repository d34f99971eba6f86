/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The small files of a checkpoint: config.json, index, tokenizer and generation files. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "engine/format/shards.h"

void cwe_texts_begin(struct cwe_texts *t, int folder)
{
	*t = (struct cwe_texts){.folder = folder};
}

int cwe_texts_add(struct cwe_texts *t, const char *name, const void *data, size_t length, struct cwb_err *err)
{
	struct cwb_file_temp *temp;
	int rc;

	t->bytes += length;
	if (t->folder < 0)
		return 0;
	if (t->count == CWE_TEXTS_MAX)
		return cwb_err_set(err, CWP_ELIMIT, "%s: more than %d files", name, CWE_TEXTS_MAX);
	temp = &t->temp[t->count];
	rc = cwb_file_temp_open(t->folder, name, 0666, temp, err);
	if (rc)
		return rc;
	t->count++;
	return cwb_file_write(temp->fd, data, length, name, err);
}

/* The shortest text whose numbers read back as the same ones. */
static char *dump(const json_t *json)
{
	size_t digits;

	for (digits = 15; digits < 17; digits++) {
		char *text = cwb_json_text(json, JSON_INDENT(2) | JSON_REAL_PRECISION(digits), NULL);
		json_t *back = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
		int same = back && json_equal(back, json);

		json_decref(back);
		if (same)
			return text;
		free(text);
	}
	return cwb_json_text(json, JSON_INDENT(2) | JSON_REAL_PRECISION(17), NULL);
}

int cwe_texts_add_json(struct cwe_texts *t, const char *name, const json_t *json, struct cwb_err *err)
{
	char *text = dump(json);
	size_t length = text ? strlen(text) : 0;
	int rc;

	if (!text)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", name);
	text[length] = '\n'; /* in place of the NUL: the length is known */
	rc = cwe_texts_add(t, name, text, length + 1, err);
	free(text);
	return rc;
}

int cwe_texts_add_source(struct cwe_texts *t, struct cwe_source *source, struct cwb_err *err)
{
	static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
		"chat_template.jinja", "generation_config.json"};
	size_t i;

	for (i = 0; i < sizeof names / sizeof *names; i++) {
		struct cwb_err local = {0};
		char *text = NULL;
		size_t length = 0;
		int rc = cwe_source_text(source, names[i], &text, &length, &local);

		if (rc == CWP_EMISSING)
			continue;
		if (rc)
			return cwb_err_set(err, rc, "%s", local.message);
		rc = cwe_texts_add(t, names[i], text, length, err);
		free(text);
		if (rc)
			return rc;
	}
	return 0;
}

int cwe_texts_commit(struct cwe_texts *t, struct cwb_err *err)
{
	size_t i;
	int rc = 0;

	for (i = 0; i < t->count && !rc; i++)
		rc = cwb_file_temp_commit(&t->temp[i], err);
	if (rc)
		cwe_texts_remove(t);
	return rc;
}

void cwe_texts_remove(struct cwe_texts *t)
{
	size_t i;

	for (i = 0; i < t->count; i++)
		if (t->temp[i].fd < 0)
			(void)unlinkat(t->folder, t->temp[i].name, 0);
}

void cwe_texts_abort(struct cwe_texts *t)
{
	size_t i;

	for (i = 0; i < t->count; i++)
		cwb_file_temp_abort(&t->temp[i]);
}
