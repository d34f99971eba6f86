/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Files put together by hand. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"

void blob_add(struct blob *b, const void *data, size_t length)
{
	if (b->length + length >= b->room) {
		b->room = 2 * b->room + length + 64;
		b->data = realloc(b->data, b->room);
		assert_non_null(b->data);
	}
	if (length)
		memcpy(b->data + b->length, data, length);
	b->length += length;
}

void blob_u32(struct blob *b, uint32_t x)
{
	blob_add(b, &x, sizeof x);
}

void blob_u64(struct blob *b, uint64_t x)
{
	blob_add(b, &x, sizeof x);
}

void blob_text(struct blob *b, const char *text)
{
	blob_add(b, text, strlen(text));
}

void blob_string(struct blob *b, const char *text)
{
	blob_u64(b, strlen(text));
	blob_text(b, text);
}

void blob_free(struct blob *b)
{
	free(b->data);
	b->data = NULL;
	b->length = b->room = 0;
}

int blob_fd(const struct blob *b)
{
	int fd = memfd_create("blob", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(cwb_file_pwrite(fd, b->data, b->length, 0, "blob", NULL), 0);
	return fd;
}

char *folder_make(void)
{
	const char *base = getenv("TMPDIR");
	char *path = path_join(base && *base ? base : "/tmp", "cwp-format-XXXXXX");

	assert_non_null(mkdtemp(path));
	return path;
}

char *path_join(const char *folder, const char *name)
{
	char *path;

	assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
	return path;
}

void folder_write(const char *folder, const char *name, const struct blob *b)
{
	char *path = path_join(folder, name);

	assert_int_equal(cwb_file_replace_path(path, b->data, b->length, 0600, NULL), 0);
	free(path);
}

void folder_text(const char *folder, const char *name, const char *text)
{
	struct blob b = {.data = (uint8_t *)text, .length = strlen(text)};

	folder_write(folder, name, &b);
}

void folder_remove(char *folder)
{
	assert_int_equal(cwb_file_remove_tree(-100 /* AT_FDCWD */, folder, NULL), 0);
	free(folder);
}

void safetensors_build(struct blob *b, const char *header, const void *data, size_t length)
{
	blob_string(b, header);
	blob_add(b, data, length);
}

void gguf_key(struct gguf_build *g, const char *key, uint32_t kind)
{
	blob_string(&g->values, key);
	blob_u32(&g->values, kind);
	g->values_count++;
}

void gguf_u32(struct gguf_build *g, const char *key, uint32_t x)
{
	gguf_key(g, key, 4);
	blob_u32(&g->values, x);
}

void gguf_f32(struct gguf_build *g, const char *key, float x)
{
	gguf_key(g, key, 6);
	blob_add(&g->values, &x, sizeof x);
}

void gguf_bool(struct gguf_build *g, const char *key, int x)
{
	uint8_t byte = (uint8_t)x;

	gguf_key(g, key, 7);
	blob_add(&g->values, &byte, 1);
}

void gguf_text(struct gguf_build *g, const char *key, const char *text)
{
	gguf_key(g, key, 8);
	blob_string(&g->values, text);
}

void gguf_strings(struct gguf_build *g, const char *key, const char *const *text, uint64_t count)
{
	gguf_key(g, key, 9);
	blob_u32(&g->values, 8);
	blob_u64(&g->values, count);
	for (uint64_t i = 0; i < count; i++)
		blob_string(&g->values, text[i]);
}

void gguf_i32s(struct gguf_build *g, const char *key, const int32_t *x, uint64_t count)
{
	gguf_key(g, key, 9);
	blob_u32(&g->values, 5);
	blob_u64(&g->values, count);
	blob_add(&g->values, x, count * sizeof *x);
}

void gguf_f32s(struct gguf_build *g, const char *key, const float *x, uint64_t count)
{
	gguf_key(g, key, 9);
	blob_u32(&g->values, 6);
	blob_u64(&g->values, count);
	blob_add(&g->values, x, count * sizeof *x);
}

void gguf_info(struct gguf_build *g, const char *name, uint32_t rank, const uint64_t *dims, uint32_t type, uint64_t offset)
{
	blob_string(&g->infos, name);
	blob_u32(&g->infos, rank);
	blob_add(&g->infos, dims, rank * sizeof *dims);
	blob_u32(&g->infos, type);
	blob_u64(&g->infos, offset);
	g->tensors_count++;
}

static void pad(struct blob *b, uint64_t alignment)
{
	while (b->length % alignment)
		blob_add(b, "", 1);
}

void gguf_tensor(struct gguf_build *g, const char *name, uint32_t type, uint64_t columns, uint64_t rows, const void *data,
	size_t length)
{
	uint64_t dims[2] = {columns, rows};

	pad(&g->data, g->alignment ? g->alignment : 32);
	gguf_info(g, name, rows ? 2 : 1, dims, type, g->data.length);
	blob_add(&g->data, data, length);
}

void gguf_stack(struct gguf_build *g, const char *name, uint32_t type, uint64_t columns, uint64_t rows, uint64_t count,
	const void *data, size_t length)
{
	uint64_t dims[3] = {columns, rows, count};

	pad(&g->data, g->alignment ? g->alignment : 32);
	gguf_info(g, name, 3, dims, type, g->data.length);
	blob_add(&g->data, data, length);
}

void gguf_finish(const struct gguf_build *g, struct blob *ret)
{
	blob_text(ret, "GGUF");
	blob_u32(ret, 3);
	blob_u64(ret, g->tensors_count);
	blob_u64(ret, g->values_count);
	blob_add(ret, g->values.data, g->values.length);
	blob_add(ret, g->infos.data, g->infos.length);
	if (g->tensors_count) {
		pad(ret, g->alignment ? g->alignment : 32);
		blob_add(ret, g->data.data, g->data.length);
	}
}

void gguf_free(struct gguf_build *g)
{
	blob_free(&g->values);
	blob_free(&g->infos);
	blob_free(&g->data);
}

void assert_refused(int rc, const struct cwb_err *err, int code, const char *part)
{
	if (rc != code || err->code != code || !strstr(err->message, part))
		print_error("code %d (err %d), wanted %d; \"%s\", wanted \"%s\"\n", rc, err->code, code, err->message, part);
	assert_int_equal(rc, code);
	assert_int_equal(err->code, code);
	assert_non_null(strstr(err->message, part));
	assert_null(strchr(err->message, '\n'));
}
