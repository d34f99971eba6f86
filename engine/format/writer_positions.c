/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The overlay of one module as a piece: start, escapes, gaps or bitmap, and values. Threads share it by blocks of rows, of which
 * each one's place follows from the counts of those before. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/writer_state.h"
#include "engine/plugin/pool.h"

enum { BLOCK = 64, NEAR = 64 << 10 /* bytes of exact values at a time */ };

struct piece {
	struct cwe_writer *w;
	const struct cwe_writer_unit *u;
	const uint8_t *mask;
	uint64_t stride;
	struct cwe_overlay_plan *plan; /* [blocks + 1] counts of each, then of all before it */
	size_t blocks;
	uint32_t *start, *escaped;     /* [rows + 1] */
	uint64_t positions, values;    /* where they begin, counted from the piece */
};

static uint64_t rows_of(const struct piece *p, size_t i)
{
	uint64_t left = p->u->source->shape[0] - i * BLOCK;

	return left < BLOCK ? left : BLOCK;
}

static int measure_block(void *arg, size_t i, struct cwb_err *err)
{
	const struct piece *p = arg;

	return cwe_overlay_measure(p->mask + i * BLOCK * p->stride, p->stride, rows_of(p, i), p->u->source->shape[1], 0, &p->plan[i], err);
}

/* Counts of each block become those of all before it. */
static struct cwe_overlay_plan sum(const struct piece *p)
{
	struct cwe_overlay_plan all = {.rows = p->u->source->shape[0], .cols = p->u->source->shape[1]};
	size_t i;

	for (i = 0; i <= p->blocks; i++) {
		struct cwe_overlay_plan one = p->plan[i];

		p->plan[i].values = all.values;
		p->plan[i].escapes = all.escapes;
		all.values += one.values;
		all.escapes += one.escapes;
	}
	return all;
}

static int put(const struct piece *p, const void *src, uint64_t bytes, uint64_t at, struct cwb_err *err)
{
	return bytes ? cwb_file_pwrite(p->w->pieces, src, bytes, p->u->piece + at, CWE_WRITER_PIECES, err) : 0;
}

/* Gaps of a block's rows behind one another, and what start and escapes say of each row. Returns their bytes. */
static uint64_t make_gaps(const struct piece *p, size_t i, uint8_t *to)
{
	uint64_t row = i * BLOCK, end = row + rows_of(p, i), n = 0, at = p->plan[i].values + p->plan[i].escapes, escapes = p->plan[i].escapes, e;

	for (; row < end; row++) {
		n += cwe_overlay_gaps_row(p->mask + row * p->stride, p->u->source->shape[1], to + n, &e);
		escapes += e;
		p->start[row + 1] = htole32((uint32_t)(at + n));
		p->escaped[row + 1] = htole32((uint32_t)escapes);
	}
	return n;
}

static uint64_t make_bits(const struct piece *p, size_t i, uint8_t *to)
{
	uint64_t cols = p->u->source->shape[1], bytes = (cols + 7) / 8, row = i * BLOCK, end = row + rows_of(p, i), values = p->plan[i].values, n = 0;

	for (; row < end; row++, n += bytes) {
		const uint8_t *bits = p->mask + row * p->stride;

		memcpy(to + n, bits, bytes);
		if (cols % 8)
			to[n + bytes - 1] &= (uint8_t)((1u << cols % 8) - 1);
		values += cwe_overlay_count_row(bits, cols);
		p->start[row + 1] = htole32((uint32_t)values);
	}
	return n;
}

/* The values of a row whose bits are set; returns their number. */
static uint64_t pack(uint8_t *to, const uint8_t *from, const uint8_t *bits, uint64_t cols, size_t size)
{
	uint64_t n = 0, byte, c;
	unsigned rest;

	for (byte = 0; byte < (cols + 7) / 8; byte++) {
		for (rest = bits[byte]; rest; rest &= rest - 1) {
			c = byte * 8 + (unsigned)__builtin_ctz(rest);
			if (c >= cols)
				break;
			if (size == 2)
				memcpy(to + n++ * 2, from + c * 2, 2);
			else
				memcpy(to + n++ * 4, from + c * 4, 4);
		}
	}
	return n;
}

/* Exact values of a block's protected weights behind one another. */
static int make_values(const struct piece *p, size_t i, uint8_t *to, uint64_t *ret_bytes, struct cwb_err *err)
{
	size_t size = cwe_cwp_dtype_size(p->u->source->dtype);
	uint64_t cols = p->u->source->shape[1], row = i * BLOCK, end = row + rows_of(p, i), step = NEAR / (cols * size), n = 0, r, count;
	uint8_t *exact;
	int rc = 0;

	step = step < 1 ? 1 : step;
	exact = malloc(step * cols * size + 1);
	if (!exact)
		return cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", p->u->module);
	for (; row < end && !rc; row += count) {
		count = end - row < step ? end - row : step;
		rc = cwe_writer_exact(p->w, p->u, p->mask, p->stride, row, count, exact, err);
		for (r = 0; r < count && !rc; r++)
			n += pack(to + n * size, exact + r * cols * size, p->mask + (row + r) * p->stride, cols, size);
	}
	free(exact);
	*ret_bytes = n * size;
	return rc;
}

static int put_block(void *arg, size_t i, struct cwb_err *err)
{
	const struct piece *p = arg;
	size_t size = cwe_cwp_dtype_size(p->u->source->dtype);
	int gaps = p->u->overlay.kind == CWE_OVERLAY_ROWS;
	uint64_t values = p->plan[i + 1].values - p->plan[i].values, escapes = p->plan[i + 1].escapes - p->plan[i].escapes;
	uint64_t row_bytes = (p->u->source->shape[1] + 7) / 8, most = gaps ? values + escapes : rows_of(p, i) * row_bytes, n;
	uint8_t *to = malloc((most > values * size ? most : values * size) + 1);
	int rc;

	if (!to)
		return cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", p->u->module);
	n = gaps ? make_gaps(p, i, to) : make_bits(p, i, to);
	rc = put(p, to, n, p->positions + (gaps ? p->plan[i].values + p->plan[i].escapes : i * BLOCK * row_bytes), err);
	if (!rc && !p->w->mask) {
		rc = make_values(p, i, to, &n, err);
		rc = rc ? rc : put(p, to, n, p->values + p->plan[i].values * size, err);
	}
	free(to);
	return rc;
}

static int put_all(struct piece *p, struct cwb_err *err)
{
	const struct cwe_overlay_plan *all = &p->u->overlay;
	uint64_t starts = 4 * (all->rows + 1);
	int escapes = all->kind == CWE_OVERLAY_ROWS && all->escapes, rc;

	p->start = calloc(all->rows + 1, sizeof *p->start);
	p->escaped = calloc(all->rows + 1, sizeof *p->escaped);
	if (!p->start || !p->escaped)
		return cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", p->u->module);
	p->positions = starts + (escapes ? starts : 0);
	p->values = p->positions + (all->kind == CWE_OVERLAY_ROWS ? all->gaps : all->rows * ((all->cols + 7) / 8));
	rc = cwe_pool_try(p->w->pool, p->blocks, put_block, p, err);
	rc = rc ? rc : put(p, p->start, starts, 0, err);
	return rc || !escapes ? rc : put(p, p->escaped, starts, starts, err);
}

int cwe_writer_put_piece(struct cwe_writer *w, struct cwe_writer_unit *u, const uint8_t *mask, uint64_t stride, struct cwb_err *err)
{
	struct piece p = {.w = w, .u = u, .mask = mask, .stride = stride};
	uint64_t rows = u->source->shape[0], cols = u->source->shape[1], weights;
	unsigned size = cwe_writer_overlay_size(w, u);
	int rc;

	if (__builtin_mul_overflow(rows, cols, &weights) || weights > UINT32_MAX) {
		rc = cwe_overlay_measure(mask, stride, rows, cols, size, &u->overlay, err); /* refuses it */
		return cwb_err_prefix(err, "module \"%s\"", u->module), rc;
	}
	p.blocks = (size_t)((rows + BLOCK - 1) / BLOCK);
	p.plan = calloc(p.blocks + 1, sizeof *p.plan);
	rc = p.plan ? cwe_pool_try(w->pool, p.blocks, measure_block, &p, err)
		    : cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", u->module);
	if (!rc) {
		u->overlay = sum(&p);
		cwe_overlay_choose(&u->overlay, size);
		rc = u->overlay.values ? put_all(&p, err) : 0;
	}
	free(p.plan);
	free(p.start);
	free(p.escaped);
	return rc;
}
