/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Bytes of strangers: messages of callers and of workers, fed in pieces, and interface text. The
 * first byte chooses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/call.h"
#include "wire/idl.h"
#include "wire/message.h"
#include "wire/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_messages(const char *data, size_t size, size_t piece)
{
	struct cww_reader reader;
	size_t at;

	cww_reader_init(&reader);
	for (at = 0; at < size; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		json_t *message;

		if (cww_reader_feed(&reader, data + at, n, NULL) < 0) {
			break;
		}
		while (cww_reader_next(&reader, &message, NULL) == 1) {
			struct cww_call call;
			struct cww_reply reply;
			char *text;
			size_t length;

			(void)cww_call_parse(message, &call, NULL); /* the point is that it ends */
			(void)cww_reply_parse(message, &reply, NULL);
			if (cww_message_encode(message, &text, &length, NULL) == 0) {
				free(text);
			}
			json_decref(message);
		}
	}
	cww_reader_free(&reader);
}

static void take_status(const char *data, size_t size, size_t piece)
{
	struct cww_status_reader reader;
	struct cww_status status;
	size_t at;

	cww_status_reader_init(&reader);
	for (at = 0; at < size; at += piece) {
		size_t n = size - at < piece ? size - at : piece;

		if (cww_status_reader_feed(&reader, data + at, n, NULL) < 0) {
			break;
		}
		while (cww_status_reader_next(&reader, &status, NULL) == 1) {
			if (strlen(status.text) >= sizeof status.text) {
				abort();
			}
		}
	}
	cww_status_reader_free(&reader);
}

/* Interface text, and behind a NUL a value for its first method. */
static void take_interface(const char *data, size_t size)
{
	char *text = malloc(size + 1);
	struct cww_interface *interface;
	size_t length, i;
	json_t *value = NULL;

	if (text == NULL) {
		return;
	}
	memcpy(text, data, size);
	text[size] = '\0';
	length = strlen(text);
	if (length < size &&
		cww_message_decode(text + length + 1, size - length - 1, &value, NULL) < 0) {
		value = NULL;
	}
	if (cww_interface_parse(text, &interface, NULL) == 0) {
		for (i = 0; i < interface->n_members; i++) {
			(void)cww_check(interface, interface->members[i].in, value,
				NULL); /* the point is that it ends */
		}
		cww_interface_free(interface);
	}
	json_decref(value);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;
	char escaped[256];

	if (size < 1) {
		return 0;
	}
	switch (data[0] % 4) {
	case 0:
		take_messages(text, size - 1, 1 + data[0] / 4);
		break;
	case 1:
		take_status(text, size - 1, 1 + data[0] / 4);
		break;
	case 2:
		take_interface(text, size - 1);
		break;
	default:
		if (cww_escape(text, size - 1, escaped, sizeof escaped) >= sizeof escaped) {
			abort();
		}
	}
	return 0;
}
