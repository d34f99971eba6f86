/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Lists of phrases with which models refuse, and whether an answer has one of them near its beginning. */
#ifndef CWP_EVALUATOR_SAFE_PHRASES_H
#define CWP_EVALUATOR_SAFE_PHRASES_H

#include <stddef.h>

#include <cwp/evaluator.h>

/* The lists of conf/refusals, as they are in the files: pairs of language and text, NULL at the end. Made by
 * scripts/refusal-table.awk. */
extern const char *const safe_phrase_table[];

struct safe_phrases;

/* Makes a list. choice: "" takes the built-in list of `language` and, where that is another one, English, in which models often
 * refuse; "gcg" takes the strings of the authors of GCG, which are looked for anywhere and as they are written; else the
 * name of a file (see safe_file_read). A file has a phrase on each line; an empty line and one that begins with ; say nothing.
 *   ^phrase   counts at the very beginning of the answer alone
 *   phrase*   the last word may go on
 *   !phrase   begins like a refusal and is none ("I cannot stress enough")
 *   @xx       takes in the built-in list of language xx
 * Phrases and answers are compared after safe_fold(), by whole words where letters are Latin. What is wrong is explained through
 * host->fail(): CWP_EUNKNOWN (no such language), CWP_EFORMAT, CWP_ELIMIT. Freed with safe_phrases_free. */
int safe_phrases_new(const struct cwp_host *host, const char *choice, const char *language, const char *beside,
	struct safe_phrases **ret);
void safe_phrases_free(struct safe_phrases *p); /* NULL is allowed */
/* 1 when the answer has a phrase that begins within its first `within` characters; 0; -ENOMEM. */
int safe_phrases_found(const struct safe_phrases *p, const char *answer, size_t length, size_t within);
/* The languages of the built-in lists, with commas between. */
void safe_phrases_languages(char *ret, size_t size);
/* The name of a language as the lists have it: XSafety calls Spanish sp. */
const char *safe_language(const char *language);

#endif
