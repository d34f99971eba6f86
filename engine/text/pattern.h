/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A split pattern that is ready to match. The text is first translated to one byte a character,
 * which says to which of the pattern's classes the character belongs; PCRE2 then matches bytes. So
 * its Unicode tables play no part, a class costs one bit test whatever its size, and there is no
 * letter case. */
#pragma once

#include <stddef.h>

#include "base/err.h"

struct cwe_pattern;
struct cwe_matcher;

/* pattern: UTF-8, see engine/text/regex.h for what it may hold. place names the field in messages.
 */
int cwe_pattern_new(const char *pattern, size_t length, const char *place, struct cwe_pattern **ret,
	struct cwb_err *err);
void cwe_pattern_free(struct cwe_pattern *p); /* NULL is allowed */

/* Whether a match may be empty; also when none in fact is. */
int cwe_pattern_may_be_empty(const struct cwe_pattern *p);

/* Memory for matching p, for one thread at a time, often one that was used before; a pattern may be
 * used by many matchers at the same time, and outlives them. [any-thread] */
int cwe_matcher_new(struct cwe_pattern *p, struct cwe_matcher **ret, struct cwb_err *err);
/* Begins with another text: valid UTF-8, kept by the caller. Its matches come one after another as
 * Oniguruma finds them: leftmost, an empty one only where the one before does not end. */
int cwe_matcher_start(struct cwe_matcher *m, const char *text, size_t length, struct cwb_err *err);
/* 1 and the bytes of the next match, or 0 at the end. CWP_ELIMIT: the matcher went back too often.
 */
int cwe_matcher_next(
	struct cwe_matcher *m, size_t *ret_start, size_t *ret_end, struct cwb_err *err);
void cwe_matcher_free(struct cwe_matcher *m); /* NULL is allowed */
