/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's normalizer: a list of steps on strings. */
#include "engine/text/normalizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/component.h"

#define STEPS 32
#define DEPTH 4 /* of sequences in each other */
#define LENGTH_LIMIT ((size_t)1 << 30)

struct string {
	char *text;
	size_t length;
};

struct step {
	struct string pattern; /* what is replaced; text NULL: content goes in front of the text */
	struct string content;
};

struct cwe_normalizer {
	struct step step[STEPS];
	size_t count;
};

static int copy(
	struct string *s, const char *text, size_t length, const char *place, struct cwb_err *err)
{
	s->text = malloc(length + 1);
	if (!s->text)
		return cwe_component_refuse(err, -ENOMEM, place, "out of memory");
	memcpy(s->text, text, length);
	s->text[length] = '\0';
	s->length = length;
	return 0;
}

static int read_string(
	struct string *s, const json_t *c, const char *place, const char *key, struct cwb_err *err)
{
	const char *text;
	size_t length;
	int rc = cwe_component_string(c, place, key, &text, &length, err);
	return rc < 0 ? rc : copy(s, text, length, place, err);
}

static int read_replace(struct step *s, const json_t *c, const char *place, struct cwb_err *err)
{
	char inner[CWE_PLACE_SIZE];
	const json_t *pattern = json_object_get(c, "pattern");
	cwe_place(inner, place, "pattern");
	if (!pattern)
		return cwe_component_refuse(err, CWP_EMISSING, place, "has no \"pattern\"");
	if (json_object_get(pattern, "Regex"))
		return cwe_component_refuse(
			err, CWP_EUNKNOWN, inner, "a Regex is not supported here");
	int rc = read_string(&s->pattern, pattern, inner, "String", err);
	if (rc == 0 && s->pattern.length == 0)
		rc = cwe_component_refuse(err, CWP_EVALUE, inner, "the string is empty");
	return rc < 0 ? rc : read_string(&s->content, c, place, "content", err);
}

static int read_component(struct cwe_normalizer *n, const json_t *c, const char *place, int depth,
	struct cwb_err *err)
{
	const char *type;
	int rc = cwe_component_type(c, place, &type, err);
	if (rc < 0)
		return rc;
	int prepend = strcmp(type, "Prepend") == 0;
	if (prepend || strcmp(type, "Replace") == 0) {
		if (n->count == STEPS)
			return cwe_component_refuse(
				err, CWP_ELIMIT, place, "more than %d steps", STEPS);
		struct step *s = &n->step[n->count++];
		return prepend ? read_string(&s->content, c, place, "prepend", err)
			       : read_replace(s, c, place, err);
	}
	if (strcmp(type, "Sequence") != 0)
		return cwe_component_unknown(place, type, err);
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
		free(n->step[i].pattern.text);
		free(n->step[i].content.text);
	}
	free(n);
}

static size_t occurrences(const struct string *s, const struct string *of)
{
	size_t n = 0;
	const char *at = s->text;
	const char *end = s->text + s->length;
	while ((at = memmem(at, (size_t)(end - at), of->text, of->length)) != NULL) {
		n++;
		at += of->length;
	}
	return n;
}

static void put(struct string *out, const char *text, size_t length)
{
	if (length > 0)
		memcpy(out->text + out->length, text, length);
	out->length += length;
}

/* *s becomes its new value; the old one is freed. */
static int apply_step(const struct step *step, struct string *s, struct cwb_err *err)
{
	size_t n = step->pattern.text ? occurrences(s, &step->pattern) : s->length > 0;
	size_t growth;
	if (n == 0)
		return 0;
	if (__builtin_mul_overflow(n, step->content.length, &growth) || growth > LENGTH_LIMIT ||
		growth + s->length > LENGTH_LIMIT)
		return cwb_err_set(
			err, CWP_ELIMIT, "normalized text longer than %zu bytes", LENGTH_LIMIT);
	struct string out = {malloc(s->length + growth + 1), 0};
	if (!out.text)
		return cwb_err_set(
			err, -ENOMEM, "out of memory for a text of %zu bytes", s->length);
	const char *at = s->text;
	const char *end = s->text + s->length;
	if (!step->pattern.text)
		put(&out, step->content.text, step->content.length);
	for (const char *found; step->pattern.text; at = found + step->pattern.length) {
		found = memmem(at, (size_t)(end - at), step->pattern.text, step->pattern.length);
		if (!found)
			break;
		put(&out, at, (size_t)(found - at));
		put(&out, step->content.text, step->content.length);
	}
	put(&out, at, (size_t)(end - at));
	out.text[out.length] = '\0';
	free(s->text);
	*s = out;
	return 0;
}

int cwe_normalizer_apply(const struct cwe_normalizer *n, const char *text, size_t length,
	char **ret_text, size_t *ret_length, struct cwb_err *err)
{
	struct string s = {0};
	int rc = copy(&s, text, length, "", err);
	for (size_t i = 0; i < n->count && rc == 0; i++)
		rc = apply_step(&n->step[i], &s, err);
	if (rc < 0) {
		free(s.text);
		return rc;
	}
	*ret_text = s.text;
	*ret_length = s.length;
	return 0;
}
