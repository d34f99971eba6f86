/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Chat formats: how a conversation becomes one text, from small data files (those of conf/chat:
 * roles, prefixes, suffixes, default system text, generation prompt), chosen by the tokenizer's
 * special tokens. */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "engine/text/tokenizer.h"

struct cwe_chat;

struct cwe_message {
	const char *role; /* system, user, assistant */
	const char *content;
	size_t length;
};

/* The format whose special tokens the tokenizer has, from the built-in table that the build makes
 * of conf/chat; *ret NULL, and 0, when none fits (a base model). The result is static or owned by
 * *ret; freed with cwe_chat_free. */
int cwe_chat_find(const struct cwe_tokenizer *t, const char *tokenizer_config, size_t length,
	struct cwe_chat **ret, struct cwb_err *err);
void cwe_chat_free(struct cwe_chat *chat);
const char *cwe_chat_name(const struct cwe_chat *chat);

/* Renders messages; *ret_text is freed with free(). Encode it with special = 0: it has BOS where
 * the model wants one. */
int cwe_chat_render(const struct cwe_chat *chat, const struct cwe_message *message, size_t count,
	int generation_prompt, char **ret_text, size_t *ret_length, struct cwb_err *err);

/* Whether the format drops white space around contents, and that dropping (for text that
 * cwe_chat_render does not see, such as an answer behind the generation prompt). */
int cwe_chat_trims(const struct cwe_chat *chat);
void cwe_chat_trim(const char **text, size_t *length);
