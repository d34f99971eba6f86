/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Messages as they travel: one JSON object in UTF-8, then one NUL byte. Everything is bounded,
 * since the peer may be anybody: bytes of a message, depth, repeated keys, NUL characters. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

#define CWW_MESSAGE_MAX ((size_t)1 << 20) /* bytes without the NUL */
#define CWW_DEPTH_MAX 32

/* Cuts a stream into messages. Depth is counted while the bytes arrive, so that nothing deep is
 * ever parsed. */
struct cww_reader {
	char *data;
	size_t length; /* bytes in data */
	size_t capacity;
	size_t start;   /* of the message that is being looked at */
	size_t scanned; /* bytes of data that were looked at */
	int depth;
	int in_string;
	int escaped;
	int failed; /* code of the first error: a broken stream stays broken */
};

void cww_reader_init(struct cww_reader *reader);
void cww_reader_free(struct cww_reader *reader);

/* Appends bytes. Errors: -ENOMEM. [any-thread] */
int cww_reader_feed(
	struct cww_reader *reader, const void *bytes, size_t length, struct cwb_err *err);

/* 1: *ret is the next message (a new reference to an object); 0: more bytes are needed; negative:
 * the stream is broken for good. CWP_ELIMIT: message too long or too deep; CWP_EPROTO: not a JSON
 * object, repeated key, NUL. */
int cww_reader_next(struct cww_reader *reader, json_t **ret, struct cwb_err *err);

/* Bytes that wait, or belong to an unfinished message. */
size_t cww_reader_pending(const struct cww_reader *reader);

/* Decodes one message of length bytes without its NUL. Errors as cww_reader_next. */
int cww_message_decode(const char *text, size_t length, json_t **ret, struct cwb_err *err);

/* Encodes an object with its NUL; *ret_length counts the NUL; *ret is freed with free(). CWP_ELIMIT
 * when it is longer than a message may be, CWP_EVALUE when it is no object. */
int cww_message_encode(const json_t *message, char **ret, size_t *ret_length, struct cwb_err *err);

/* Copies text into buffer with control bytes and bytes that are not UTF-8 written as \xNN, cut at
 * size - 1 bytes between characters. For everything that a stranger wrote and that we log or show.
 * Returns the bytes written. */
size_t cww_escape(const char *text, size_t length, char *buffer, size_t size);
