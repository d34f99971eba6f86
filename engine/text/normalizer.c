/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's normalizer: a list of steps on strings. */
#include "engine/text/normalizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/component.h"
#include "engine/text/normal.h"
#include "engine/text/replace.h"
#include "engine/text/rewrite.h"

#define STEPS 32
#define DEPTH 4 /* of sequences in each other */

enum kind {
	KIND_PREPEND,
	KIND_REPLACE,
	KIND_FORM,
	KIND_LOWER,
	KIND_STRIP,
	KIND_ACCENTS,
	KIND_BYTES
};

struct step {
	enum kind kind;
	enum cwe_form form;
	struct cwe_string front; /* of KIND_PREPEND */
	struct cwe_replace replace;
	int left, right;
};

struct cwe_normalizer {
	struct step step[STEPS];
	size_t count;
};

/* Where an empty match is replaced, later steps of the reference repeat characters, or end it. */
static int read_replace(struct step *s, const json_t *c, const char *place, struct cwb_err *err)
{
	int rc = cwe_replace_read(c, place, &s->replace, err);
	if (rc == 0 && s->replace.pattern && cwe_pattern_may_be_empty(s->replace.pattern)) {
		char inner[CWE_PLACE_SIZE];
		cwe_place(inner, place, "pattern");
		rc = cwe_component_refuse(err, CWP_EUNKNOWN, inner,
			"a pattern that may match the empty string is not supported here");
	}
	return rc;
}

static int read_strip(struct step *s, const json_t *c, const char *place, struct cwb_err *err)
{
	int rc = cwe_component_flag(c, place, "strip_left", -1, &s->left, err);
	return rc < 0 ? rc : cwe_component_flag(c, place, "strip_right", -1, &s->right, err);
}

/* A component that is one step. */
static int read_step(struct cwe_normalizer *n, const json_t *c, const char *type, const char *place,
	struct cwb_err *err)
{
	static const struct {
		const char *type;
		enum kind kind;
		enum cwe_form form;
	} types[] = {{"Prepend", KIND_PREPEND, 0}, {"Replace", KIND_REPLACE, 0},
		{"NFC", KIND_FORM, CWE_FORM_NFC}, {"NFD", KIND_FORM, CWE_FORM_NFD},
		{"NFKC", KIND_FORM, CWE_FORM_NFKC}, {"NFKD", KIND_FORM, CWE_FORM_NFKD},
		{"Lowercase", KIND_LOWER, 0}, {"Strip", KIND_STRIP, 0},
		{"StripAccents", KIND_ACCENTS, 0}, {"ByteLevel", KIND_BYTES, 0}};
	size_t i = 0;
	while (i < sizeof(types) / sizeof(*types) && strcmp(types[i].type, type) != 0)
		i++;
	if (i == sizeof(types) / sizeof(*types))
		return cwe_component_unknown(place, type, err);
	if (n->count == STEPS)
		return cwe_component_refuse(err, CWP_ELIMIT, place, "more than %d steps", STEPS);
	struct step *s = &n->step[n->count++];
	s->kind = types[i].kind;
	s->form = types[i].form;
	switch (s->kind) {
	case KIND_PREPEND:
		return cwe_string_read(c, place, "prepend", &s->front, err);
	case KIND_REPLACE:
		return read_replace(s, c, place, err);
	case KIND_STRIP:
		return read_strip(s, c, place, err);
	case KIND_FORM:
	case KIND_LOWER:
	case KIND_ACCENTS:
	case KIND_BYTES:
		break;
	}
	return 0;
}

static int read_component(struct cwe_normalizer *n, const json_t *c, const char *place, int depth,
	struct cwb_err *err)
{
	const char *type;
	int rc = cwe_component_type(c, place, &type, err);
	if (rc < 0)
		return rc;
	if (strcmp(type, "Sequence") != 0)
		return read_step(n, c, type, place, err);
	const json_t *list;
	rc = cwe_component_array(c, place, "normalizers", 1, &list, err);
	if (rc == 0 && depth == DEPTH)
		rc = cwe_component_refuse(
			err, CWP_ELIMIT, place, "sequences are nested too deeply");
	for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
		char inner[CWE_PLACE_SIZE];
		cwe_place_item(inner, place, "normalizers", i);
		rc = read_component(n, json_array_get(list, i), inner, depth + 1, err);
	}
	return rc;
}

int cwe_normalizer_new(const json_t *component, struct cwe_normalizer **ret, struct cwb_err *err)
{
	struct cwe_normalizer *n = calloc(1, sizeof(*n));
	if (!n)
		return cwb_err_set(err, -ENOMEM, "out of memory");
	if (component && !json_is_null(component)) {
		int rc = read_component(n, component, "normalizer", 0, err);
		if (rc < 0) {
			cwe_normalizer_free(n);
			return rc;
		}
	}
	*ret = n;
	return 0;
}

void cwe_normalizer_free(struct cwe_normalizer *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < n->count; i++) {
		free(n->step[i].front.text);
		cwe_replace_free(&n->step[i].replace);
	}
	free(n);
}

static int apply_step(const struct step *s, const struct cwe_buffer *in, struct cwe_buffer *out,
	struct cwb_err *err)
{
	switch (s->kind) {
	case KIND_PREPEND:
		return cwe_rewrite_prepend(&s->front, in, out);
	case KIND_REPLACE:
		return cwe_replace_apply(&s->replace, in, out, err);
	case KIND_FORM:
		return cwe_normal_form(s->form, in, out);
	case KIND_LOWER:
		return cwe_normal_lower_case(in, out);
	case KIND_STRIP:
		return cwe_rewrite_strip(s->left, s->right, in, out);
	case KIND_ACCENTS:
		return cwe_rewrite_accents(in, out);
	case KIND_BYTES:
		return cwe_rewrite_bytes(in, out);
	}
	return 0;
}

/* Whether a step leaves the text as it is; only what is quickly seen. */
static int changes_nothing(const struct step *s, const struct cwe_buffer *b)
{
	const struct cwe_string *what = &s->replace.what;
	if (s->kind == KIND_REPLACE && !s->replace.pattern)
		return memmem(b->text, b->length, what->text, what->length) == NULL;
	return s->kind == KIND_FORM && s->form == CWE_FORM_NFC &&
	       cwe_normal_stable(b->text, b->length) == b->length;
}

int cwe_normalizer_apply(const struct cwe_normalizer *n, const char *text, size_t length,
	size_t origin, struct cwe_buffer *ret, struct cwb_err *err)
{
	struct cwe_buffer b = {0};
	size_t own = origin < length ? origin : length;
	int rc = cwe_buffer_put(&b, text, own, 1);
	if (rc == 0)
		rc = cwe_buffer_put(&b, text + own, length - own, 0);
	for (size_t i = 0; i < n->count && rc == 0; i++) {
		struct cwe_buffer out = {0};
		if (changes_nothing(&n->step[i], &b))
			continue;
		rc = apply_step(&n->step[i], &b, &out, err);
		if (rc == 0 && !out.text)
			rc = cwe_buffer_put(&out, "", 0, 0);
		cwe_buffer_free(&b);
		b = out;
	}
	if (rc < 0) {
		cwe_buffer_free(&b);
		if (rc == CWP_ELIMIT)
			return cwb_err_set(
				err, rc, "normalized text longer than %zu bytes", CWE_BUFFER_LIMIT);
		return cwb_err_set(err, rc, "out of memory for a text of %zu bytes", length);
	}
	*ret = b;
	return 0;
}
