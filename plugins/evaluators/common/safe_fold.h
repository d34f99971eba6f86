/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Texts made alike, so that phrases can be looked for in them. */
#ifndef CWP_EVALUATOR_SAFE_FOLD_H
#define CWP_EVALUATOR_SAFE_FOLD_H

#include <stddef.h>

/* A copy of a text, freed with free(), NULL when memory ran out:
 * - Latin letters without case and accents, composed or not: É, e + U+0301 and E are e; ß is ss, æ ae, œ oe, ı and İ i, đ d
 * - apostrophes of all shapes are '
 * - runs of white space are one space; none at the beginning and the end
 * - marks of emphasis (* _ # ` ~ > |), quotation marks, and characters without width are left out
 * - Arabic without vowel signs and tatweel, alef without hamza and madda; Bengali letters with nukta in two parts
 * All else, and bytes that are no UTF-8, stay as they are. */
char *safe_fold(const char *text, size_t length, size_t *ret_length);
/* The code point at s (left > 0), and how many bytes it has; a byte that begins none stands for itself. */
unsigned safe_decode(const unsigned char *s, size_t left, size_t *ret_bytes);

#endif
