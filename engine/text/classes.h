/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Unicode classes exactly as the reference tokenizers see them; those of PCRE2 and of libc are of
 * other versions. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct cwe_range {
	uint32_t first, last;
};

struct cwe_class {
	const char *name; /* L, N, M, Lu, Ll, Lt, Lm, Lo, s (White_Space), w (of single_word), is_numeric */
	const struct cwe_range *range;
	size_t count;
};

/* From the reference's list of classes, and measured (general categories, scripts, and word: \w of
 * patterns, word_set: the same inside brackets; punctuation: of the pre-tokenizer; accent: what StripAccents takes away). */
extern const struct cwe_class cwe_class_table[];
extern const size_t cwe_class_count;
extern const struct cwe_class cwe_class_measured[];
extern const size_t cwe_class_measured_count;

/* The class of a name, or NULL. The result is static. */
const struct cwe_class *cwe_class_find(const char *name, size_t length);
int cwe_class_has(const struct cwe_class *c, uint32_t point);
