/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Protected columns or rows on their way into a LoRA adapter: what the quantized weights lack, one piece a module while the
 * job runs. A piece holds the numbers of the columns or rows as u32, and the residual: [rows, rank] for columns, [rank, cols]
 * for rows. writer_adapter_files.c makes the adapter of them. */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/format/writer_state.h"

static int nomem(const struct cwe_writer_unit *u, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", u->module);
}

static int is_set(const uint8_t *bits, uint64_t c)
{
	return bits[c >> 3] >> (c & 7) & 1;
}

/* Whether two rows of a mask say the same; bits behind the last column do not count. */
static int same_row(const uint8_t *a, const uint8_t *b, uint64_t cols)
{
	return !memcmp(a, b, cols / 8) && (cols % 8 == 0 || !((a[cols / 8] ^ b[cols / 8]) & ((1u << cols % 8) - 1)));
}

int cwe_mask_shape(const uint8_t *mask, uint64_t stride, uint64_t rows, uint64_t cols, uint64_t *ret_rank)
{
	uint64_t r = 1, rank = 0, n;

	while (r < rows && same_row(mask, mask + r * stride, cols))
		r++;
	n = rows ? cwe_overlay_count_row(mask, cols) : 0;
	if (r >= rows && (n < cols || cols <= rows)) {
		*ret_rank = n;
		return 0;
	}
	for (r = 0; r < rows; r++) {
		n = cwe_overlay_count_row(mask + r * stride, cols);
		if (n && n < cols)
			return -1;
		rank += n != 0;
	}
	*ret_rank = rank;
	return 1;
}

/* The numbers of the protected columns or rows, ascending. */
static void take_index(const struct cwe_writer_unit *u, const struct cwe_writer_values *q, uint32_t *index)
{
	uint64_t n = u->pair.by_row ? u->source->shape[0] : u->source->shape[1], i, k = 0;

	for (i = 0; i < n; i++)
		if (u->pair.by_row ? is_set(q->mask + i * q->stride, 0) : is_set(q->mask, i))
			index[k++] = (uint32_t)i;
}

/* What is at hand: rows of the source and of the dequantized weights, and of the residual. */
struct work {
	uint64_t step; /* rows at most */
	uint32_t *index;
	float *exact, *value, *residual;
	uint8_t *raw;
};

static void work_free(struct work *k)
{
	free(k->index);
	free(k->exact);
	free(k->value);
	free(k->residual);
	free(k->raw);
}

static int work_new(const struct cwe_writer_unit *u, struct work *ret, struct cwb_err *err)
{
	uint64_t cols = u->source->shape[1], step = cwe_format_step(cols), n = step * cols;

	*ret = (struct work){.step = step, .index = calloc(u->pair.rank + 1, sizeof *ret->index), .exact = malloc(n * sizeof *ret->exact),
		.value = malloc(n * sizeof *ret->value), .residual = malloc(n * sizeof *ret->residual), .raw = malloc(n * 4)};
	if (ret->index && ret->exact && ret->value && ret->residual && ret->raw)
		return 0;
	work_free(ret);
	return nomem(u, err);
}

/* One protected weight: its residual, and what is missing once an engine adds it. */
static float lack(float exact, float value, struct cwe_writer_pair *p)
{
	float residual = (float)((double)exact - (double)value), sum = (float)((double)value + (double)residual);
	double error = fabs((double)sum - (double)exact);
	uint32_t bits;

	memcpy(&bits, &residual, sizeof bits);
	if (bits & 0xffff)
		p->dtype = CWE_DTYPE_F32;
	p->largest = error > p->largest ? error : p->largest;
	p->squares += error * error;
	return residual;
}

/* GPTQ files hold scales as F16, and codes are made anew for one that F16 does not have: what they lack then is not known here. */
static int check_scales(const struct cwe_writer *w, const struct cwe_writer_unit *u, const float *scale, uint64_t n,
	struct cwb_err *err)
{
	uint64_t i;

	for (i = 0; w->format->id == CWJ_FORMAT_GPTQ && i < n; i++)
		if (cwe_f32_from_f16(cwe_f16_from_f32(scale[i])) != scale[i])
			return cwb_err_set(err, CWP_ENUMBER, "module \"%s\": the scale %g is no value of F16, as gptq holds it, so that no "
				"adapter is exact over it: choose write.format compressed-tensors, or protect.carrier overlay", u->module,
				(double)scale[i]);
	return 0;
}

/* The residual of the rows [row, row + n), without the gaps between protected columns or rows. *ret_count: its elements. */
static int residual_rows(struct cwe_writer *w, struct cwe_writer_unit *u, const struct cwe_writer_values *q, uint64_t row,
	uint64_t n, struct work *k, uint64_t *ret_count, struct cwb_err *err)
{
	uint64_t cols = u->source->shape[1], scales = cwe_grid_scales(&u->grid, cols), r, c, count = 0;
	int rc = check_scales(w, u, q->scales + row * scales, n * scales, err);

	rc = rc ? rc : cwe_writer_exact(w, u, q->mask, q->stride, row, n, k->raw, err);
	if (rc)
		return rc;
	cwe_f32_from_dtype(k->exact, k->raw, u->source->dtype, n * cols);
	cwe_dequantize(&u->grid, n, cols, q->codes + row * cols, q->scales + row * scales,
		q->zeros ? q->zeros + row * scales : NULL, k->value);
	for (r = 0; r < n; r++) {
		const uint8_t *bits = q->mask + (row + r) * q->stride;

		for (c = 0; c < cols; c++)
			if (is_set(bits, c))
				k->residual[count++] = lack(k->exact[r * cols + c], k->value[r * cols + c], &u->pair);
	}
	*ret_count = count;
	return 0;
}

/* One pass over the module; `to`: where the residual goes, 0 to measure it only. */
static int pass(struct cwe_writer *w, struct cwe_writer_unit *u, const struct cwe_writer_values *q, struct work *k, uint64_t to,
	struct cwb_err *err)
{
	uint64_t rows = u->source->shape[0], row, n, count;
	uint32_t dtype = cwe_dtype_to_cwp(u->pair.dtype);
	size_t size = cwe_cwp_dtype_size(dtype);
	int rc = 0;

	for (row = 0; row < rows && !rc; row += n) {
		n = rows - row < k->step ? rows - row : k->step;
		rc = residual_rows(w, u, q, row, n, k, &count, err);
		if (rc || !to || !count)
			continue;
		cwe_f32_to_dtype(k->raw, k->residual, dtype, count);
		rc = cwb_file_pwrite(w->pieces, k->raw, count * size, to, CWE_WRITER_PIECES, err);
		to += count * size;
	}
	return rc;
}

/* Elements of the residual. */
static uint64_t residual_count(const struct cwe_writer_unit *u)
{
	return u->pair.rank * (u->pair.by_row ? u->source->shape[1] : u->source->shape[0]);
}

uint64_t cwe_writer_pair_bytes(const struct cwe_writer_unit *u)
{
	return 4 * u->pair.rank + residual_count(u) * (cwe_dtype_bits(u->pair.dtype) / 8);
}

static int put_piece(struct cwe_writer *w, struct cwe_writer_unit *u, const struct cwe_writer_values *q, struct cwb_err *err)
{
	struct cwe_writer_pair found;
	struct work k;
	uint64_t i;
	int rc = work_new(u, &k, err);

	if (rc)
		return rc;
	take_index(u, q, k.index);
	u->pair.dtype = CWE_DTYPE_BF16; /* unless a residual needs more */
	rc = pass(w, u, q, &k, 0, err);
	found = u->pair;
	if (!rc)
		rc = pass(w, u, q, &k, u->piece + 4 * u->pair.rank, err);
	u->pair = found; /* measured once */
	for (i = 0; i < u->pair.rank; i++)
		k.index[i] = htole32(k.index[i]);
	if (!rc)
		rc = cwb_file_pwrite(w->pieces, k.index, 4 * u->pair.rank, u->piece, CWE_WRITER_PIECES, err);
	if (!rc && fdatasync(w->pieces))
		rc = cwb_err_errno(err, "%s: could not be brought to the disk", CWE_WRITER_PIECES);
	work_free(&k);
	return rc;
}

int cwe_writer_adapter_module(struct cwe_writer *w, struct cwe_writer_unit *u, const struct cwe_writer_values *q,
	struct cwb_err *err)
{
	int shape, rc;

	u->pair = (struct cwe_writer_pair){0};
	shape = cwe_mask_shape(q->mask, q->stride, u->source->shape[0], u->source->shape[1], &u->pair.rank);
	u->pair.by_row = shape > 0;
	if (shape < 0)
		return cwb_err_set(err, CWP_EVALUE,
			"module \"%s\": single weights are protected, but an adapter holds whole columns or rows: choose protect.unit "
			"column or row, or protect.carrier overlay",
			u->module);
	u->piece = w->pieces_size;
	if (!u->pair.rank)
		return 0;
	rc = put_piece(w, u, q, err);
	if (!rc)
		w->pieces_size += cwe_writer_pair_bytes(u);
	return rc;
}

void cwe_writer_adapter(const struct cwe_writer *w, struct cwe_writer_adapter *ret)
{
	double squares = 0;
	size_t i;

	*ret = (struct cwe_writer_adapter){0};
	for (i = 0; i < w->count; i++) {
		const struct cwe_writer_unit *u = &w->unit[i];

		if (!u->pair.rank)
			continue;
		ret->modules++;
		ret->exact += u->pair.dtype == CWE_DTYPE_BF16;
		ret->rank = u->pair.rank > ret->rank ? u->pair.rank : ret->rank;
		ret->weights += residual_count(u);
		ret->largest = u->pair.largest > ret->largest ? u->pair.largest : ret->largest;
		squares += u->pair.squares;
	}
	ret->rms = ret->weights ? sqrt(squares / (double)ret->weights) : 0;
}
