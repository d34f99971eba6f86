/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Parser of interface text; the grammar is that of varlink.org/Interface-Definition. */
#include "wire/idl.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TYPE_DEPTH_MAX 16

struct parser {
	const char *at;
	int line, column;
	int depth;
	struct cwb_err *err;
};

static int fail(struct parser *p, const char *expected)
{
	int rc = cwb_err_set(p->err, CWP_EFORMAT, "interface text, line %d, column %d: expected %s",
		p->line, p->column, expected);

	if (p->err != NULL) {
		p->err->line = p->line;
		p->err->column = p->column;
	}
	return rc;
}

static int no_memory(struct parser *p)
{
	return cwb_err_set(p->err, -ENOMEM, "no memory for an interface");
}

static void step(struct parser *p)
{
	if (*p->at == '\n') {
		p->line++;
		p->column = 0;
	}
	p->at++;
	p->column++;
}

static void skip_space(struct parser *p)
{
	while (*p->at != '\0' && (isspace((unsigned char)*p->at) || *p->at == '#')) {
		if (*p->at == '#') {
			while (*p->at != '\0' && *p->at != '\n') {
				step(p);
			}
		} else {
			step(p);
		}
	}
}

static int accept(struct parser *p, char c)
{
	skip_space(p);
	if (*p->at != c) {
		return 0;
	}
	step(p);
	return 1;
}

static int expect(struct parser *p, char c)
{
	char what[] = {'\'', c, '\'', '\0'};

	return accept(p, c) ? 0 : fail(p, what);
}

static int is_word(char c, int dots)
{
	return isalnum((unsigned char)c) || c == '_' || (dots && (c == '.' || c == '-'));
}

static int take_word(struct parser *p, int dots, char **ret)
{
	const char *start;
	char *word;

	skip_space(p);
	start = p->at;
	if (!isalpha((unsigned char)*start)) {
		return fail(p, "a name");
	}
	while (is_word(*p->at, dots)) {
		step(p);
	}
	word = strndup(start, (size_t)(p->at - start));
	if (word == NULL) {
		return no_memory(p);
	}
	*ret = word;
	return 0;
}

static void type_free(struct cww_type *type)
{
	size_t i;

	if (type == NULL) {
		return;
	}
	for (i = 0; i < type->n_fields; i++) {
		free(type->fields[i].name);
		type_free(type->fields[i].type);
	}
	free(type->fields);
	type_free(type->of);
	free(type->name);
	free(type);
}

static struct cww_field *add_field(struct cww_type *type)
{
	struct cww_field *fields = reallocarray(type->fields, type->n_fields + 1, sizeof *fields);
	struct cww_field *field;

	if (fields == NULL) {
		return NULL;
	}
	type->fields = fields;
	field = &fields[type->n_fields++];
	memset(field, 0, sizeof *field);
	return field;
}

static int parse_type(struct parser *p, struct cww_type **ret);

static int has_field(const struct cww_type *type, size_t n, const char *name)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (strcmp(type->fields[i].name, name) == 0) {
			return 1;
		}
	}
	return 0;
}

/* After the opening bracket: "a: T, b: T)" is a struct, "a, b)" an enum. "()" is an empty struct.
 */
static int parse_fields(struct parser *p, struct cww_type *type)
{
	int rc;

	type->kind = CWW_STRUCT;
	if (accept(p, ')')) {
		return 0;
	}
	do {
		struct cww_field *field = add_field(type);

		rc = field == NULL ? no_memory(p) : take_word(p, 0, &field->name);
		if (rc < 0) {
			return rc;
		}
		if (has_field(type, type->n_fields - 1, field->name)) {
			return fail(p, "a name that is not there yet");
		}
		if (type->n_fields == 1) {
			skip_space(p);
			type->kind = *p->at == ':' ? CWW_STRUCT : CWW_ENUM;
		}
		if (type->kind == CWW_STRUCT) {
			rc = expect(p, ':');
			if (rc == 0) {
				rc = parse_type(p, &field->type);
			}
			if (rc < 0) {
				return rc;
			}
		}
	} while (accept(p, ','));
	return expect(p, ')');
}

static int parse_word_type(struct parser *p, struct cww_type *type)
{
	static const struct {
		const char *name;
		enum cww_kind kind;
	} basic[] = {{"bool", CWW_BOOL}, {"int", CWW_INT}, {"float", CWW_FLOAT},
		{"string", CWW_STRING}, {"object", CWW_OBJECT}};
	size_t i;
	int rc = take_word(p, 0, &type->name);

	if (rc < 0) {
		return rc;
	}
	for (i = 0; i < sizeof basic / sizeof basic[0]; i++) {
		if (strcmp(type->name, basic[i].name) == 0) {
			type->kind = basic[i].kind;
			return 0;
		}
	}
	if (!isupper((unsigned char)type->name[0])) {
		return fail(p, "bool, int, float, string, object or the name of a type");
	}
	type->kind = CWW_NAMED;
	return 0;
}

static int parse_map(struct parser *p, struct cww_type *type)
{
	char *key = NULL;
	int rc;

	if (accept(p, ']')) {
		type->kind = CWW_ARRAY;
		return parse_type(p, &type->of);
	}
	rc = take_word(p, 0, &key);
	if (rc == 0 && strcmp(key, "string") != 0) {
		rc = fail(p, "[string]");
	}
	free(key);
	if (rc == 0) {
		rc = expect(p, ']');
	}
	if (rc < 0) {
		return rc;
	}
	type->kind = CWW_MAP;
	return parse_type(p, &type->of);
}

static int parse_type(struct parser *p, struct cww_type **ret)
{
	struct cww_type *type;
	int rc;

	if (++p->depth > TYPE_DEPTH_MAX) {
		return fail(p, "types nested less deeply");
	}
	type = calloc(1, sizeof *type);
	if (type == NULL) {
		return no_memory(p);
	}
	if (accept(p, '?')) {
		type->kind = CWW_MAYBE;
		rc = parse_type(p, &type->of);
	} else if (accept(p, '[')) {
		rc = parse_map(p, type);
	} else if (accept(p, '(')) {
		rc = parse_fields(p, type);
	} else {
		rc = parse_word_type(p, type);
	}
	p->depth--;
	if (rc < 0) {
		type_free(type);
		return rc;
	}
	*ret = type;
	return 0;
}

static int parse_struct(struct parser *p, struct cww_type **ret)
{
	int rc;

	skip_space(p);
	if (*p->at != '(') {
		return fail(p, "'('");
	}
	rc = parse_type(p, ret);
	if (rc == 0 && (*ret)->kind != CWW_STRUCT) {
		return fail(p, "fields with types");
	}
	return rc;
}

static int parse_body(struct parser *p, const char *keyword, struct cww_member *member)
{
	int rc;

	if (strcmp(keyword, "type") == 0) {
		member->kind = CWW_TYPE;
		return parse_type(p, &member->in);
	}
	if (strcmp(keyword, "error") == 0) {
		member->kind = CWW_ERROR;
		return parse_struct(p, &member->in);
	}
	if (strcmp(keyword, "method") != 0) {
		return fail(p, "\"type\", \"method\" or \"error\"");
	}
	member->kind = CWW_METHOD;
	rc = parse_struct(p, &member->in);
	if (rc == 0) {
		rc = expect(p, '-');
	}
	if (rc == 0) {
		rc = expect(p, '>');
	}
	return rc < 0 ? rc : parse_struct(p, &member->out);
}

static int parse_member(struct parser *p, struct cww_interface *interface)
{
	struct cww_member *members =
		reallocarray(interface->members, interface->n_members + 1, sizeof *members);
	struct cww_member *member;
	char *keyword = NULL;
	size_t i;
	int rc;

	if (members == NULL) {
		return no_memory(p);
	}
	interface->members = members;
	member = &members[interface->n_members++];
	memset(member, 0, sizeof *member);
	rc = take_word(p, 0, &keyword);
	if (rc == 0) {
		rc = take_word(p, 0, &member->name);
	}
	for (i = 0; rc == 0 && i + 1 < interface->n_members; i++) {
		if (strcmp(members[i].name, member->name) == 0) {
			rc = fail(p, "a name that is not there yet");
		}
	}
	if (rc == 0) {
		rc = parse_body(p, keyword, member);
	}
	free(keyword);
	return rc;
}

/* Named types must exist, or a check would meet them too late. */
static int resolve(
	const struct cww_interface *interface, const struct cww_type *type, struct cwb_err *err)
{
	size_t i;
	int rc;

	if (type == NULL) {
		return 0;
	}
	if (type->kind == CWW_NAMED &&
		cww_interface_find(interface, CWW_TYPE, type->name) == NULL) {
		return cwb_err_set(err, CWP_EFORMAT, "interface %s: type %s is used but not there",
			interface->name, type->name);
	}
	for (i = 0; i < type->n_fields; i++) {
		rc = resolve(interface, type->fields[i].type, err);
		if (rc < 0) {
			return rc;
		}
	}
	return resolve(interface, type->of, err);
}

static int parse_interface(struct parser *p, struct cww_interface *interface)
{
	char *keyword = NULL;
	size_t i;
	int rc = take_word(p, 0, &keyword);

	if (rc == 0 && strcmp(keyword, "interface") != 0) {
		rc = fail(p, "\"interface\"");
	}
	free(keyword);
	if (rc == 0) {
		rc = take_word(p, 1, &interface->name);
	}
	for (skip_space(p); rc == 0 && *p->at != '\0'; skip_space(p)) {
		rc = parse_member(p, interface);
	}
	for (i = 0; rc == 0 && i < interface->n_members; i++) {
		rc = resolve(interface, interface->members[i].in, p->err);
		if (rc == 0) {
			rc = resolve(interface, interface->members[i].out, p->err);
		}
	}
	return rc;
}

int cww_interface_parse(const char *text, struct cww_interface **ret, struct cwb_err *err)
{
	struct parser p = {.at = text, .line = 1, .column = 1, .err = err};
	struct cww_interface *interface = calloc(1, sizeof *interface);
	int rc;

	if (interface == NULL) {
		return no_memory(&p);
	}
	interface->text = strdup(text);
	rc = interface->text == NULL ? no_memory(&p) : parse_interface(&p, interface);
	if (rc < 0) {
		cww_interface_free(interface);
		return rc;
	}
	*ret = interface;
	return 0;
}

void cww_interface_free(struct cww_interface *interface)
{
	size_t i;

	if (interface == NULL) {
		return;
	}
	for (i = 0; i < interface->n_members; i++) {
		free(interface->members[i].name);
		type_free(interface->members[i].in);
		type_free(interface->members[i].out);
	}
	free(interface->members);
	free(interface->name);
	free(interface->text);
	free(interface);
}

const struct cww_member *cww_interface_find(
	const struct cww_interface *interface, enum cww_member_kind kind, const char *name)
{
	size_t i;

	for (i = 0; i < interface->n_members; i++) {
		if (interface->members[i].kind == kind &&
			strcmp(interface->members[i].name, name) == 0) {
			return &interface->members[i];
		}
	}
	return NULL;
}
