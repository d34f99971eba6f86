/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Escapes and bracketed classes of a pattern, read into sets of code points. */
#include <string.h>

#include "engine/text/regex_p.h"
#include "engine/text/utf8.h"

#define CLASS_DEPTH 8 /* of classes in each other */

static int hexadecimal(struct cwe_regex_reader *r, size_t digits, uint32_t *ret_point)
{
	uint32_t value = 0;
	for (size_t i = 0; i < digits; i++, r->at++) {
		int c = cwe_regex_peek(r, 0);
		if (c >= '0' && c <= '9')
			value = value << 4 | (uint32_t)(c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			value = value << 4 | (uint32_t)((c | 32) - 'a' + 10);
		else
			return cwe_regex_refuse(r, "hexadecimal digits missing");
	}
	*ret_point = value;
	return 0;
}

/* \xHH, \x{H..}, \uHHHH; at is behind the letter. */
static int read_code(struct cwe_regex_reader *r, int letter, uint32_t *ret_point)
{
	int rc;
	if (letter == 'x' && cwe_regex_peek(r, 0) == '{') {
		size_t digits = 0;
		r->at++;
		while (cwe_regex_peek(r, digits) >= 0 && cwe_regex_peek(r, digits) != '}')
			digits++;
		if (digits == 0 || digits > 6 || cwe_regex_peek(r, digits) != '}')
			return cwe_regex_refuse(r, "\\x{..} needs one to six hexadecimal digits");
		rc = hexadecimal(r, digits, ret_point);
		r->at += rc == 0;
	} else {
		rc = hexadecimal(r, letter == 'x' ? 2 : 4, ret_point);
		/* Oniguruma takes \x80 and above as a byte, not as a character. */
		if (rc == 0 && letter == 'x' && *ret_point > 0x7F)
			return cwe_regex_refuse(r, "\\xHH above 7F is not supported; \\x{..} is");
	}
	if (rc == 0 &&
		(*ret_point > CWE_POINT_LAST || (*ret_point >= 0xD800 && *ret_point < 0xE000)))
		return cwe_regex_refuse(r, "not a character");
	return rc;
}

/* \p{Name}, \P{Name}, \p{^Name}, \pL; at is behind the letter. */
static int read_property(struct cwe_regex_reader *r, int negated,
	const struct cwe_class **ret_class, int *ret_negated)
{
	const char *name = r->text + r->at;
	size_t length = 1;
	if (cwe_regex_peek(r, 0) == '{') {
		r->at++;
		if (cwe_regex_peek(r, 0) == '^') {
			negated = !negated;
			r->at++;
		}
		name = r->text + r->at;
		length = 0;
		while (cwe_regex_peek(r, length) >= 0 && cwe_regex_peek(r, length) != '}')
			length++;
		if (cwe_regex_peek(r, length) != '}')
			return cwe_regex_refuse(r, "\\p{ has no end");
	} else if (cwe_regex_peek(r, 0) < 0) {
		return cwe_regex_refuse(r, "\\p needs a name");
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

/* \s, \d, \w and their opposites. \w outside a class holds some superscripts and fractions too. */
static int read_shorthand(int c, int inside, const struct cwe_class **ret_class, int *ret_negated)
{
	const struct {
		char letter;
		const char *class;
	} known[] = {{'s', "s"}, {'d', "Nd"}, {'w', inside ? "word_set" : "word"}};
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if ((c | 32) == known[i].letter) {
			*ret_class = cwe_class_find(known[i].class, strlen(known[i].class));
			*ret_negated = c != known[i].letter;
			return 1;
		}
	}
	return 0;
}

/* What follows a backslash: a class (*ret_class set) or a character. at is on the letter. inside:
 * of brackets. */
int cwe_regex_escape(struct cwe_regex_reader *r, int inside, const struct cwe_class **ret_class,
	int *ret_negated, uint32_t *ret_point)
{
	static const char plain[] = "rntfvae";
	static const char value[] = "\r\n\t\f\v\a\033";
	int c = cwe_regex_peek(r, 0);
	*ret_class = NULL;
	*ret_negated = 0;
	if (c < 0)
		return cwe_regex_refuse(r, "a backslash at the end");
	r->at++;
	if (c == 'p' || c == 'P')
		return read_property(r, c == 'P', ret_class, ret_negated);
	if (read_shorthand(c, inside, ret_class, ret_negated))
		return 0;
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

int cwe_regex_point(struct cwe_regex_reader *r, uint32_t *ret_point)
{
	size_t n = cwe_utf8_next(r->text + r->at, r->length - r->at, ret_point);
	if (n == 0)
		return cwe_regex_refuse(r, "not UTF-8");
	r->at += n;
	return 0;
}

/* One character of a class, or one class in it (then *ret_class). */
static int class_item(struct cwe_regex_reader *r, const struct cwe_class **ret_class,
	int *ret_negated, uint32_t *ret_point)
{
	*ret_class = NULL;
	if (cwe_regex_peek(r, 0) == '\\') {
		r->at++;
		return cwe_regex_escape(r, 1, ret_class, ret_negated, ret_point);
	}
	return cwe_regex_point(r, ret_point);
}

/* Where case does not count: ASCII letters get their other case, and what else folds to them. */
int cwe_regex_add_case(struct cwe_regex_reader *r, struct cwe_charset *set)
{
	size_t count = set->count;
	for (size_t i = 0; i < count; i++) {
		if (set->range[i].last >= 0x80)
			return cwe_regex_refuse(r,
				"outside ASCII, a class in a group without case is not supported");
		for (uint32_t point = set->range[i].first; point <= set->range[i].last; point++) {
			uint32_t lower = point | 32;
			if (lower < 'a' || lower > 'z')
				continue;
			if (cwe_charset_add(set, lower, lower) < 0 ||
				cwe_charset_add(set, lower - 32, lower - 32) < 0 ||
				(lower == 's' && cwe_charset_add(set, 0x17F, 0x17F) < 0) ||
				(lower == 'k' && cwe_charset_add(set, 0x212A, 0x212A) < 0))
				return cwe_regex_no_memory(r);
		}
	}
	return 0;
}

/* One character, range or class, into set; at is not on the end. */
static int class_member(struct cwe_regex_reader *r, struct cwe_charset *set)
{
	const struct cwe_class *class = NULL;
	int negated = 0;
	uint32_t first = 0;
	int rc = class_item(r, &class, &negated, &first);
	if (rc < 0)
		return rc;
	if (class) {
		if (r->caseless[r->depth])
			return cwe_regex_refuse(
				r, "a class in a group without case is not supported");
		return cwe_charset_add_class(set, class, negated) < 0 ? cwe_regex_no_memory(r) : 0;
	}
	uint32_t last = first;
	if (cwe_regex_peek(r, 0) == '-' && cwe_regex_peek(r, 1) != ']' &&
		cwe_regex_peek(r, 1) >= 0) {
		r->at++;
		if (cwe_regex_peek(r, 0) == '[')
			return cwe_regex_refuse(r, "a range of a class has no proper end");
		rc = class_item(r, &class, &negated, &last);
		if (rc < 0)
			return rc;
		if (class || last < first)
			return cwe_regex_refuse(r, "a range of a class has no proper end");
	}
	return cwe_charset_add(set, first, last) < 0 ? cwe_regex_no_memory(r) : 0;
}

/* *set becomes what both hold. */
static int intersect(struct cwe_regex_reader *r, struct cwe_charset *set, struct cwe_charset *other)
{
	int rc = cwe_charset_complement(set);
	if (rc == 0)
		rc = cwe_charset_complement(other);
	for (size_t i = 0; i < other->count && rc == 0; i++)
		rc = cwe_charset_add(set, other->range[i].first, other->range[i].last);
	cwe_charset_sort(set);
	if (rc == 0)
		rc = cwe_charset_complement(set);
	return rc < 0 ? cwe_regex_no_memory(r) : 0;
}

static int class_body(struct cwe_regex_reader *r, struct cwe_charset *set, int depth);

/* A class inside a class; at is on its bracket. */
static int class_inside(struct cwe_regex_reader *r, struct cwe_charset *set, int depth)
{
	struct cwe_charset inner = {0};
	if (cwe_regex_peek(r, 1) == ':')
		return cwe_regex_refuse(r, "a POSIX bracket is not supported; \\p{..} is");
	if (depth == CLASS_DEPTH)
		return cwe_regex_refuse(r, "classes are nested too deeply");
	if (r->caseless[r->depth])
		return cwe_regex_refuse(r, "a class in a group without case is not supported");
	r->at++;
	int rc = class_body(r, &inner, depth + 1);
	for (size_t i = 0; i < inner.count && rc == 0; i++) {
		if (cwe_charset_add(set, inner.range[i].first, inner.range[i].last) < 0)
			rc = cwe_regex_no_memory(r);
	}
	cwe_charset_free(&inner);
	return rc;
}

/* Members up to the end of the class or to &&. */
static int class_operand(struct cwe_regex_reader *r, struct cwe_charset *set, int depth)
{
	int rc = 0;
	while (rc == 0 && cwe_regex_peek(r, 0) != ']' &&
		!(cwe_regex_peek(r, 0) == '&' && cwe_regex_peek(r, 1) == '&')) {
		if (cwe_regex_peek(r, 0) < 0)
			return cwe_regex_refuse(r, "a class has no end");
		rc = cwe_regex_peek(r, 0) == '[' ? class_inside(r, set, depth)
						 : class_member(r, set);
	}
	if (rc == 0 && r->caseless[r->depth])
		rc = cwe_regex_add_case(r, set);
	cwe_charset_sort(set);
	return rc;
}

/* A class up to behind its end, sorted; at is behind the bracket. */
static int class_body(struct cwe_regex_reader *r, struct cwe_charset *set, int depth)
{
	int negated = cwe_regex_peek(r, 0) == '^';
	r->at += (size_t)negated;
	if (cwe_regex_peek(r, 0) == ']')
		return cwe_regex_refuse(r, "a class begins with ]");
	int rc = class_operand(r, set, depth);
	while (rc == 0 && cwe_regex_peek(r, 0) == '&') {
		struct cwe_charset other = {0};
		r->at += 2;
		rc = class_operand(r, &other, depth);
		if (rc == 0)
			rc = intersect(r, set, &other);
		cwe_charset_free(&other);
	}
	r->at++;
	if (rc == 0 && negated && cwe_charset_complement(set) < 0)
		rc = cwe_regex_no_memory(r);
	return rc;
}

/* at is behind the bracket. */
int cwe_regex_class(struct cwe_regex_reader *r)
{
	struct cwe_charset set = {0};
	int rc = class_body(r, &set, 0);
	if (rc == 0)
		return cwe_regex_put_set(r, &set);
	cwe_charset_free(&set);
	return rc;
}
