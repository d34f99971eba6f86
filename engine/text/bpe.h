/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The model "BPE" of tokenizer.json: merges of neighbours by rank. */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "engine/text/idlist.h"
#include "engine/text/vocabulary.h"

struct cwe_bpe;

/* model: the object of that name in tokenizer.json. */
int cwe_bpe_new(const json_t *model, struct cwe_bpe **ret, struct cwb_err *err);
void cwe_bpe_free(struct cwe_bpe *b); /* NULL is allowed */

const struct cwe_vocabulary *cwe_bpe_vocabulary(const struct cwe_bpe *b);

/* Memory that one thread's calls share; zeroed at first, freed with cwe_bpe_work_free. */
struct cwe_bpe_work {
	struct cwe_bpe_symbol *symbol;
	size_t symbols;
	struct cwe_bpe_candidate *candidate;
	size_t candidates;
};
void cwe_bpe_work_free(struct cwe_bpe_work *w);

/* Appends the tokens of one piece of text, valid UTF-8, at most 2^30 bytes. Time: n log n.
 * [any-thread] */
int cwe_bpe_encode(const struct cwe_bpe *b, const char *text, size_t length,
	struct cwe_bpe_work *work, struct cwe_idlist *list, struct cwb_err *err);
