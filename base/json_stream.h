/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* JSON from strangers, read event by event: no tree, so that a file of many megabytes costs no more
 * memory than its longest string. For small texts base/json.h is simpler. */
#pragma once

#include <locale.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CWB_JSON_STREAM_DEPTH 64 /* levels at most, whatever the caller allows */

enum cwb_json_event {
	CWB_JSON_END, /* behind the outermost value */
	CWB_JSON_OBJECT,
	CWB_JSON_OBJECT_END,
	CWB_JSON_ARRAY,
	CWB_JSON_ARRAY_END,
	CWB_JSON_KEY,
	CWB_JSON_STRING,
	CWB_JSON_INTEGER,
	CWB_JSON_REAL,
	CWB_JSON_TRUE,
	CWB_JSON_FALSE,
	CWB_JSON_NULL
};

struct cwb_json_item {
	enum cwb_json_event event;
	size_t start, end; /* bytes of the whole text */
	const char *text;  /* of a key or string, without its escapes; no NUL behind it; valid until
			      the next key or string, as the case may be */
	size_t length;
	int64_t integer;
	double real;
};

/* Fields are the stream's own; at, beside an error, is near its place. */
struct cwb_json_stream {
	const char *text;
	size_t at, end;
	unsigned depth, limit;
	uint64_t objects; /* bit i: level i is an object, else an array */
	int wanted;
	struct cwb_json_scratch {
		char *text;
		size_t room;
	} key, value, number;
	locale_t locale;
};

/* Reads text[start..end): one object or array, nothing behind it. UTF-8, no \u0000, integers within
 * 64 bits, finite reals, at most depth levels; of keys that come twice it is the caller who must
 * take care. The text stays the caller's. Freed with cwb_json_stream_close. */
void cwb_json_stream_open(
	struct cwb_json_stream *s, const char *text, size_t start, size_t end, unsigned depth);
void cwb_json_stream_close(struct cwb_json_stream *s);

/* The next event, also in *ret: positive, CWB_JSON_END (0) once the value is complete, or
 * CWP_ELIMIT (depth), CWP_EFORMAT with line and column in the whole text, -ENOMEM. After an error
 * there is no next event. */
int cwb_json_stream_next(struct cwb_json_stream *s, struct cwb_json_item *ret, struct cwb_err *err);

/* Behind CWB_JSON_OBJECT or _ARRAY: reads on to its end and checks what it passes. *ret_count (may
 * be NULL): members or elements; *ret_bytes (may be NULL): of its keys, and of the strings that are
 * its elements. */
int cwb_json_stream_skip(
	struct cwb_json_stream *s, size_t *ret_count, size_t *ret_bytes, struct cwb_err *err);

/* Line and column (in characters, both from 1) of a byte. */
void cwb_json_stream_place(const char *text, size_t at, int *ret_line, int *ret_column);
/* Sets CWP_EFORMAT with the place of a byte, as the reader's own errors have it; returns the code.
 */
int cwb_json_stream_fail(const char *text, size_t at, struct cwb_err *err, const char *reason);
