/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Fuzzing of chat format files and of conversations: the input is the format, and behind each 0xFF
 * byte (which is never part of UTF-8) a message: the first byte says whose, the rest is its
 * content. What is rendered begins and ends as the format says, and a prompt's answer stands behind
 * it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/chat_format.h"

#define MOST 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int ends_with(const char *text, size_t length, const char *end)
{
	size_t n = strlen(end);
	return length >= n && memcmp(text + length - n, end, n) == 0;
}

static void check_render(const struct cwe_chat *c, const struct cwe_message *m, size_t count)
{
	for (int generation = 0; generation < 2; generation++) {
		char *text = NULL;
		size_t length = 0;
		struct cwb_err err = {0};
		int rc = cwe_chat_render(c, m, count, generation, &text, &length, &err);
		if (rc < 0 && (text || err.code != rc || !*err.message))
			abort();
		if (rc < 0)
			continue;
		if (!ends_with(text, length, generation ? c->generation : c->end) ||
			strncmp(text, c->begin, strlen(c->begin)) != 0)
			abort();
		free(text);
	}
}

static void check_exchange(const struct cwe_chat *c, const struct cwe_message *m)
{
	const struct cwe_message pair[2] = {
		{"user", m[0].content, m[0].length}, {"assistant", m[1].content, m[1].length}};
	char *text;
	size_t length;
	size_t first;
	if (cwe_chat_exchange(c, pair, &text, &length, &first, NULL) < 0)
		return;
	if (first > length || first < strlen(c->begin))
		abort();
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const roles[] = {"system", "user", "assistant", "tool"};
	struct cwe_message m[MOST];
	const uint8_t *end = data + size;
	const uint8_t *at = size > 0 ? memchr(data, 0xFF, size) : NULL;
	struct cwe_chat *c;
	size_t count = 0;
	if (cwe_chat_load((const char *)data, at ? (size_t)(at - data) : size, "fuzz", &c, NULL) <
		0)
		return 0;
	for (; at && at + 1 < end && count < MOST; count++) {
		const uint8_t *next = memchr(at + 1, 0xFF, (size_t)(end - at - 1));
		const char *content = (const char *)at + 2;
		size_t length = (size_t)((next ? next : end) - at - 1);
		m[count] = (struct cwe_message){
			roles[at[1] % 4], length > 0 ? content : "", length > 0 ? length - 1 : 0};
		at = next;
	}
	check_render(c, m, count);
	if (count >= 2)
		check_exchange(c, m);
	cwe_chat_free(c);
	return 0;
}
