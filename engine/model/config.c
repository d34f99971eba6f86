/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Typed reading of the keys of a config.json. */
#include <math.h>
#include <string.h>

#include "engine/model/config.h"

const char *cwe_config_text(const json_t *value, char text[CWE_CONFIG_TEXT])
{
	memset(text, 0, CWE_CONFIG_TEXT);
	if (value == NULL) {
		return strcpy(text, "absent");
	}
	size_t n = json_dumpb(value, text, CWE_CONFIG_TEXT - 1, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII |
		JSON_REAL_PRECISION(9));
	if (n >= CWE_CONFIG_TEXT) {
		/* Of a piece that found no room, nothing may be there: the text ends at the first zero. */
		size_t end = strlen(text);
		end = end < CWE_CONFIG_TEXT - 4 ? end : CWE_CONFIG_TEXT - 4;
		memcpy(text + end, "...", 4);
	}
	return text;
}

const json_t *cwe_config_get(const json_t *object, const char *key)
{
	const json_t *v = json_object_get(object, key);
	return v == NULL || json_is_null(v) ? NULL : v;
}

static int missing(const char *key, struct cwb_err *err)
{
	return cwb_err_set(err, CWP_EMISSING, "key \"%s\" is missing, and has no safe default", key);
}

static int wrong(const json_t *v, const char *key, const char *kind, struct cwb_err *err)
{
	char text[CWE_CONFIG_TEXT];
	return cwb_err_set(err, CWP_EVALUE, "\"%s\" is %s, and must be %s", key, cwe_config_text(v, text), kind);
}

int cwe_config_size(const json_t *object, const char *key, uint32_t standard, uint32_t *ret, struct cwb_err *err)
{
	const json_t *v = cwe_config_get(object, key);
	if (v == NULL && standard == 0) {
		return missing(key, err);
	}
	if (v != NULL && (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > CWE_CONFIG_SIZE_MAX)) {
		return wrong(v, key, "a whole number from 1 to 16777216", err);
	}
	*ret = v == NULL ? standard : (uint32_t)json_integer_value(v);
	return 0;
}

int cwe_config_in_range(const json_t *value)
{
	/* Written so that NaN is outside. */
	return json_is_number(value) && json_number_value(value) >= 1e-30 && json_number_value(value) <= 1e30;
}

int cwe_config_number(const json_t *object, const char *key, double standard, double *ret, struct cwb_err *err)
{
	const json_t *v = cwe_config_get(object, key);
	if (v == NULL && isnan(standard)) {
		return missing(key, err);
	}
	if (v != NULL && !cwe_config_in_range(v)) {
		return wrong(v, key, "a number above 0 (1e-30 to 1e30)", err);
	}
	*ret = v == NULL ? standard : json_number_value(v);
	return 0;
}

int cwe_config_flag(const json_t *object, const char *key, int standard, int *ret, struct cwb_err *err)
{
	const json_t *v = cwe_config_get(object, key);
	if (v != NULL && !json_is_boolean(v)) {
		return wrong(v, key, "true or false", err);
	}
	*ret = v == NULL ? standard : json_is_true(v);
	return 0;
}

int cwe_config_object(const json_t *object, const char *key, const json_t **ret, struct cwb_err *err)
{
	const json_t *v = cwe_config_get(object, key);
	if (v != NULL && !json_is_object(v)) {
		return wrong(v, key, "an object", err);
	}
	*ret = v;
	return 0;
}
