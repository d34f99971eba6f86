/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Cutting of a piece at what a pattern, a string or a class of characters matches. */
#pragma once

#include "base/err.h"
#include "engine/text/classes.h"
#include "engine/text/pattern.h"
#include "engine/text/pieces.h"

enum cwe_behavior {
	CWE_BEHAVIOR_REMOVED,
	CWE_BEHAVIOR_ISOLATED,
	CWE_BEHAVIOR_MERGED_WITH_PREVIOUS,
	CWE_BEHAVIOR_MERGED_WITH_NEXT,
	CWE_BEHAVIOR_CONTIGUOUS
};

/* Exactly one of pattern, text and class is set. */
struct cwe_splitter {
	struct cwe_pattern *pattern;
	char *text; /* a string to look for, not empty */
	size_t length;
	const struct cwe_class *class;
	enum cwe_behavior behavior;
	int invert; /* the gaps count as matches and the matches as gaps */
};

/* Cuts every piece of p further. Errors are those of the pattern's matcher. */
int cwe_splitter_apply(const struct cwe_splitter *s, struct cwe_pieces *p, struct cwb_err *err);
void cwe_splitter_free(struct cwe_splitter *s); /* its parts, not *s */
