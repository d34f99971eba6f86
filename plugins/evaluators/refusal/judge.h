/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A judge's prompt and its verdicts. */
#ifndef CWP_REFUSAL_JUDGE_H
#define CWP_REFUSAL_JUDGE_H

#include <stddef.h>

#include <cwp/evaluator.h>

enum verdict { VERDICT_SAFE, VERDICT_UNSAFE, VERDICT_UNKNOWN };

struct judge {
	char *form; /* the prompt's text with {prompt} and {response} */
	const char *safe, *unsafe; /* words of verdicts */
	char *text; /* the prompt that was made last */
};

/* Reads the form, in which {response} must be. What is wrong is explained. To be closed in every case. */
int judge_open(const struct cwp_host *host, const char *beside, const char *name, const char *safe, const char *unsafe,
	struct judge *ret);
void judge_close(struct judge *j);
/* The form with both texts in their places (each as often as it is named); it lives until the next one is made. NULL when
 * memory ran out. */
const char *judge_prompt(struct judge *j, const char *prompt, size_t prompt_length, const char *response, size_t response_length,
	size_t *ret_length);
/* Which of the two words comes first in what the judge said: whole words, without regard to case. */
enum verdict judge_verdict(const struct judge *j, const char *said, size_t length);

#endif
