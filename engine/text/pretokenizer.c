/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's pre_tokenizer: a list of steps, each a splitter or the byte alphabet. */
#include "engine/text/pretokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/bytelevel.h"
#include "engine/text/component.h"
#include "engine/text/metaspace.h"
#include "engine/text/splitter.h"
#include "engine/text/utf8.h"

#define STEPS 32
#define DEPTH 4 /* of sequences in each other */

enum kind { KIND_SPLIT, KIND_BYTES, KIND_PREFIX, KIND_METASPACE };

struct step {
	enum kind kind;
	struct cwe_splitter splitter; /* of KIND_SPLIT */
	struct cwe_metaspace meta;    /* of KIND_METASPACE */
};

struct cwe_pretokenizer {
	struct step step[STEPS];
	size_t count;
};

static struct step *add_step(
	struct cwe_pretokenizer *t, enum kind kind, const char *place, struct cwb_err *err)
{
	if (t->count == STEPS) {
		(void)cwe_component_refuse(err, CWP_ELIMIT, place, "more than %d steps", STEPS);
		return NULL;
	}
	t->step[t->count].kind = kind;
	return &t->step[t->count++];
}

static int add_class(struct cwe_pretokenizer *t, const char *class, enum cwe_behavior behavior,
	const char *place, struct cwb_err *err)
{
	struct step *s = add_step(t, KIND_SPLIT, place, err);
	if (!s)
		return CWP_ELIMIT;
	s->splitter.class = cwe_class_find(class, strlen(class));
	s->splitter.behavior = behavior;
	return 0;
}

static int read_digits(
	struct cwe_pretokenizer *t, const json_t *c, const char *place, struct cwb_err *err)
{
	int individual = 0;
	int rc = cwe_component_flag(c, place, "individual_digits", 0, &individual, err);
	return rc < 0 ? rc
		      : add_class(t, "is_numeric",
				individual ? CWE_BEHAVIOR_ISOLATED : CWE_BEHAVIOR_CONTIGUOUS, place, err);
}

static int read_behavior(
	const json_t *c, const char *place, enum cwe_behavior *ret, struct cwb_err *err)
{
	static const char *const names[] = {
		[CWE_BEHAVIOR_REMOVED] = "Removed",
		[CWE_BEHAVIOR_ISOLATED] = "Isolated",
		[CWE_BEHAVIOR_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
		[CWE_BEHAVIOR_MERGED_WITH_NEXT] = "MergedWithNext",
		[CWE_BEHAVIOR_CONTIGUOUS] = "Contiguous",
	};
	const char *name;
	size_t length;
	int rc = cwe_component_string(c, place, "behavior", &name, &length, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum cwe_behavior)i;
			return 0;
		}
	}
	return cwe_component_refuse(
		err, CWP_EUNKNOWN, place, "behavior \"%.40s\" is not supported", name);
}

static int copy_text(struct cwe_splitter *s, const char *text, size_t length, const char *place,
	struct cwb_err *err)
{
	s->text = malloc(length);
	if (!s->text)
		return cwe_component_refuse(err, -ENOMEM, place, "out of memory");
	memcpy(s->text, text, length);
	s->length = length;
	return 0;
}

static int read_split_pattern(
	struct cwe_splitter *s, const json_t *c, const char *place, struct cwb_err *err)
{
	char inner[CWE_PLACE_SIZE];
	char field[CWE_PLACE_SIZE];
	const json_t *pattern = json_object_get(c, "pattern");
	const char *text;
	size_t length;
	cwe_place(inner, place, "pattern");
	if (!pattern)
		return cwe_component_refuse(err, CWP_EMISSING, place, "has no \"pattern\"");
	if (json_object_size(pattern) != 1)
		return cwe_component_refuse(
			err, CWP_EVALUE, inner, "neither {\"Regex\"} nor {\"String\"}");
	if (json_object_get(pattern, "Regex")) {
		int rc = cwe_component_string(pattern, inner, "Regex", &text, &length, err);
		cwe_place(field, inner, "Regex");
		return rc < 0 ? rc : cwe_pattern_new(text, length, field, &s->pattern, err);
	}
	int rc = cwe_component_string(pattern, inner, "String", &text, &length, err);
	if (rc < 0)
		return rc;
	if (length == 0)
		return cwe_component_refuse(err, CWP_EVALUE, inner, "the string is empty");
	return copy_text(s, text, length, inner, err);
}

static int read_split(
	struct cwe_pretokenizer *t, const json_t *c, const char *place, struct cwb_err *err)
{
	struct step *s = add_step(t, KIND_SPLIT, place, err);
	if (!s)
		return CWP_ELIMIT;
	int rc = read_behavior(c, place, &s->splitter.behavior, err);
	if (rc == 0)
		rc = cwe_component_flag(c, place, "invert", 0, &s->splitter.invert, err);
	if (rc == 0)
		rc = read_split_pattern(&s->splitter, c, place, err);
	return rc;
}

static int read_bytelevel(
	struct cwe_pretokenizer *t, const json_t *c, const char *place, struct cwb_err *err)
{
	int prefix = 0;
	int regex = 0;
	int rc = cwe_component_flag(c, place, "add_prefix_space", -1, &prefix, err);
	if (rc == 0)
		rc = cwe_component_flag(c, place, "use_regex", 1, &regex, err);
	if (rc < 0)
		return rc;
	if (prefix && !add_step(t, KIND_PREFIX, place, err))
		return CWP_ELIMIT;
	if (regex) {
		struct step *s = add_step(t, KIND_SPLIT, place, err);
		if (!s)
			return CWP_ELIMIT;
		s->splitter.behavior = CWE_BEHAVIOR_ISOLATED;
		rc = cwe_pattern_new(cwe_bytelevel_pattern, strlen(cwe_bytelevel_pattern), place,
			&s->splitter.pattern, err);
		if (rc < 0)
			return rc;
	}
	return add_step(t, KIND_BYTES, place, err) ? 0 : CWP_ELIMIT;
}

static int read_punctuation(
	struct cwe_pretokenizer *t, const json_t *c, const char *place, struct cwb_err *err)
{
	enum cwe_behavior behavior = CWE_BEHAVIOR_ISOLATED;
	int rc = json_object_get(c, "behavior") ? read_behavior(c, place, &behavior, err) : 0;
	return rc < 0 ? rc : add_class(t, "punctuation", behavior, place, err);
}

/* White space goes; what remains is cut (words) where word characters and others meet. */
static int read_whitespace(
	struct cwe_pretokenizer *t, int words, const char *place, struct cwb_err *err)
{
	int rc = add_class(t, "s", CWE_BEHAVIOR_REMOVED, place, err);
	return rc == 0 && words ? add_class(t, "w", CWE_BEHAVIOR_CONTIGUOUS, place, err) : rc;
}

static int read_metaspace(
	struct cwe_pretokenizer *t, const json_t *c, const char *place, struct cwb_err *err)
{
	struct step *s = add_step(t, KIND_METASPACE, place, err);
	int rc = s ? cwe_metaspace_read(c, place, &s->meta, err) : CWP_ELIMIT;
	if (rc < 0 || !s->meta.split)
		return rc;
	struct step *split = add_step(t, KIND_SPLIT, place, err);
	if (!split)
		return CWP_ELIMIT;
	split->splitter.behavior = CWE_BEHAVIOR_MERGED_WITH_NEXT;
	return copy_text(&split->splitter, s->meta.mark, s->meta.length, place, err);
}

/* A component that is not a sequence. */
static int read_step(struct cwe_pretokenizer *t, const json_t *c, const char *type,
	const char *place, struct cwb_err *err)
{
	static const struct {
		const char *type;
		int (*read)(struct cwe_pretokenizer *, const json_t *, const char *, struct cwb_err *);
	} types[] = {{"Digits", read_digits}, {"Split", read_split}, {"ByteLevel", read_bytelevel},
		{"Punctuation", read_punctuation}, {"Metaspace", read_metaspace}};
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		if (strcmp(type, types[i].type) == 0)
			return types[i].read(t, c, place, err);
	}
	int words = strcmp(type, "Whitespace") == 0;
	if (words || strcmp(type, "WhitespaceSplit") == 0)
		return read_whitespace(t, words, place, err);
	return cwe_component_unknown(place, type, err);
}

static int read_component(struct cwe_pretokenizer *t, const json_t *c, const char *place, int depth,
	struct cwb_err *err)
{
	const char *type;
	int rc = cwe_component_type(c, place, &type, err);
	if (rc < 0)
		return rc;
	if (strcmp(type, "Sequence") != 0)
		return read_step(t, c, type, place, err);
	const json_t *list;
	rc = cwe_component_array(c, place, "pretokenizers", 1, &list, err);
	if (rc == 0 && depth == DEPTH)
		rc = cwe_component_refuse(
			err, CWP_ELIMIT, place, "sequences are nested too deeply");
	for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
		char inner[CWE_PLACE_SIZE];
		cwe_place_item(inner, place, "pretokenizers", i);
		rc = read_component(t, json_array_get(list, i), inner, depth + 1, err);
	}
	return rc;
}

int cwe_pretokenizer_new(
	const json_t *component, struct cwe_pretokenizer **ret, struct cwb_err *err)
{
	struct cwe_pretokenizer *t = calloc(1, sizeof(*t));
	if (!t)
		return cwb_err_set(err, -ENOMEM, "out of memory");
	if (component && !json_is_null(component)) {
		int rc = read_component(t, component, "pre_tokenizer", 0, err);
		if (rc < 0) {
			cwe_pretokenizer_free(t);
			return rc;
		}
	}
	*ret = t;
	return 0;
}

void cwe_pretokenizer_free(struct cwe_pretokenizer *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->count; i++)
		cwe_splitter_free(&t->step[i].splitter);
	free(t);
}

/* Writes the pieces anew into *out: every byte as its character (bytes), or each with a space in
 * front. */
static int rewrite(const struct cwe_pieces *p, enum kind kind, struct cwe_pieces *out)
{
	size_t at = 0;
	out->text = malloc(2 * p->length + p->count + 1);
	if (!out->text)
		return -ENOMEM;
	for (size_t i = 0; i < p->count; i++) {
		size_t from = p->piece[i].start;
		size_t end = p->piece[i].end;
		size_t start = at;
		if (kind == KIND_PREFIX) {
			if (p->text[from] != ' ')
				out->text[at++] = ' ';
			memcpy(out->text + at, p->text + from, end - from);
			at += end - from;
			if (from < p->origin)
				out->origin = at - (end < p->origin ? 0 : end - p->origin);
		} else {
			for (; from < end; from++) {
				at += cwe_utf8_put(
					cwe_bytelevel_point((unsigned char)p->text[from]),
					out->text + at);
				if (from < p->origin)
					out->origin = at;
			}
		}
		if (cwe_pieces_add(out, start, at) < 0)
			return -ENOMEM;
	}
	out->length = at;
	return 0;
}

/* The same for Metaspace: spaces become the mark, and a piece may get one in front. */
static int mark_spaces(
	const struct cwe_metaspace *m, const struct cwe_pieces *p, struct cwe_pieces *out)
{
	size_t at = 0;
	size_t room;
	if (__builtin_mul_overflow(p->length + p->count, m->length, &room) || !(out->text = malloc(room + 1)))
		return -ENOMEM;
	for (size_t i = 0; i < p->count; i++) {
		const char *text = p->text;
		size_t from = p->piece[i].start;
		size_t end = p->piece[i].end;
		size_t start = at;
		int marked = text[from] == ' ' ||
			     (end - from >= m->length && memcmp(text + from, m->mark, m->length) == 0);
		if (!marked && (m->scheme == CWE_METASPACE_ALWAYS ||
				       (m->scheme == CWE_METASPACE_FIRST && from < p->origin))) {
			memcpy(out->text + at, m->mark, m->length);
			at += m->length;
		}
		for (; from < end; from++) {
			if (text[from] == ' ') {
				memcpy(out->text + at, m->mark, m->length);
				at += m->length;
			} else {
				out->text[at++] = text[from];
			}
			if (from < p->origin)
				out->origin = at;
		}
		if (cwe_pieces_add(out, start, at) < 0)
			return -ENOMEM;
	}
	out->length = at;
	return 0;
}

int cwe_pretokenizer_apply(
	const struct cwe_pretokenizer *t, int bytes, struct cwe_pieces *p, struct cwb_err *err)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct step *s = &t->step[i];
		if (s->kind == KIND_SPLIT) {
			int rc = cwe_splitter_apply(&s->splitter, p, err);
			if (rc < 0)
				return rc;
			continue;
		}
		if (bytes && s->kind == KIND_BYTES && i + 1 == t->count) {
			p->bytes = 1;
			break;
		}
		struct cwe_pieces out = {0};
		int rc = s->kind == KIND_METASPACE ? mark_spaces(&s->meta, p, &out) : rewrite(p, s->kind, &out);
		if (rc < 0) {
			cwe_pieces_free(&out);
			return cwb_err_set(
				err, -ENOMEM, "out of memory for a text of %zu bytes", p->length);
		}
		cwe_pieces_free(p);
		*p = out;
	}
	return 0;
}
