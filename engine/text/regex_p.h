/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the files that read a pattern share. */
#pragma once

#include "engine/text/regex.h"

#define CWE_REGEX_DEPTH 32 /* of groups in each other */

struct cwe_regex_reader {
	const char *text;
	size_t length, at;
	const char *place;
	struct cwe_regex *out;
	size_t room_sets, room_parts;
	int depth;
	unsigned char caseless[CWE_REGEX_DEPTH + 1];
	unsigned char assertion[CWE_REGEX_DEPTH + 1]; /* whether the group looks around */
	size_t opened[CWE_REGEX_DEPTH + 1];           /* the part that opened the group */
	char previous;  /* the letter before, in lower case, inside a group without case; else 0 */
	int repeatable; /* whether a quantifier may follow */
	size_t atom;    /* the part where what it would repeat begins */
	struct cwb_err *err;
};

/* Sets the message with the place in the pattern; returns CWP_EUNKNOWN. */
int cwe_regex_refuse(struct cwe_regex_reader *r, const char *what);
int cwe_regex_no_memory(struct cwe_regex_reader *r);
/* The byte so far ahead, or -1. */
int cwe_regex_peek(const struct cwe_regex_reader *r, size_t ahead);

/* Appends an operator's text; or a set, which is taken over, also on error: one that may be
 * repeated (put_set), or a part of an anchor. */
int cwe_regex_put(struct cwe_regex_reader *r, const char *text);
int cwe_regex_put_class(struct cwe_regex_reader *r, struct cwe_charset *set);
int cwe_regex_put_set(struct cwe_regex_reader *r, struct cwe_charset *set);

/* What follows a backslash: a class (*ret_class set) or a character. at is on the letter. inside:
 * of brackets. */
int cwe_regex_escape(struct cwe_regex_reader *r, int inside, const struct cwe_class **ret_class,
	int *ret_negated, uint32_t *ret_point);
int cwe_regex_point(struct cwe_regex_reader *r, uint32_t *ret_point);
/* A class in brackets; at is behind the first one. */
int cwe_regex_class(struct cwe_regex_reader *r);
/* Adds the other case of ASCII letters and what else folds to them; refuses others. */
int cwe_regex_add_case(struct cwe_regex_reader *r, struct cwe_charset *set);
