/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's post_processor: which special tokens go around a text. TemplateProcessing,
 * ByteLevel (changes no ids), Sequence. */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "engine/text/idlist.h"

struct cwe_postprocessor {
	struct cwe_idlist before, after; /* special tokens in front of a text and behind it */
};

/* component may be NULL or null. Freed with cwe_postprocessor_free, after an error too. */
int cwe_postprocessor_read(
	const json_t *component, struct cwe_postprocessor *ret, struct cwb_err *err);
void cwe_postprocessor_free(struct cwe_postprocessor *p);
