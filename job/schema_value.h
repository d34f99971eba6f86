/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The readers of single values: texts, numbers, sizes, choices, and lists of those. Internal to
 * this room. */
#pragma once

#include "job/schema.h"

/* Reads every kind but MAPPING, LIST and CUSTOM into base + key->offset. */
int cwj_value_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, char *base);
/* "write a number from 0 to 1", "write one of: mean, reference, rank". */
void cwj_value_remedy(const struct cwj_key *key, char *ret, size_t size);
/* "needs a list, found the text \"x\"; <remedy>". */
int cwj_fail_kind(
	struct cwj_reader *r, const struct cwj_yaml *node, const char *wanted, const char *remedy);
/* What YAML takes for null, when it is not quoted. */
int cwj_is_null(const char *text);

/* Reads one scalar into *target. */
int cwj_scalar_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target);
/* The position of node's text among the key's names. */
int cwj_choice_find(struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node,
	unsigned *ret);
/* A copy of text, freed with free(). */
int cwj_text_store(struct cwj_reader *r, const struct cwj_yaml *node, const char *text, char **ret);
/* Control characters would garble lists, logs and terminals; they come in through YAML's escapes.
 */
int cwj_has_control(const char *text);
