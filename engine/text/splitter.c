/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Cutting of pieces: matches and gaps in order, joined as the behaviour says. */
#include "engine/text/splitter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/utf8.h"

struct part {
	size_t start, end;
	int match;
};

struct parts {
	struct part *part;
	size_t count, room;
	size_t end; /* of the last one; where the next gap starts */
};

static int add_part(struct parts *p, size_t start, size_t end, int match)
{
	if (p->count == p->room) {
		size_t room = p->room ? 2 * p->room : 64;
		struct part *part = realloc(p->part, room * sizeof(*part));
		if (!part)
			return -ENOMEM;
		p->part = part;
		p->room = room;
	}
	p->part[p->count++] = (struct part){start, end, match};
	p->end = end;
	return 0;
}

/* A match, with the gap in front of it. */
static int add_match(struct parts *p, size_t start, size_t end)
{
	if (p->end < start && add_part(p, p->end, start, 0) < 0)
		return -ENOMEM;
	return add_part(p, start, end, 1);
}

static int find_pattern(struct cwe_matcher *m, const char *text, size_t length, struct parts *parts,
	struct cwb_err *err)
{
	size_t start;
	size_t end;
	int rc = cwe_matcher_start(m, text, length, err);
	if (rc < 0)
		return rc;
	while ((rc = cwe_matcher_next(m, &start, &end, err)) > 0) {
		if (add_match(parts, start, end) < 0)
			return -ENOMEM;
	}
	return rc;
}

static int find_text(
	const struct cwe_splitter *s, const char *text, size_t length, struct parts *parts)
{
	const char *at = text;
	const char *found;
	while ((found = memmem(at, length - (size_t)(at - text), s->text, s->length)) != NULL) {
		at = found + s->length;
		if (add_match(parts, (size_t)(found - text), (size_t)(at - text)) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int find_class(
	const struct cwe_splitter *s, const char *text, size_t length, struct parts *parts)
{
	for (size_t i = 0, step; i < length; i += step) {
		uint32_t point = 0;
		step = cwe_utf8_next(text + i, length - i, &point);
		if (step == 0)
			step = 1;
		if (cwe_class_has(s->class, point) && add_match(parts, i, i + step) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int find(const struct cwe_splitter *s, struct cwe_matcher *m, const struct cwe_piece *piece,
	const char *text, struct parts *parts, struct cwb_err *err)
{
	int rc;
	size_t length = piece->end - piece->start;
	text += piece->start;
	parts->count = 0;
	parts->end = 0;
	if (s->pattern)
		rc = find_pattern(m, text, length, parts, err);
	else
		rc = s->text ? find_text(s, text, length, parts)
			     : find_class(s, text, length, parts);
	if (rc == 0 && parts->end < length)
		rc = add_part(parts, parts->end, length, 0);
	if (rc < 0)
		return cwb_err_set(err, rc, "out of memory for a text of %zu bytes", length);
	for (size_t i = 0; i < parts->count && s->invert; i++)
		parts->part[i].match = !parts->part[i].match;
	return 0;
}

/* Joins neighbours in place, first to last; the last part of a join ends it. */
static void join_forward(struct parts *p, enum cwe_behavior behavior)
{
	size_t n = 0;
	int previous = 0;
	for (size_t i = 0; i < p->count; i++) {
		struct part part = p->part[i];
		int join = behavior == CWE_BEHAVIOR_CONTIGUOUS ? part.match == previous
							       : part.match && !previous;
		previous = part.match;
		if (join && n > 0)
			p->part[n - 1].end = part.end;
		else
			p->part[n++] = part;
	}
	p->count = n;
}

static void join_backward(struct parts *p)
{
	size_t n = p->count;
	int previous = 0;
	for (size_t i = p->count; i-- > 0;) {
		struct part part = p->part[i];
		int join = part.match && !previous;
		previous = part.match;
		if (join && n < p->count)
			p->part[n].start = part.start;
		else
			p->part[--n] = part;
	}
	if (n > 0)
		memmove(p->part, p->part + n, (p->count - n) * sizeof(*p->part));
	p->count -= n;
}

static void join(struct parts *p, enum cwe_behavior behavior)
{
	switch (behavior) {
	case CWE_BEHAVIOR_MERGED_WITH_NEXT:
		join_backward(p);
		break;
	case CWE_BEHAVIOR_MERGED_WITH_PREVIOUS:
	case CWE_BEHAVIOR_CONTIGUOUS:
		join_forward(p, behavior);
		break;
	case CWE_BEHAVIOR_REMOVED:
	case CWE_BEHAVIOR_ISOLATED:
		break;
	}
}

int cwe_splitter_apply(const struct cwe_splitter *s, struct cwe_pieces *p, struct cwb_err *err)
{
	struct cwe_pieces cut = {0};
	struct parts parts = {0};
	struct cwe_matcher *m = NULL;
	int rc = s->pattern ? cwe_matcher_new(s->pattern, &m, err) : 0;
	for (size_t i = 0; i < p->count && rc == 0; i++) {
		size_t start = p->piece[i].start;
		rc = find(s, m, &p->piece[i], p->text, &parts, err);
		if (rc == 0)
			join(&parts, s->behavior);
		for (size_t j = 0; j < parts.count && rc == 0; j++) {
			const struct part *part = &parts.part[j];
			if (s->behavior == CWE_BEHAVIOR_REMOVED && part->match)
				continue;
			if (cwe_pieces_add(&cut, start + part->start, start + part->end) < 0)
				rc = cwb_err_set(err, -ENOMEM, "out of memory");
		}
	}
	cwe_matcher_free(m);
	free(parts.part);
	if (rc < 0) {
		cwe_pieces_free(&cut);
		return rc;
	}
	free(p->piece);
	p->piece = cut.piece;
	p->count = cut.count;
	p->room = cut.room;
	return 0;
}

void cwe_splitter_free(struct cwe_splitter *s)
{
	cwe_pattern_free(s->pattern);
	free(s->text);
	*s = (struct cwe_splitter){0};
}
