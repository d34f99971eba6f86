/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The reading half of the overlay. Nothing in the file is believed: every offset, gap and count is checked against the
 * module's shape before it is used. */
#include "engine/format/overlay.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cwe_overlay {
	struct cwe_safetensors *file;
	size_t count;
	struct cwe_overlay_module *module; /* sorted by name */
	char **name;
};

static int refuse(const struct cwe_overlay_module *m, struct cwb_err *err, const char *what)
{
	assert(m->file);
	return cwb_err_set(err, CWP_EFORMAT, "%s: module \"%s\": %s: the file is damaged, write the output again",
		m->file->input.path, m->name, what);
}

/* Puts a tensor to its module by the end of its name. */
static int take_entry(struct cwe_overlay_module *m, const char *kind, const struct cwe_safetensors_entry *e)
{
	const struct {
		const char *kind;
		const struct cwe_safetensors_entry **at;
		int dtype;
		unsigned rank;
	} known[] = {
		{"start", &m->start, CWE_DTYPE_U32, 1},
		{"escapes", &m->escapes, CWE_DTYPE_U32, 1},
		{"gaps", &m->gaps, CWE_DTYPE_U8, 1},
		{"bitmap", &m->bitmap, CWE_DTYPE_U8, 2},
		{"values", &m->values, -1, 1},
	};
	size_t i;

	for (i = 0; i < sizeof known / sizeof *known; i++) {
		if (strcmp(kind, known[i].kind) != 0)
			continue;
		if (*known[i].at || e->rank != known[i].rank)
			return -1;
		if (known[i].dtype < 0 ? !cwe_dtype_to_cwp(e->dtype) : (int)e->dtype != known[i].dtype)
			return -1;
		*known[i].at = e;
		return 0;
	}
	return -1;
}

/* All tensors of a module are there and fit each other. */
static int check_module(const struct cwe_overlay_module *m, struct cwb_err *err)
{
	if (!m->start || !m->values || !m->gaps == !m->bitmap || (m->bitmap && m->escapes))
		return refuse(m, err, "it needs the tensors start, values, and either gaps or bitmap");
	if (!m->start->shape[0])
		return refuse(m, err, "start has no element");
	if (m->escapes && m->escapes->shape[0] != m->start->shape[0])
		return refuse(m, err, "escapes and start have different lengths");
	if (m->bitmap && m->bitmap->shape[0] != m->start->shape[0] - 1)
		return refuse(m, err, "bitmap and start have different numbers of rows");
	return 0;
}

static int by_module(const void *a, const void *b)
{
	return strcmp(((const struct cwe_overlay_module *)a)->name, ((const struct cwe_overlay_module *)b)->name);
}

/* The module of a tensor's name, made when it is new. Names are sorted, but ".bias.x" may lie between two tensors of
 * one module, so all modules so far are searched from the end. */
static struct cwe_overlay_module *module_of(struct cwe_overlay *o, const char *name, size_t length)
{
	size_t i = o->count;

	while (i-- > 0) {
		const char *known = o->module[i].name;

		if (known && !strncmp(known, name, length) && !known[length])
			return &o->module[i];
	}
	o->name[o->count] = strndup(name, length);
	if (!o->name[o->count])
		return NULL;
	o->module[o->count] = (struct cwe_overlay_module){.name = o->name[o->count], .file = o->file};
	return &o->module[o->count++];
}

static int group_entries(struct cwe_overlay *o, struct cwb_err *err)
{
	size_t i, n = o->file->count;
	int rc;

	o->module = calloc(n + 1, sizeof *o->module);
	o->name = calloc(n + 1, sizeof *o->name);
	if (!o->module || !o->name)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", o->file->input.path);
	for (i = 0; i < n; i++) {
		const struct cwe_safetensors_entry *e = &o->file->entries[i];
		const char *dot = strrchr(e->name, '.');
		struct cwe_overlay_module *m;

		if (!dot || dot == e->name)
			return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%s\" belongs to no module", o->file->input.path,
				e->name);
		m = module_of(o, e->name, (size_t)(dot - e->name));
		if (!m)
			return cwb_err_set(err, -ENOMEM, "%s: out of memory", o->file->input.path);
		if (take_entry(m, dot + 1, e))
			return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%s\" (%s, rank %" PRIu32 ") is not part of an overlay",
				o->file->input.path, e->name, cwe_dtype_name(e->dtype), e->rank);
	}
	for (i = 0; i < o->count; i++) {
		rc = check_module(&o->module[i], err);
		if (rc)
			return rc;
	}
	qsort(o->module, o->count, sizeof *o->module, by_module);
	return 0;
}

int cwe_overlay_open(const char *directory, struct cwe_overlay **ret, struct cwb_err *err)
{
	struct cwe_overlay *o = NULL;
	const char *version;
	char *path = NULL;
	int rc;

	if (asprintf(&path, "%s/%s", directory, CWE_OVERLAY_FILE) < 0)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	o = calloc(1, sizeof *o);
	if (!o) {
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", path);
		goto out;
	}
	rc = cwe_safetensors_open(path, &o->file, err);
	if (rc)
		goto out;
	version = cwe_safetensors_metadata(o->file, CWE_OVERLAY_KEY);
	if (!version || strcmp(version, CWE_OVERLAY_VERSION) != 0) {
		rc = cwb_err_set(err, CWP_EFORMAT, "%s: overlay version \"%.20s\" is not known (known: %s): read it with a newer release",
			path, version ? version : "", CWE_OVERLAY_VERSION);
		goto out;
	}
	rc = group_entries(o, err);
out:
	free(path);
	if (rc)
		cwe_overlay_close(o);
	else
		*ret = o;
	return rc;
}

void cwe_overlay_close(struct cwe_overlay *o)
{
	size_t i;

	if (!o)
		return;
	for (i = 0; i < o->count; i++)
		free(o->name[i]);
	free(o->name);
	free(o->module);
	cwe_safetensors_close(o->file);
	free(o);
}

size_t cwe_overlay_count(const struct cwe_overlay *o)
{
	return o->count;
}

const struct cwe_overlay_module *cwe_overlay_at(const struct cwe_overlay *o, size_t i)
{
	return &o->module[i];
}

const struct cwe_overlay_module *cwe_overlay_find(const struct cwe_overlay *o, const char *module)
{
	struct cwe_overlay_module key = {.name = module};

	return o->count ? bsearch(&key, o->module, o->count, sizeof key, by_module) : NULL;
}

uint64_t cwe_overlay_values(const struct cwe_overlay_module *m)
{
	return m->values->shape[0];
}

uint64_t cwe_overlay_bytes(const struct cwe_overlay_module *m)
{
	return m->start->bytes + m->values->bytes + (m->escapes ? m->escapes->bytes : 0) + (m->gaps ? m->gaps->bytes : 0) +
	       (m->bitmap ? m->bitmap->bytes : 0);
}

/* What decoding a range of rows needs. */
struct span {
	uint32_t *start;    /* [rows + 1] */
	uint32_t *escapes;  /* [rows + 1] or NULL */
	uint8_t *positions; /* gap bytes, or rows of the bitmap */
	uint8_t *values;
	uint64_t first;  /* index of the first value */
	uint64_t count;  /* values of these rows */
};

static void span_free(struct span *s)
{
	free(s->start);
	free(s->escapes);
	free(s->positions);
	free(s->values);
}

static int load_u32(const struct cwe_overlay_module *m, const struct cwe_safetensors_entry *e, uint64_t from, uint64_t n,
	uint32_t **ret, struct cwb_err *err)
{
	uint64_t i;
	int rc;

	*ret = calloc(n, sizeof **ret);
	if (!*ret)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", m->file->input.path);
	rc = cwe_safetensors_read(m->file, e, from * 4, *ret, n * 4, err);
	for (i = 0; !rc && i < n; i++)
		(*ret)[i] = le32toh((*ret)[i]);
	return rc;
}

static int load_bytes(const struct cwe_overlay_module *m, const struct cwe_safetensors_entry *e, uint64_t from, uint64_t n,
	uint8_t **ret, struct cwb_err *err)
{
	*ret = malloc(n ? n : 1);
	if (!*ret)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", m->file->input.path);
	return cwe_safetensors_read(m->file, e, from, *ret, n, err);
}

/* Ascending, at most cols a row, and at the ends exactly what the other tensors hold. */
static int check_starts(const struct cwe_overlay_module *m, uint64_t total, uint64_t cols, uint64_t row, uint64_t rows,
	const struct span *s, struct cwb_err *err)
{
	uint64_t positions = m->gaps ? m->gaps->shape[0] : m->values->shape[0];
	uint64_t r, escapes = 0;

	if (!row && (s->start[0] || (s->escapes && s->escapes[0])))
		return refuse(m, err, "start does not begin with 0");
	if (s->start[0] > positions)
		return refuse(m, err, "start lies behind the last position");
	if (s->escapes && s->escapes[0] > s->start[0])
		return refuse(m, err, "more escapes than gaps");
	for (r = 0; r < rows; r++) {
		if (s->start[r + 1] < s->start[r] || s->start[r + 1] - s->start[r] > cols || s->start[r + 1] > positions)
			return refuse(m, err, "start is not ascending, or leaves the row or the file");
		if (!s->escapes)
			continue;
		if (s->escapes[r + 1] < s->escapes[r] ||
			s->escapes[r + 1] - s->escapes[r] > s->start[r + 1] - s->start[r])
			return refuse(m, err, "escapes are not ascending, or more than the row's gaps");
	}
	if (s->escapes)
		escapes = s->escapes[rows];
	if (row + rows == total &&
		(s->start[rows] != positions || s->start[rows] - escapes != m->values->shape[0]))
		return refuse(m, err, "start does not end with the number of positions and values");
	if (s->start[rows] - escapes > m->values->shape[0])
		return refuse(m, err, "more positions than values");
	return 0;
}

static int span_load(const struct cwe_overlay_module *m, uint64_t total, uint64_t cols, uint64_t row, uint64_t rows,
	int values, struct span *s, struct cwb_err *err)
{
	unsigned size = cwe_dtype_bits(m->values->dtype) / 8;
	uint64_t stride = (cols + 7) / 8;
	int rc;

	if (m->start->shape[0] - 1 != total || (m->bitmap && m->bitmap->shape[1] != stride))
		return refuse(m, err, "its shape is not that of the quantized weight");
	rc = load_u32(m, m->start, row, rows + 1, &s->start, err);
	if (!rc && m->escapes)
		rc = load_u32(m, m->escapes, row, rows + 1, &s->escapes, err);
	if (!rc)
		rc = check_starts(m, total, cols, row, rows, s, err);
	if (rc)
		return rc;
	s->first = s->start[0] - (s->escapes ? s->escapes[0] : 0);
	s->count = s->start[rows] - (s->escapes ? s->escapes[rows] : 0) - s->first;
	if (m->gaps)
		rc = load_bytes(m, m->gaps, s->start[0], s->start[rows] - s->start[0], &s->positions, err);
	else
		rc = load_bytes(m, m->bitmap, row * stride, rows * stride, &s->positions, err);
	if (!rc && values)
		rc = load_bytes(m, m->values, s->first * size, s->count * size, &s->values, err);
	return rc;
}

/* One row of gaps: calls for its values in order. Returns the number of values, or -1. dst NULL: only checked. */
static int64_t decode_gaps(const uint8_t *gap, uint64_t n, uint64_t cols, const float *value, uint64_t limit, float *dst)
{
	uint64_t at = 0, count = 0, i;

	for (i = 0; i < n; i++) {
		if (gap[i] == CWE_OVERLAY_ESCAPE) {
			at += CWE_OVERLAY_ESCAPE;
			if (at >= cols)
				return -1;
			continue;
		}
		at += gap[i];
		if (at >= cols || count >= limit)
			return -1;
		if (dst)
			dst[at] = value[count];
		count++;
		at++;
	}
	return n && gap[n - 1] == CWE_OVERLAY_ESCAPE ? -1 : (int64_t)count;
}

static int64_t decode_bits(const uint8_t *bits, uint64_t cols, const float *value, uint64_t limit, float *dst)
{
	uint64_t count = 0, c;

	if (cols % 8 && bits[cols / 8] >> cols % 8)
		return -1;
	for (c = 0; c < cols; c++) {
		if (!(bits[c >> 3] >> (c & 7) & 1))
			continue;
		if (count >= limit)
			return -1;
		if (dst)
			dst[c] = value[count];
		count++;
	}
	return (int64_t)count;
}

static int decode_rows(const struct cwe_overlay_module *m, uint64_t cols, uint64_t rows, const struct span *s,
	const float *value, float *dst, struct cwb_err *err)
{
	uint64_t r, at = 0;

	for (r = 0; r < rows; r++) {
		uint64_t n = s->start[r + 1] - s->start[r];
		uint64_t expected = n - (s->escapes ? s->escapes[r + 1] - s->escapes[r] : 0);
		const float *from = value ? value + at : NULL;
		float *to = dst ? dst + r * cols : NULL;
		int64_t got;

		if (m->gaps)
			got = decode_gaps(s->positions + (s->start[r] - s->start[0]), n, cols, from, expected, to);
		else
			got = decode_bits(s->positions + r * ((cols + 7) / 8), cols, from, expected, to);
		if (got < 0 || (uint64_t)got != expected)
			return refuse(m, err, "a column lies beyond the width, or a row's count of values is wrong");
		at += expected;
	}
	return 0;
}

int cwe_overlay_apply(const struct cwe_overlay_module *m, uint64_t total, uint64_t cols, uint64_t row, uint64_t rows,
	float *dst, struct cwb_err *err)
{
	struct span s = {0};
	float *value = NULL;
	int rc;

	if (row > total || rows > total - row)
		return cwb_err_set(err, CWP_EVALUE, "module \"%s\": rows %" PRIu64 " + %" PRIu64 " lie outside its %" PRIu64, m->name,
			row, rows, total);
	rc = span_load(m, total, cols, row, rows, 1, &s, err);
	if (rc)
		goto out;
	value = malloc((s.count ? s.count : 1) * sizeof *value);
	if (!value) {
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", m->file->input.path);
		goto out;
	}
	cwe_f32_from_dtype(value, s.values, cwe_dtype_to_cwp(m->values->dtype), s.count);
	rc = decode_rows(m, cols, rows, &s, value, dst, err);
out:
	free(value);
	span_free(&s);
	return rc;
}

int cwe_overlay_check(const struct cwe_overlay_module *m, uint64_t total, uint64_t cols, struct cwb_err *err)
{
	uint64_t step = cols ? (1u << 20) / cols + 1 : total, row;
	int rc = 0;

	for (row = 0; !rc && (row < total || !row); row += step) {
		uint64_t rows = total - row < step ? total - row : step;
		struct span s = {0};

		rc = span_load(m, total, cols, row, rows, 0, &s, err);
		if (!rc)
			rc = decode_rows(m, cols, rows, &s, NULL, NULL, err);
		span_free(&s);
	}
	return rc;
}
