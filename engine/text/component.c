/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reading of tokenizer.json's components with their places in messages. */
#include "engine/text/component.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void cwe_place(char out[CWE_PLACE_SIZE], const char *parent, const char *key)
{
	/* A cut place is still a place: messages have an end. */
	(void)!snprintf(out, CWE_PLACE_SIZE, "%s%s%s", parent, *parent ? "." : "", key);
}

void cwe_place_item(char out[CWE_PLACE_SIZE], const char *parent, const char *key, size_t item)
{
	(void)!snprintf(out, CWE_PLACE_SIZE, "%s%s%s[%zu]", parent, *parent ? "." : "", key, item);
}

int cwe_component_refuse(struct cwb_err *err, int code, const char *place, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (err && err->code == 0)
		snprintf(err->field, sizeof(err->field), "%s", place);
	return cwb_err_set(err, code, "%s%s%s", place, *place ? ": " : "", text);
}

int cwe_component_type(
	const json_t *component, const char *place, const char **ret, struct cwb_err *err)
{
	const json_t *type = json_object_get(component, "type");
	if (!json_is_object(component))
		return cwe_component_refuse(err, CWP_EVALUE, place, "not an object");
	if (!json_is_string(type))
		return cwe_component_refuse(err, CWP_EMISSING, place, "has no \"type\"");
	*ret = json_string_value(type);
	return 0;
}

int cwe_component_unknown(const char *place, const char *type, struct cwb_err *err)
{
	if (err && err->code == 0)
		snprintf(err->field, sizeof(err->field), "%s.type", place);
	return cwb_err_set(err, CWP_EUNKNOWN, "%s.type \"%.60s\" is not supported", place, type);
}

int cwe_component_flag(const json_t *component, const char *place, const char *key, int fallback,
	int *ret, struct cwb_err *err)
{
	const json_t *value = json_object_get(component, key);
	if (!value && fallback < 0)
		return cwe_component_refuse(err, CWP_EMISSING, place, "has no \"%s\"", key);
	if (value && !json_is_boolean(value))
		return cwe_component_refuse(
			err, CWP_EVALUE, place, "\"%s\" is neither true nor false", key);
	*ret = value ? json_is_true(value) : fallback;
	return 0;
}

int cwe_component_string(const json_t *component, const char *place, const char *key,
	const char **ret, size_t *ret_length, struct cwb_err *err)
{
	const json_t *value = json_object_get(component, key);
	if (!value)
		return cwe_component_refuse(err, CWP_EMISSING, place, "has no \"%s\"", key);
	if (!json_is_string(value))
		return cwe_component_refuse(err, CWP_EVALUE, place, "\"%s\" is not a string", key);
	*ret = json_string_value(value);
	*ret_length = json_string_length(value);
	return 0;
}

int cwe_component_array(const json_t *component, const char *place, const char *key, int needed,
	const json_t **ret, struct cwb_err *err)
{
	const json_t *value = json_object_get(component, key);
	*ret = NULL;
	if (!needed && (!value || json_is_null(value)))
		return 0;
	if (!value)
		return cwe_component_refuse(err, CWP_EMISSING, place, "has no \"%s\"", key);
	if (!json_is_array(value))
		return cwe_component_refuse(err, CWP_EVALUE, place, "\"%s\" is not an array", key);
	*ret = value;
	return 0;
}

int cwe_component_id(const json_t *value, const char *place, unsigned *ret, struct cwb_err *err)
{
	if (!json_is_integer(value))
		return cwe_component_refuse(err, CWP_EVALUE, place, "the id is not an integer");
	json_int_t id = json_integer_value(value);
	if (id < 0 || id >= (json_int_t)CWE_ID_LIMIT)
		return cwe_component_refuse(err, CWP_EVALUE, place,
			"id %" JSON_INTEGER_FORMAT " is not from 0 to %u", id, CWE_ID_LIMIT - 1);
	*ret = (unsigned)id;
	return 0;
}

int cwe_component_config(const char *text, size_t length, json_t **ret, struct cwb_err *err)
{
	json_error_t error;
	json_t *json = json_loadb(text, length,
		JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
	if (!json)
		return cwb_err_set(err, CWP_EFORMAT,
			"tokenizer_config.json: not valid JSON, line %d column %d: %s", error.line,
			error.column, error.text);
	if (!json_is_object(json)) {
		json_decref(json);
		return cwb_err_set(err, CWP_EVALUE, "tokenizer_config.json: not an object");
	}
	*ret = json;
	return 0;
}
