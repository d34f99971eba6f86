/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The model "Unigram" of tokenizer.json: of all ways to cut a text into pieces, the one whose
 * scores add up to most. */
#pragma once

#include "base/err.h"
#include "engine/text/document.h"
#include "engine/text/idlist.h"
#include "engine/text/vocabulary.h"

struct cwe_unigram;

/* Reads d's model, which is an object, with its vocabulary. */
int cwe_unigram_new(const struct cwe_document *d, struct cwe_unigram **ret, struct cwb_err *err);
void cwe_unigram_free(struct cwe_unigram *u); /* NULL is allowed */

const struct cwe_vocabulary *cwe_unigram_vocabulary(const struct cwe_unigram *u);

/* Memory that one thread's calls share; zeroed at first, freed with cwe_unigram_work_free. */
struct cwe_unigram_work {
	struct cwe_unigram_place *place;
	size_t places;
};
void cwe_unigram_work_free(struct cwe_unigram_work *w);
void cwe_unigram_work_trim(struct cwe_unigram_work *w); /* frees what a long text has made large */

/* Appends the tokens of one piece of text, valid UTF-8, at most 2^30 bytes. Time: its length times
 * that of the longest token it holds. CWP_EVALUE: a character is unknown and the model has no
 * unknown token. [any-thread] */
int cwe_unigram_encode(const struct cwe_unigram *u, const char *text, size_t length,
	struct cwe_unigram_work *work, struct cwe_idlist *list, struct cwb_err *err);

/* A JSON number as the reference reads a score: its digits as an integer, rounded, and that times
 * or divided by a power of ten, rounded again. The last bit decides between ways of equal score.
 * *ret is infinite where the number is too large. */
void cwe_unigram_score(const char *number, size_t length, double *ret);
