/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Layout, header and file of a GGUF file in the making. */
#include "engine/format/gguf_writer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/partial.h"

struct cwe_gguf_writer {
	struct cwe_partial file;
	struct cwe_gguf_layout layout;
};

static uint64_t aligned(uint64_t at)
{
	return (at + CWE_GGUF_ALIGNMENT - 1) / CWE_GGUF_ALIGNMENT * CWE_GGUF_ALIGNMENT;
}

/* Bytes of a tensor; its rows are whole blocks. */
static int bytes_of(const struct cwe_gguf_plan *p, uint64_t *ret, struct cwb_err *err)
{
	struct cwe_gguf_block block;
	uint64_t n;
	int overflow = 0;

	if (strlen(p->name) > CWE_GGUF_NAME_MAX)
		return cwb_err_set(err, CWP_ELIMIT, "tensor \"%s\": names of GGUF have at most %d bytes", p->name, CWE_GGUF_NAME_MAX);
	if (cwe_gguf_block(p->type, &block) || p->dims[0] % block.elements)
		return cwb_err_set(err, CWP_ESHAPE, "tensor \"%s\": rows of %" PRIu64 " elements are no whole number of blocks", p->name,
			p->dims[0]);
	n = p->dims[0] / block.elements;
	for (uint32_t d = 1; d < p->rank; d++)
		overflow |= __builtin_mul_overflow(n, p->dims[d], &n);
	overflow |= __builtin_mul_overflow(n, (uint64_t)block.bytes, &n);
	if (overflow || n > INT64_MAX / 4)
		return cwb_err_set(err, CWP_ESHAPE, "tensor \"%s\": its shape has no size", p->name);
	*ret = n;
	return 0;
}

static int place(const struct cwe_gguf_plan *tensor, struct cwe_gguf_layout *l, struct cwb_err *err)
{
	uint64_t at = 0;

	for (size_t i = 0; i < l->count; i++) {
		int rc = bytes_of(&tensor[i], &l->bytes[i], err);

		if (rc)
			return rc;
		l->offset[i] = at;
		at += aligned(l->bytes[i]);
		if (at > INT64_MAX / 4)
			return cwb_err_set(err, CWP_ESHAPE, "tensor \"%s\": the file would be larger than 2^61 bytes", tensor[i].name);
	}
	l->size = at;
	return 0;
}

static void add_info(struct cwe_gguf_keys *k, const struct cwe_gguf_plan *p, uint64_t offset)
{
	cwe_gguf_keys_string(k, p->name, strlen(p->name));
	cwe_gguf_keys_bytes(k, &p->rank, sizeof p->rank);
	cwe_gguf_keys_bytes(k, p->dims, p->rank * sizeof *p->dims);
	cwe_gguf_keys_bytes(k, &p->type, sizeof p->type);
	cwe_gguf_keys_bytes(k, &offset, sizeof offset);
}

int cwe_gguf_layout_make(const struct cwe_gguf_keys *keys, const struct cwe_gguf_plan *tensor, size_t count,
	struct cwe_gguf_layout *ret, struct cwb_err *err)
{
	static const uint8_t zeros[CWE_GGUF_ALIGNMENT];
	struct cwe_gguf_layout l = {.count = count, .offset = calloc(count + 1, sizeof *l.offset),
		.bytes = calloc(count + 1, sizeof *l.bytes)};
	struct cwe_gguf_keys head = {.failed = keys->failed};
	uint32_t version = 3;
	uint64_t counts[2] = {count, keys->count};
	int rc;

	if (!l.offset || !l.bytes) {
		cwe_gguf_layout_free(&l);
		return cwb_err_set(err, -ENOMEM, "metadata of a GGUF file: out of memory");
	}
	rc = place(tensor, &l, err);
	cwe_gguf_keys_bytes(&head, "GGUF", 4);
	cwe_gguf_keys_bytes(&head, &version, sizeof version);
	cwe_gguf_keys_bytes(&head, counts, sizeof counts);
	cwe_gguf_keys_bytes(&head, keys->data, keys->length);
	for (size_t i = 0; i < count && !rc && !head.failed; i++)
		add_info(&head, &tensor[i], l.offset[i]);
	cwe_gguf_keys_bytes(&head, zeros, aligned(head.length) - head.length);
	if (!rc && head.failed)
		rc = cwb_err_set(err, -ENOMEM, "metadata of a GGUF file: out of memory");
	l.header = head.data;
	l.header_bytes = head.length;
	if (rc) {
		cwe_gguf_layout_free(&l);
		return rc;
	}
	for (size_t i = 0; i < count; i++)
		l.offset[i] += l.header_bytes;
	l.size += l.header_bytes;
	*ret = l;
	return 0;
}

void cwe_gguf_layout_free(struct cwe_gguf_layout *l)
{
	free(l->header);
	free(l->offset);
	free(l->bytes);
	*l = (struct cwe_gguf_layout){0};
}

int cwe_gguf_writer_new(int folder, const char *name, int resume, struct cwe_gguf_layout *layout, struct cwe_gguf_writer **ret,
	int *ret_kept, struct cwb_err *err)
{
	struct cwe_gguf_writer *w = calloc(1, sizeof *w);
	int rc;

	if (!w) {
		cwe_gguf_layout_free(layout);
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", name);
	}
	w->layout = *layout;
	*layout = (struct cwe_gguf_layout){0};
	rc = cwe_partial_open(&w->file, folder, name, resume, w->layout.header, w->layout.header_bytes, w->layout.size, ret_kept, err);
	if (rc) {
		cwe_gguf_writer_free(w);
		return rc;
	}
	*ret = w;
	return 0;
}

int cwe_gguf_writer_write(const struct cwe_gguf_writer *w, size_t i, uint64_t offset, const void *src, uint64_t bytes,
	struct cwb_err *err)
{
	const struct cwe_gguf_layout *l = &w->layout;

	if (i >= l->count || offset > l->bytes[i] || bytes > l->bytes[i] - offset)
		return cwb_err_set(err, CWP_EVALUE, "%s: %" PRIu64 " bytes at %" PRIu64 " lie outside tensor %zu", w->file.name, bytes,
			offset, i);
	return cwe_partial_write(&w->file, src, bytes, l->offset[i] + offset, err);
}

uint64_t cwe_gguf_writer_start(const struct cwe_gguf_writer *w, size_t i)
{
	return i < w->layout.count ? w->layout.offset[i] : w->layout.size;
}

int cwe_gguf_writer_fd(const struct cwe_gguf_writer *w)
{
	return w->file.fd;
}

int cwe_gguf_writer_sync(const struct cwe_gguf_writer *w, struct cwb_err *err)
{
	return cwe_partial_sync(&w->file, err);
}

int cwe_gguf_writer_publish(const struct cwe_gguf_writer *w, struct cwb_err *err)
{
	return cwe_partial_publish(&w->file, err);
}

void cwe_gguf_writer_unpublish(const struct cwe_gguf_writer *w)
{
	cwe_partial_unpublish(&w->file);
}

void cwe_gguf_writer_free(struct cwe_gguf_writer *w)
{
	if (!w)
		return;
	cwe_partial_close(&w->file);
	cwe_gguf_layout_free(&w->layout);
	free(w);
}
