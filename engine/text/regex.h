/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The part of Oniguruma's pattern language that tokenizers use, read into sets of code points and
 * operators. */
#pragma once

#include "base/err.h"
#include "engine/text/charset.h"

/* One part of a pattern: a set of code points (set >= 0), or an operator's text as PCRE2 writes it.
 */
struct cwe_regex_part {
	int set;
	char text[24];
};

struct cwe_regex {
	struct cwe_charset *set; /* sorted, no two equal */
	size_t n_sets;
	struct cwe_regex_part *part;
	size_t n_parts;
};

/* Groups (plain, ?: ?> ?= ?! ?<= ?<! and ?i:), alternatives, quantifiers, anchors (^ $ \A \z \Z \b
 * \B), classes with classes in them and &&, \p{..} \P{..} of the classes known to classes.h, \s \d
 * \w and their opposites, and escaped characters; in groups without case, ASCII. All else is
 * refused (CWP_EUNKNOWN), as is what the two engines read differently. place names the pattern's
 * field in messages. Freed with cwe_regex_free, after an error too. */
int cwe_regex_read(const char *pattern, size_t length, const char *place, struct cwe_regex *ret,
	struct cwb_err *err);
void cwe_regex_free(struct cwe_regex *r);
