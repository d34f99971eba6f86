/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which chat format a model gets: the one that was asked for, else the one whose marks the model's
 * own template has, else the one whose special tokens the tokenizer has. What is not certain is
 * told as a warning. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/nearest.h"
#include "engine/text/chat_format.h"
#include "engine/text/chat_table.h"
#include "engine/text/component.h"

#define FORMATS_MOST 64

static int warn(const struct cwe_chat_question *q, struct cwb_err *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int warn(const struct cwe_chat_question *q, struct cwb_err *err, const char *format, ...)
{
	struct cwb_err line = {0}; /* makes one clean line of whatever a format file says */
	char text[sizeof(line.message)];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)cwb_err_set(&line, CWP_EVALUE, "%s", text);
	if (q->warnings && json_array_append_new(q->warnings, json_string(line.message)) < 0)
		return cwb_err_set(err, -ENOMEM, "no memory for a warning");
	return 0;
}

/* Whether the tokenizer makes one token of this text, wherever it stands. */
static int is_token(const struct cwe_tokenizer *t, const char *text)
{
	struct cwe_ids ids;
	int64_t id = cwe_tokenizer_id(t, text);
	if (id < 0 || cwe_tokenizer_encode(t, text, strlen(text), 0, &ids, NULL) < 0)
		return 0;
	int one = ids.count == 1 && ids.id[0] == (uint32_t)id;
	free(ids.id);
	return one;
}

/* The first text of a list that is no token, or NULL. */
static const char *missing_token(const json_t *list, const struct cwe_tokenizer *t)
{
	for (size_t i = 0; t && i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		if (!is_token(t, text))
			return text;
	}
	return NULL;
}

static size_t count_found(const json_t *list, const char *template)
{
	size_t found = 0;
	for (size_t i = 0; i < json_array_size(list); i++)
		found += strstr(template, json_string_value(json_array_get(list, i))) != NULL;
	return found;
}

/* The marks of the format that fit a template: an item of its list, or NULL. */
static const json_t *find_marks(const struct cwe_chat *c, const char *template)
{
	for (size_t i = 0; template && i < json_array_size(c->templates); i++) {
		const json_t *item = json_array_get(c->templates, i);
		const json_t *has = json_object_get(item, "has");
		if (count_found(has, template) == json_array_size(has) &&
			count_found(json_object_get(item, "lacks"), template) == 0)
			return item;
	}
	return NULL;
}

/* Whether the tokens of the tokenizer are reason enough to take the format. A template that is not
 * known must at least begin a user's message with the same one. */
static int is_guess(const struct cwe_chat *c, const struct cwe_tokenizer *t, const char *template)
{
	if (!c->guess || !t || missing_token(c->tokens, t) || missing_token(c->guess, t))
		return 0;
	for (size_t i = 0; template && i < json_array_size(c->tokens); i++) {
		const char *token = json_string_value(json_array_get(c->tokens, i));
		if (strncmp(c->part[CWE_CHAT_USER].prefix, token, strlen(token)) == 0 &&
			strstr(template, token))
			return 1;
	}
	return !template;
}

enum search { BY_NAME, BY_TEMPLATE, BY_TOKENS };

/* The first built-in format that fits; *ret is NULL when none does. */
static int find_built_in(const struct cwe_chat_question *q, enum search search,
	struct cwe_chat **ret, struct cwb_err *err)
{
	*ret = NULL;
	for (size_t i = 0; cwe_chat_table[i]; i++) {
		struct cwe_chat *c;
		int rc = cwe_chat_load(cwe_chat_table[i], strlen(cwe_chat_table[i]),
			"a chat format of this program", &c, err);
		if (rc < 0)
			return rc;
		if (search == BY_NAME           ? strcmp(c->name, q->asked) == 0
			: search == BY_TEMPLATE ? find_marks(c, q->template) != NULL
						: is_guess(c, q->tokenizer, q->template)) {
			*ret = c;
			return 0;
		}
		cwe_chat_free(c);
	}
	return 0;
}

static int refuse_name(const char *name, struct cwb_err *err)
{
	struct cwe_chat *format[FORMATS_MOST];
	const char *names[FORMATS_MOST];
	char all[512] = "";
	size_t n = 0;
	int rc = 0;
	while (rc == 0 && cwe_chat_table[n] && n < FORMATS_MOST) {
		rc = cwe_chat_load(cwe_chat_table[n], strlen(cwe_chat_table[n]),
			"a chat format of this program", &format[n], err);
		if (rc == 0) {
			names[n] = format[n]->name;
			size_t used = strlen(all);
			snprintf(all + used, sizeof(all) - used, "%s%s", n > 0 ? ", " : "",
				names[n]);
			n++;
		}
	}
	if (rc == 0) {
		const char *near = n > 0 ? cwb_nearest(name, names, n, sizeof(*names)) : NULL;
		if (err && err->code == 0)
			snprintf(err->nearest, sizeof(err->nearest), "%s", near ? near : "");
		rc = cwb_err_set(err, CWP_EUNKNOWN,
			"chat: \"%.60s\" is not a chat format%s%s%s; write auto, none, the path of "
			"a format file (with a '/', or ending in .json), or one of: %s",
			name, near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "",
			all);
	}
	while (n > 0)
		cwe_chat_free(format[--n]);
	return rc;
}

static int is_path(const char *asked)
{
	size_t n = strlen(asked);
	return strchr(asked, '/') || (n > 5 && strcmp(asked + n - 5, ".json") == 0);
}

static int load_file(const char *path, struct cwe_chat **ret, struct cwb_err *err)
{
	char *text;
	size_t length;
	int rc = cwb_file_read(path, CWE_CHAT_FILE_LIMIT, &text, &length, err);
	if (rc < 0)
		return cwb_err_prefix(err, "chat");
	rc = cwe_chat_load(text, length, path, ret, err);
	free(text);
	return rc;
}

/* The format that was asked for, held against what the model's template says. */
static int find_asked(const struct cwe_chat_question *q, struct cwe_chat **ret, struct cwb_err *err)
{
	struct cwe_chat *asked = NULL;
	struct cwe_chat *other = NULL;
	int rc = is_path(q->asked) ? load_file(q->asked, &asked, err)
				   : find_built_in(q, BY_NAME, &asked, err);
	*ret = asked;
	if (rc < 0)
		return rc;
	if (!asked)
		return refuse_name(q->asked, err);
	if (q->template && !find_marks(asked, q->template))
		rc = find_built_in(q, BY_TEMPLATE, &other, err);
	if (other)
		rc = warn(q, err,
			"chat format \"%s\" is asked for, but the model's own chat template has "
			"the marks of \"%s\"",
			asked->name, other->name);
	cwe_chat_free(other);
	return rc;
}

/* The format that the model shows, or none. */
static int find_own(const struct cwe_chat_question *q, struct cwe_chat **ret, struct cwb_err *err)
{
	int rc = find_built_in(q, BY_TEMPLATE, ret, err);
	if (rc == 0 && *ret) {
		const char *text = json_string_value(
			json_object_get(find_marks(*ret, q->template), "warning"));
		return text ? warn(q, err, "chat format \"%s\": %s", (*ret)->name, text) : 0;
	}
	if (rc == 0)
		rc = find_built_in(q, BY_TOKENS, ret, err);
	if (rc < 0)
		return rc;
	const char *why = q->template ? "the model's own chat template is none that is known here"
				      : "the model has no chat template of its own";
	if (*ret)
		return warn(q, err,
			"chat format \"%s\" is assumed from the tokenizer's special tokens, for "
			"%s; say with chat which one is right",
			(*ret)->name, why);
	return warn(q, err,
		"no chat format is assumed: %s, and its tokenizer has the special tokens of none; "
		"say with chat which one is right",
		why);
}

int cwe_chat_find(const struct cwe_chat_question *q, struct cwe_chat **ret, struct cwb_err *err)
{
	struct cwe_chat *found = NULL;
	if (q->asked && strcmp(q->asked, "none") == 0) {
		*ret = NULL;
		return 0;
	}
	int rc = q->asked && strcmp(q->asked, "auto") != 0 ? find_asked(q, &found, err)
							   : find_own(q, &found, err);
	const char *missing = rc == 0 && found ? missing_token(found->tokens, q->tokenizer) : NULL;
	if (missing)
		rc = warn(q, err,
			"chat format \"%s\" writes %s, which is no special token of the model's "
			"tokenizer",
			found->name, missing);
	if (rc < 0) {
		cwe_chat_free(found);
		return rc;
	}
	*ret = found;
	return 0;
}

/* Several templates come as a list of {"name", "template"}. */
int cwe_chat_template(const char *config, size_t length, char **ret, struct cwb_err *err)
{
	json_t *json;
	int rc = cwe_component_config(config, length, &json, err);
	if (rc < 0)
		return rc;
	const json_t *template = json_object_get(json, "chat_template");
	const char *text = json_string_value(template);
	for (size_t i = 0; i < json_array_size(template); i++) {
		const json_t *item = json_array_get(template, i);
		const char *name = json_string_value(json_object_get(item, "name"));
		if (name && strcmp(name, "default") == 0)
			text = json_string_value(json_object_get(item, "template"));
	}
	char *copy = text ? strdup(text) : NULL;
	json_decref(json);
	if (text && !copy)
		return cwb_err_set(err, -ENOMEM, "out of memory for a chat template");
	*ret = copy;
	return 0;
}
