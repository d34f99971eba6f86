/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reading of a pattern. Nothing is left to the matcher's own idea of a class or of letter case:
 * those differ between engines and between versions of Unicode. */
#include "engine/text/regex.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/utf8.h"

#define LENGTH_LIMIT 16384 /* of a pattern in bytes; the longest seen has about 600 */
#define DEPTH_LIMIT 32     /* of groups in each other */

struct reader {
	const char *text;
	size_t length, at;
	const char *place;
	struct cwe_regex *out;
	size_t room_sets, room_parts;
	int depth;
	unsigned char caseless[DEPTH_LIMIT + 1];
	char previous; /* the letter before, in lower case, inside a group without case; else 0 */
	struct cwb_err *err;
};

static int refuse(struct reader *r, const char *what)
{
	return cwb_err_set(r->err, CWP_EUNKNOWN, "%s: at byte %zu: %s", r->place, r->at, what);
}

static int out_of_memory(struct reader *r)
{
	return cwb_err_set(r->err, -ENOMEM, "%s: out of memory", r->place);
}

static int peek(const struct reader *r, size_t ahead)
{
	return r->length - r->at > ahead ? (unsigned char)r->text[r->at + ahead] : -1;
}

static int put_part(struct reader *r, int set, const char *text)
{
	struct cwe_regex *out = r->out;
	if (out->n_parts == r->room_parts) {
		size_t room = r->room_parts ? 2 * r->room_parts : 64;
		struct cwe_regex_part *part = realloc(out->part, room * sizeof(*part));
		if (!part)
			return out_of_memory(r);
		out->part = part;
		r->room_parts = room;
	}
	struct cwe_regex_part *p = &out->part[out->n_parts++];
	p->set = set;
	snprintf(p->text, sizeof(p->text), "%s", text);
	return 0;
}

/* Takes the set over, also on error. */
static int put_set(struct reader *r, struct cwe_charset *set)
{
	struct cwe_regex *out = r->out;
	cwe_charset_sort(set);
	if (set->count == 0) {
		cwe_charset_free(set);
		return refuse(r, "a class that no character is in");
	}
	for (size_t i = 0; i < out->n_sets; i++) {
		if (cwe_charset_equal(&out->set[i], set)) {
			cwe_charset_free(set);
			return put_part(r, (int)i, "");
		}
	}
	if (out->n_sets == r->room_sets) {
		size_t room = r->room_sets ? 2 * r->room_sets : 32;
		struct cwe_charset *sets = realloc(out->set, room * sizeof(*sets));
		if (!sets) {
			cwe_charset_free(set);
			return out_of_memory(r);
		}
		out->set = sets;
		r->room_sets = room;
	}
	out->set[out->n_sets++] = *set;
	*set = (struct cwe_charset){0};
	return put_part(r, (int)(out->n_sets - 1), "");
}

static int hexadecimal(struct reader *r, size_t digits, uint32_t *ret_point)
{
	uint32_t value = 0;
	for (size_t i = 0; i < digits; i++, r->at++) {
		int c = peek(r, 0);
		if (c >= '0' && c <= '9')
			value = value << 4 | (uint32_t)(c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			value = value << 4 | (uint32_t)((c | 32) - 'a' + 10);
		else
			return refuse(r, "hexadecimal digits missing");
	}
	*ret_point = value;
	return 0;
}

/* \xHH, \x{H..}, \uHHHH; at is behind the letter. */
static int read_code(struct reader *r, int letter, uint32_t *ret_point)
{
	int rc;
	if (letter == 'x' && peek(r, 0) == '{') {
		size_t digits = 0;
		r->at++;
		while (peek(r, digits) >= 0 && peek(r, digits) != '}')
			digits++;
		if (digits == 0 || digits > 6 || peek(r, digits) != '}')
			return refuse(r, "\\x{..} needs one to six hexadecimal digits");
		rc = hexadecimal(r, digits, ret_point);
		r->at += rc == 0;
	} else {
		rc = hexadecimal(r, letter == 'x' ? 2 : 4, ret_point);
		/* Oniguruma takes \x80 and above as a byte, not as a character. */
		if (rc == 0 && letter == 'x' && *ret_point > 0x7F)
			return refuse(r, "\\xHH above 7F is not supported; \\x{..} is");
	}
	if (rc == 0 &&
		(*ret_point > CWE_POINT_LAST || (*ret_point >= 0xD800 && *ret_point < 0xE000)))
		return refuse(r, "not a character");
	return rc;
}

/* \p{Name}, \P{Name}, \p{^Name}, \pL; at is behind the letter. */
static int read_property(
	struct reader *r, int negated, const struct cwe_class **ret_class, int *ret_negated)
{
	const char *name = r->text + r->at;
	size_t length = 1;
	if (peek(r, 0) == '{') {
		r->at++;
		if (peek(r, 0) == '^') {
			negated = !negated;
			r->at++;
		}
		name = r->text + r->at;
		length = 0;
		while (peek(r, length) >= 0 && peek(r, length) != '}')
			length++;
		if (peek(r, length) != '}')
			return refuse(r, "\\p{ has no end");
	} else if (peek(r, 0) < 0) {
		return refuse(r, "\\p needs a name");
	}
	/* The names that are not properties (s, w, is_numeric) begin with a small letter. */
	*ret_class = name[0] >= 'A' && name[0] <= 'Z' ? cwe_class_find(name, length) : NULL;
	if (!*ret_class)
		return cwb_err_set(r->err, CWP_EUNKNOWN, "%s: property \"%.*s\" is not supported",
			r->place, length > 40 ? 40 : (int)length, name);
	r->at += length + (name[-1] == '{' || name[-1] == '^');
	*ret_negated = negated;
	return 0;
}

/* What follows a backslash: a class (*ret_class set) or a character. at is on the letter. */
static int read_escape(
	struct reader *r, const struct cwe_class **ret_class, int *ret_negated, uint32_t *ret_point)
{
	static const char plain[] = "rntfvae";
	static const char value[] = "\r\n\t\f\v\a\033";
	int c = peek(r, 0);
	*ret_class = NULL;
	*ret_negated = 0;
	if (c < 0)
		return refuse(r, "a backslash at the end");
	r->at++;
	if (c == 'p' || c == 'P')
		return read_property(r, c == 'P', ret_class, ret_negated);
	if (c == 's' || c == 'S') {
		*ret_class = cwe_class_find("s", 1);
		*ret_negated = c == 'S';
		return 0;
	}
	if (c == 'x' || c == 'u')
		return read_code(r, c, ret_point);
	const char *known = strchr(plain, c);
	if (known && c != 0) {
		*ret_point = (unsigned char)value[known - plain];
		return 0;
	}
	if (c >= 0x80 || c < 0x20 || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'))
		return cwb_err_set(r->err, CWP_EUNKNOWN,
			"%s: at byte %zu: escape \\%c is not supported", r->place, r->at - 1,
			c >= 0x20 && c < 0x7F ? c : '?');
	*ret_point = (uint32_t)c;
	return 0;
}

static int next_point(struct reader *r, uint32_t *ret_point)
{
	size_t n = cwe_utf8_next(r->text + r->at, r->length - r->at, ret_point);
	if (n == 0)
		return refuse(r, "not UTF-8");
	r->at += n;
	return 0;
}

/* One character of a class, or one class in it (then *ret_class). */
static int class_item(
	struct reader *r, const struct cwe_class **ret_class, int *ret_negated, uint32_t *ret_point)
{
	*ret_class = NULL;
	if (peek(r, 0) == '\\') {
		r->at++;
		return read_escape(r, ret_class, ret_negated, ret_point);
	}
	if (peek(r, 0) == '[')
		return refuse(r, "a class inside a class is not supported");
	if (peek(r, 0) == '&' && peek(r, 1) == '&')
		return refuse(r, "an intersection of classes is not supported");
	return next_point(r, ret_point);
}

static int class_items(struct reader *r, struct cwe_charset *set)
{
	while (peek(r, 0) != ']') {
		const struct cwe_class *class = NULL;
		int negated = 0;
		uint32_t first = 0;
		if (peek(r, 0) < 0)
			return refuse(r, "a class has no end");
		int rc = class_item(r, &class, &negated, &first);
		if (rc < 0)
			return rc;
		if (class) {
			if (cwe_charset_add_class(set, class, negated) < 0)
				return out_of_memory(r);
			continue;
		}
		uint32_t last = first;
		if (peek(r, 0) == '-' && peek(r, 1) != ']' && peek(r, 1) >= 0) {
			r->at++;
			rc = class_item(r, &class, &negated, &last);
			if (rc < 0)
				return rc;
			if (class || last < first)
				return refuse(r, "a range of a class has no proper end");
		}
		if (cwe_charset_add(set, first, last) < 0)
			return out_of_memory(r);
	}
	return 0;
}

/* at is behind the bracket. */
static int read_class(struct reader *r)
{
	struct cwe_charset set = {0};
	int negated = peek(r, 0) == '^';
	r->at += (size_t)negated;
	if (peek(r, 0) == ']')
		return refuse(r, "a class begins with ]");
	int rc = class_items(r, &set);
	if (rc == 0) {
		r->at++;
		cwe_charset_sort(&set);
		if (negated && cwe_charset_complement(&set) < 0)
			rc = out_of_memory(r);
	}
	if (rc == 0)
		return put_set(r, &set);
	cwe_charset_free(&set);
	return rc;
}

/* A letter where case does not count. Only U+017F and U+212A fold to a single ASCII letter; some
 * pairs are folds of one character (U+00DF is ss), which a set cannot say. */
static int read_caseless(struct reader *r, uint32_t point)
{
	static const char *const pairs[] = {"ss", "ff", "fi", "fl", "st"};
	struct cwe_charset set = {0};
	if (point >= 0x80)
		return refuse(r, "outside ASCII, a group without case is not supported");
	char lower = (char)(point >= 'A' && point <= 'Z' ? point + 32 : point);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		if (pairs[i][0] == r->previous && pairs[i][1] == lower)
			return refuse(r, "letters that fold to one character, in a group without "
					 "case, are not supported");
	}
	r->previous = lower;
	int rc = cwe_charset_add(&set, (uint32_t)lower, (uint32_t)lower);
	if (rc == 0 && lower >= 'a' && lower <= 'z')
		rc = cwe_charset_add(&set, (uint32_t)lower - 32, (uint32_t)lower - 32);
	if (rc == 0 && lower == 's')
		rc = cwe_charset_add(&set, 0x17F, 0x17F);
	if (rc == 0 && lower == 'k')
		rc = cwe_charset_add(&set, 0x212A, 0x212A);
	if (rc == 0)
		return put_set(r, &set);
	cwe_charset_free(&set);
	return out_of_memory(r);
}

static int read_literal(struct reader *r, uint32_t point)
{
	struct cwe_charset set = {0};
	if (r->caseless[r->depth])
		return read_caseless(r, point);
	r->previous = 0;
	if (cwe_charset_add(&set, point, point) < 0)
		return out_of_memory(r);
	return put_set(r, &set);
}

/* at is behind the parenthesis. */
static int open_group(struct reader *r)
{
	static const char *const kinds[] = {"?:", "?>", "?=", "?!", "?<=", "?<!", "?i:"};
	const char *kind = "";
	if (peek(r, 0) == '*')
		return refuse(r, "a verb is not supported");
	if (peek(r, 0) == '?') {
		for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds) && !*kind; i++) {
			size_t n = strlen(kinds[i]);
			if (r->length - r->at >= n && memcmp(r->text + r->at, kinds[i], n) == 0)
				kind = kinds[i];
		}
		if (!*kind)
			return refuse(r, "this kind of group is not supported");
	}
	if (r->depth == DEPTH_LIMIT)
		return refuse(r, "groups are nested too deeply");
	r->at += strlen(kind);
	int caseless = r->caseless[r->depth] || strcmp(kind, "?i:") == 0;
	r->caseless[++r->depth] = (unsigned char)caseless;
	char text[8];
	snprintf(text, sizeof(text), "(%s", strcmp(kind, "?i:") == 0 || !*kind ? "?:" : kind);
	return put_part(r, -1, text);
}

/* {n}, {n,} or {n,m}; at is behind the brace. */
static int read_count(struct reader *r)
{
	char text[24] = "{";
	size_t n = 1;
	int commas = 0;
	int digits = 0; /* in front of the comma */
	for (;;) {
		int c = peek(r, 0);
		if (c == '}')
			break;
		if (!((c >= '0' && c <= '9') || (c == ',' && commas == 0 && digits > 0)) || n > 12)
			return refuse(r, "a count such as {1,3} was expected; a literal brace is "
					 "written \\{");
		commas += c == ',';
		digits += c != ',' && commas == 0;
		text[n++] = (char)c;
		r->at++;
	}
	r->at++;
	if (digits == 0)
		return refuse(r, "a count without a number");
	/* {n}? and {n}+ mean other things in the two engines. */
	if (peek(r, 0) == '?' || peek(r, 0) == '+')
		return refuse(r, "a lazy or possessive count is not supported");
	text[n] = '}';
	return put_part(r, -1, text);
}

static int read_operator(struct reader *r, int c)
{
	char text[2] = {(char)c, '\0'};
	r->at++;
	switch (c) {
	case '(':
		return open_group(r);
	case ')':
		if (r->depth == 0)
			return refuse(r, "a parenthesis too many");
		r->depth--;
		return put_part(r, -1, text);
	case '|':
		r->previous = 0;
		return put_part(r, -1, text);
	default:
		break;
	}
	if (r->caseless[r->depth])
		return refuse(r, "in a group without case only letters and | are supported");
	if (c == '[')
		return read_class(r);
	if (c == '{')
		return read_count(r);
	if (c == '.') {
		struct cwe_charset set = {0};
		int rc = cwe_charset_add(&set, 0, '\n' - 1);
		if (rc == 0)
			rc = cwe_charset_add(&set, '\n' + 1, CWE_POINT_LAST);
		if (rc == 0)
			return put_set(r, &set);
		cwe_charset_free(&set);
		return out_of_memory(r);
	}
	if (c == '^' || c == '$')
		return refuse(r, "an anchor is not supported");
	return put_part(r, -1, text); /* * + ? and their lazy and possessive forms */
}

static int read_one(struct reader *r)
{
	int c = peek(r, 0);
	uint32_t point = 0;
	if (c > 0 && strchr("()|[{.^$*+?", c))
		return read_operator(r, c);
	if (c != '\\') {
		int rc = next_point(r, &point);
		return rc < 0 ? rc : read_literal(r, point);
	}
	const struct cwe_class *class = NULL;
	int negated = 0;
	r->at++;
	int rc = read_escape(r, &class, &negated, &point);
	if (rc < 0)
		return rc;
	if (!class)
		return read_literal(r, point);
	if (r->caseless[r->depth])
		return refuse(r, "a class in a group without case is not supported");
	struct cwe_charset set = {0};
	if (cwe_charset_add_class(&set, class, negated) < 0) {
		cwe_charset_free(&set);
		return out_of_memory(r);
	}
	return put_set(r, &set);
}

int cwe_regex_read(const char *pattern, size_t length, const char *place, struct cwe_regex *ret,
	struct cwb_err *err)
{
	*ret = (struct cwe_regex){0};
	struct reader r = {
		.text = pattern, .length = length, .place = place, .out = ret, .err = err};
	if (length > LENGTH_LIMIT)
		return cwb_err_set(err, CWP_ELIMIT, "%s: a pattern of %zu bytes is longer than %d",
			place, length, LENGTH_LIMIT);
	while (r.at < length) {
		int rc = read_one(&r);
		if (rc < 0)
			return rc;
	}
	if (r.depth > 0)
		return refuse(&r, "a parenthesis has no end");
	return 0;
}

void cwe_regex_free(struct cwe_regex *r)
{
	for (size_t i = 0; i < r->n_sets; i++)
		cwe_charset_free(&r->set[i]);
	free(r->set);
	free(r->part);
	*r = (struct cwe_regex){0};
}
