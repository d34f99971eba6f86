/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Chat formats: how a conversation becomes one text, from small data files (doc/chat.md): those of
 * conf/chat, which are built in, or a user's own. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"
#include "engine/text/tokenizer.h"

struct cwe_chat;

struct cwe_message {
	const char *role; /* system, user, assistant */
	const char *content;
	size_t length;
};

/* How a model's format is looked for. */
struct cwe_chat_question {
	/* NULL or "auto": by the model's own template, else by its tokenizer's special tokens;
	 * "none"; the name of a built-in format; the path of a format file (with a '/', or ending
	 * in .json). */
	const char *asked;
	const struct cwe_tokenizer *tokenizer; /* NULL: tokens are not looked at */
	const char *template;                  /* the model's own (Jinja), or NULL */
	json_t *warnings; /* gets a text for each thing that was assumed; NULL: nobody asks */
};

/* *ret is NULL, and 0 returned, where none was asked for or none fits. Freed with cwe_chat_free.
 * CWP_EUNKNOWN: no such name (err->nearest filled). Errors of a format file name it and the place
 * in it. */
int cwe_chat_find(
	const struct cwe_chat_question *question, struct cwe_chat **ret, struct cwb_err *err);
void cwe_chat_free(struct cwe_chat *chat);
const char *cwe_chat_name(const struct cwe_chat *chat);

/* The template in tokenizer_config.json, freed with free(); *ret is NULL when there is none. */
int cwe_chat_template(const char *config, size_t length, char **ret, struct cwb_err *err);

/* Renders messages; *ret_text is freed with free(). Encode it with special = 0: it has BOS where
 * the model wants one. CWP_EUNKNOWN: a role that is none; CWP_EVALUE: an order of roles that the
 * format does not have; both name the message. */
int cwe_chat_render(const struct cwe_chat *chat, const struct cwe_message *message, size_t count,
	int generation_prompt, char **ret_text, size_t *ret_length, struct cwb_err *err);

/* A user's prompt and its answer, without what ends the answer. *ret_first is where the answer
 * begins, behind the generation prompt. *ret_text is freed with free(). */
int cwe_chat_exchange(const struct cwe_chat *chat, const struct cwe_message exchange[2],
	char **ret_text, size_t *ret_length, size_t *ret_first, struct cwb_err *err);
