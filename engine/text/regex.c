/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reading of a pattern. Nothing is left to the matcher's own idea of a class or of letter case:
 * those differ between engines and between versions of Unicode. */
#include "engine/text/regex_p.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/utf8.h"

#define LENGTH_LIMIT 16384 /* of a pattern in bytes; the longest seen has about 600 */

int cwe_regex_refuse(struct cwe_regex_reader *r, const char *what)
{
	return cwb_err_set(r->err, CWP_EUNKNOWN, "%s: at byte %zu: %s", r->place, r->at, what);
}

int cwe_regex_no_memory(struct cwe_regex_reader *r)
{
	return cwb_err_set(r->err, -ENOMEM, "%s: out of memory", r->place);
}

int cwe_regex_peek(const struct cwe_regex_reader *r, size_t ahead)
{
	return r->length - r->at > ahead ? (unsigned char)r->text[r->at + ahead] : -1;
}

static int put_part(struct cwe_regex_reader *r, int set, const char *text)
{
	struct cwe_regex *out = r->out;
	if (out->n_parts == r->room_parts) {
		size_t room = r->room_parts ? 2 * r->room_parts : 64;
		struct cwe_regex_part *part = realloc(out->part, room * sizeof(*part));
		if (!part)
			return cwe_regex_no_memory(r);
		out->part = part;
		r->room_parts = room;
	}
	struct cwe_regex_part *p = &out->part[out->n_parts++];
	p->set = set;
	snprintf(p->text, sizeof(p->text), "%s", text);
	return 0;
}

int cwe_regex_put(struct cwe_regex_reader *r, const char *text)
{
	return put_part(r, -1, text);
}

int cwe_regex_put_class(struct cwe_regex_reader *r, struct cwe_charset *set)
{
	struct cwe_regex *out = r->out;
	cwe_charset_sort(set);
	if (set->count == 0) {
		cwe_charset_free(set);
		return cwe_regex_put(r, "[^\\x00-\\xff]");
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
			return cwe_regex_no_memory(r);
		}
		out->set = sets;
		r->room_sets = room;
	}
	out->set[out->n_sets++] = *set;
	*set = (struct cwe_charset){0};
	return put_part(r, (int)(out->n_sets - 1), "");
}

int cwe_regex_put_set(struct cwe_regex_reader *r, struct cwe_charset *set)
{
	r->previous = 0;
	r->repeatable = 1;
	r->atom = r->out->n_parts;
	return cwe_regex_put_class(r, set);
}

/* A letter where case does not count. Only U+017F and U+212A fold to a single ASCII letter; some
 * pairs are folds of one character (U+00DF is ss), which a set cannot say. */
static int read_caseless(struct cwe_regex_reader *r, uint32_t point)
{
	static const char *const pairs[] = {"ss", "ff", "fi", "fl", "st"};
	struct cwe_charset set = {0};
	if (point >= 0x80)
		return cwe_regex_refuse(r, "outside ASCII, a group without case is not supported");
	char lower = (char)(point >= 'A' && point <= 'Z' ? point + 32 : point);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		if (pairs[i][0] == r->previous && pairs[i][1] == lower)
			return cwe_regex_refuse(r,
				"letters that fold to one character, in a group without "
				"case, are not supported");
	}
	int rc = cwe_charset_add(&set, (uint32_t)lower, (uint32_t)lower) < 0
			 ? cwe_regex_no_memory(r)
			 : cwe_regex_add_case(r, &set);
	if (rc == 0)
		rc = cwe_regex_put_set(r, &set);
	else
		cwe_charset_free(&set);
	r->previous = lower;
	return rc;
}

static int read_literal(struct cwe_regex_reader *r, uint32_t point)
{
	struct cwe_charset set = {0};
	if (r->caseless[r->depth])
		return read_caseless(r, point);
	if (cwe_charset_add(&set, point, point) < 0)
		return cwe_regex_no_memory(r);
	return cwe_regex_put_set(r, &set);
}

/* at is behind the parenthesis. */
static int open_group(struct cwe_regex_reader *r)
{
	static const char *const kinds[] = {"?:", "?>", "?=", "?!", "?<=", "?<!", "?i:"};
	const char *kind = "";
	if (cwe_regex_peek(r, 0) == '*')
		return cwe_regex_refuse(r, "a verb is not supported");
	if (cwe_regex_peek(r, 0) == '?') {
		for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds) && !*kind; i++) {
			size_t n = strlen(kinds[i]);
			if (r->length - r->at >= n && memcmp(r->text + r->at, kinds[i], n) == 0)
				kind = kinds[i];
		}
		if (!*kind)
			return cwe_regex_refuse(r, "this kind of group is not supported");
	}
	if (r->depth == CWE_REGEX_DEPTH)
		return cwe_regex_refuse(r, "groups are nested too deeply");
	r->at += strlen(kind);
	int caseless = r->caseless[r->depth] || strcmp(kind, "?i:") == 0;
	r->caseless[++r->depth] = (unsigned char)caseless;
	r->opened[r->depth] = r->out->n_parts;
	r->assertion[r->depth] = *kind && strchr("=!<", kind[1]) != NULL;
	r->previous = 0;
	r->repeatable = 0;
	char text[8];
	snprintf(text, sizeof(text), "(%s", strcmp(kind, "?i:") == 0 || !*kind ? "?:" : kind);
	return cwe_regex_put(r, text);
}

/* Oniguruma reads {n,m}+ and {n}? as a quantifier of a quantifier: a group is put around what the
 * first repeats. */
static int put_second(struct cwe_regex_reader *r, int c)
{
	char text[4] = {')', (char)c, '\0'};
	int rc = cwe_regex_put(r, "(?:");
	if (rc < 0)
		return rc;
	struct cwe_regex_part *part = r->out->part;
	struct cwe_regex_part group = part[r->out->n_parts - 1];
	memmove(part + r->atom + 1, part + r->atom,
		(r->out->n_parts - 1 - r->atom) * sizeof(*part));
	part[r->atom] = group;
	r->at++;
	return cwe_regex_put(r, text);
}

/* {n}, {n,}, {n,m} or {,m}; at is behind the brace. */
static int read_count(struct cwe_regex_reader *r)
{
	char text[24] = "{";
	size_t n = 1;
	int commas = 0;
	int digits = 0;
	if (cwe_regex_peek(r, 0) == ',')
		text[n++] = '0';
	for (;; r->at++) {
		int c = cwe_regex_peek(r, 0);
		if (c == '}')
			break;
		if (!((c >= '0' && c <= '9') || (c == ',' && commas == 0)) || n > 12)
			return cwe_regex_refuse(r,
				"a count such as {1,3} was expected; a literal brace is "
				"written \\{");
		commas += c == ',';
		digits += c != ',';
		text[n++] = (char)c;
	}
	r->at++;
	if (digits == 0)
		return cwe_regex_refuse(r, "a count without a number");
	text[n] = '}';
	int rc = cwe_regex_put(r, text);
	int more = cwe_regex_peek(r, 0);
	if (rc < 0 || (more != '+' && more != '?'))
		return rc;
	if (more == '+' || commas == 0)
		return put_second(r, more);
	r->at++;
	return cwe_regex_put(r, "?");
}

/* * + ? and counts, with what makes them lazy or possessive. */
static int read_quantifier(struct cwe_regex_reader *r, int c)
{
	char text[2] = {(char)c, '\0'};
	if (!r->repeatable)
		return cwe_regex_refuse(r, "a quantifier without anything to repeat");
	r->previous = 0;
	r->repeatable = 0; /* a quantifier of a quantifier is read differently by the two engines */
	if (c == '{')
		return read_count(r);
	int rc = cwe_regex_put(r, text);
	int more = cwe_regex_peek(r, 0);
	if (rc < 0 || (more != '?' && more != '+'))
		return rc;
	text[0] = (char)more;
	r->at++;
	return cwe_regex_put(r, text);
}

/* Parts with one set in the places of \n, or of \w. */
static int put_around(
	struct cwe_regex_reader *r, const char *const *part, const struct cwe_charset *set)
{
	int rc = 0;
	for (; *part && rc == 0; part++) {
		struct cwe_charset copy = {0};
		if (strcmp(*part, "") != 0) {
			rc = cwe_regex_put(r, *part);
			continue;
		}
		for (size_t i = 0; i < set->count && rc == 0; i++)
			rc = cwe_charset_add(&copy, set->range[i].first, set->range[i].last);
		rc = rc < 0 ? cwe_regex_no_memory(r) : cwe_regex_put_class(r, &copy);
	}
	r->previous = 0;
	r->repeatable = 0;
	return rc;
}

/* ^ $ \A \z \Z \b \B; c is the character, or the letter behind the backslash; 0 when it is none of
 * them, else 1. */
static int read_anchor(struct cwe_regex_reader *r, int c)
{
	static const struct {
		char letter;
		const char *part[10]; /* "": the set of \n, or for \b and \B that of \w */
	} known[] = {
		{'^', {"(?:\\A|(?<=", "", ")(?!\\z))"}}, /* not behind the last line's end */
		{'$', {"(?:(?=", "", ")|\\z)"}},
		{'A', {"\\A"}},
		{'z', {"\\z"}},
		{'Z', {"(?=", "", "?\\z)"}},
		{'b', {"(?:(?<=", "", ")(?!", "", ")|(?<!", "", ")(?=", "", "))"}},
		{'B', {"(?:(?<=", "", ")(?=", "", ")|(?<!", "", ")(?!", "", "))"}},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (known[i].letter != c)
			continue;
		const struct cwe_class *word = cwe_class_find("word", strlen("word"));
		struct cwe_range newline = {'\n', '\n'};
		struct cwe_charset set = {&newline, 1, 1};
		struct cwe_charset words = {
			(struct cwe_range *)word->range, word->count, word->count};
		int rc = put_around(r, known[i].part, (c | 32) == 'b' ? &words : &set);
		return rc < 0 ? rc : 1;
	}
	return 0;
}

static int read_operator(struct cwe_regex_reader *r, int c)
{
	char text[2] = {(char)c, '\0'};
	r->at++;
	switch (c) {
	case '(':
		return open_group(r);
	case ')':
		if (r->depth == 0)
			return cwe_regex_refuse(r, "a parenthesis too many");
		r->repeatable = !r->assertion[r->depth];
		r->atom = r->opened[r->depth--];
		r->previous = 0;
		return cwe_regex_put(r, text);
	case '|':
		r->previous = 0;
		r->repeatable = 0;
		return cwe_regex_put(r, text);
	case '[':
		return cwe_regex_class(r);
	case '.': {
		struct cwe_charset set = {0};
		int rc = cwe_charset_add(&set, 0, '\n' - 1);
		if (rc == 0)
			rc = cwe_charset_add(&set, '\n' + 1, CWE_POINT_LAST);
		if (rc == 0)
			return cwe_regex_put_set(r, &set);
		cwe_charset_free(&set);
		return cwe_regex_no_memory(r);
	}
	case '^':
	case '$': {
		int rc = read_anchor(r, c);
		return rc < 0 ? rc : 0;
	}
	default:
		return read_quantifier(r, c);
	}
}

static int read_one(struct cwe_regex_reader *r)
{
	int c = cwe_regex_peek(r, 0);
	uint32_t point = 0;
	if (c > 0 && strchr("()|[{.^$*+?", c))
		return read_operator(r, c);
	if (c != '\\') {
		int rc = cwe_regex_point(r, &point);
		return rc < 0 ? rc : read_literal(r, point);
	}
	const struct cwe_class *class = NULL;
	int negated = 0;
	int letter = cwe_regex_peek(r, 1);
	r->at++;
	int rc = letter == '^' || letter == '$' ? 0 : read_anchor(r, letter);
	if (rc != 0) {
		r->at++;
		return rc < 0 ? rc : 0;
	}
	rc = cwe_regex_escape(r, 0, &class, &negated, &point);
	if (rc < 0)
		return rc;
	if (!class)
		return read_literal(r, point);
	if (r->caseless[r->depth] && strchr("sSdD", letter) == NULL)
		return cwe_regex_refuse(r, "a class in a group without case is not supported");
	struct cwe_charset set = {0};
	if (cwe_charset_add_class(&set, class, negated) < 0) {
		cwe_charset_free(&set);
		return cwe_regex_no_memory(r);
	}
	return cwe_regex_put_set(r, &set);
}

int cwe_regex_read(const char *pattern, size_t length, const char *place, struct cwe_regex *ret,
	struct cwb_err *err)
{
	*ret = (struct cwe_regex){0};
	struct cwe_regex_reader r = {
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
		return cwe_regex_refuse(&r, "a parenthesis has no end");
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
