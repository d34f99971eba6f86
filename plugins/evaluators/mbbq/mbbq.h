/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* MBBQ's languages, prompts and detection of answers, shared by the files of the plugin. */
#ifndef CWP_MBBQ_H
#define CWP_MBBQ_H

#include "plugins/evaluators/common/bbq_row.h"

enum language { LANGUAGE_EN, LANGUAGE_ES, LANGUAGE_NL, LANGUAGE_TR, LANGUAGES };
enum { PROMPTS = 5, NO_ANSWER = BBQ_ANSWERS };

extern const char *const mbbq_language_name[LANGUAGES];

/* The n-th prompt (from 0) on a row, freed with free(); NULL: no memory. */
char *mbbq_prompt(enum language language, size_t n, const struct bbq_row *row);
/* Marks the answers of the row that are of a stereotyped group in words of the language ("vrouw" is F). */
int mbbq_mark_stereotyped(const struct rows *rows, uint64_t row, struct bbq_row *ret);
/* The answer that a text gives: its number, or NO_ANSWER. */
unsigned mbbq_detect(enum language language, const char *const answer[BBQ_ANSWERS], unsigned unknown, const char *text,
	size_t length);

struct reply {
	char id[144];
	const char *group;
	char *prompt;
	size_t row; /* replies of one row are alike */
	unsigned right, unknown, biased; /* answers: numbers, and bits */
	const char *answer[BBQ_ANSWERS];
	int disambiguated;
	unsigned given; /* 0 to 2, or NO_ANSWER */
	char *text;     /* what the model said */
	int too_long;
};

/* The metrics of replies, those of a row one after another. */
int mbbq_finish(const struct cwp_host *host, const struct reply *reply, size_t count, int control, const struct cwp_metric_sink *sink);

#endif
