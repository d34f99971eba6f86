/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Strings and numbers of JSON. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_lex.h"

static int fail(struct cwb_json_stream *s, size_t at, struct cwb_err *err, const char *reason)
{
	return cwb_json_stream_fail(s->text, at, err, reason);
}

/* Length of the UTF-8 character at p, of which left bytes are there; 0 when it is none. */
static size_t character(const unsigned char *p, size_t left)
{
	unsigned char low = 0x80, high = 0xBF;
	size_t n = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;

	if (p[0] < 0xC2 || p[0] > 0xF4 || n > left) {
		return 0;
	}
	low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : low;
	high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : high;
	if (p[1] < low || p[1] > high) {
		return 0;
	}
	for (size_t i = 2; i < n; i++) {
		if ((p[i] & 0xC0) != 0x80) {
			return 0;
		}
	}
	return n;
}

/* Steps over plain characters of a string: to a quote, a backslash, or the end of the text. */
static int pass_plain(struct cwb_json_stream *s, struct cwb_err *err)
{
	const unsigned char *p = (const unsigned char *)s->text;

	while (s->at < s->end && p[s->at] != '"' && p[s->at] != '\\') {
		if (p[s->at] >= 0x20 && p[s->at] < 0x80) {
			s->at++;
			continue;
		}
		size_t n = character(p + s->at, s->end - s->at);
		if (n == 0) {
			return fail(s, s->at, err,
				p[s->at] < 0x20 ? "a control character in a string"
						: "a string is not UTF-8");
		}
		s->at += n;
	}
	return s->at < s->end ? 0 : fail(s, s->at, err, "a string has no end");
}

static int hexadecimal(struct cwb_json_stream *s, uint32_t *ret, struct cwb_err *err)
{
	uint32_t value = 0;

	for (int i = 0; i < 4; i++, s->at++) {
		char c = s->at < s->end ? s->text[s->at] : '"';
		if (c >= '0' && c <= '9') {
			value = value << 4 | (uint32_t)(c - '0');
		} else if ((c | 32) >= 'a' && (c | 32) <= 'f') {
			value = value << 4 | (uint32_t)((c | 32) - 'a' + 10);
		} else {
			return fail(s, s->at, err, "\\u needs four hexadecimal digits");
		}
	}
	*ret = value;
	return 0;
}

/* The character of \uXXXX, or of a pair of them; at is behind the u. */
static int read_code(struct cwb_json_stream *s, uint32_t *ret, struct cwb_err *err)
{
	size_t start = s->at - 2;
	uint32_t low = 0;
	int rc = hexadecimal(s, ret, err);

	if (rc < 0) {
		return rc;
	}
	if (*ret == 0) {
		return fail(s, start, err, "\\u0000 is not allowed");
	}
	if (*ret < 0xD800 || *ret > 0xDFFF) {
		return 0;
	}
	if (*ret < 0xDC00 && s->end - s->at >= 2 && s->text[s->at] == '\\' &&
		s->text[s->at + 1] == 'u') {
		s->at += 2;
		rc = hexadecimal(s, &low, err);
		if (rc < 0) {
			return rc;
		}
	}
	if (low < 0xDC00 || low > 0xDFFF) {
		return fail(s, start, err, "half of a surrogate pair");
	}
	*ret = 0x10000 + ((*ret - 0xD800) << 10) + (low - 0xDC00);
	return 0;
}

static size_t put(uint32_t point, char out[4])
{
	size_t n = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
	static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};

	for (size_t i = n; i-- > 1; point >>= 6) {
		out[i] = (char)(0x80 | (point & 0x3F));
	}
	out[0] = (char)(lead[n] | point);
	return n;
}

/* One escape; at is on the backslash. */
static int read_escape(
	struct cwb_json_stream *s, char out[4], size_t *ret_length, struct cwb_err *err)
{
	static const char names[] = "\"\\/bfnrt";
	static const char values[] = "\"\\/\b\f\n\r\t";
	uint32_t point = 0;
	char c = s->end - s->at >= 2 ? s->text[s->at + 1] : '\0';

	if (c == 'u') {
		s->at += 2;
		int rc = read_code(s, &point, err);
		*ret_length = rc < 0 ? 0 : put(point, out);
		return rc;
	}
	const char *known = c != '\0' ? strchr(names, c) : NULL;
	if (known == NULL) {
		return fail(s, s->at, err, "an escape that JSON does not know");
	}
	s->at += 2;
	out[0] = values[known - names];
	*ret_length = 1;
	return 0;
}

static int reserve(struct cwb_json_scratch *b, size_t n, struct cwb_err *err)
{
	if (n <= b->room) {
		return 0;
	}
	size_t room = n < 128 ? 256 : 2 * n;
	char *grown = realloc(b->text, room);
	if (grown == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for a JSON string of %zu bytes", n);
	}
	b->text = grown;
	b->room = room;
	return 0;
}

/* The rest of a string that holds escapes: what precedes the first one is at start. */
static int read_escaped(
	struct cwb_json_stream *s, size_t start, struct cwb_json_item *ret, struct cwb_err *err)
{
	struct cwb_json_scratch *b = ret->event == CWB_JSON_KEY ? &s->key : &s->value;
	size_t used = 0;

	for (;;) {
		size_t plain = s->at - start, more = 0;
		int rc = reserve(b, used + plain + 4, err);
		if (rc < 0) {
			return rc;
		}
		if (plain > 0) {
			memcpy(b->text + used, s->text + start, plain);
		}
		used += plain;
		if (s->text[s->at] == '"') {
			break;
		}
		rc = read_escape(s, b->text + used, &more, err);
		used += more;
		start = s->at;
		if (rc == 0) {
			rc = pass_plain(s, err);
		}
		if (rc < 0) {
			return rc;
		}
	}
	ret->text = b->text;
	ret->length = used;
	return 0;
}

int cwb_json_lex_string(struct cwb_json_stream *s, struct cwb_json_item *ret, struct cwb_err *err)
{
	size_t start = ++s->at;
	int rc = pass_plain(s, err);

	if (rc < 0) {
		return rc;
	}
	if (s->text[s->at] == '"') {
		ret->text = s->text + start;
		ret->length = s->at - start;
	} else {
		rc = read_escaped(s, start, ret, err);
	}
	s->at += rc == 0;
	return rc;
}

static size_t pass_digits(struct cwb_json_stream *s)
{
	size_t start = s->at;

	while (s->at < s->end && s->text[s->at] >= '0' && s->text[s->at] <= '9') {
		s->at++;
	}
	return s->at - start;
}

static int passes(struct cwb_json_stream *s, const char *one_of)
{
	int found =
		s->at < s->end && s->text[s->at] != '\0' && strchr(one_of, s->text[s->at]) != NULL;

	s->at += (size_t)found;
	return found;
}

static int read_real(struct cwb_json_stream *s, struct cwb_json_item *ret, struct cwb_err *err)
{
	size_t length = s->at - ret->start;
	int rc = reserve(&s->number, length + 1, err);

	if (rc < 0) {
		return rc;
	}
	memcpy(s->number.text, s->text + ret->start, length);
	s->number.text[length] = '\0';
	/* strtod reads the point of the user's locale. */
	if (s->locale == (locale_t)0) {
		s->locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
	}
	if (s->locale == (locale_t)0) {
		return cwb_err_set(err, -ENOMEM, "no memory for the locale C");
	}
	ret->event = CWB_JSON_REAL;
	ret->real = strtod_l(s->number.text, NULL, s->locale);
	return isfinite(ret->real) ? 0 : fail(s, ret->start, err, "a number that is too large");
}

static int read_integer(struct cwb_json_stream *s, struct cwb_json_item *ret, struct cwb_err *err)
{
	int negative = s->text[ret->start] == '-';
	int64_t value = 0;

	for (size_t i = ret->start + (size_t)negative; i < s->at; i++) {
		int digit = s->text[i] - '0';
		if (__builtin_mul_overflow(value, (int64_t)10, &value) ||
			__builtin_add_overflow(
				value, (int64_t)(negative ? -digit : digit), &value)) {
			return fail(s, ret->start, err, "an integer beyond 64 bits");
		}
	}
	ret->event = CWB_JSON_INTEGER;
	ret->integer = value;
	return 0;
}

int cwb_json_lex_number(struct cwb_json_stream *s, struct cwb_json_item *ret, struct cwb_err *err)
{
	int real = 0;

	(void)passes(s, "-");
	if (passes(s, "0")) {
		if (pass_digits(s) > 0) {
			return fail(s, ret->start, err, "a number that begins with 0");
		}
	} else if (pass_digits(s) == 0) {
		return fail(s, ret->start, err, "a sign without a number");
	}
	if (passes(s, ".")) {
		real = 1;
		if (pass_digits(s) == 0) {
			return fail(s, ret->start, err, "a number without digits behind its point");
		}
	}
	if (passes(s, "eE")) {
		real = 1;
		(void)passes(s, "+-");
		if (pass_digits(s) == 0) {
			return fail(s, ret->start, err, "a number without digits in its exponent");
		}
	}
	return real ? read_real(s, ret, err) : read_integer(s, ret, err);
}
