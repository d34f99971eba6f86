/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The model "BPE" of tokenizer.json: merges of neighbours by rank. */
#pragma once

#include "base/err.h"
#include "engine/text/document.h"
#include "engine/text/idlist.h"
#include "engine/text/vocabulary.h"

struct cwe_bpe;

/* Reads d's model, which is an object, with its vocabulary and merges. */
int cwe_bpe_new(const struct cwe_document *d, struct cwe_bpe **ret, struct cwb_err *err);
void cwe_bpe_free(struct cwe_bpe *b); /* NULL is allowed */

const struct cwe_vocabulary *cwe_bpe_vocabulary(const struct cwe_bpe *b);
/* Once the file is read: ids are hardly looked for by text any more, unless whole pieces are. */
void cwe_bpe_finish(struct cwe_bpe *b);

/* Memory that one thread's calls share, with the words that it met last and their tokens (at most
 * 512 KiB); zeroed at first, freed with cwe_bpe_work_free. It belongs to one model. */
struct cwe_bpe_work {
	struct cwe_bpe_word *word;
	uint32_t *id;
	size_t ids;
	struct cwe_bpe_symbol *symbol;
	uint64_t *candidate;
	size_t symbols;
	char *text;
	size_t texts;
};
void cwe_bpe_work_free(struct cwe_bpe_work *w);
/* Frees what a long text has made large. */
void cwe_bpe_work_trim(struct cwe_bpe_work *w);

/* Appends the tokens of one piece of text, valid UTF-8, at most 2^30 bytes. bytes: each byte stands
 * for its character of the byte alphabet, as if the piece had been rewritten. Time: n log n.
 * [any-thread] */
int cwe_bpe_encode(const struct cwe_bpe *b, const char *text, size_t length, int bytes,
	struct cwe_bpe_work *work, struct cwe_idlist *list, struct cwb_err *err);
