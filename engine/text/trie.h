/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The longest of many words at a place in a text. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct cwe_trie;

struct cwe_trie *cwe_trie_new(void); /* NULL when memory ran out */
void cwe_trie_free(struct cwe_trie *t);
/* 0 or -ENOMEM. The first value of a word stays. */
int cwe_trie_add(struct cwe_trie *t, const char *word, size_t length, uint32_t value);
/* The next place, at or behind at, where a word may begin; length when there is none. */
size_t cwe_trie_begin(const struct cwe_trie *t, const char *text, size_t at, size_t length);
/* Length of the longest word that text starts with, or 0. */
size_t cwe_trie_match(
	const struct cwe_trie *t, const char *text, size_t length, uint32_t *ret_value);
/* From node 0 over one byte: the next node, or 0. *ret_value is that of the word that ends there, or UINT32_MAX. */
uint32_t cwe_trie_step(const struct cwe_trie *t, uint32_t node, unsigned char byte, uint32_t *ret_value);
