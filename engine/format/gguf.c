/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reader of GGUF files: header, list of tensors and their layout. */
#include "engine/format/gguf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/gguf_scan.h"

#define KEY_MAX 65535  /* bytes, of the format */
#define NAME_MAX_ 255  /* bytes of a tensor's name; ggml itself has 63 */
#define ALIGNMENT_MAX (1u << 20)
/* The least that a key (length, 1 byte, kind, 1 byte) and a tensor (length, 1 byte, rank, type, offset) take. */
#define KEY_BYTES_MIN 14
#define TENSOR_BYTES_MIN 25

static int scan_head(struct cwe_gguf_scan *s, uint64_t *ret_tensors, uint64_t *ret_values, struct cwb_err *err)
{
	const char *path = s->input->path;
	uint32_t version = 0;
	char magic[4];
	int rc = cwe_gguf_scan_bytes(s, magic, 4, err);

	if (rc)
		return rc;
	if (memcmp(magic, "GGUF", 4) != 0)
		return cwb_err_set(err, CWP_EFORMAT, "%s: does not begin with GGUF", path);
	rc = cwe_gguf_scan_u32(s, &version, err);
	if (rc)
		return rc;
	if (version == 0x03000000 || version == 0x02000000)
		return cwb_err_set(err, CWP_EFORMAT, "%s: a big-endian GGUF file; only little-endian ones are read", path);
	if (version != 3)
		return cwb_err_set(err, CWP_EFORMAT, "%s: GGUF version %u; version 3 is read", path, version);
	rc = cwe_gguf_scan_u64(s, ret_tensors, err);
	if (!rc)
		rc = cwe_gguf_scan_u64(s, ret_values, err);
	if (rc)
		return rc;
	if (*ret_tensors > s->input->size / TENSOR_BYTES_MIN)
		return cwb_err_set(err, CWP_EFORMAT, "%s: %" PRIu64 " tensors do not fit into the file", path, *ret_tensors);
	if (*ret_values > s->input->size / KEY_BYTES_MIN)
		return cwb_err_set(err, CWP_EFORMAT, "%s: %" PRIu64 " keys do not fit into the file", path, *ret_values);
	return 0;
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct cwe_gguf_value *)a)->key, ((const struct cwe_gguf_value *)b)->key);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct cwe_gguf_tensor *)a)->name, ((const struct cwe_gguf_tensor *)b)->name);
}

static int by_offset(const void *a, const void *b)
{
	const struct cwe_gguf_tensor *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* calloc within the memory limit. */
static int keep_array(struct cwe_gguf_scan *s, uint64_t count, size_t size, void **ret, struct cwb_err *err)
{
	if (count >= (CWE_GGUF_METADATA_MAX - s->kept) / size)
		return cwb_err_set(err, CWP_ELIMIT, "%s: its metadata needs more than %u MiB of memory", s->input->path,
			CWE_GGUF_METADATA_MAX >> 20);
	s->kept += count * size;
	*ret = calloc(count + 1, size);
	return *ret ? 0 : cwb_err_set(err, -ENOMEM, "%s: out of memory for its metadata", s->input->path);
}

static int scan_values(struct cwe_gguf *g, struct cwe_gguf_scan *s, uint64_t count, struct cwb_err *err)
{
	void *array;
	int rc = keep_array(s, count, sizeof *g->values, &array, err);

	if (rc)
		return rc;
	g->values = array;
	for (uint64_t i = 0; i < count; i++) {
		g->values_count++;
		rc = cwe_gguf_scan_name(s, KEY_MAX, &g->values[i].key, err);
		if (!rc)
			rc = cwe_gguf_scan_value(s, &g->values[i], err);
		if (rc)
			return rc;
	}
	qsort(g->values, g->values_count, sizeof *g->values, by_key);
	for (size_t i = 1; i < g->values_count; i++)
		if (!by_key(&g->values[i - 1], &g->values[i]))
			return cwb_err_set(err, CWP_EFORMAT, "%s: key \"%.200s\" comes twice", s->input->path, g->values[i].key);
	return 0;
}

static int check_type(const struct cwe_gguf *g, struct cwe_gguf_tensor *t, struct cwb_err *err)
{
	const char *path = g->input.path;
	struct cwe_gguf_block block;
	uint64_t n;

	if (cwe_gguf_block(t->type, &block))
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: tensor \"%s\": unknown type %u", path, t->name, t->type);
	if (t->dims[0] % block.elements)
		return cwb_err_set(err, CWP_EFORMAT,
			"%s: tensor \"%s\": rows of %" PRIu64 " elements are no whole number of %s blocks of %u", path, t->name,
			t->dims[0], block.name, block.elements);
	n = t->dims[0] / block.elements;
	for (uint32_t i = 1; i < t->rank; i++)
		if (__builtin_mul_overflow(n, t->dims[i], &n))
			return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%s\": its shape overflows", path, t->name);
	if (__builtin_mul_overflow(n, (uint64_t)block.bytes, &t->bytes))
		return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%s\": its shape overflows", path, t->name);
	return 0;
}

/* t->offset stays relative to the data's start; check_layout adds that. */
static int scan_tensor(struct cwe_gguf *g, struct cwe_gguf_scan *s, struct cwe_gguf_tensor *t, struct cwb_err *err)
{
	const char *path = g->input.path;
	int rc = cwe_gguf_scan_name(s, NAME_MAX_, &t->name, err);

	if (!rc)
		rc = cwe_gguf_scan_u32(s, &t->rank, err);
	if (rc)
		return rc;
	if (t->rank < 1 || t->rank > CWE_RANK_MAX)
		return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%s\" has %u dimensions; 1 to %d are read", path, t->name,
			t->rank, CWE_RANK_MAX);
	for (uint32_t i = 0; i < t->rank; i++) {
		rc = cwe_gguf_scan_u64(s, &t->dims[i], err);
		if (rc)
			return rc;
		if (t->dims[i] < 1 || t->dims[i] > INT64_MAX)
			return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%s\": a dimension of %" PRIu64, path, t->name,
				t->dims[i]);
	}
	rc = cwe_gguf_scan_u32(s, &t->type, err);
	if (!rc)
		rc = cwe_gguf_scan_u64(s, &t->offset, err);
	return rc ? rc : check_type(g, t, err);
}

static int scan_tensors(struct cwe_gguf *g, struct cwe_gguf_scan *s, uint64_t count, struct cwb_err *err)
{
	void *array;
	int rc = keep_array(s, count, sizeof *g->tensors, &array, err);

	if (rc)
		return rc;
	g->tensors = array;
	for (uint64_t i = 0; i < count; i++) {
		g->count++;
		rc = scan_tensor(g, s, &g->tensors[i], err);
		if (rc)
			return rc;
	}
	return 0;
}

/* Holes are harmless and allowed; overlaps are not. */
static int check_layout(struct cwe_gguf *g, uint64_t header, uint64_t alignment, struct cwb_err *err)
{
	const char *path = g->input.path;
	uint64_t start = (header + alignment - 1) / alignment * alignment, room, end = 0;

	room = start < g->input.size ? g->input.size - start : 0;
	qsort(g->tensors, g->count, sizeof *g->tensors, by_offset);
	for (size_t i = 0; i < g->count; i++) {
		struct cwe_gguf_tensor *t = &g->tensors[i];

		if (t->offset % alignment)
			return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%s\": offset %" PRIu64 " is no multiple of %" PRIu64, path,
				t->name, t->offset, alignment);
		if (t->offset < end)
			return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%s\" overlaps \"%s\"", path, t->name,
				g->tensors[i - 1].name);
		if (t->offset > room || t->bytes > room - t->offset)
			return cwb_err_set(err, CWP_EFORMAT,
				"%s: tensor \"%s\": %" PRIu64 " bytes at %" PRIu64 " of the data go beyond the end of the file; it was cut off",
				path, t->name, t->bytes, t->offset);
		end = t->offset + t->bytes;
		t->offset += start;
	}
	qsort(g->tensors, g->count, sizeof *g->tensors, by_name);
	for (size_t i = 1; i < g->count; i++)
		if (!by_name(&g->tensors[i - 1], &g->tensors[i]))
			return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%s\" comes twice", path, g->tensors[i].name);
	return 0;
}

static int read_header(struct cwe_gguf *g, struct cwb_err *err)
{
	struct cwe_gguf_scan *s = calloc(1, sizeof *s);
	uint64_t tensors = 0, values = 0, alignment = 32;
	int rc;

	if (!s)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", g->input.path);
	s->input = &g->input;
	rc = scan_head(s, &tensors, &values, err);
	if (!rc)
		rc = scan_values(g, s, values, err);
	if (!rc)
		rc = cwe_gguf_get_u64(g, "general.alignment", 1, ALIGNMENT_MAX, &alignment, err);
	if (rc >= 0 && (alignment & (alignment - 1)))
		rc = cwb_err_set(err, CWP_EFORMAT, "%s: general.alignment: %" PRIu64 " is no power of two", g->input.path,
			alignment);
	if (rc >= 0)
		rc = scan_tensors(g, s, tensors, err);
	if (!rc)
		rc = check_layout(g, s->at, alignment, err);
	free(s);
	return rc;
}

int cwe_gguf_adopt(int fd, const char *path, struct cwe_gguf **ret, struct cwb_err *err)
{
	struct cwe_input input = {-1, NULL, 0};
	struct cwe_gguf *g;
	int rc = cwe_input_adopt(fd, path, &input, err);

	if (rc)
		return rc;
	g = calloc(1, sizeof *g);
	if (!g) {
		cwe_input_close(&input);
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", path);
	}
	g->input = input;
	rc = read_header(g, err);
	if (rc) {
		cwe_gguf_close(g);
		return rc;
	}
	*ret = g;
	return 0;
}

int cwe_gguf_open(const char *path, struct cwe_gguf **ret, struct cwb_err *err)
{
	int fd = cwe_input_fd(path, err);

	return fd < 0 ? fd : cwe_gguf_adopt(fd, path, ret, err);
}

void cwe_gguf_close(struct cwe_gguf *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->values_count; i++) {
		free(g->values[i].key);
		free(g->values[i].data);
		free(g->values[i].starts);
	}
	for (size_t i = 0; i < g->count; i++)
		free(g->tensors[i].name);
	free(g->values);
	free(g->tensors);
	cwe_input_close(&g->input);
	free(g);
}

const struct cwe_gguf_tensor *cwe_gguf_find(const struct cwe_gguf *g, const char *name)
{
	struct cwe_gguf_tensor key = {.name = (char *)name};

	return bsearch(&key, g->tensors, g->count, sizeof *g->tensors, by_name);
}

const struct cwe_gguf_value *cwe_gguf_value(const struct cwe_gguf *g, const char *key)
{
	struct cwe_gguf_value want = {.key = (char *)key};

	return bsearch(&want, g->values, g->values_count, sizeof *g->values, by_key);
}
