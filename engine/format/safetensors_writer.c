/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Layout, header and file of a safetensors file in the making. */
#include "engine/format/safetensors_writer.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/format/partial.h"

struct place {
	const struct cwe_safetensors_plan *plan;
	size_t number;   /* in the caller's plan */
	uint64_t offset; /* within the data */
	uint64_t bytes;
};

struct cwe_safetensors_writer {
	struct cwe_partial file;
	size_t count;
	uint64_t *offset; /* [count] in the file, by the caller's numbers */
	uint64_t *bytes;  /* [count] */
	size_t *order;    /* [count] numbers as they lie in the file */
	char *done;       /* [count] */
	size_t whole;     /* so many of the order are done */
};

static int by_alignment(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->plan->dtype != y->plan->dtype)
		return x->plan->dtype > y->plan->dtype ? -1 : 1;
	return strcmp(x->plan->name, y->plan->name);
}

/* Gives each tensor its offset, in the order of the places. */
static int set_offsets(struct place *place, size_t count, uint64_t *ret_total, struct cwb_err *err)
{
	uint64_t at = 0;
	size_t i;

	for (i = 0; i < count; i++) {
		const struct cwe_safetensors_plan *p = place[i].plan;

		if (p->rank > CWE_SAFETENSORS_RANK_MAX || cwe_dtype_bytes(p->dtype, p->rank, p->shape, &place[i].bytes))
			return cwb_err_set(err, CWP_ESHAPE, "tensor \"%s\": its shape has no size", p->name);
		place[i].offset = at;
		if (__builtin_add_overflow(at, place[i].bytes, &at) || at > INT64_MAX / 2)
			return cwb_err_set(err, CWP_ESHAPE, "tensor \"%s\": the file would be larger than 2^62 bytes", p->name);
	}
	*ret_total = at;
	return 0;
}

static int is_aligned(const struct place *place, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		unsigned size = cwe_dtype_bits(place[i].plan->dtype) / 8;

		if (size > 1 && place[i].offset % size)
			return 0;
	}
	return 1;
}

/* Orders the tensors and gives each its offset. */
static int lay_out(struct place *place, size_t count, unsigned flags, uint64_t *ret_total, struct cwb_err *err)
{
	if (flags & CWE_SAFETENSORS_IN_ORDER) {
		int rc = set_offsets(place, count, ret_total, err);

		if (rc || is_aligned(place, count))
			return rc;
	}
	qsort(place, count, sizeof *place, by_alignment);
	return set_offsets(place, count, ret_total, err);
}

static json_t *entry_json(const struct place *place)
{
	json_t *shape = json_array();
	uint64_t end = place->offset + place->bytes;
	uint32_t d;

	for (d = 0; d < place->plan->rank; d++)
		json_array_append_new(shape, json_integer((json_int_t)place->plan->shape[d]));
	return json_pack("{s:s, s:o, s:[I, I]}", "dtype", cwe_dtype_name(place->plan->dtype), "shape", shape, "data_offsets",
		(json_int_t)place->offset, (json_int_t)end);
}

/* The first bytes of the file: length, JSON, padding to a multiple of 8. Freed with free(). */
static int make_header(const struct place *place, size_t count, const struct cwe_safetensors_text *text, size_t n_text,
	char **ret, size_t *ret_length, struct cwb_err *err)
{
	json_t *header = json_object(), *meta = json_pack("{s:s}", "format", "pt");
	size_t i, n = 0, padded;
	char *dump = NULL, *bytes = NULL;
	uint64_t length;
	int rc = 0;

	for (i = 0; i < n_text; i++)
		if (json_object_set_new(meta, text[i].key, json_string(text[i].value)))
			rc = -ENOMEM;
	if (json_object_set_new(header, "__metadata__", meta))
		rc = -ENOMEM;
	for (i = 0; i < count && !rc; i++) {
		if (json_object_get(header, place[i].plan->name))
			rc = cwb_err_set(err, CWP_EVALUE, "tensor \"%s\" is planned twice", place[i].plan->name);
		else if (json_object_set_new(header, place[i].plan->name, entry_json(&place[i])))
			rc = -ENOMEM;
	}
	if (!rc)
		dump = cwb_json_text(header, JSON_COMPACT, &n);
	json_decref(header);
	if (rc && rc != -ENOMEM)
		return rc;
	padded = (n + 7) / 8 * 8;
	bytes = dump ? malloc(8 + padded) : NULL;
	if (!bytes) {
		free(dump);
		return cwb_err_set(err, -ENOMEM, "header of a tensor file: out of memory");
	}
	if (padded > CWE_SAFETENSORS_HEADER_MAX) {
		free(dump);
		free(bytes);
		return cwb_err_set(err, CWP_ELIMIT,
			"a header of %zu bytes is longer than readers accept (%u): choose a smaller write.shard", padded,
			CWE_SAFETENSORS_HEADER_MAX);
	}
	length = htole64(padded);
	memcpy(bytes, &length, 8);
	memcpy(bytes + 8, dump, n);
	memset(bytes + 8 + n, ' ', padded - n);
	free(dump);
	*ret = bytes;
	*ret_length = 8 + padded;
	return 0;
}

int cwe_safetensors_writer_new(int folder, const char *name, unsigned flags, const struct cwe_safetensors_plan *tensor,
	size_t count, const struct cwe_safetensors_text *text, size_t n_text, struct cwe_safetensors_writer **ret,
	int *ret_kept, struct cwb_err *err)
{
	struct cwe_safetensors_writer *w = calloc(1, sizeof *w);
	struct place *place = calloc(count + 1, sizeof *place);
	char *header = NULL;
	size_t length = 0, i;
	uint64_t total = 0;
	int rc = 0, kept = 0;

	if (w) {
		w->file.fd = -1;
		w->count = count;
		w->offset = calloc(count + 1, sizeof *w->offset);
		w->bytes = calloc(count + 1, sizeof *w->bytes);
		w->order = calloc(count + 1, sizeof *w->order);
		w->done = calloc(count + 1, 1);
	}
	if (!w || !place || !w->offset || !w->bytes || !w->order || !w->done) {
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", name);
		goto out;
	}
	for (i = 0; i < count; i++)
		place[i] = (struct place){.plan = &tensor[i], .number = i};
	rc = lay_out(place, count, flags, &total, err);
	if (!rc)
		rc = make_header(place, count, text, n_text, &header, &length, err);
	if (rc)
		goto out;
	for (i = 0; i < count; i++) {
		w->offset[place[i].number] = length + place[i].offset;
		w->bytes[place[i].number] = place[i].bytes;
		w->order[i] = place[i].number;
	}
	rc = cwe_partial_open(&w->file, folder, name, flags & CWE_SAFETENSORS_RESUME, header, length, length + total, &kept, err);
out:
	free(header);
	free(place);
	if (rc) {
		cwe_safetensors_writer_free(w);
		return rc;
	}
	*ret = w;
	if (ret_kept)
		*ret_kept = kept;
	return 0;
}

int cwe_safetensors_writer_measure(unsigned flags, const struct cwe_safetensors_plan *tensor, size_t count,
	const struct cwe_safetensors_text *text, size_t n_text, uint64_t *ret_bytes, struct cwb_err *err)
{
	struct place *place = calloc(count + 1, sizeof *place);
	char *header = NULL;
	size_t length = 0, i;
	uint64_t total = 0;
	int rc;

	if (!place)
		return cwb_err_set(err, -ENOMEM, "header of a tensor file: out of memory");
	for (i = 0; i < count; i++)
		place[i] = (struct place){.plan = &tensor[i], .number = i};
	rc = lay_out(place, count, flags, &total, err);
	if (!rc)
		rc = make_header(place, count, text, n_text, &header, &length, err);
	if (!rc)
		*ret_bytes = length + total;
	free(header);
	free(place);
	return rc;
}

int cwe_safetensors_writer_write(struct cwe_safetensors_writer *w, size_t i, uint64_t offset, const void *src,
	uint64_t bytes, struct cwb_err *err)
{
	if (i >= w->count || offset > w->bytes[i] || bytes > w->bytes[i] - offset)
		return cwb_err_set(err, CWP_EVALUE, "%s: %" PRIu64 " bytes at %" PRIu64 " lie outside tensor %zu", w->file.name, bytes,
			offset, i);
	return cwe_partial_write(&w->file, src, bytes, w->offset[i] + offset, err);
}

uint64_t cwe_safetensors_writer_done(struct cwe_safetensors_writer *w, size_t i)
{
	w->done[i] = 1;
	while (w->whole < w->count && w->done[w->order[w->whole]])
		w->whole++;
	return w->whole < w->count ? w->offset[w->order[w->whole]] : w->file.size;
}

int cwe_safetensors_writer_fd(const struct cwe_safetensors_writer *w)
{
	return w->file.fd;
}

int cwe_safetensors_writer_sync(struct cwe_safetensors_writer *w, struct cwb_err *err)
{
	return cwe_partial_sync(&w->file, err);
}

int cwe_safetensors_writer_publish(struct cwe_safetensors_writer *w, struct cwb_err *err)
{
	return cwe_partial_publish(&w->file, err);
}

void cwe_safetensors_writer_discard(struct cwe_safetensors_writer *w)
{
	if (w)
		cwe_partial_discard(&w->file);
}

uint64_t cwe_safetensors_writer_size(const struct cwe_safetensors_writer *w)
{
	return w->file.size;
}

void cwe_safetensors_writer_free(struct cwe_safetensors_writer *w)
{
	if (!w)
		return;
	cwe_partial_close(&w->file);
	free(w->offset);
	free(w->bytes);
	free(w->order);
	free(w->done);
	free(w);
}
