/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The steps of a decoder. */
#include "engine/text/decode_steps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/bytelevel.h"
#include "engine/text/utf8.h"

int cwe_strings_add(struct cwe_strings *s, const char *text, size_t length)
{
	int rc = cwe_buffer_put(&s->all, text, length, 0);
	if (rc < 0)
		return rc;
	if (s->count == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		size_t *end = realloc(s->end, room * sizeof(*end));
		if (!end)
			return -ENOMEM;
		s->end = end;
		s->room = room;
	}
	s->end[s->count++] = s->all.length;
	return 0;
}

void cwe_strings_free(struct cwe_strings *s)
{
	cwe_buffer_free(&s->all);
	free(s->end);
	*s = (struct cwe_strings){0};
}

static const char *string_at(const struct cwe_strings *s, size_t i, size_t *ret_length)
{
	size_t start = i > 0 ? s->end[i - 1] : 0;
	*ret_length = s->end[i] - start;
	return s->all.text + start;
}

/* The bytes that a token of the byte alphabet stands for; a token with another character stays as
 * it is. Returns their count; never more than length. */
static size_t token_bytes(const char *text, size_t length, char *out)
{
	size_t n = 0;
	for (size_t i = 0, step; i < length; i += step) {
		uint32_t point = 0;
		step = cwe_utf8_next(text + i, length - i, &point);
		int byte = step > 0 ? cwe_bytelevel_byte(point) : -1;
		if (byte < 0) {
			memcpy(out, text, length);
			return length;
		}
		out[n++] = (char)byte;
	}
	return n;
}

int cwe_decode_bytelevel(const struct cwe_strings *in, struct cwe_strings *out)
{
	size_t n = 0;
	char *bytes = malloc(in->all.length + 1);
	if (!bytes)
		return -ENOMEM;
	for (size_t i = 0; i < in->count; i++) {
		size_t length;
		const char *text = string_at(in, i, &length);
		n += token_bytes(text, length, bytes + n);
	}
	char *text = cwe_utf8_repair(bytes, n, &n);
	free(bytes);
	int rc = text ? cwe_strings_add(out, text, n) : -ENOMEM;
	free(text);
	return rc;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of a token "<0x41>", or -1. */
static int fallback_byte(const char *text, size_t length)
{
	if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
		return -1;
	int high = digit(text[3]);
	int low = digit(text[4]);
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Neighbouring bytes are one string when they are UTF-8; else each of them is U+FFFD. */
static int put_bytes(struct cwe_strings *out, const char *byte, size_t n)
{
	if (n == 0)
		return 0;
	if (cwe_utf8_check(byte, n) == n)
		return cwe_strings_add(out, byte, n);
	int rc = 0;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = cwe_strings_add(out, "\xEF\xBF\xBD", 3);
	return rc;
}

int cwe_decode_fallback(const struct cwe_strings *in, struct cwe_strings *out)
{
	size_t n = 0;
	int rc = 0;
	char *bytes = malloc(in->count + 1);
	if (!bytes)
		return -ENOMEM;
	for (size_t i = 0; i < in->count && rc == 0; i++) {
		size_t length;
		const char *text = string_at(in, i, &length);
		int byte = fallback_byte(text, length);
		if (byte >= 0) {
			bytes[n++] = (char)byte;
			continue;
		}
		rc = put_bytes(out, bytes, n);
		n = 0;
		if (rc == 0)
			rc = cwe_strings_add(out, text, length);
	}
	if (rc == 0)
		rc = put_bytes(out, bytes, n);
	free(bytes);
	return rc;
}

int cwe_decode_fuse(const struct cwe_strings *in, struct cwe_strings *out)
{
	return cwe_strings_add(out, in->all.text, in->all.length);
}

int cwe_decode_metaspace(
	const struct cwe_metaspace *m, const struct cwe_strings *in, struct cwe_strings *out)
{
	int rc = 0;
	for (size_t i = 0; i < in->count && rc == 0; i++) {
		size_t length;
		const char *text = string_at(in, i, &length);
		int gone = i == 0 && m->scheme != CWE_METASPACE_NEVER;
		const char *end = text + length;
		const char *mark;
		while (rc == 0 &&
			(mark = memmem(text, (size_t)(end - text), m->mark, m->length)) != NULL) {
			rc = cwe_buffer_put(&out->all, text, (size_t)(mark - text), 0);
			if (rc == 0 && !gone)
				rc = cwe_buffer_put(&out->all, " ", 1, 0);
			text = mark + m->length;
		}
		if (rc == 0)
			rc = cwe_strings_add(out, text, (size_t)(end - text));
	}
	return rc;
}

int cwe_decode_replace(const struct cwe_replace *r, const struct cwe_strings *in,
	struct cwe_strings *out, struct cwb_err *err)
{
	int rc = 0;
	for (size_t i = 0; i < in->count && rc == 0; i++) {
		struct cwe_buffer one = {0};
		one.text = (char *)string_at(in, i, &one.length); /* only read */
		rc = cwe_replace_apply(r, &one, &out->all, err);
		if (rc == 0)
			rc = cwe_strings_add(out, "", 0);
	}
	return rc;
}

int cwe_decode_strip(const struct cwe_string *character, size_t left, size_t right,
	const struct cwe_strings *in, struct cwe_strings *out)
{
	size_t n = character->length;
	int rc = 0;
	for (size_t i = 0; i < in->count && rc == 0; i++) {
		size_t end;
		size_t start = 0;
		const char *text = string_at(in, i, &end);
		for (size_t k = 0; k < left && end - start >= n &&
				   memcmp(text + start, character->text, n) == 0;
			k++)
			start += n;
		for (size_t k = 0; k < right && end - start >= n &&
				   memcmp(text + end - n, character->text, n) == 0;
			k++)
			end -= n;
		rc = cwe_strings_add(out, text + start, end - start);
	}
	return rc;
}
