/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The few-shot prompts of BIG-Bench Hard. */
#ifndef CWP_BBH_SHOTS_H
#define CWP_BBH_SHOTS_H

#include <stddef.h>

#include <cwp/evaluator.h>

enum variant { VARIANT_COT, VARIANT_DIRECT, VARIANT_ZEROSHOT };

/* Reads <folder>/<task>.txt (folder as safe_file_read has names) and makes what stands before each question: the instruction,
 * then behind empty lines the questions with their reasoning (cot), with their answers alone (direct), or none (zeroshot). What
 * stands before the line of dashes, the canary, is left out. Freed with free(). What is wrong is explained. */
int shots_read(const struct cwp_host *host, const char *beside, const char *folder, const char *task, enum variant variant,
	char **ret);
/* What lm-evaluation-harness takes for the answer, as bytes of `text`: cot: what follows "the answer is " on its line but for
 * the last character, of the first one that has one; else all. White space at both ends is not in it. 0 where there is none. */
int shots_answer(enum variant variant, const char *text, size_t length, const char **ret, size_t *ret_length);
/* Whether they are equal; of zeroshot without regard to case and punctuation (of ASCII). */
int shots_equal(enum variant variant, const char *a, size_t a_length, const char *b, size_t b_length);

#endif
