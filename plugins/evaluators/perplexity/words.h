/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* White space and words as Python's str and re have them. */
#ifndef CWP_PERPLEXITY_WORDS_H
#define CWP_PERPLEXITY_WORDS_H

#include <stddef.h>

/* Bytes of the white space character of Unicode at s (left > 0 bytes), or 0. */
size_t words_space(const char *s, size_t left);
/* Runs of other characters. */
double words_count(const char *text, size_t length);
/* Parts between runs of white space, an empty one at the beginning or the end too: len(re.split(r"\s+", text)). */
double words_parts(const char *text, size_t length);

#endif
