/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The text of a Varlink interface as a tree, and the check of parameters, replies and errors
 * against it. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

enum cww_kind {
	CWW_BOOL,
	CWW_INT,
	CWW_FLOAT,
	CWW_STRING,
	CWW_OBJECT, /* any JSON object */
	CWW_ENUM,
	CWW_STRUCT,
	CWW_NAMED, /* a type of the same interface */
	CWW_ARRAY,
	CWW_MAP,
	CWW_MAYBE /* null, or absent as a field */
};

struct cww_field;

struct cww_type {
	enum cww_kind kind;
	char *name;          /* NAMED */
	struct cww_type *of; /* ARRAY, MAP, MAYBE */
	size_t n_fields;
	struct cww_field *fields; /* STRUCT: name and type; ENUM: name only */
};

struct cww_field {
	char *name;
	struct cww_type *type;
};

enum cww_member_kind { CWW_TYPE, CWW_METHOD, CWW_ERROR };

struct cww_member {
	enum cww_member_kind kind;
	char *name;
	struct cww_type *in;  /* TYPE: the type; METHOD: the parameters; ERROR: its parameters */
	struct cww_type *out; /* METHOD: the reply's */
};

struct cww_interface {
	char *name;
	char *text; /* as it was given */
	size_t n_members;
	struct cww_member *members;
};

/* Parses the text of one interface. Every named type that is used must exist. *ret is freed with
 * cww_interface_free. CWP_EFORMAT with line and column in err. [any-thread] */
int cww_interface_parse(const char *text, struct cww_interface **ret, struct cwb_err *err);
void cww_interface_free(struct cww_interface *interface);

/* The member of that kind and (short) name, or NULL. */
const struct cww_member *cww_interface_find(
	const struct cww_interface *interface, enum cww_member_kind kind, const char *name);

/* Checks an object (NULL: no parameters) against a struct type. CWP_EVALUE with err->field naming
 * the place
 * ("jobs[3].state"): missing, unknown, or of the wrong type. */
int cww_check(const struct cww_interface *interface, const struct cww_type *type,
	const json_t *value, struct cwb_err *err);
