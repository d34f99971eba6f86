/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One quantized module written in strips of rows, by several threads. */
#include <inttypes.h>
#include <string.h>

#include "engine/format/writer_state.h"

enum { STRIP = 64 };

/* Where the bytes of some rows go. */
struct target {
	struct cwe_writer *w;
	const struct cwe_writer_unit *u;
	uint64_t shift[CWE_FORMAT_TENSORS_MAX];
};

int cwe_writer_takes_rows(const struct cwe_writer_options *options, const struct cwp_grid *grid)
{
	const struct cwe_format *f = cwe_format_find(options->format);

	return f && f->flags & CWE_FORMAT_ROWS && options->carrier != CWJ_CARRIER_DENSE && grid->granularity != CWP_PER_TENSOR &&
	       !cwe_activation_is_fixed(grid->activation);
}

static int put(void *arg, size_t tensor, uint64_t offset, const void *data, uint64_t bytes, struct cwb_err *err)
{
	const struct target *t = arg;

	return cwe_shards_write(t->w->shards, t->u->first + tensor, t->shift[tensor] + offset, data, bytes, err);
}

static uint64_t bytes_of(const struct cwe_format_tensor *t)
{
	uint64_t bytes = 0;

	(void)cwe_dtype_bytes(t->dtype, t->rank, t->shape, &bytes);
	return bytes;
}

/* A module of the rows above tells how far down the next ones begin; what all rows share begins at 0. */
static void set_shifts(struct target *t, struct cwe_output_module m, uint64_t row)
{
	struct cwe_format_tensor whole[CWE_FORMAT_TENSORS_MAX], above[CWE_FORMAT_TENSORS_MAX];
	uint32_t dtype = cwe_writer_unit_dtype(t->u);
	size_t n = t->w->format->tensors(&m, dtype, whole), i;

	memset(t->shift, 0, sizeof t->shift);
	if (!row)
		return;
	m.rows = row;
	(void)t->w->format->tensors(&m, dtype, above);
	for (i = 0; i < n; i++)
		if (bytes_of(&above[i]) != bytes_of(&whole[i]))
			t->shift[i] = bytes_of(&above[i]);
}

int cwe_writer_encode(struct cwe_writer *w, const struct cwe_writer_unit *u, uint64_t row, uint64_t rows,
	const struct cwe_format_values *values, struct cwb_err *err)
{
	struct target target = {.w = w, .u = u};
	const struct cwe_format_sink sink = {put, &target};
	struct cwe_output_module m = cwe_writer_unit_module(u);

	set_shifts(&target, m, row);
	if (rows < m.rows) {
		m.whole_rows = m.rows;
		m.first_row = row;
		m.rows = rows;
	}
	return w->format->encode(&m, cwe_writer_unit_dtype(u), values, &sink, err);
}

int cwe_writer_rows(struct cwe_writer *w, const char *module, uint64_t row, uint64_t rows, const uint8_t *codes,
	const float *scales, const int8_t *zeros, struct cwb_err *err)
{
	const struct cwe_writer_unit *u = cwe_writer_find_module(w, module);
	const struct cwe_format_values values = {codes, scales, zeros, 0, 0};
	struct cwe_output_module m;
	int rc;

	if (!u || w->dense || !(w->format->flags & CWE_FORMAT_ROWS))
		return cwb_err_set(err, CWP_EVALUE, "module \"%s\" is not one that is quantized row by row", module);
	m = cwe_writer_unit_module(u);
	if (row % STRIP || (m.grid.granularity == CWP_PER_BLOCK && row % m.grid.block_rows) || row > m.rows || rows > m.rows - row || (rows % STRIP && rows != m.rows - row))
		return cwb_err_set(err, CWP_EVALUE, "module \"%s\": rows %" PRIu64 " to %" PRIu64 " are no strip of its %" PRIu64, module, row,
			row + rows, m.rows);
	if (w->finished)
		return 0;
	rc = cwe_writer_check_values(u, rows, &values, err);
	return rc ? rc : cwe_writer_encode(w, u, row, rows, &values, err);
}

void cwe_writer_rows_whole(struct cwe_writer *w, const char *module)
{
	const struct cwe_writer_unit *u = cwe_writer_find_module(w, module);
	size_t i;

	for (i = 0; u && !w->finished && i < u->count; i++)
		cwe_shards_done(w->shards, u->first + i);
}

int cwe_writer_rows_end(struct cwe_writer *w, const char *module, struct cwb_err *err)
{
	struct cwe_writer_unit *u = cwe_writer_find_module(w, module);

	if (!u)
		return cwb_err_set(err, CWP_EVALUE, "module \"%s\" is not one that is quantized", module);
	if (w->finished)
		return 0;
	u->protected_weights = 0;
	u->has_overlay = 0;
	u->overlay = (struct cwe_overlay_plan){0};
	cwe_writer_unit_done(w, u);
	return cwe_writer_journal_module(w, u, err);
}
