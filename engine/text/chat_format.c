/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reading of a chat format (doc/chat.md): every key is known, every value has its type, and what
 * the keys say together can be rendered. */
#include "engine/text/chat_format.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/nearest.h"
#include "engine/text/component.h"

#define NAME_LIMIT 40
#define LIST_LIMIT 64

enum kind { TEXT, SWITCH, CHOICE, TEXTS, OBJECT, OBJECTS };

struct key {
	const char *name;
	enum kind kind;
	int required;
	size_t offset; /* of the target within struct cwe_chat */
	/* CHOICE */
	const char *const *choices; /* ends with NULL; the first is the default */
	/* OBJECT; OBJECTS are only checked: their offset is that of the array */
	const struct key *keys; /* ends with a NULL name */
};

#define AT(field) offsetof(struct cwe_chat, field)
#define NOWHERE ((size_t)-1)

static const char *const places[] = {"message", "first-user", "last-user", "refused", NULL};
static const char *const system_trims[] = {"none", "content", NULL};
static const char *const user_trims[] = {"none", "content", "turn", NULL};
static const char *const turns[] = {"any", "alternate", NULL};

static const struct key system_keys[] = {
	{"place", CHOICE, 1, AT(place), places, NULL},
	{"prefix", TEXT, 0, AT(part[CWE_CHAT_SYSTEM].prefix), NULL, NULL},
	{"suffix", TEXT, 0, AT(part[CWE_CHAT_SYSTEM].suffix), NULL, NULL},
	{"trim", CHOICE, 0, AT(part[CWE_CHAT_SYSTEM].trim), system_trims, NULL},
	{"lead", TEXT, 0, AT(lead), NULL, NULL},
	{"default", TEXT, 0, AT(default_system), NULL, NULL},
	{"skip-empty", SWITCH, 0, AT(skip_empty), NULL, NULL},
	{0},
};

static const struct key user_keys[] = {
	{"prefix", TEXT, 0, AT(part[CWE_CHAT_USER].prefix), NULL, NULL},
	{"suffix", TEXT, 0, AT(part[CWE_CHAT_USER].suffix), NULL, NULL},
	{"trim", CHOICE, 0, AT(part[CWE_CHAT_USER].trim), user_trims, NULL},
	{0},
};

static const struct key assistant_keys[] = {
	{"prefix", TEXT, 0, AT(part[CWE_CHAT_ASSISTANT].prefix), NULL, NULL},
	{"suffix", TEXT, 0, AT(part[CWE_CHAT_ASSISTANT].suffix), NULL, NULL},
	{"trim", CHOICE, 0, AT(part[CWE_CHAT_ASSISTANT].trim), system_trims, NULL},
	{"last-suffix", TEXT, 0, AT(last_suffix), NULL, NULL},
	{0},
};

static const struct key reasoning_keys[] = {
	{"open", TEXT, 1, AT(open), NULL, NULL},
	{"close", TEXT, 1, AT(close), NULL, NULL},
	{"before", TEXT, 1, AT(before), NULL, NULL},
	{"after", TEXT, 1, AT(after), NULL, NULL},
	{0},
};

static const struct key template_keys[] = {
	{"has", TEXTS, 1, NOWHERE, NULL, NULL},
	{"lacks", TEXTS, 0, NOWHERE, NULL, NULL},
	{"warning", TEXT, 0, NOWHERE, NULL, NULL},
	{0},
};

static const struct key format_keys[] = {
	{"name", TEXT, 1, AT(name), NULL, NULL},
	{"tokens", TEXTS, 0, AT(tokens), NULL, NULL},
	{"guess", TEXTS, 0, AT(guess), NULL, NULL},
	{"template", OBJECTS, 0, AT(templates), NULL, template_keys},
	{"begin", TEXT, 0, AT(begin), NULL, NULL},
	{"system", OBJECT, 1, NOWHERE, NULL, system_keys},
	{"user", OBJECT, 1, NOWHERE, NULL, user_keys},
	{"assistant", OBJECT, 1, NOWHERE, NULL, assistant_keys},
	{"reasoning", OBJECT, 0, NOWHERE, NULL, reasoning_keys},
	{"generation", TEXT, 1, AT(generation), NULL, NULL},
	{"end", TEXT, 0, AT(end), NULL, NULL},
	{"turns", CHOICE, 1, AT(alternate), turns, NULL},
	{0},
};

static int read_object(const json_t *object, const char *place, const struct key *keys,
	struct cwe_chat *c, struct cwb_err *err);

static int check_texts(const json_t *list, const char *place, struct cwb_err *err)
{
	if (!json_is_array(list))
		return cwe_component_refuse(err, CWP_EVALUE, place, "not a list of texts");
	if (json_array_size(list) > LIST_LIMIT)
		return cwe_component_refuse(
			err, CWP_ELIMIT, place, "has more than %d texts", LIST_LIMIT);
	for (size_t i = 0; i < json_array_size(list); i++) {
		if (json_string_length(json_array_get(list, i)) == 0)
			return cwe_component_refuse(err, CWP_EVALUE, place,
				"item %zu is not a text, or is empty", i + 1);
	}
	return 0;
}

static int check_objects(
	const json_t *list, const char *place, const struct key *keys, struct cwb_err *err)
{
	if (!json_is_array(list))
		return cwe_component_refuse(err, CWP_EVALUE, place, "not a list");
	if (json_array_size(list) > LIST_LIMIT)
		return cwe_component_refuse(
			err, CWP_ELIMIT, place, "has more than %d items", LIST_LIMIT);
	for (size_t i = 0; i < json_array_size(list); i++) {
		char item[CWE_PLACE_SIZE];
		cwe_place_item(item, "", place, i);
		int rc = read_object(json_array_get(list, i), item, keys, NULL, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_choice(const json_t *value, const char *place, const char *const *choices, int *ret,
	struct cwb_err *err)
{
	const char *text = json_string_value(value);
	char all[128] = "";
	for (int i = 0; choices[i]; i++) {
		if (text && strcmp(text, choices[i]) == 0) {
			*ret = i;
			return 0;
		}
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i > 0 ? ", " : "",
			choices[i]);
	}
	return cwe_component_refuse(err, text ? CWP_EUNKNOWN : CWP_EVALUE, place,
		"\"%.40s\" is not known; write one of: %s", text ? text : "", all);
}

static int read_value(const struct key *key, const json_t *value, const char *place,
	struct cwe_chat *c, struct cwb_err *err)
{
	void *target = c && key->offset != NOWHERE ? (char *)c + key->offset : NULL;
	int unused;
	int rc = 0;
	switch (key->kind) {
	case TEXT:
		if (!json_is_string(value))
			return cwe_component_refuse(err, CWP_EVALUE, place, "not a text");
		if (target)
			*(const char **)target = json_string_value(value);
		return 0;
	case SWITCH:
		if (!json_is_boolean(value))
			return cwe_component_refuse(
				err, CWP_EVALUE, place, "neither true nor false");
		if (target)
			*(int *)target = json_is_true(value);
		return 0;
	case CHOICE:
		return read_choice(value, place, key->choices, target ? target : &unused, err);
	case OBJECT:
		return read_object(value, place, key->keys, c, err);
	case TEXTS:
		rc = check_texts(value, place, err);
		break;
	case OBJECTS:
		rc = check_objects(value, place, key->keys, err);
		break;
	}
	if (rc == 0 && target)
		*(const json_t **)target = value;
	return rc;
}

static const struct key *find_key(const struct key *keys, const char *name)
{
	while (keys->name && strcmp(keys->name, name) != 0)
		keys++;
	return keys->name ? keys : NULL;
}

static int refuse_key(
	const char *place, const char *name, const struct key *keys, struct cwb_err *err)
{
	char at[CWE_PLACE_SIZE];
	size_t count = 0;
	while (keys[count].name)
		count++;
	const char *near = cwb_nearest(name, &keys[0].name, count, sizeof(*keys));
	cwe_place(at, place, name);
	return cwe_component_refuse(err, CWP_EUNKNOWN, at, "\"%.40s\" is not a key here%s%s%s",
		name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* Reads the keys of an object into *c. */
static int read_object(const json_t *object, const char *place, const struct key *keys,
	struct cwe_chat *c, struct cwb_err *err)
{
	if (!json_is_object(object))
		return cwe_component_refuse(err, CWP_EVALUE, place, "not an object");
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)object, name, value)
	{
		char at[CWE_PLACE_SIZE];
		const struct key *key = find_key(keys, name);
		cwe_place(at, place, name);
		int rc = key ? read_value(key, value, at, c, err)
			     : refuse_key(place, name, keys, err);
		if (rc < 0)
			return rc;
	}
	for (; keys->name; keys++) {
		if (keys->required && !json_object_get(object, keys->name))
			return cwe_component_refuse(
				err, CWP_EMISSING, place, "has no \"%s\"", keys->name);
	}
	return 0;
}

static int check_name(const char *name, struct cwb_err *err)
{
	size_t n = strlen(name);
	if (n == 0 || n > NAME_LIMIT || name[0] < 'a' || name[0] > 'z' ||
		strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != n ||
		strcmp(name, "auto") == 0 || strcmp(name, "none") == 0)
		return cwe_component_refuse(err, CWP_EVALUE, "name",
			"\"%.60s\" is not a name; write at most %d of a-z, 0-9, '.' and '-', "
			"a letter first, and neither auto nor none",
			name, NAME_LIMIT);
	return 0;
}

/* What a system text may have where it goes. */
static int check_system(const struct cwe_chat *c, struct cwb_err *err)
{
	const json_t *system = json_object_get(c->json, "system");
	static const struct {
		const char *key;
		int places; /* bits */
	} rules[] = {
		{"prefix", ~(1 << CWE_CHAT_REFUSED)},
		{"suffix", ~(1 << CWE_CHAT_REFUSED)},
		{"trim", ~(1 << CWE_CHAT_REFUSED)},
		{"lead", 1 << CWE_CHAT_MESSAGE},
		{"skip-empty", 1 << CWE_CHAT_MESSAGE},
		{"default", 1 << CWE_CHAT_MESSAGE | 1 << CWE_CHAT_FIRST_USER},
	};
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		char at[CWE_PLACE_SIZE];
		if (!json_object_get(system, rules[i].key) || rules[i].places & 1 << c->place)
			continue;
		cwe_place(at, "system", rules[i].key);
		return cwe_component_refuse(
			err, CWP_EVALUE, at, "means nothing with place \"%s\"", places[c->place]);
	}
	return 0;
}

/* The generation prompt is how an answer begins: else a model would be asked for something else
 * than what conversations have. */
static int check_generation(const struct cwe_chat *c, struct cwb_err *err)
{
	const char *const opening[] = {c->part[CWE_CHAT_ASSISTANT].prefix, c->open ? c->before : "",
		c->open ? c->after : ""};
	const char *rest = c->generation;
	for (size_t i = 0; i < 3; i++) {
		size_t n = strlen(opening[i]);
		if (strlen(rest) <= n) {
			if (strncmp(opening[i], rest, strlen(rest)) == 0)
				return 0;
			break;
		}
		if (strncmp(rest, opening[i], n) != 0)
			break;
		rest += n;
	}
	return cwe_component_refuse(err, CWP_EVALUE, "generation",
		"is not what an assistant's message begins with (assistant.prefix%s)",
		c->open ? ", reasoning.before and reasoning.after" : "");
}

static int check_format(struct cwe_chat *c, struct cwb_err *err)
{
	int rc = check_name(c->name, err);
	if (rc == 0)
		rc = check_system(c, err);
	if (rc == 0 && c->open && (!*c->open || !*c->close))
		rc = cwe_component_refuse(
			err, CWP_EVALUE, "reasoning", "\"open\" and \"close\" may not be empty");
	if (rc == 0 && c->guess && json_array_size(c->guess) + json_array_size(c->tokens) == 0)
		rc = cwe_component_refuse(err, CWP_EVALUE, "guess",
			"there are no tokens to go by, neither here nor in \"tokens\"");
	for (size_t i = 0; rc == 0 && i < json_array_size(c->templates); i++) {
		const json_t *item = json_array_get(c->templates, i);
		char at[CWE_PLACE_SIZE];
		cwe_place_item(at, "", "template", i);
		if (json_array_size(json_object_get(item, "has")) == 0)
			rc = cwe_component_refuse(err, CWP_EVALUE, at,
				"\"has\" is empty: every template would be this format's");
	}
	return rc == 0 ? check_generation(c, err) : rc;
}

static void fill(struct cwe_chat *c)
{
	const char **optional[] = {&c->begin, &c->end, &c->lead, &c->part[CWE_CHAT_SYSTEM].prefix,
		&c->part[CWE_CHAT_SYSTEM].suffix, &c->part[CWE_CHAT_USER].prefix,
		&c->part[CWE_CHAT_USER].suffix, &c->part[CWE_CHAT_ASSISTANT].prefix,
		&c->part[CWE_CHAT_ASSISTANT].suffix};
	for (size_t i = 0; i < sizeof(optional) / sizeof(*optional); i++) {
		if (!*optional[i])
			*optional[i] = "";
	}
	if (!c->last_suffix)
		c->last_suffix = c->part[CWE_CHAT_ASSISTANT].suffix;
}

int cwe_chat_load(const char *text, size_t length, const char *where, struct cwe_chat **ret,
	struct cwb_err *err)
{
	struct cwb_err own = {0};
	struct cwe_chat *c = calloc(1, sizeof(*c));
	if (!c)
		return cwb_err_set(err, -ENOMEM, "out of memory");
	int rc = cwb_json_load(text, length, CWE_CHAT_FILE_LIMIT, CWB_JSON_DEPTH, &c->json, &own);
	if (rc == 0)
		rc = read_object(c->json, "", format_keys, c, &own);
	if (rc == 0) {
		fill(c);
		rc = check_format(c, &own);
	}
	if (rc < 0) {
		cwe_chat_free(c);
		/* Places in err are those of the job; the message has the one in this file. */
		return cwb_err_set(err, rc, "%s: %s", where, own.message);
	}
	*ret = c;
	return 0;
}
