/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A chat format as it was read from its file. Private to the chat files of this folder. */
#pragma once

#include <jansson.h>

#include "engine/text/chat.h"

enum cwe_chat_role { CWE_CHAT_SYSTEM, CWE_CHAT_USER, CWE_CHAT_ASSISTANT, CWE_CHAT_ROLES };

/* Where a system text goes: into a message of its own, into a user's turn, or nowhere. */
enum cwe_chat_place {
	CWE_CHAT_MESSAGE,
	CWE_CHAT_FIRST_USER,
	CWE_CHAT_LAST_USER, /* only where the conversation ends with a user's message */
	CWE_CHAT_REFUSED
};

/* White space that is dropped: none, that around a content, or that around a content together with
 * the system text in front of it. */
enum cwe_chat_trim { CWE_CHAT_TRIM_NONE, CWE_CHAT_TRIM_CONTENT, CWE_CHAT_TRIM_TURN };

struct cwe_chat_part {
	const char *prefix, *suffix;
	int trim; /* enum cwe_chat_trim */
};

/* Strings and lists are those of json. */
struct cwe_chat {
	json_t *json;
	const char *name, *begin, *generation, *end;
	struct cwe_chat_part part[CWE_CHAT_ROLES];
	int place;                  /* enum cwe_chat_place */
	int skip_empty;             /* empty system messages */
	const char *lead;           /* in front of the first system text */
	const char *default_system; /* or NULL */
	const char *last_suffix;    /* of an assistant's message that ends the conversation */
	int alternate;              /* user and assistant in turns */
	/* What models write that think before they answer; open is NULL when it is not told. */
	const char *open, *close, *before, *after;
	const json_t *tokens;    /* array of strings, never NULL */
	const json_t *guess;     /* the same, or NULL */
	const json_t *templates; /* array of objects {has, lacks, warning}, never NULL */
};

#define CWE_CHAT_FILE_LIMIT 65536

/* Reads and checks a format. Messages begin with where. Freed with cwe_chat_free. */
int cwe_chat_load(const char *text, size_t length, const char *where, struct cwe_chat **ret,
	struct cwb_err *err);
