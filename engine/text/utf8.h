/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* UTF-8: checking, stepping, and the replacement of what is invalid. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Length of the valid scalar at the start of text (1 to 4), 0 when there is none (also at the end).
 * No surrogates, no overlong forms, nothing above U+10FFFF. */
size_t cwe_utf8_next(const char *text, size_t length, uint32_t *ret_point);

/* Offset of the first byte that is not part of valid UTF-8; length when all is valid. */
size_t cwe_utf8_check(const char *text, size_t length);

/* Writes point (a scalar value) into out, returns the count of bytes. */
size_t cwe_utf8_put(uint32_t point, char out[4]);

/* Start of the scalar that ends at text[end], end > 0; text[0..end) is valid. */
size_t cwe_utf8_before(const char *text, size_t end);

/* A copy in which each maximal part of an invalid sequence is U+FFFD (Unicode 3.9, as Rust's
 * from_utf8_lossy), with a NUL behind it; freed with free(). NULL when memory ran out. */
char *cwe_utf8_repair(const char *text, size_t length, size_t *ret_length);
