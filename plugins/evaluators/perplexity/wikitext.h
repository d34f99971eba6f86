/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* WikiText's articles as lm-evaluation-harness scores them (tasks/wikitext). */
#ifndef CWP_PERPLEXITY_WIKITEXT_H
#define CWP_PERPLEXITY_WIKITEXT_H

#include <stddef.h>

/* Makes pages of a raw text with LF line ends, in place: the files for perplexity join lines with two LF, so that a run of k >= 3
 * line ends stands for one and (k - 3) / 2 empty lines, each " \n". Returns the length, which never grows. */
size_t wikitext_pages(char *text, size_t length);
/* Whether an article begins at s: its line is " = Title = ". */
int wikitext_is_heading(const char *s, size_t left);
/* Takes out the spaces of tokens in place, as the harness' detokenizer does, but for one of its patterns that matches no text of
 * the set (a slash, an apostrophe, a space, a digit and a slash). Returns the length, which never grows. */
size_t wikitext_detokenize(char *text, size_t length);

#endif
