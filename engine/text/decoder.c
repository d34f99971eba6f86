/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's decoder: a list of steps on a list of strings. */
#include "engine/text/decoder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/component.h"
#include "engine/text/decode_steps.h"
#include "engine/text/utf8.h"

#define STEPS 32
#define DEPTH 4 /* of sequences in each other */

enum kind { KIND_BYTELEVEL, KIND_FALLBACK, KIND_FUSE, KIND_METASPACE, KIND_REPLACE, KIND_STRIP };

struct step {
	enum kind kind;
	struct cwe_metaspace meta;
	struct cwe_replace replace;
	struct cwe_string character; /* of KIND_STRIP */
	size_t left, right;
};

struct cwe_decoder {
	int none; /* no decoder at all */
	struct step step[STEPS];
	size_t count;
};

static int read_count(
	const json_t *c, const char *place, const char *key, size_t *ret, struct cwb_err *err)
{
	const json_t *value = json_object_get(c, key);
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return cwe_component_refuse(
			err, CWP_EVALUE, place, "\"%s\" is not a whole number from 0 on", key);
	*ret = (size_t)json_integer_value(value);
	return 0;
}

static int read_strip(struct step *s, const json_t *c, const char *place, struct cwb_err *err)
{
	int rc = cwe_string_read(c, place, "content", &s->character, err);
	const struct cwe_string *text = &s->character;
	if (rc == 0 && (text->length == 0 ||
			       cwe_utf8_next(text->text, text->length, NULL) != text->length))
		rc = cwe_component_refuse(
			err, CWP_EVALUE, place, "\"content\" is not one character");
	if (rc == 0)
		rc = read_count(c, place, "start", &s->left, err);
	return rc < 0 ? rc : read_count(c, place, "stop", &s->right, err);
}

/* A component that is one step. */
static int read_step(struct cwe_decoder *d, const json_t *c, const char *type, const char *place,
	struct cwb_err *err)
{
	static const char *const types[] = {[KIND_BYTELEVEL] = "ByteLevel",
		[KIND_FALLBACK] = "ByteFallback",
		[KIND_FUSE] = "Fuse",
		[KIND_METASPACE] = "Metaspace",
		[KIND_REPLACE] = "Replace",
		[KIND_STRIP] = "Strip"};
	size_t kind = 0;
	while (kind < sizeof(types) / sizeof(*types) && strcmp(type, types[kind]) != 0)
		kind++;
	if (kind == sizeof(types) / sizeof(*types))
		return cwe_component_unknown(place, type, err);
	if (d->count == STEPS)
		return cwe_component_refuse(err, CWP_ELIMIT, place, "more than %d steps", STEPS);
	struct step *s = &d->step[d->count++];
	s->kind = (enum kind)kind;
	if (s->kind == KIND_METASPACE)
		return cwe_metaspace_read(c, place, &s->meta, err);
	if (s->kind == KIND_REPLACE)
		return cwe_replace_read(c, place, &s->replace, err);
	return s->kind == KIND_STRIP ? read_strip(s, c, place, err) : 0;
}

static int read_component(
	struct cwe_decoder *d, const json_t *c, const char *place, int depth, struct cwb_err *err)
{
	const char *type;
	int rc = cwe_component_type(c, place, &type, err);
	if (rc < 0)
		return rc;
	if (strcmp(type, "Sequence") != 0)
		return read_step(d, c, type, place, err);
	const json_t *list;
	rc = cwe_component_array(c, place, "decoders", 1, &list, err);
	if (rc == 0 && depth == DEPTH)
		rc = cwe_component_refuse(
			err, CWP_ELIMIT, place, "sequences are nested too deeply");
	for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
		char inner[CWE_PLACE_SIZE];
		cwe_place_item(inner, place, "decoders", i);
		rc = read_component(d, json_array_get(list, i), inner, depth + 1, err);
	}
	return rc;
}

int cwe_decoder_new(const json_t *component, struct cwe_decoder **ret, struct cwb_err *err)
{
	struct cwe_decoder *d = calloc(1, sizeof(*d));
	if (!d)
		return cwb_err_set(err, -ENOMEM, "out of memory");
	if (!component || json_is_null(component)) {
		d->none = 1;
	} else {
		int rc = read_component(d, component, "decoder", 0, err);
		if (rc < 0) {
			cwe_decoder_free(d);
			return rc;
		}
	}
	*ret = d;
	return 0;
}

void cwe_decoder_free(struct cwe_decoder *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->count; i++) {
		free(d->step[i].character.text);
		cwe_replace_free(&d->step[i].replace);
	}
	free(d);
}

static int apply_step(const struct step *s, const struct cwe_strings *in, struct cwe_strings *out,
	struct cwb_err *err)
{
	switch (s->kind) {
	case KIND_BYTELEVEL:
		return cwe_decode_bytelevel(in, out);
	case KIND_FALLBACK:
		return cwe_decode_fallback(in, out);
	case KIND_FUSE:
		return cwe_decode_fuse(in, out);
	case KIND_METASPACE:
		return cwe_decode_metaspace(&s->meta, in, out);
	case KIND_REPLACE:
		return cwe_decode_replace(&s->replace, in, out, err);
	case KIND_STRIP:
		return cwe_decode_strip(&s->character, s->left, s->right, in, out);
	}
	return 0;
}

int cwe_decoder_apply(const struct cwe_decoder *d, const struct cwe_token_text *token, size_t count,
	char **ret_text, size_t *ret_length, struct cwb_err *err)
{
	struct cwe_strings s = {0};
	int rc = cwe_buffer_put(&s.all, "", 0, 0);
	for (size_t i = 0; i < count && rc == 0; i++) {
		if (d->none && i > 0)
			rc = cwe_buffer_put(&s.all, " ", 1, 0);
		if (rc == 0)
			rc = cwe_strings_add(&s, token[i].text, token[i].length);
	}
	for (size_t i = 0; i < d->count && rc == 0; i++) {
		struct cwe_strings out = {0};
		rc = cwe_buffer_put(&out.all, "", 0, 0);
		if (rc == 0)
			rc = apply_step(&d->step[i], &s, &out, err);
		cwe_strings_free(&s);
		s = out;
	}
	if (rc < 0) {
		cwe_strings_free(&s);
		return cwb_err_set(err, rc,
			rc == CWP_ELIMIT ? "the text of %zu tokens is too long"
					 : "out of memory for the text of %zu tokens",
			count);
	}
	free(s.end);
	*ret_text = s.all.text;
	*ret_length = s.all.length;
	return 0;
}
