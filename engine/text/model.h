/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's model, of whichever type: BPE or Unigram. */
#pragma once

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

/* The model of a file. Freed with cwe_text_model_free, after an error too. */
int cwe_text_model_read(
	const struct cwe_document *d, struct cwe_text_model *ret, struct cwb_err *err);
void cwe_text_model_free(struct cwe_text_model *m); /* its parts, not *m */
/* Once the added tokens are read too: frees what only reading needs. */
void cwe_text_model_finish(struct cwe_text_model *m);

const struct cwe_vocabulary *cwe_text_model_vocabulary(const struct cwe_text_model *m);
/* Appends the tokens of one piece of text: cwe_bpe_encode, which alone knows bytes, or
 * cwe_unigram_encode. [any-thread] */
int cwe_text_model_encode(const struct cwe_text_model *m, const char *text, size_t length,
	int bytes, struct cwe_text_work *work, struct cwe_idlist *list, struct cwb_err *err);
void cwe_text_work_free(struct cwe_text_work *w);
/* Frees what a long text has made large. */
void cwe_text_work_trim(struct cwe_text_work *w);
