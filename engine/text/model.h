/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's model, of whichever type: BPE or Unigram. */
#pragma once

#include <jansson.h>

#include "engine/text/bpe.h"
#include "engine/text/unigram.h"

struct cwe_text_model {
	struct cwe_bpe *bpe; /* exactly one is set */
	struct cwe_unigram *unigram;
};

struct cwe_text_work {
	struct cwe_bpe_work bpe;
	struct cwe_unigram_work unigram;
};

/* json: the whole of tokenizer.json, an object. Freed with cwe_text_model_free, after an error too.
 */
int cwe_text_model_read(const json_t *json, struct cwe_text_model *ret, struct cwb_err *err);
void cwe_text_model_free(struct cwe_text_model *m); /* its parts, not *m */

const struct cwe_vocabulary *cwe_text_model_vocabulary(const struct cwe_text_model *m);
/* Appends the tokens of one piece of text: cwe_bpe_encode or cwe_unigram_encode. [any-thread] */
int cwe_text_model_encode(const struct cwe_text_model *m, const char *text, size_t length,
	struct cwe_text_work *work, struct cwe_idlist *list, struct cwb_err *err);
void cwe_text_work_free(struct cwe_text_work *w);
