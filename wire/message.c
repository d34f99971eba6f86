/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Framing and the bounded JSON codec. */
#include "wire/message.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

void cww_reader_init(struct cww_reader *reader)
{
	memset(reader, 0, sizeof *reader);
}

void cww_reader_free(struct cww_reader *reader)
{
	if (reader == NULL) {
		return;
	}
	free(reader->data);
	cww_reader_init(reader);
}

size_t cww_reader_pending(const struct cww_reader *reader)
{
	return reader->length - reader->start;
}

static void compact(struct cww_reader *reader)
{
	if (reader->start == 0) {
		return;
	}
	memmove(reader->data, reader->data + reader->start, reader->length - reader->start);
	reader->length -= reader->start;
	reader->scanned -= reader->start;
	reader->start = 0;
}

int cww_reader_feed(
	struct cww_reader *reader, const void *bytes, size_t length, struct cwb_err *err)
{
	size_t need;

	if (length == 0) {
		return 0;
	}
	compact(reader);
	if (__builtin_add_overflow(reader->length, length, &need)) {
		return cwb_err_set(err, CWP_ELIMIT, "message is too long");
	}
	if (need > reader->capacity) {
		size_t capacity = reader->capacity ? reader->capacity : 1024;
		char *data;

		while (capacity < need) {
			capacity *= 2;
		}
		data = realloc(reader->data, capacity);
		if (data == NULL) {
			return cwb_err_set(
				err, -ENOMEM, "no memory for a message of %zu bytes", need);
		}
		reader->data = data;
		reader->capacity = capacity;
	}
	memcpy(reader->data + reader->length, bytes, length);
	reader->length += length;
	return 0;
}

/* Follows strings and brackets up to the next NUL. 1: the message ends at reader->scanned. */
static int scan(struct cww_reader *reader, struct cwb_err *err)
{
	for (; reader->scanned < reader->length; reader->scanned++) {
		char c = reader->data[reader->scanned];

		if (c == '\0') {
			return 1;
		}
		if (reader->scanned - reader->start >= CWW_MESSAGE_MAX) {
			return cwb_err_set(err, CWP_ELIMIT, "message is longer than %zu bytes",
				CWW_MESSAGE_MAX);
		}
		if (reader->escaped) {
			reader->escaped = 0;
		} else if (reader->in_string) {
			reader->escaped = c == '\\';
			reader->in_string = c != '"';
		} else if (c == '"') {
			reader->in_string = 1;
		} else if (c == '{' || c == '[') {
			if (++reader->depth > CWW_DEPTH_MAX) {
				return cwb_err_set(err, CWP_ELIMIT,
					"message is nested more than %d levels deep",
					CWW_DEPTH_MAX);
			}
		} else if (c == '}' || c == ']') {
			reader->depth--;
		}
	}
	return 0;
}

int cww_reader_next(struct cww_reader *reader, json_t **ret, struct cwb_err *err)
{
	int rc;

	if (reader->failed) {
		return cwb_err_set(err, reader->failed, "the stream is broken");
	}
	rc = scan(reader, err);
	if (rc == 1) {
		rc = cww_message_decode(
			reader->data + reader->start, reader->scanned - reader->start, ret, err);
		if (rc == 0) {
			reader->scanned++;
			reader->start = reader->scanned;
			reader->depth = 0;
			reader->in_string = 0;
			reader->escaped = 0;
			rc = 1;
		}
	}
	if (rc < 0) {
		reader->failed = rc;
	}
	return rc;
}

/* The same limits for text that did not come through a reader. */
static int check_depth(const char *text, size_t length, struct cwb_err *err)
{
	struct cww_reader reader = {.data = (char *)(uintptr_t)text, .length = length};
	int rc = scan(&reader, err);

	if (rc < 0) {
		return rc;
	}
	return rc == 1 ? cwb_err_set(err, CWP_EPROTO, "message holds a NUL byte") : 0;
}

int cww_message_decode(const char *text, size_t length, json_t **ret, struct cwb_err *err)
{
	json_error_t jerr;
	json_t *message;
	char shown[128];
	int rc = check_depth(text, length, err);

	if (rc < 0) {
		return rc;
	}
	if (length == 0) {
		return cwb_err_set(err, CWP_EPROTO, "message is empty");
	}
	message = json_loadb(text, length, JSON_REJECT_DUPLICATES, &jerr);
	if (message == NULL) {
		if (json_error_code(&jerr) == json_error_out_of_memory) {
			return cwb_err_set(
				err, -ENOMEM, "no memory for a message of %zu bytes", length);
		}
		cww_escape(jerr.text, strlen(jerr.text), shown, sizeof shown);
		return cwb_err_set(
			err, CWP_EPROTO, "message is not JSON: %s (byte %d)", shown, jerr.position);
	}
	if (!json_is_object(message)) {
		json_decref(message);
		return cwb_err_set(err, CWP_EPROTO, "message is JSON, but not an object");
	}
	*ret = message;
	return 0;
}

int cww_message_encode(const json_t *message, char **ret, size_t *ret_length, struct cwb_err *err)
{
	size_t length = 0;
	char *text;

	if (!json_is_object(message)) {
		return cwb_err_set(err, CWP_EVALUE, "only an object can be sent");
	}
	text = cwb_json_text(message, JSON_COMPACT, &length);
	if (text == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory to encode a message");
	}
	if (length > CWW_MESSAGE_MAX) {
		free(text);
		return cwb_err_set(err, CWP_ELIMIT, "message of %zu bytes is longer than %zu",
			length, CWW_MESSAGE_MAX);
	}
	*ret = text;
	*ret_length = length + 1;
	return 0;
}

/* Bytes of the well-formed UTF-8 character at text (Unicode table 3-7), or 0. */
static size_t utf8_length(const unsigned char *text, size_t length)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n, i;

	if (text[0] < 0x80) {
		return 1;
	}
	if (text[0] >= 0xc2 && text[0] <= 0xdf) {
		n = 2;
	} else if (text[0] >= 0xe0 && text[0] <= 0xef) {
		n = 3;
		low = text[0] == 0xe0 ? 0xa0 : low;
		high = text[0] == 0xed ? 0x9f : high;
	} else if (text[0] >= 0xf0 && text[0] <= 0xf4) {
		n = 4;
		low = text[0] == 0xf0 ? 0x90 : low;
		high = text[0] == 0xf4 ? 0x8f : high;
	} else {
		return 0;
	}
	if (n > length || text[1] < low || text[1] > high) {
		return 0;
	}
	for (i = 2; i < n; i++) {
		if (text[i] < 0x80 || text[i] > 0xbf) {
			return 0;
		}
	}
	return n;
}

/* C0 and C1 controls and DEL move cursors and recolour terminals. */
static int is_plain(const unsigned char *text, size_t n)
{
	if (n == 1) {
		return text[0] >= 0x20 && text[0] != 0x7f;
	}
	return !(n == 2 && text[0] == 0xc2 && text[1] < 0xa0);
}

size_t cww_escape(const char *text, size_t length, char *buffer, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *in = (const unsigned char *)text;
	size_t at = 0, out = 0;

	while (at < length) {
		size_t n = utf8_length(in + at, length - at);

		if (n > 0 && is_plain(in + at, n)) {
			if (out + n >= size) {
				break;
			}
			memcpy(buffer + out, in + at, n);
			out += n;
			at += n;
		} else {
			if (out + 4 >= size) {
				break;
			}
			buffer[out++] = '\\';
			buffer[out++] = 'x';
			buffer[out++] = hex[in[at] >> 4];
			buffer[out++] = hex[in[at] & 15];
			at++;
		}
	}
	if (size > 0) {
		buffer[out] = '\0';
	}
	return out;
}
