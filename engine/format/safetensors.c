/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reader of safetensors files. The checks are those of the reference implementation (safetensors 0.7, `validate`), and one
 * more: a tensor name that comes twice is refused, where the reference takes the last. */
#include "engine/format/safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static int entry_fail(const struct cwe_safetensors *s, const char *name, struct cwb_err *err, const char *what)
{
	return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%.200s\": %s", s->input.path, name, what);
}

static int take_shape(const struct cwe_safetensors *s, struct cwe_safetensors_entry *e, const json_t *shape,
	struct cwb_err *err)
{
	size_t rank = json_array_size(shape);

	if (!json_is_array(shape))
		return entry_fail(s, e->name, err, "\"shape\" is absent or no array");
	if (rank > CWE_SAFETENSORS_RANK_MAX)
		return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%.200s\" has %zu dimensions, at most %d are read",
			s->input.path, e->name, rank, CWE_SAFETENSORS_RANK_MAX);
	e->rank = (uint32_t)rank;
	for (size_t i = 0; i < rank; i++) {
		const json_t *n = json_array_get(shape, i);

		if (!json_is_integer(n) || json_integer_value(n) < 0)
			return entry_fail(s, e->name, err, "\"shape\" holds something else than integers from 0 on");
		e->shape[i] = (uint64_t)json_integer_value(n);
	}
	return 0;
}

/* Leaves offset relative to the data's start; check_layout adds that. */
static int take_offsets(const struct cwe_safetensors *s, struct cwe_safetensors_entry *e, const json_t *offsets,
	struct cwb_err *err)
{
	uint64_t value[2], bytes;

	if (!json_is_array(offsets) || json_array_size(offsets) != 2)
		return entry_fail(s, e->name, err, "\"data_offsets\" is absent or no pair");
	for (size_t i = 0; i < 2; i++) {
		const json_t *n = json_array_get(offsets, i);

		if (!json_is_integer(n) || json_integer_value(n) < 0)
			return entry_fail(s, e->name, err, "\"data_offsets\" holds something else than integers from 0 on");
		value[i] = (uint64_t)json_integer_value(n);
	}
	if (value[1] < value[0])
		return entry_fail(s, e->name, err, "\"data_offsets\" ends before it begins");
	if (cwe_dtype_bytes(e->dtype, e->rank, e->shape, &bytes))
		return entry_fail(s, e->name, err, "\"shape\" overflows, or makes no whole number of bytes");
	if (bytes != value[1] - value[0])
		return cwb_err_set(err, CWP_EFORMAT,
			"%s: tensor \"%.200s\": dtype and shape make %" PRIu64 " bytes, data_offsets %" PRIu64, s->input.path,
			e->name, bytes, value[1] - value[0]);
	e->offset = value[0];
	e->bytes = bytes;
	return 0;
}

static int take_entry(const struct cwe_safetensors *s, struct cwe_safetensors_entry *e, const char *name,
	const json_t *value, struct cwb_err *err)
{
	const json_t *dtype = json_object_get(value, "dtype");
	int rc, found;

	e->name = name;
	if (!json_is_object(value))
		return entry_fail(s, name, err, "its entry is no object");
	if (!json_is_string(dtype))
		return entry_fail(s, name, err, "\"dtype\" is absent or no string");
	found = cwe_dtype_find(json_string_value(dtype));
	if (found < 0)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: tensor \"%.200s\": unknown dtype \"%.40s\"", s->input.path, name,
			json_string_value(dtype));
	e->dtype = (enum cwe_dtype)found;
	rc = take_shape(s, e, json_object_get(value, "shape"), err);
	if (rc)
		return rc;
	return take_offsets(s, e, json_object_get(value, "data_offsets"), err);
}

static int take_metadata(const struct cwe_safetensors *s, const json_t *metadata, struct cwb_err *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(metadata))
		return cwb_err_set(err, CWP_EFORMAT, "%s: \"__metadata__\" is no object", s->input.path);
	json_object_foreach((json_t *)metadata, key, value)
		if (!json_is_string(value))
			return cwb_err_set(err, CWP_EFORMAT, "%s: \"__metadata__\": \"%.100s\" is no string", s->input.path, key);
	return 0;
}

static int take_entries(struct cwe_safetensors *s, struct cwb_err *err)
{
	const char *name;
	json_t *value;
	int rc;

	s->entries = calloc(json_object_size(s->header) + 1, sizeof *s->entries);
	if (!s->entries)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory for its list of tensors", s->input.path);
	json_object_foreach(s->header, name, value) {
		if (!strcmp(name, "__metadata__"))
			rc = take_metadata(s, value, err);
		else
			rc = take_entry(s, &s->entries[s->count++], name, value, err);
		if (rc)
			return rc;
	}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct cwe_safetensors_entry *)a)->name, ((const struct cwe_safetensors_entry *)b)->name);
}

static int by_offset(const void *a, const void *b)
{
	const struct cwe_safetensors_entry *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* The tensors' data must fill the rest of the file exactly, from `start` on. */
static int check_layout(struct cwe_safetensors *s, uint64_t start, struct cwb_err *err)
{
	uint64_t at = 0;

	qsort(s->entries, s->count, sizeof *s->entries, by_offset);
	for (size_t i = 0; i < s->count; i++) {
		struct cwe_safetensors_entry *e = &s->entries[i];

		if (e->offset != at)
			return cwb_err_set(err, CWP_EFORMAT,
				"%s: tensor \"%.200s\" begins at byte %" PRIu64 " of the data where %" PRIu64 " is due (%s)",
				s->input.path, e->name, e->offset, at, e->offset < at ? "overlap" : "hole");
		if (e->bytes > s->input.size - start - at)
			return cwb_err_set(err, CWP_EFORMAT,
				"%s: tensor \"%.200s\" of %" PRIu64 " bytes goes beyond the end of the file; it was cut off",
				s->input.path, e->name, e->bytes);
		at += e->bytes;
		e->offset += start;
	}
	if (at != s->input.size - start)
		return cwb_err_set(err, CWP_EFORMAT, "%s: %" PRIu64 " bytes follow the last tensor", s->input.path,
			s->input.size - start - at);
	qsort(s->entries, s->count, sizeof *s->entries, by_name);
	return 0;
}

static int read_header(struct cwe_safetensors *s, struct cwb_err *err)
{
	unsigned char raw[8];
	uint64_t n = 0;
	char *text;
	int rc;

	if (s->input.size < 8)
		return cwb_err_set(err, CWP_EFORMAT, "%s: %" PRIu64 " bytes are too short for a safetensors file",
			s->input.path, s->input.size);
	rc = cwe_input_read(&s->input, 0, raw, 8, err);
	if (rc)
		return rc;
	for (int i = 7; i >= 0; i--)
		n = n << 8 | raw[i];
	if (n > CWE_SAFETENSORS_HEADER_MAX)
		return cwb_err_set(err, CWP_EFORMAT, "%s: header of %" PRIu64 " bytes; at most %u are allowed",
			s->input.path, n, CWE_SAFETENSORS_HEADER_MAX);
	if (n > s->input.size - 8)
		return cwb_err_set(err, CWP_EFORMAT, "%s: header of %" PRIu64 " bytes is longer than the file",
			s->input.path, n);
	text = malloc(n + 1);
	if (!text)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory for a header of %" PRIu64 " bytes", s->input.path, n);
	rc = cwe_input_read(&s->input, 8, text, n, err);
	if (rc)
		goto out;
	rc = cwb_json_load(text, n, n, CWB_JSON_DEPTH, &s->header, err);
	if (rc) {
		cwb_err_prefix(err, "%s: header", s->input.path);
		goto out;
	}
	rc = json_is_object(s->header) ? take_entries(s, err)
				       : cwb_err_set(err, CWP_EFORMAT, "%s: header is no object", s->input.path);
	if (!rc)
		rc = check_layout(s, 8 + n, err);
out:
	free(text);
	return rc;
}

int cwe_safetensors_adopt(int fd, const char *path, struct cwe_safetensors **ret, struct cwb_err *err)
{
	struct cwe_input input = {-1, NULL, 0};
	struct cwe_safetensors *s;
	int rc = cwe_input_adopt(fd, path, &input, err);

	if (rc)
		return rc;
	s = calloc(1, sizeof *s);
	if (!s) {
		cwe_input_close(&input);
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", path);
	}
	s->input = input;
	rc = read_header(s, err);
	if (rc) {
		cwe_safetensors_close(s);
		return rc;
	}
	*ret = s;
	return 0;
}

int cwe_safetensors_open(const char *path, struct cwe_safetensors **ret, struct cwb_err *err)
{
	int fd = cwe_input_fd(path, err);

	return fd < 0 ? fd : cwe_safetensors_adopt(fd, path, ret, err);
}

void cwe_safetensors_close(struct cwe_safetensors *s)
{
	if (!s)
		return;
	free(s->entries);
	json_decref(s->header);
	cwe_input_close(&s->input);
	free(s);
}

const struct cwe_safetensors_entry *cwe_safetensors_find(const struct cwe_safetensors *s, const char *name)
{
	struct cwe_safetensors_entry key = {.name = name};

	return bsearch(&key, s->entries, s->count, sizeof *s->entries, by_name);
}

const char *cwe_safetensors_metadata(const struct cwe_safetensors *s, const char *key)
{
	return json_string_value(json_object_get(json_object_get(s->header, "__metadata__"), key));
}

int cwe_safetensors_read(const struct cwe_safetensors *s, const struct cwe_safetensors_entry *e, uint64_t offset,
	void *dst, uint64_t bytes, struct cwb_err *err)
{
	if (offset > e->bytes || bytes > e->bytes - offset)
		return cwb_err_set(err, CWP_EVALUE, "%s: bytes %" PRIu64 " to %" PRIu64 " + %" PRIu64 " of tensor \"%s\" lie outside it",
			s->input.path, offset, offset, bytes, e->name);
	return cwe_input_read(&s->input, e->offset + offset, dst, bytes, err);
}
