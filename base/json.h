/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* JSON from strangers: bounded before it is parsed, and read field by field with errors that name
 * the field. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CWB_JSON_DEPTH 32 /* what messages and small files get */

/* Parses one JSON object or array: at most `limit` bytes and `depth` levels (both checked before
 * parsing), UTF-8, no key twice in an object, no \u0000, nothing behind it. CWP_ELIMIT, or
 * CWP_EFORMAT with line and column. The result is a new reference. [any-thread] */
int cwb_json_load(const char *text, size_t length, size_t limit, unsigned depth, json_t **ret,
	struct cwb_err *err);
/* The same of text[start..end); line and column are those of the whole text. */
int cwb_json_load_part(const char *text, size_t start, size_t end, size_t limit, unsigned depth,
	json_t **ret, struct cwb_err *err);
/* The same from a file; errors begin with its path. */
int cwb_json_load_file(
	const char *path, size_t limit, unsigned depth, json_t **ret, struct cwb_err *err);

/* Compact text with sorted keys and 17 digits: the same value gives the same bytes. Freed with
 * free(); NULL only when memory ran out. *ret_length may be NULL. */
char *cwb_json_dump(const json_t *json, size_t *ret_length);

/* As json_dumps with jansson's flags (JSON_INDENT(2) and so on), but complete or NULL: up to
 * version 2.14 json_dumps forgets that a key found no memory, and returns a text with a hole. Freed
 * with free(). */
char *cwb_json_text(const json_t *json, size_t flags, size_t *ret_length);

enum cwb_json_need { CWB_JSON_REQUIRED, CWB_JSON_OPTIONAL };

/* Typed getters of an object's key. Absent or null: CWP_EMISSING, or 0 with *ret untouched when
 * optional. Wrong type or out of range: CWP_EVALUE. err->field is the key. Results are borrowed:
 * they live as long as the object. */
int cwb_json_get_string(const json_t *object, const char *key, enum cwb_json_need need,
	const char **ret, struct cwb_err *err);
int cwb_json_get_bool(const json_t *object, const char *key, enum cwb_json_need need, int *ret,
	struct cwb_err *err);
/* low <= value <= high. A real number is refused, also 1.0. */
int cwb_json_get_i64(const json_t *object, const char *key, enum cwb_json_need need, int64_t low,
	int64_t high, int64_t *ret, struct cwb_err *err);
/* The same, not negative; JSON integers end at 2^63 - 1. */
int cwb_json_get_u64(const json_t *object, const char *key, enum cwb_json_need need, uint64_t low,
	uint64_t high, uint64_t *ret, struct cwb_err *err);
/* An integer or a real number; always finite. */
int cwb_json_get_number(const json_t *object, const char *key, enum cwb_json_need need, double *ret,
	struct cwb_err *err);
int cwb_json_get_object(const json_t *object, const char *key, enum cwb_json_need need,
	json_t **ret, struct cwb_err *err);
int cwb_json_get_array(const json_t *object, const char *key, enum cwb_json_need need, json_t **ret,
	struct cwb_err *err);

/* A real number, or null where x is none that JSON has. A new reference; NULL only when memory ran out. */
json_t *cwb_json_finite(double x);

/* "object", "array", "string", "integer", "number", "boolean" or "null". */
const char *cwb_json_type_name(const json_t *json);
