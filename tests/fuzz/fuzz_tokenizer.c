/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Fuzzing of tokenizer.json and of texts: the input is the JSON, one 0xFF byte (which is never part
 * of UTF-8), and a text. What can be encoded must decode to valid UTF-8, with ids below the size
 * that the tokenizer states. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct cwe_tokenizer *t, const char *text, size_t length)
{
	struct cwe_ids ids;
	char *back;
	size_t back_length;
	if (cwe_tokenizer_encode(t, text, length, 1, &ids, NULL) < 0)
		return;
	for (size_t i = 0; i < ids.count; i++) {
		if (ids.id[i] >= cwe_tokenizer_size(t))
			abort();
	}
	if (cwe_tokenizer_decode(t, ids.id, ids.count, 0, &back, &back_length, NULL) == 0) {
		if (cwe_utf8_check(back, back_length) != back_length)
			abort();
		free(back);
	}
	free(ids.id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char plain[] =
		"It's 12 \xC3\xA9t\xC3\xA9s,  <|im_end|>\n\n\xED\x95\x9C\xEA\xB8\x80";
	const uint8_t *border = size > 0 ? memchr(data, 0xFF, size) : NULL;
	size_t length = border ? (size_t)(border - data) : size;
	struct cwe_tokenizer *t;
	if (cwe_tokenizer_new((const char *)data, length, NULL, 0, &t, NULL) < 0)
		return 0;
	check(t, plain, sizeof(plain) - 1);
	if (border)
		check(t, (const char *)border + 1, size - length - 1);
	cwe_tokenizer_free(t);
	return 0;
}
