/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Metadata of GGUF, written to memory. */
#include "engine/format/gguf_keys.h"

#include <stdlib.h>
#include <string.h>

void cwe_gguf_keys_free(struct cwe_gguf_keys *k)
{
	free(k->data);
	*k = (struct cwe_gguf_keys){0};
}

void cwe_gguf_keys_bytes(struct cwe_gguf_keys *k, const void *data, size_t length)
{
	if (!k->failed && length > k->room - k->length) {
		size_t room = 2 * k->room + length + 4096;
		uint8_t *grown = room < CWE_GGUF_METADATA_MAX ? realloc(k->data, room) : NULL;

		k->failed = !grown;
		k->data = grown ? grown : k->data;
		k->room = grown ? room : k->room;
	}
	if (k->failed || !length)
		return;
	memcpy(k->data + k->length, data, length);
	k->length += length;
}

void cwe_gguf_keys_string(struct cwe_gguf_keys *k, const char *text, size_t length)
{
	uint64_t n = length;

	cwe_gguf_keys_bytes(k, &n, sizeof n);
	cwe_gguf_keys_bytes(k, text, length);
}

static void begin(struct cwe_gguf_keys *k, const char *key, uint32_t kind)
{
	cwe_gguf_keys_string(k, key, strlen(key));
	cwe_gguf_keys_bytes(k, &kind, sizeof kind);
	k->count++;
}

void cwe_gguf_keys_u32(struct cwe_gguf_keys *k, const char *key, uint32_t x)
{
	begin(k, key, CWE_GGUF_U32);
	cwe_gguf_keys_bytes(k, &x, sizeof x);
}

void cwe_gguf_keys_f32(struct cwe_gguf_keys *k, const char *key, float x)
{
	begin(k, key, CWE_GGUF_F32);
	cwe_gguf_keys_bytes(k, &x, sizeof x);
}

void cwe_gguf_keys_bool(struct cwe_gguf_keys *k, const char *key, int x)
{
	uint8_t byte = x != 0;

	begin(k, key, CWE_GGUF_BOOL);
	cwe_gguf_keys_bytes(k, &byte, 1);
}

void cwe_gguf_keys_text(struct cwe_gguf_keys *k, const char *key, const char *text, size_t length)
{
	begin(k, key, CWE_GGUF_STRING);
	cwe_gguf_keys_string(k, text, length);
}

void cwe_gguf_keys_array(struct cwe_gguf_keys *k, const char *key, enum cwe_gguf_kind kind, uint64_t count)
{
	uint32_t of = kind;

	begin(k, key, CWE_GGUF_ARRAY);
	cwe_gguf_keys_bytes(k, &of, sizeof of);
	cwe_gguf_keys_bytes(k, &count, sizeof count);
}

void cwe_gguf_keys_value(struct cwe_gguf_keys *k, const struct cwe_gguf_value *v)
{
	static const uint8_t size[CWE_GGUF_KINDS] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

	if (v->is_array)
		cwe_gguf_keys_array(k, v->key, (enum cwe_gguf_kind)v->kind, v->count);
	else
		begin(k, v->key, v->kind);
	if (v->kind != CWE_GGUF_STRING)
		cwe_gguf_keys_bytes(k, v->data, v->count * size[v->kind]);
	for (uint64_t i = 0; i < v->count && v->kind == CWE_GGUF_STRING; i++)
		cwe_gguf_keys_string(k, (const char *)v->data + v->starts[i], v->starts[i + 1] - v->starts[i] - 1);
}
