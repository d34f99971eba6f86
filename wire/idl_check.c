/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Values against the types of an interface. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "wire/idl.h"
#include "wire/message.h"

struct check {
	const struct cww_interface *interface;
	struct cwb_err *err;
	char path[160]; /* of the value that is looked at */
};

static int check_value(struct check *c, const struct cww_type *type, const json_t *value);

static int refuse(struct check *c, const char *expected)
{
	const char *where = c->path[0] ? c->path : "parameters";
	int rc = cwb_err_set(c->err, CWP_EVALUE, "%s: expected %s", where, expected);

	if (c->err != NULL && c->err->code == rc && c->err->field[0] == '\0') {
		snprintf(c->err->field, sizeof c->err->field, "%s", where);
	}
	return rc;
}

/* Appends to the path; the caller cuts it back to the length that is returned. A long path is cut,
 * never overrun. */
static size_t enter(struct check *c, const char *name, size_t index)
{
	size_t length = strlen(c->path);
	char shown[64];

	if (name == NULL) {
		snprintf(c->path + length, sizeof c->path - length, "[%zu]", index);
	} else {
		cww_escape(name, strlen(name), shown, sizeof shown);
		snprintf(c->path + length, sizeof c->path - length, "%s%s", length ? "." : "",
			shown);
	}
	return length;
}

static int check_field(struct check *c, const struct cww_field *field, const json_t *object)
{
	const json_t *value = json_object_get(object, field->name);
	size_t length;
	int rc;

	if (value == NULL && field->type->kind == CWW_MAYBE) {
		return 0;
	}
	length = enter(c, field->name, 0);
	rc = value == NULL ? refuse(c, "a value, it is missing")
			   : check_value(c, field->type, value);
	c->path[length] = '\0';
	return rc;
}

static const struct cww_field *find_field(const struct cww_type *type, const char *name)
{
	size_t i;

	for (i = 0; i < type->n_fields; i++) {
		if (strcmp(type->fields[i].name, name) == 0) {
			return &type->fields[i];
		}
	}
	return NULL;
}

static int check_struct(struct check *c, const struct cww_type *type, const json_t *value)
{
	const char *key;
	json_t *member;
	size_t i;
	int rc;

	if (!json_is_object(value)) {
		return refuse(c, "an object");
	}
	json_object_foreach((json_t *)(uintptr_t)value, key, member)
	{
		if (find_field(type, key) == NULL) {
			size_t length = enter(c, key, 0);

			rc = refuse(c, "no such field");
			c->path[length] = '\0';
			return rc;
		}
	}
	for (i = 0; i < type->n_fields; i++) {
		rc = check_field(c, &type->fields[i], value);
		if (rc < 0) {
			return rc;
		}
	}
	return 0;
}

static int check_enum(struct check *c, const struct cww_type *type, const json_t *value)
{
	const char *text = json_string_value(value);

	if (text == NULL || find_field(type, text) == NULL) {
		return refuse(c, "one of the names of an enumeration");
	}
	return 0;
}

static int check_array(struct check *c, const struct cww_type *type, const json_t *value)
{
	const json_t *element;
	size_t i, length;
	int rc;

	if (!json_is_array(value)) {
		return refuse(c, "an array");
	}
	json_array_foreach(value, i, element)
	{
		length = enter(c, NULL, i);
		rc = check_value(c, type->of, element);
		c->path[length] = '\0';
		if (rc < 0) {
			return rc;
		}
	}
	return 0;
}

static int check_map(struct check *c, const struct cww_type *type, const json_t *value)
{
	const char *key;
	json_t *element;
	size_t length;
	int rc;

	if (!json_is_object(value)) {
		return refuse(c, "an object");
	}
	json_object_foreach((json_t *)(uintptr_t)value, key, element)
	{
		length = enter(c, key, 0);
		rc = check_value(c, type->of, element);
		c->path[length] = '\0';
		if (rc < 0) {
			return rc;
		}
	}
	return 0;
}

static int check_value(struct check *c, const struct cww_type *type, const json_t *value)
{
	switch (type->kind) {
	case CWW_BOOL:
		return json_is_boolean(value) ? 0 : refuse(c, "true or false");
	case CWW_INT:
		return json_is_integer(value) ? 0 : refuse(c, "an integer");
	case CWW_FLOAT:
		return json_is_number(value) ? 0 : refuse(c, "a number");
	case CWW_STRING:
		return json_is_string(value) ? 0 : refuse(c, "a string");
	case CWW_OBJECT:
		return json_is_object(value) ? 0 : refuse(c, "an object");
	case CWW_ENUM:
		return check_enum(c, type, value);
	case CWW_STRUCT:
		return check_struct(c, type, value);
	case CWW_NAMED:
		/* Depth of the value is bounded by the codec, so types that hold themselves end. */
		return check_value(
			c, cww_interface_find(c->interface, CWW_TYPE, type->name)->in, value);
	case CWW_ARRAY:
		return check_array(c, type, value);
	case CWW_MAP:
		return check_map(c, type, value);
	case CWW_MAYBE:
		return json_is_null(value) ? 0 : check_value(c, type->of, value);
	}
	return refuse(c, "another type");
}

int cww_check(const struct cww_interface *interface, const struct cww_type *type,
	const json_t *value, struct cwb_err *err)
{
	struct check c = {.interface = interface, .err = err};
	json_t *none;
	int rc;

	if (value != NULL) {
		return check_value(&c, type, value);
	}
	none = json_object();
	rc = none == NULL ? cwb_err_set(err, -ENOMEM, "no memory for a check")
			  : check_value(&c, type, none);
	json_decref(none);
	return rc;
}
