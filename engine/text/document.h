/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json, taken apart: its small components as values, its long lists as places in the
 * text, to be read event by event. A tree of the whole file would take five to six times its size.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "base/json_stream.h"

struct cwe_section {
	const char *text; /* the whole file's */
	size_t start, end;
	enum cwb_json_event event; /* the first of the value; CWB_JSON_END: the file has none */
	size_t count, bytes;       /* of an object or array, as cwb_json_stream_skip counts them */
};

struct cwe_document {
	json_t *root; /* an object: normalizer, pre_tokenizer, post_processor, decoder, and model
			 without its lists */
	struct cwe_section added_tokens, vocab, merges;
};

/* Checks the whole text: its syntax, that no member of the file or of its model comes twice, and
 * that no small component is long. Members may stand in any order; unknown ones are passed over.
 * Text and *ret go together: sections point into it. CWP_EFORMAT with line and column; CWP_ELIMIT;
 * CWP_EVALUE when the file is no object. */
int cwe_document_read(
	const char *text, size_t length, struct cwe_document *ret, struct cwb_err *err);
void cwe_document_free(struct cwe_document *d); /* zeroed is fine */

/* Begins to read a section that is an object or an array: the event that opens it is read already.
 */
int cwe_section_open(
	const struct cwe_section *section, struct cwb_json_stream *s, struct cwb_err *err);
