/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* JSON event by event, over bytes in memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_lex.h"

enum wanted {
	WANT_ROOT,
	WANT_VALUE,
	WANT_FIRST_VALUE, /* or the end of the array */
	WANT_KEY,
	WANT_FIRST_KEY, /* or the end of the object */
	WANT_MORE,      /* a comma or an end */
	WANT_NOTHING,
	WANT_NEVER /* after an error */
};

void cwb_json_stream_open(
	struct cwb_json_stream *s, const char *text, size_t start, size_t end, unsigned depth)
{
	*s = (struct cwb_json_stream){.text = text, .at = start, .end = end};
	s->limit = depth < CWB_JSON_STREAM_DEPTH ? depth : CWB_JSON_STREAM_DEPTH;
}

void cwb_json_stream_close(struct cwb_json_stream *s)
{
	free(s->key.text);
	free(s->value.text);
	free(s->number.text);
	if (s->locale != (locale_t)0) {
		freelocale(s->locale);
	}
	*s = (struct cwb_json_stream){0};
}

void cwb_json_stream_place(const char *text, size_t at, int *ret_line, int *ret_column)
{
	int line = 1, column = 1;

	for (size_t i = 0; i < at; i++) {
		if (text[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)text[i] & 0xC0) != 0x80) {
			column++;
		}
	}
	*ret_line = line;
	*ret_column = column;
}

int cwb_json_stream_fail(const char *text, size_t at, struct cwb_err *err, const char *reason)
{
	int line, column;

	if (err == NULL || err->code != 0) {
		return CWP_EFORMAT;
	}
	cwb_json_stream_place(text, at, &line, &column);
	cwb_err_set(
		err, CWP_EFORMAT, "not valid JSON, line %d column %d: %s", line, column, reason);
	err->line = line;
	err->column = column;
	return CWP_EFORMAT;
}

static int fail(struct cwb_json_stream *s, size_t at, struct cwb_err *err, const char *reason)
{
	return cwb_json_stream_fail(s->text, at, err, reason);
}

/* What was found in place of what was wanted. */
static int unexpected(struct cwb_json_stream *s, struct cwb_err *err)
{
	static const char *const names[] = {
		[WANT_ROOT] = "[ or {",
		[WANT_VALUE] = "a value",
		[WANT_FIRST_VALUE] = "a value or ]",
		[WANT_KEY] = "a key in quotes",
		[WANT_FIRST_KEY] = "a key in quotes or }",
		[WANT_NOTHING] = "nothing more",
	};
	char reason[96], found[32] = "the end";
	const char *name = names[s->wanted];

	if (s->wanted == WANT_MORE) {
		name = s->objects >> (s->depth - 1) & 1 ? ", or }" : ", or ]";
	}
	if (s->at < s->end) {
		unsigned char c = (unsigned char)s->text[s->at];
		(void)snprintf(
			found, sizeof(found), c > 0x20 && c < 0x7F ? "'%c'" : "byte 0x%02X", c);
	}
	(void)snprintf(reason, sizeof(reason), "%s expected, found %s", name, found);
	return fail(s, s->at, err, reason);
}

static int read_word(struct cwb_json_stream *s, struct cwb_json_item *ret, struct cwb_err *err)
{
	static const struct {
		const char *word;
		enum cwb_json_event event;
	} words[] = {{"true", CWB_JSON_TRUE}, {"false", CWB_JSON_FALSE}, {"null", CWB_JSON_NULL}};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t n = strlen(words[i].word);
		if (s->end - s->at >= n && memcmp(s->text + s->at, words[i].word, n) == 0) {
			s->at += n;
			ret->event = words[i].event;
			return 0;
		}
	}
	return unexpected(s, err);
}

static int begin(
	struct cwb_json_stream *s, int object, struct cwb_json_item *ret, struct cwb_err *err)
{
	if (s->depth == s->limit) {
		return cwb_err_set(err, CWP_ELIMIT,
			"JSON text nests more than %u levels at byte %zu", s->limit, s->at);
	}
	s->objects &= ~((uint64_t)1 << s->depth);
	s->objects |= (uint64_t)(object != 0) << s->depth;
	s->depth++;
	s->at++;
	ret->event = object ? CWB_JSON_OBJECT : CWB_JSON_ARRAY;
	s->wanted = object ? WANT_FIRST_KEY : WANT_FIRST_VALUE;
	return 0;
}

static void finish(struct cwb_json_stream *s, int object, struct cwb_json_item *ret)
{
	s->depth--;
	s->at++;
	ret->event = object ? CWB_JSON_OBJECT_END : CWB_JSON_ARRAY_END;
	s->wanted = s->depth > 0 ? WANT_MORE : WANT_NOTHING;
}

static void pass_blanks(struct cwb_json_stream *s)
{
	while (s->at < s->end && (s->text[s->at] == ' ' || s->text[s->at] == '\n' ||
					 s->text[s->at] == '\t' || s->text[s->at] == '\r')) {
		s->at++;
	}
}

static int read_key(struct cwb_json_stream *s, struct cwb_json_item *ret, struct cwb_err *err)
{
	ret->event = CWB_JSON_KEY;
	int rc = cwb_json_lex_string(s, ret, err);
	if (rc < 0) {
		return rc;
	}
	ret->end = s->at;
	pass_blanks(s);
	if (s->at == s->end || s->text[s->at] != ':') {
		return fail(s, s->at, err, "a key has no : behind it");
	}
	s->at++;
	s->wanted = WANT_VALUE;
	return 0;
}

/* A value; c is its first byte. */
static int read_value(
	struct cwb_json_stream *s, char c, struct cwb_json_item *ret, struct cwb_err *err)
{
	int rc;

	if (c == '{' || c == '[') {
		return begin(s, c == '{', ret, err);
	}
	if (s->wanted == WANT_ROOT) {
		return unexpected(s, err);
	}
	if (c == '"') {
		ret->event = CWB_JSON_STRING;
		rc = cwb_json_lex_string(s, ret, err);
	} else if (c == '-' || (c >= '0' && c <= '9')) {
		rc = cwb_json_lex_number(s, ret, err);
	} else {
		rc = read_word(s, ret, err);
	}
	s->wanted = WANT_MORE;
	return rc;
}

/* What the next byte that is no blank begins. */
static int read_item(struct cwb_json_stream *s, struct cwb_json_item *ret, struct cwb_err *err)
{
	pass_blanks(s);
	char c = s->at < s->end ? s->text[s->at] : '\0';
	if (s->wanted == WANT_MORE && c == ',') {
		s->at++;
		s->wanted = s->objects >> (s->depth - 1) & 1 ? WANT_KEY : WANT_VALUE;
		pass_blanks(s);
		c = s->at < s->end ? s->text[s->at] : '\0';
	} else if (s->wanted == WANT_MORE || s->wanted == WANT_FIRST_KEY ||
		   s->wanted == WANT_FIRST_VALUE) {
		int object = (int)(s->objects >> (s->depth - 1) & 1);
		if (c == (object ? '}' : ']')) {
			ret->start = s->at;
			finish(s, object, ret);
			return 0;
		}
		if (s->wanted == WANT_MORE) {
			return unexpected(s, err);
		}
	}
	if (s->at == s->end && s->wanted == WANT_NOTHING) {
		ret->event = CWB_JSON_END;
		return 0;
	}
	if (s->at == s->end || s->wanted == WANT_NOTHING) {
		return unexpected(s, err);
	}
	ret->start = s->at;
	if (s->wanted == WANT_KEY || s->wanted == WANT_FIRST_KEY) {
		return c == '"' ? read_key(s, ret, err) : unexpected(s, err);
	}
	return read_value(s, c, ret, err);
}

int cwb_json_stream_next(struct cwb_json_stream *s, struct cwb_json_item *ret, struct cwb_err *err)
{
	if (s->wanted == WANT_NEVER) {
		return cwb_err_set(err, CWP_ESTATE, "JSON is read on behind an error");
	}
	ret->event = CWB_JSON_END;
	ret->end = 0;
	int rc = read_item(s, ret, err);
	if (rc < 0) {
		s->wanted = WANT_NEVER;
		return rc;
	}
	if (ret->event != CWB_JSON_KEY) {
		ret->end = s->at;
	}
	return (int)ret->event;
}

int cwb_json_stream_skip(
	struct cwb_json_stream *s, size_t *ret_count, size_t *ret_bytes, struct cwb_err *err)
{
	struct cwb_json_item item;
	unsigned level = s->depth;
	size_t count = 0, bytes = 0;
	int in_object = (int)(s->objects >> (level - 1) & 1);

	do {
		unsigned depth = s->depth;
		int rc = cwb_json_stream_next(s, &item, err);
		if (rc < 0) {
			return rc;
		}
		if (depth != level || s->depth < level) {
			continue;
		}
		if (in_object) {
			count += item.event == CWB_JSON_KEY;
			bytes += item.event == CWB_JSON_KEY ? item.length : 0;
		} else {
			count++;
			bytes += item.event == CWB_JSON_STRING ? item.length : 0;
		}
	} while (s->depth >= level);
	if (ret_count != NULL) {
		*ret_count = count;
	}
	if (ret_bytes != NULL) {
		*ret_bytes = bytes;
	}
	return 0;
}
