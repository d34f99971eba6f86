/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Replace: reading it, and replacing. */
#include "engine/text/replace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/component.h"

int cwe_string_read(const json_t *component, const char *place, const char *key,
	struct cwe_string *ret, struct cwb_err *err)
{
	const char *text;
	size_t length;
	int rc = cwe_component_string(component, place, key, &text, &length, err);
	if (rc < 0)
		return rc;
	ret->text = malloc(length + 1);
	if (!ret->text)
		return cwe_component_refuse(err, -ENOMEM, place, "out of memory");
	memcpy(ret->text, text, length);
	ret->text[length] = '\0';
	ret->length = length;
	return 0;
}

static int read_pattern(
	const json_t *pattern, const char *place, struct cwe_replace *ret, struct cwb_err *err)
{
	char field[CWE_PLACE_SIZE];
	const char *text;
	size_t length;
	cwe_place(field, place, "Regex");
	int rc = cwe_component_string(pattern, place, "Regex", &text, &length, err);
	return rc < 0 ? rc : cwe_pattern_new(text, length, field, &ret->pattern, err);
}

int cwe_replace_read(
	const json_t *component, const char *place, struct cwe_replace *ret, struct cwb_err *err)
{
	char inner[CWE_PLACE_SIZE];
	const json_t *pattern = json_object_get(component, "pattern");
	int rc;
	*ret = (struct cwe_replace){{NULL, 0}, NULL, {NULL, 0}};
	cwe_place(inner, place, "pattern");
	if (!pattern)
		return cwe_component_refuse(err, CWP_EMISSING, place, "has no \"pattern\"");
	if (json_object_size(pattern) != 1)
		return cwe_component_refuse(
			err, CWP_EVALUE, inner, "neither {\"Regex\"} nor {\"String\"}");
	if (json_object_get(pattern, "Regex"))
		rc = read_pattern(pattern, inner, ret, err);
	else
		rc = cwe_string_read(pattern, inner, "String", &ret->what, err);
	if (rc == 0 && !ret->pattern && ret->what.length == 0)
		rc = cwe_component_refuse(err, CWP_EVALUE, inner, "the string is empty");
	return rc < 0 ? rc : cwe_string_read(component, place, "content", &ret->with, err);
}

void cwe_replace_free(struct cwe_replace *r)
{
	free(r->what.text);
	free(r->with.text);
	cwe_pattern_free(r->pattern);
	*r = (struct cwe_replace){{NULL, 0}, NULL, {NULL, 0}};
}

/* Appends what lies between *done and a match, then its replacement. */
static int put_match(const struct cwe_replace *r, const struct cwe_buffer *in, size_t *done,
	size_t start, size_t end, struct cwe_buffer *out)
{
	int rc = cwe_buffer_put_part(out, in, *done, start);
	*done = end;
	return rc < 0 ? rc
		      : cwe_buffer_put(out, r->with.text, r->with.length,
				in->origin > 0 && end <= in->origin);
}

static int replace_text(const struct cwe_replace *r, const struct cwe_buffer *in, size_t *done,
	struct cwe_buffer *out)
{
	int rc = 0;
	while (rc == 0 && in->length > *done) {
		const char *found =
			memmem(in->text + *done, in->length - *done, r->what.text, r->what.length);
		if (!found)
			break;
		size_t start = (size_t)(found - in->text);
		rc = put_match(r, in, done, start, start + r->what.length, out);
	}
	return rc;
}

static int replace_pattern(const struct cwe_replace *r, const struct cwe_buffer *in, size_t *done,
	struct cwe_buffer *out, struct cwb_err *err)
{
	struct cwe_matcher *m = NULL;
	size_t start = 0;
	size_t end = 0;
	if (in->length == 0) /* the reference looks for nothing there */
		return 0;
	int rc = cwe_matcher_new(r->pattern, &m, err);
	if (rc == 0)
		rc = cwe_matcher_start(m, in->text, in->length, err);
	while (rc == 0 && (rc = cwe_matcher_next(m, &start, &end, err)) > 0)
		rc = put_match(r, in, done, start, end, out);
	cwe_matcher_free(m);
	return rc;
}

int cwe_replace_apply(const struct cwe_replace *r, const struct cwe_buffer *in,
	struct cwe_buffer *out, struct cwb_err *err)
{
	size_t done = 0;
	int rc = r->pattern ? replace_pattern(r, in, &done, out, err)
			    : replace_text(r, in, &done, out);
	return rc < 0 ? rc : cwe_buffer_put_part(out, in, done, in->length);
}
