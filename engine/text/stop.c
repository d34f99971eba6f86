/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stop strings. While tokens come, only the last of them are decoded: a few more than the longest
 * string has bytes. What is found there is found again in the whole text before it counts. */
#include "engine/text/stop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/utf8.h"

enum {
	SPARE = 16,  /* bytes of a window beside the longest string: what decoders drop at a start */
	MOST_CUT = 3 /* characters of replacement that the bytes of an incomplete one become */
};

struct cwe_stop {
	const struct cwe_tokenizer *t;
	struct cwe_stop_string *string; /* [count] */
	size_t count;
	size_t longest;
	size_t from; /* first token of the window */
};

int cwe_stop_new(const struct cwe_tokenizer *t, const struct cwe_stop_string *string, size_t count,
	struct cwe_stop **ret, struct cwb_err *err)
{
	if (count > CWE_STOP_STRINGS)
		return cwb_err_set(err, CWP_ELIMIT, "%zu stop strings; at most %d are taken", count,
			CWE_STOP_STRINGS);
	for (size_t i = 0; i < count; i++) {
		if (string[i].length == 0)
			return cwb_err_set(err, CWP_EVALUE,
				"stop string %zu is empty: it would end every text at once", i);
		if (string[i].length > CWE_STOP_LENGTH)
			return cwb_err_set(err, CWP_ELIMIT,
				"stop string %zu has %zu bytes; at most %d are taken", i,
				string[i].length, CWE_STOP_LENGTH);
		if (cwe_utf8_check(string[i].text, string[i].length) < string[i].length)
			return cwb_err_set(err, CWP_EVALUE, "stop string %zu is not UTF-8", i);
	}
	struct cwe_stop *s = calloc(1, sizeof(*s));
	struct cwe_stop_string *copy = calloc(count + 1, sizeof(*copy));
	int rc = s && copy ? 0 : -ENOMEM;
	for (size_t i = 0; i < count && rc == 0; i++) {
		char *text = malloc(string[i].length);
		rc = text ? 0 : -ENOMEM;
		if (text)
			memcpy(text, string[i].text, string[i].length);
		copy[i] = (struct cwe_stop_string){text, string[i].length};
		s->longest = string[i].length > s->longest ? string[i].length : s->longest;
	}
	if (rc < 0) {
		for (size_t i = 0; copy && i < count; i++)
			free((char *)(uintptr_t)copy[i].text);
		free(copy);
		free(s);
		return cwb_err_set(err, rc, "no memory for stop strings");
	}
	s->t = t;
	s->string = copy;
	s->count = count;
	*ret = s;
	return 0;
}

void cwe_stop_free(struct cwe_stop *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->count; i++)
		free((char *)(uintptr_t)s->string[i].text);
	free(s->string);
	free(s);
}

/* Length of a text without the end that later tokens may change: an incomplete character. */
static size_t settled(const char *text, size_t length)
{
	for (int i = 0; i < MOST_CUT && length >= 3 && memcmp(text + length - 3, "\xef\xbf\xbd", 3) == 0; i++)
		length -= 3;
	return length;
}

static int has_any(const struct cwe_stop *s, const char *text, size_t length)
{
	for (size_t i = 0; i < s->count; i++) {
		if (memmem(text, length, s->string[i].text, s->string[i].length))
			return 1;
	}
	return 0;
}

static int look(const struct cwe_stop *s, const uint32_t *id, size_t count, int *ret,
	size_t *ret_length, struct cwb_err *err)
{
	char *text;
	size_t length;
	int rc = cwe_tokenizer_decode(s->t, id, count, 1, &text, &length, err);
	if (rc < 0)
		return rc;
	*ret = has_any(s, text, settled(text, length));
	*ret_length = length;
	free(text);
	return 0;
}

int cwe_stop_seen(struct cwe_stop *s, const uint32_t *id, size_t count, int *ret, struct cwb_err *err)
{
	size_t need = s->longest + SPARE, length = 0, rest = 0;
	int seen = 0;
	if (s->count == 0) {
		*ret = 0;
		return 0;
	}
	s->from = s->from < count ? s->from : 0;
	int rc = look(s, id + s->from, count - s->from, &seen, &length, err);
	if (rc == 0 && seen && s->from > 0)
		rc = look(s, id, count, &seen, &length, err);
	/* A token has a byte at least, unless it is a special one: then the window stays. */
	if (rc == 0 && !seen && length > 4 * need && count - s->from > need) {
		int any;
		rc = look(s, id + (count - need), need, &any, &rest, err);
		s->from = rc == 0 && rest >= need ? count - need : s->from;
	}
	if (rc == 0)
		*ret = seen;
	return rc;
}

int cwe_stop_text(const struct cwe_stop *s, const uint32_t *id, size_t count, char **ret_text,
	size_t *ret_length, struct cwb_err *err)
{
	char *text;
	size_t length;
	int rc = cwe_tokenizer_decode(s->t, id, count, 1, &text, &length, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < s->count; i++) {
		const char *at = memmem(text, length, s->string[i].text, s->string[i].length);
		length = at ? (size_t)(at - text) : length;
	}
	text[length] = '\0';
	*ret_text = text;
	*ret_length = length;
	return 0;
}

int cwe_stop_token(
	const struct cwe_tokenizer *t, const char *text, size_t length, int64_t *ret, struct cwb_err *err)
{
	int64_t id = strlen(text) == length ? cwe_tokenizer_id(t, text) : -1;
	if (id >= 0) {
		uint32_t one = (uint32_t)id;
		char *plain = NULL, *whole = NULL;
		size_t n = 0, k = 0;
		int rc = cwe_tokenizer_decode(t, &one, 1, 1, &plain, &n, err);
		rc = rc == 0 ? cwe_tokenizer_decode(t, &one, 1, 0, &whole, &k, err) : rc;
		if (rc == 0 && (n > 0 || k != length || memcmp(whole, text, k) != 0))
			id = -1;
		free(plain);
		free(whole);
		if (rc < 0)
			return rc;
	}
	*ret = id;
	return 0;
}
