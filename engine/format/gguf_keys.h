/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Metadata of a GGUF file in the making: keys with their values as bytes, in the order of adding. */
#pragma once

#include "engine/format/gguf.h"

struct cwe_gguf_keys {
	uint8_t *data;
	size_t length, room;
	uint64_t count;
	int failed; /* memory was short somewhere: the bytes are of no use */
};

void cwe_gguf_keys_free(struct cwe_gguf_keys *k);

void cwe_gguf_keys_u32(struct cwe_gguf_keys *k, const char *key, uint32_t x);
void cwe_gguf_keys_f32(struct cwe_gguf_keys *k, const char *key, float x);
void cwe_gguf_keys_bool(struct cwe_gguf_keys *k, const char *key, int x);
void cwe_gguf_keys_text(struct cwe_gguf_keys *k, const char *key, const char *text, size_t length);
/* A value of another file, as it is. */
void cwe_gguf_keys_value(struct cwe_gguf_keys *k, const struct cwe_gguf_value *v);

/* An array: `count` elements of the kind follow, by cwe_gguf_keys_bytes (numbers, truth values of one byte) or
 * cwe_gguf_keys_string. */
void cwe_gguf_keys_array(struct cwe_gguf_keys *k, const char *key, enum cwe_gguf_kind kind, uint64_t count);
void cwe_gguf_keys_bytes(struct cwe_gguf_keys *k, const void *data, size_t length);
void cwe_gguf_keys_string(struct cwe_gguf_keys *k, const char *text, size_t length);
