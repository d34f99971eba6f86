/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Work on one module that threads share by its rows. */
#include "engine/format/writer_state.h"
#include "engine/plugin/pool.h"

enum { STRIP = 64 };

struct encoding {
	struct cwe_writer *w;
	const struct cwe_writer_unit *u;
	const struct cwe_format_values *values;
	uint64_t step; /* rows of a strip */
};

/* The rows of a strip, and its values. */
static uint64_t strip(const struct encoding *e, size_t i, uint64_t *ret_row, struct cwe_format_values *ret)
{
	uint64_t row = i * e->step, left = e->u->source->shape[0] - row, cols = e->u->source->shape[1];
	uint64_t scale = row * cwe_grid_scales(&e->u->grid, cols);

	*ret = *e->values;
	ret->codes += row * cols;
	ret->scales += scale;
	ret->zeros = ret->zeros ? ret->zeros + scale : NULL;
	*ret_row = row;
	return left < e->step ? left : e->step;
}

static int encode_strip(void *arg, size_t i, struct cwb_err *err)
{
	const struct encoding *e = arg;
	struct cwe_format_values values;
	uint64_t row, rows = strip(e, i, &row, &values);

	return cwe_writer_encode(e->w, e->u, row, rows, &values, err);
}

/* Rows that are encoded apart from others; all of them where the format or shared scales want it. */
static uint64_t strip_rows(const struct cwe_writer *w, const struct cwe_writer_unit *u)
{
	const struct cwp_grid *g = &u->grid;
	uint64_t rows = u->source->shape[0], block = g->granularity == CWP_PER_BLOCK ? g->block_rows : 1;
	uint64_t step = block > STRIP ? block : STRIP;

	return !w->pool || !(w->format->flags & CWE_FORMAT_ROWS) || g->granularity == CWP_PER_TENSOR || cwe_activation_is_fixed(g->activation) ||
			step % block || step % STRIP || step > rows ? rows : step;
}

int cwe_writer_encode_all(struct cwe_writer *w, const struct cwe_writer_unit *u, const struct cwe_format_values *values, struct cwb_err *err)
{
	struct encoding e = {w, u, values, strip_rows(w, u)};
	size_t n = e.step ? (size_t)((u->source->shape[0] + e.step - 1) / e.step) : 0;

	return cwe_pool_try(w->pool, n, encode_strip, &e, err);
}
