/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Chat formats. A data file of conf/chat has: name; tokens, the special tokens that a tokenizer
 * must have; begin, in front of the first message; prefix and suffix of each role; generation, what
 * invites an answer; trim, whether white space around a content is dropped; default_system, texts
 * that some models put into a system message of their own when the conversation begins without one:
 * the first that the model's own template names is used. */
#include "engine/text/chat.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/text/chat_table.h"
#include "engine/text/classes.h"
#include "engine/text/component.h"
#include "engine/text/utf8.h"

#define FILE_LIMIT 65536
#define ROLES 3

static const char *const role_names[ROLES] = {"system", "user", "assistant"};

/* Strings are those of json. */
struct cwe_chat {
	json_t *json;
	const char *name, *begin, *generation;
	const char *prefix[ROLES], *suffix[ROLES];
	const char *system; /* default text, or NULL */
	int trim;
};

static int read_format(const char *text, struct cwe_chat *c, struct cwb_err *err)
{
	int rc = cwb_json_load(text, strlen(text), FILE_LIMIT, CWB_JSON_DEPTH, &c->json, err);
	if (rc == 0)
		rc = cwb_json_get_string(c->json, "name", CWB_JSON_REQUIRED, &c->name, err);
	if (rc == 0)
		rc = cwb_json_get_string(c->json, "begin", CWB_JSON_REQUIRED, &c->begin, err);
	if (rc == 0)
		rc = cwb_json_get_string(
			c->json, "generation", CWB_JSON_REQUIRED, &c->generation, err);
	if (rc == 0)
		rc = cwb_json_get_bool(c->json, "trim", CWB_JSON_REQUIRED, &c->trim, err);
	for (size_t i = 0; i < ROLES && rc == 0; i++) {
		json_t *role;
		rc = cwb_json_get_object(c->json, role_names[i], CWB_JSON_REQUIRED, &role, err);
		if (rc == 0)
			rc = cwb_json_get_string(
				role, "prefix", CWB_JSON_REQUIRED, &c->prefix[i], err);
		if (rc == 0)
			rc = cwb_json_get_string(
				role, "suffix", CWB_JSON_REQUIRED, &c->suffix[i], err);
	}
	return rc;
}

/* The model's own template, or NULL. Several of them come as a list of {"name", "template"}. */
static const char *template_text(const json_t *config)
{
	const json_t *template = json_object_get(config, "chat_template");
	if (json_is_string(template))
		return json_string_value(template);
	for (size_t i = 0; i < json_array_size(template); i++) {
		const json_t *item = json_array_get(template, i);
		const char *name = json_string_value(json_object_get(item, "name"));
		if (name && strcmp(name, "default") == 0)
			return json_string_value(json_object_get(item, "template"));
	}
	return NULL;
}

/* Whether the tokenizer has every token of the format. Where the model has a template, that must
 * use the first special token of a message too: some vocabularies hold the tokens of several
 * formats. */
static int fits(const struct cwe_chat *c, const struct cwe_tokenizer *t, const char *template)
{
	const json_t *tokens = json_object_get(c->json, "tokens");
	size_t n = json_array_size(tokens);
	int named = 0;
	for (size_t i = 0; i < n; i++) {
		const char *token = json_string_value(json_array_get(tokens, i));
		if (!token || cwe_tokenizer_id(t, token) < 0)
			return 0;
		named |= template && strncmp(c->prefix[1], token, strlen(token)) == 0 &&
			 strstr(template, token);
	}
	return n > 0 && (!template || named);
}

static void choose_system(struct cwe_chat *c, const char *template)
{
	const json_t *texts = json_object_get(c->json, "default_system");
	for (size_t i = 0; template && !c->system && i < json_array_size(texts); i++) {
		const char *text = json_string_value(json_array_get(texts, i));
		if (text && strstr(template, text))
			c->system = text;
	}
}

int cwe_chat_find(const struct cwe_tokenizer *t, const char *tokenizer_config, size_t length,
	struct cwe_chat **ret, struct cwb_err *err)
{
	json_t *config = NULL;
	struct cwe_chat *found = NULL;
	int rc =
		tokenizer_config ? cwe_component_config(tokenizer_config, length, &config, err) : 0;
	const char *template = template_text(config);
	for (size_t i = 0; rc == 0 && !found && cwe_chat_table[i]; i++) {
		struct cwe_chat *c = calloc(1, sizeof(*c));
		rc = c ? read_format(cwe_chat_table[i], c, err)
		       : cwb_err_set(err, -ENOMEM, "out of memory");
		if (rc == 0 && fits(c, t, template))
			found = c;
		else
			cwe_chat_free(c);
	}
	if (found)
		choose_system(found, template);
	json_decref(config);
	if (rc == 0)
		*ret = found;
	return rc;
}

void cwe_chat_free(struct cwe_chat *chat)
{
	if (!chat)
		return;
	json_decref(chat->json);
	free(chat);
}

const char *cwe_chat_name(const struct cwe_chat *chat)
{
	return chat->name;
}

int cwe_chat_trims(const struct cwe_chat *chat)
{
	return chat->trim;
}

/* White space as Python's strip() has it: White_Space and the four separators of ASCII. */
static int is_space(const struct cwe_class *space, uint32_t point)
{
	return cwe_class_has(space, point) || (point >= 0x1C && point <= 0x1F);
}

void cwe_chat_trim(const char **text, size_t *length)
{
	const struct cwe_class *space = cwe_class_find("s", 1);
	uint32_t point;
	size_t n;
	while ((n = cwe_utf8_next(*text, *length, &point)) > 0 && is_space(space, point)) {
		*text += n;
		*length -= n;
	}
	while (*length > 0) {
		size_t start = cwe_utf8_before(*text, *length);
		if (cwe_utf8_next(*text + start, *length - start, &point) == 0 ||
			!is_space(space, point))
			break;
		*length = start;
	}
}

struct text {
	char *data;
	size_t length, room;
	int failed;
};

static void put(struct text *t, const char *more, size_t length)
{
	if (t->failed || t->room - t->length <= length) {
		size_t room;
		char *data = NULL;
		if (!t->failed && !__builtin_add_overflow(2 * t->room + 256, length, &room))
			data = realloc(t->data, room);
		if (!data) {
			t->failed = 1;
			return;
		}
		t->data = data;
		t->room = room;
	}
	if (length > 0)
		memcpy(t->data + t->length, more, length);
	t->length += length;
	t->data[t->length] = '\0';
}

static void put_message(
	struct text *t, const struct cwe_chat *c, size_t role, const char *content, size_t length)
{
	if (c->trim)
		cwe_chat_trim(&content, &length);
	put(t, c->prefix[role], strlen(c->prefix[role]));
	put(t, content, length);
	put(t, c->suffix[role], strlen(c->suffix[role]));
}

static int role_of(const struct cwe_message *m, size_t number, size_t *ret, struct cwb_err *err)
{
	for (size_t i = 0; i < ROLES; i++) {
		if (strcmp(m->role, role_names[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	return cwb_err_set(err, CWP_EUNKNOWN,
		"message %zu: role \"%.40s\" is neither system, user nor assistant", number + 1,
		m->role);
}

int cwe_chat_render(const struct cwe_chat *chat, const struct cwe_message *message, size_t count,
	int generation_prompt, char **ret_text, size_t *ret_length, struct cwb_err *err)
{
	struct text t = {0};
	int rc = 0;
	if (count == 0)
		return cwb_err_set(err, CWP_EMISSING, "a conversation without messages");
	put(&t, chat->begin, strlen(chat->begin));
	if (chat->system && strcmp(message[0].role, "system") != 0)
		put_message(&t, chat, 0, chat->system, strlen(chat->system));
	for (size_t i = 0; i < count && rc == 0; i++) {
		size_t role = 0;
		rc = role_of(&message[i], i, &role, err);
		if (rc == 0)
			put_message(&t, chat, role, message[i].content, message[i].length);
	}
	if (generation_prompt)
		put(&t, chat->generation, strlen(chat->generation));
	if (rc == 0 && t.failed)
		rc = cwb_err_set(
			err, -ENOMEM, "out of memory for a conversation of %zu messages", count);
	if (rc < 0) {
		free(t.data);
		return rc;
	}
	*ret_text = t.data;
	*ret_length = t.length;
	return 0;
}
