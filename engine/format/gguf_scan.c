/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GGUF's header, value by value. Every length is compared with what the file still has before memory is taken for it. */
#include "engine/format/gguf_scan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t kind_size[CWE_GGUF_KINDS] = {
	[CWE_GGUF_U8] = 1, [CWE_GGUF_I8] = 1, [CWE_GGUF_U16] = 2, [CWE_GGUF_I16] = 2, [CWE_GGUF_U32] = 4,
	[CWE_GGUF_I32] = 4, [CWE_GGUF_F32] = 4, [CWE_GGUF_BOOL] = 1, [CWE_GGUF_U64] = 8, [CWE_GGUF_I64] = 8,
	[CWE_GGUF_F64] = 8,
};

static uint64_t left(const struct cwe_gguf_scan *s)
{
	return s->input->size - s->at;
}

static int keep(struct cwe_gguf_scan *s, uint64_t bytes, struct cwb_err *err)
{
	if (bytes > CWE_GGUF_METADATA_MAX - s->kept)
		return cwb_err_set(err, CWP_ELIMIT, "%s: its metadata needs more than %u MiB of memory", s->input->path,
			CWE_GGUF_METADATA_MAX >> 20);
	s->kept += bytes;
	return 0;
}

static int no_memory(struct cwe_gguf_scan *s, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory for its metadata", s->input->path);
}

int cwe_gguf_scan_bytes(struct cwe_gguf_scan *s, void *dst, uint64_t n, struct cwb_err *err)
{
	unsigned char *p = dst;
	int rc;

	if (n > left(s))
		return cwb_err_set(err, CWP_EFORMAT, "%s: header ends at byte %" PRIu64 " within %" PRIu64 " bytes; it was cut off",
			s->input->path, s->at, n);
	while (n) {
		uint64_t within = s->at - s->buffer_at, have;

		if (s->at < s->buffer_at || within >= s->buffer_length) {
			s->buffer_length = left(s) < CWE_GGUF_SCAN_BUFFER ? left(s) : CWE_GGUF_SCAN_BUFFER;
			s->buffer_at = s->at;
			rc = cwe_input_read(s->input, s->at, s->buffer, s->buffer_length, err);
			if (rc)
				return rc;
			within = 0;
		}
		have = s->buffer_length - within;
		if (have > n)
			have = n;
		memcpy(p, s->buffer + within, have);
		p += have;
		n -= have;
		s->at += have;
	}
	return 0;
}

int cwe_gguf_scan_u32(struct cwe_gguf_scan *s, uint32_t *ret, struct cwb_err *err)
{
	return cwe_gguf_scan_bytes(s, ret, sizeof *ret, err);
}

int cwe_gguf_scan_u64(struct cwe_gguf_scan *s, uint64_t *ret, struct cwb_err *err)
{
	return cwe_gguf_scan_bytes(s, ret, sizeof *ret, err);
}

static int scan_length(struct cwe_gguf_scan *s, const char *what, uint64_t *ret, struct cwb_err *err)
{
	int rc = cwe_gguf_scan_u64(s, ret, err);

	if (!rc && *ret > left(s))
		rc = cwb_err_set(err, CWP_EFORMAT, "%s: %.100s: a string of %" PRIu64 " bytes is longer than the file",
			s->input->path, what, *ret);
	return rc;
}

int cwe_gguf_scan_name(struct cwe_gguf_scan *s, uint64_t max, char **ret, struct cwb_err *err)
{
	uint64_t at = s->at, n;
	char *name;
	int rc = scan_length(s, "name", &n, err);

	if (rc)
		return rc;
	if (n == 0 || n > max)
		return cwb_err_set(err, CWP_EFORMAT, "%s: the name at byte %" PRIu64 " has %" PRIu64 " bytes; 1 to %" PRIu64
			" are allowed", s->input->path, at, n, max);
	rc = keep(s, n + 1, err);
	if (rc)
		return rc;
	name = malloc(n + 1);
	if (!name)
		return no_memory(s, err);
	rc = cwe_gguf_scan_bytes(s, name, n, err);
	if (!rc && memchr(name, 0, n))
		rc = cwb_err_set(err, CWP_EFORMAT, "%s: the name at byte %" PRIu64 " holds a NUL byte", s->input->path, at);
	if (rc) {
		free(name);
		return rc;
	}
	name[n] = 0;
	*ret = name;
	return 0;
}

static int scan_numbers(struct cwe_gguf_scan *s, struct cwe_gguf_value *v, struct cwb_err *err)
{
	uint64_t size = kind_size[v->kind], bytes;
	int rc;

	if (v->count > left(s) / size)
		return cwb_err_set(err, CWP_EFORMAT, "%s: %.100s: %" PRIu64 " elements are longer than the file",
			s->input->path, v->key, v->count);
	bytes = v->count * size;
	rc = keep(s, bytes + 1, err);
	if (rc)
		return rc;
	v->data = malloc(bytes + 1);
	if (!v->data)
		return no_memory(s, err);
	rc = cwe_gguf_scan_bytes(s, v->data, bytes, err);
	if (rc || v->kind != CWE_GGUF_BOOL)
		return rc;
	for (uint64_t i = 0; i < v->count; i++)
		if (v->data[i] > 1)
			return cwb_err_set(err, CWP_EFORMAT, "%s: %.100s: a truth value of %u", s->input->path, v->key,
				v->data[i]);
	return 0;
}

/* Appends one string and its NUL byte to v->data of *size bytes, `used` of them used. */
static int scan_string(struct cwe_gguf_scan *s, struct cwe_gguf_value *v, uint64_t used, uint64_t *size,
	uint64_t *ret_used, struct cwb_err *err)
{
	uint64_t n;
	int rc = scan_length(s, v->key, &n, err);

	if (rc)
		return rc;
	if (n >= *size - used) {
		uint64_t grown = 2 * *size + n + 1;
		uint8_t *p;

		rc = keep(s, grown - *size, err);
		if (rc)
			return rc;
		p = realloc(v->data, grown);
		if (!p)
			return no_memory(s, err);
		v->data = p;
		*size = grown;
	}
	rc = cwe_gguf_scan_bytes(s, v->data + used, n, err);
	if (rc)
		return rc;
	v->data[used + n] = 0;
	*ret_used = used + n + 1;
	return 0;
}

static int scan_strings(struct cwe_gguf_scan *s, struct cwe_gguf_value *v, struct cwb_err *err)
{
	uint64_t used = 0, size = 0;
	int rc;

	if (v->count > left(s) / 8)
		return cwb_err_set(err, CWP_EFORMAT, "%s: %.100s: %" PRIu64 " strings are longer than the file",
			s->input->path, v->key, v->count);
	rc = keep(s, (v->count + 1) * sizeof *v->starts, err);
	if (rc)
		return rc;
	v->starts = malloc((v->count + 1) * sizeof *v->starts);
	if (!v->starts)
		return no_memory(s, err);
	for (uint64_t i = 0; i < v->count; i++) {
		v->starts[i] = used;
		rc = scan_string(s, v, used, &size, &used, err);
		if (rc)
			return rc;
	}
	v->starts[v->count] = used;
	return 0;
}

int cwe_gguf_scan_value(struct cwe_gguf_scan *s, struct cwe_gguf_value *ret, struct cwb_err *err)
{
	int rc = cwe_gguf_scan_u32(s, &ret->kind, err);

	ret->count = 1;
	if (!rc && ret->kind == CWE_GGUF_ARRAY) {
		ret->is_array = 1;
		rc = cwe_gguf_scan_u32(s, &ret->kind, err);
		if (!rc)
			rc = cwe_gguf_scan_u64(s, &ret->count, err);
		if (!rc && ret->kind == CWE_GGUF_ARRAY)
			rc = cwb_err_set(err, CWP_EUNKNOWN, "%s: %.100s: an array of arrays is not read", s->input->path,
				ret->key);
	}
	if (!rc && ret->kind >= CWE_GGUF_KINDS)
		rc = cwb_err_set(err, CWP_EUNKNOWN, "%s: %.100s: unknown kind of value %u", s->input->path, ret->key, ret->kind);
	if (rc)
		return rc;
	return ret->kind == CWE_GGUF_STRING ? scan_strings(s, ret, err) : scan_numbers(s, ret, err);
}
