/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* For the tests of file formats: bytes put together by hand, files and folders of them, refusals with their reasons. */
#pragma once

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"

/* Bytes that grow. */
struct blob {
	uint8_t *data;
	size_t length, room;
};

void blob_add(struct blob *b, const void *data, size_t length);
void blob_u32(struct blob *b, uint32_t x);
void blob_u64(struct blob *b, uint64_t x);
void blob_text(struct blob *b, const char *text); /* without a length */
void blob_string(struct blob *b, const char *text); /* u64 length, then the bytes */
void blob_free(struct blob *b);
int blob_fd(const struct blob *b); /* a file in memory that holds it */

/* A new folder below $TMPDIR or /tmp; freed and removed by folder_remove. */
char *folder_make(void);
void folder_write(const char *folder, const char *name, const struct blob *b);
void folder_text(const char *folder, const char *name, const char *text);
void folder_remove(char *folder);
char *path_join(const char *folder, const char *name);

/* A safetensors file: length, header, data. */
void safetensors_build(struct blob *b, const char *header, const void *data, size_t length);

/* A GGUF file in the making. */
struct gguf_build {
	struct blob values, infos, data;
	uint64_t values_count, tensors_count;
	uint64_t alignment; /* 0: 32, and no key says so */
};

void gguf_key(struct gguf_build *g, const char *key, uint32_t kind); /* the value's bytes follow into g->values */
void gguf_u32(struct gguf_build *g, const char *key, uint32_t x);
void gguf_f32(struct gguf_build *g, const char *key, float x);
void gguf_bool(struct gguf_build *g, const char *key, int x);
void gguf_text(struct gguf_build *g, const char *key, const char *text);
void gguf_strings(struct gguf_build *g, const char *key, const char *const *text, uint64_t count);
void gguf_i32s(struct gguf_build *g, const char *key, const int32_t *x, uint64_t count);
void gguf_f32s(struct gguf_build *g, const char *key, const float *x, uint64_t count);
/* Only the entry of a tensor. dims: the innermost first. */
void gguf_info(struct gguf_build *g, const char *name, uint32_t rank, const uint64_t *dims, uint32_t type, uint64_t offset);
/* The entry and its data behind what is there, aligned. rows 0: one dimension. */
void gguf_tensor(struct gguf_build *g, const char *name, uint32_t type, uint64_t columns, uint64_t rows, const void *data,
	size_t length);
/* The same with three dimensions. */
void gguf_stack(struct gguf_build *g, const char *name, uint32_t type, uint64_t columns, uint64_t rows, uint64_t count,
	const void *data, size_t length);
void gguf_finish(const struct gguf_build *g, struct blob *ret);
void gguf_free(struct gguf_build *g);

/* rc must be this code, the message one line that holds `part`. */
void assert_refused(int rc, const struct cwb_err *err, int code, const char *part);
