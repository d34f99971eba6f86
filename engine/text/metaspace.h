/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The settings of tokenizer.json's Metaspace, which is a pre-tokenizer and a decoder. */
#pragma once

#include <jansson.h>

#include "base/err.h"

/* Which pieces get the mark in front. */
enum cwe_metaspace_scheme { CWE_METASPACE_ALWAYS, CWE_METASPACE_FIRST, CWE_METASPACE_NEVER };

struct cwe_metaspace {
	char mark[4]; /* one character, which stands for a space */
	size_t length;
	enum cwe_metaspace_scheme scheme;
	int split;
};

/* Reads the newer spelling ("prepend_scheme", "split") and the older one ("add_prefix_space"). */
int cwe_metaspace_read(
	const json_t *component, const char *place, struct cwe_metaspace *ret, struct cwb_err *err);
