/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Normalization in segments: from one character that nothing reaches across to the next, the
 * characters are decomposed, marks are put in the order of their classes, and pairs are composed.
 */
#include "engine/text/normal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/normal_table.h"
#include "engine/text/utf8.h"

#define SHORT_RUN 16 /* marks that are sorted by insertion */
#define LONGEST 18   /* of all decompositions (U+FDFA) */

enum hangul {
	SYLLABLE = 0xAC00,
	SYLLABLES = 11172,
	LEAD = 0x1100,
	LEADS = 19,
	VOWEL = 0x1161,
	VOWELS = 21,
	TAIL = 0x11A7, /* one before the first */
	TAILS = 28
};

struct unit {
	uint32_t point;
	uint32_t takes; /* characters of the text that it stands for, in the order of what becomes
			   of them */
	unsigned char class; /* combining class */
};

struct segment {
	struct unit *unit;
	size_t count, room;
	struct unit *sorted; /* room for as many, once needed */
	size_t sorted_room;
	size_t from; /* byte of the text where it began */
};

static int is_unstable(uint32_t point)
{
	size_t page = point >> 8;
	if (page >= cwe_normal_unstable_pages)
		return 0;
	return cwe_normal_unstable_bits[cwe_normal_unstable_page[page]][point >> 3 & 31] >>
		       (point & 7) &
	       1;
}

size_t cwe_normal_stable(const char *text, size_t length)
{
	size_t i = 0;
	while (i < length) {
		while (i < length && (unsigned char)text[i] < 0xCC) /* below U+0300 all is stable */
			i++;
		if (i == length)
			break;
		uint32_t point = 0;
		size_t n = cwe_utf8_next(text + i, length - i, &point);
		if (n == 0 || is_unstable(point))
			return i > 0 ? cwe_utf8_before(text, i) : 0;
		i += n;
	}
	return length;
}

static unsigned char class_of(uint32_t point)
{
	size_t low = 0;
	size_t high = point < 0x300 ? 0 : cwe_normal_mark_runs;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct cwe_normal_marks *run = &cwe_normal_marks[middle];
		if (point > run->last)
			low = middle + 1;
		else if (point < run->first)
			high = middle;
		else
			return run->class;
	}
	return 0;
}

static const struct cwe_normal_entry *look_up(const struct cwe_normal_map *map, uint32_t point)
{
	size_t low = 0;
	size_t high = map->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (map->entry[middle].point < point)
			low = middle + 1;
		else
			high = middle;
	}
	return low < map->count && map->entry[low].point == point ? &map->entry[low] : NULL;
}

/* The one character that two become, or 0. */
static uint32_t pair(uint32_t first, uint32_t second)
{
	if (first >= LEAD && first < LEAD + LEADS && second >= VOWEL && second < VOWEL + VOWELS)
		return SYLLABLE + ((first - LEAD) * VOWELS + (second - VOWEL)) * TAILS;
	if (first >= SYLLABLE && first < SYLLABLE + SYLLABLES)
		return (first - SYLLABLE) % TAILS == 0 && second > TAIL && second < TAIL + TAILS
			       ? first + (second - TAIL)
			       : 0;
	size_t low = 0;
	size_t high = cwe_normal_pairs;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct cwe_normal_pair *p = &cwe_normal_pair[middle];
		if (p->first < first || (p->first == first && p->second < second))
			low = middle + 1;
		else
			high = middle;
	}
	const struct cwe_normal_pair *p = &cwe_normal_pair[low];
	return low < cwe_normal_pairs && p->first == first && p->second == second ? p->whole : 0;
}

static int add(struct segment *s, uint32_t point, uint32_t takes)
{
	if (s->count == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		struct unit *unit = realloc(s->unit, room * sizeof(*unit));
		if (!unit)
			return -ENOMEM;
		s->unit = unit;
		s->room = room;
	}
	s->unit[s->count++] = (struct unit){point, takes, class_of(point)};
	return 0;
}

/* A run of marks by class, those of one class in their order. */
static int sort_run(struct segment *s, size_t start, size_t end)
{
	struct unit *unit = s->unit + start;
	size_t n = end - start;
	if (n <= SHORT_RUN) {
		for (size_t i = 1; i < n; i++) {
			struct unit x = unit[i];
			size_t j = i;
			for (; j > 0 && unit[j - 1].class > x.class; j--)
				unit[j] = unit[j - 1];
			unit[j] = x;
		}
		return 0;
	}
	if (n > s->sorted_room) {
		struct unit *sorted = realloc(s->sorted, s->room * sizeof(*sorted));
		if (!sorted)
			return -ENOMEM;
		s->sorted = sorted;
		s->sorted_room = s->room;
	}
	size_t place[257] = {0};
	for (size_t i = 0; i < n; i++)
		place[unit[i].class + 1]++;
	for (size_t k = 1; k < 257; k++)
		place[k] += place[k - 1];
	for (size_t i = 0; i < n; i++)
		s->sorted[place[unit[i].class]++] = unit[i];
	memcpy(unit, s->sorted, n * sizeof(*unit));
	return 0;
}

static int sort_marks(struct segment *s)
{
	for (size_t i = 0; i < s->count;) {
		size_t start = i;
		while (i < s->count && s->unit[i].class != 0)
			i++;
		int rc = i - start > 1 ? sort_run(s, start, i) : 0;
		if (rc < 0)
			return rc;
		i += i == start;
	}
	return 0;
}

/* Composes each starter with what follows and is not blocked: by a starter in between, or by a mark
 * of the same class or a higher one. */
static void compose(struct segment *s)
{
	struct unit *starter = NULL;
	unsigned char last = 0; /* class of the mark kept last behind the starter */
	size_t n = 0;
	for (size_t i = 0; i < s->count; i++) {
		struct unit x = s->unit[i];
		int next = starter && starter + 1 == s->unit + n; /* nothing was kept in between */
		uint32_t whole =
			starter && (next || (x.class > last)) ? pair(starter->point, x.point) : 0;
		if (whole != 0) {
			starter->point = whole;
			starter->takes += x.takes;
			continue;
		}
		s->unit[n] = x;
		if (x.class == 0)
			starter = &s->unit[n];
		last = x.class;
		n++;
	}
	s->count = n;
}

/* The reference counts a character that was added as come from the one before, and the others as
 * come from the characters in their order, whatever was sorted. */
static int emit(struct segment *s, const struct cwe_buffer *in, struct cwe_buffer *out)
{
	int rc = 0;
	for (size_t i = 0; i < s->count && rc == 0; i++) {
		const struct unit *u = &s->unit[i];
		int origin = u->takes > 0 ? s->from < in->origin
					  : s->from <= in->origin && in->origin > 0;
		rc = cwe_buffer_put_point(out, u->point, origin);
		for (uint32_t k = 0; k < u->takes && s->from <= in->origin; k++)
			s->from += cwe_utf8_next(in->text + s->from, in->length - s->from, NULL);
	}
	s->count = 0;
	return rc;
}

static int flush(
	struct segment *s, int composes, const struct cwe_buffer *in, struct cwe_buffer *out)
{
	int rc = sort_marks(s);
	if (rc == 0 && composes)
		compose(s);
	return rc < 0 ? rc : emit(s, in, out);
}

/* The full decomposition of a character; returns its length. */
static size_t decompose(uint32_t point, int compatible, uint32_t out[LONGEST])
{
	if (point >= SYLLABLE && point < SYLLABLE + SYLLABLES) {
		uint32_t index = point - SYLLABLE;
		out[0] = LEAD + index / (VOWELS * TAILS);
		out[1] = VOWEL + index % (VOWELS * TAILS) / TAILS;
		out[2] = TAIL + index % TAILS;
		return index % TAILS != 0 ? 3 : 2;
	}
	const struct cwe_normal_map *map = &cwe_normal_compatible;
	const struct cwe_normal_entry *e = compatible ? look_up(map, point) : NULL;
	if (!e) {
		map = &cwe_normal_canonical;
		e = look_up(map, point);
	}
	out[0] = point;
	if (!e)
		return 1;
	for (size_t i = 0; i < e->count; i++)
		out[i] = map->pool[e->first + i];
	return e->count;
}

/* Copies what stays as it is from byte at on, while nothing waits: all but the last of the
 * characters that the form leaves alone, for that one may change with the next. Returns the bytes.
 */
static int copy_stable(
	enum cwe_form form, const struct cwe_buffer *in, size_t *at, struct cwe_buffer *out)
{
	const char *text = in->text + *at;
	size_t n = in->length - *at;
	if (form == CWE_FORM_NFC) {
		n = cwe_normal_stable(text, n);
	} else {
		size_t ascii = 0;
		while (ascii < n && (unsigned char)text[ascii] < 0x80)
			ascii++;
		n = ascii < n && ascii > 0 ? ascii - 1 : ascii;
	}
	int rc = cwe_buffer_put_part(out, in, *at, *at + n);
	*at += n;
	return rc;
}

static int form_text(
	enum cwe_form form, struct segment *s, const struct cwe_buffer *in, struct cwe_buffer *out)
{
	int composes = form == CWE_FORM_NFC || form == CWE_FORM_NFKC;
	int compatible = form == CWE_FORM_NFKC || form == CWE_FORM_NFKD;
	int rc = 0;
	for (size_t i = 0; i < in->length && rc == 0;) {
		uint32_t points[LONGEST];
		uint32_t point = 0;
		if (s->count == 0) {
			rc = copy_stable(form, in, &i, out);
			s->from = i;
			if (rc < 0 || i == in->length)
				break;
		}
		size_t step = cwe_utf8_next(in->text + i, in->length - i, &point);
		size_t n = decompose(point, compatible, points);
		/* One that does not reach back to those that wait ends their segment. */
		if (s->count > 0 &&
			!(composes ? is_unstable(points[0]) : class_of(points[0]) != 0)) {
			rc = flush(s, composes, in, out);
			continue;
		}
		for (size_t k = 0; k < n && rc == 0; k++)
			rc = add(s, points[k], k == 0);
		i += step > 0 ? step : 1;
	}
	return rc < 0 ? rc : flush(s, composes, in, out);
}

int cwe_normal_form(enum cwe_form form, const struct cwe_buffer *in, struct cwe_buffer *out)
{
	struct segment s = {0};
	int rc = form_text(form, &s, in, out);
	free(s.unit);
	free(s.sorted);
	return rc;
}

int cwe_normal_lower_case(const struct cwe_buffer *in, struct cwe_buffer *out)
{
	int rc = 0;
	for (size_t i = 0, step; i < in->length && rc == 0; i += step) {
		uint32_t point = (unsigned char)in->text[i];
		int origin = i < in->origin;
		step = 1;
		if (point < 0x80) {
			point += point >= 'A' && point <= 'Z' ? 'a' - 'A' : 0;
			rc = cwe_buffer_put_point(out, point, origin);
			continue;
		}
		step = cwe_utf8_next(in->text + i, in->length - i, &point);
		step = step > 0 ? step : 1;
		const struct cwe_normal_entry *e = look_up(&cwe_normal_lower, point);
		if (!e)
			rc = cwe_buffer_put(out, in->text + i, step, origin);
		for (size_t k = 0; e && k < e->count && rc == 0; k++)
			rc = cwe_buffer_put_point(out, cwe_normal_lower.pool[e->first + k], origin);
	}
	return rc;
}
