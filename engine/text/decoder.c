/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's decoder: a list of steps on a list of strings. */
#include "engine/text/decoder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/bytelevel.h"
#include "engine/text/component.h"
#include "engine/text/utf8.h"

#define STEPS 32
#define DEPTH 4 /* of sequences in each other */

enum kind { KIND_BYTELEVEL, KIND_FUSE };

struct cwe_decoder {
	int none; /* no decoder at all */
	enum kind step[STEPS];
	size_t count;
};

static int read_component(
	struct cwe_decoder *d, const json_t *c, const char *place, int depth, struct cwb_err *err)
{
	const char *type;
	int rc = cwe_component_type(c, place, &type, err);
	if (rc < 0)
		return rc;
	int bytes = strcmp(type, "ByteLevel") == 0;
	if (bytes || strcmp(type, "Fuse") == 0) {
		if (d->count == STEPS)
			return cwe_component_refuse(
				err, CWP_ELIMIT, place, "more than %d steps", STEPS);
		d->step[d->count++] = bytes ? KIND_BYTELEVEL : KIND_FUSE;
		return 0;
	}
	if (strcmp(type, "Sequence") != 0)
		return cwe_component_unknown(place, type, err);
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
	free(d);
}

/* The bytes that a token of the byte alphabet stands for; a token with another character stays as
 * it is. Returns their count; never more than length. */
static size_t token_bytes(const struct cwe_token_text *t, char *out)
{
	size_t n = 0;
	for (size_t i = 0, step; i < t->length; i += step) {
		uint32_t point = 0;
		step = cwe_utf8_next(t->text + i, t->length - i, &point);
		int byte = step > 0 ? cwe_bytelevel_byte(point) : -1;
		if (byte < 0) {
			memcpy(out, t->text, t->length);
			return t->length;
		}
		out[n++] = (char)byte;
	}
	return n;
}

/* All tokens as one text; between them a space when spaces is set. bytes: they are of the byte
 * alphabet. */
static int join(const struct cwe_token_text *token, size_t count, int spaces, int bytes,
	char **ret_text, size_t *ret_length, struct cwb_err *err)
{
	size_t room = 1;
	size_t at = 0;
	for (size_t i = 0; i < count; i++) {
		if (__builtin_add_overflow(room, token[i].length + 1, &room))
			return cwb_err_set(
				err, CWP_ELIMIT, "the text of %zu tokens is too long", count);
	}
	char *text = malloc(room);
	if (!text)
		return cwb_err_set(err, -ENOMEM, "out of memory for the text of %zu tokens", count);
	for (size_t i = 0; i < count; i++) {
		if (spaces && i > 0)
			text[at++] = ' ';
		if (bytes) {
			at += token_bytes(&token[i], text + at);
		} else if (token[i].length > 0) {
			memcpy(text + at, token[i].text, token[i].length);
			at += token[i].length;
		}
	}
	text[at] = '\0';
	*ret_text = text;
	*ret_length = at;
	return 0;
}

int cwe_decoder_apply(const struct cwe_decoder *d, const struct cwe_token_text *token, size_t count,
	char **ret_text, size_t *ret_length, struct cwb_err *err)
{
	struct cwe_token_text one;
	char *text = NULL;
	size_t length = 0;
	int rc = 0;
	for (size_t i = 0; i < d->count && rc == 0; i++) {
		int bytes = d->step[i] == KIND_BYTELEVEL;
		char *joined = NULL;
		rc = join(token, count, 0, bytes, &joined, &length, err);
		free(text);
		text = joined;
		if (rc == 0 && bytes) {
			text = cwe_utf8_repair(joined, length, &length);
			free(joined);
			if (!text)
				rc = cwb_err_set(err, -ENOMEM,
					"out of memory for the text of %zu tokens", count);
		}
		one = (struct cwe_token_text){text, length};
		token = &one;
		count = 1;
	}
	if (rc == 0 && d->count == 0)
		rc = join(token, count, d->none, 0, &text, &length, err);
	if (rc < 0) {
		free(text);
		return rc;
	}
	*ret_text = text;
	*ret_length = length;
	return 0;
}
