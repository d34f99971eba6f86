/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows of a source's tensors in a GGUF file: in the file's order, type and blocks. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/format/format.h"
#include "engine/format/gguf_encode.h"
#include "engine/format/gguf_output.h"
#include "engine/format/output.h"

static int no_memory(struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory", CWE_GGUF_FILE);
}

uint64_t cwe_gguf_step(const struct cwe_gguf_place *p)
{
	uint64_t step = cwe_format_step(p->cols);

	return p->head ? (step / p->head + (step < p->head)) * p->head : step;
}

/* The rows of a head are two halves in a checkpoint, and lie in turns in a file: 0, d/2, 1, d/2 + 1, ... */
static void take_turns(const struct cwe_gguf_place *p, uint64_t rows, uint64_t row_bytes, const uint8_t *src, uint8_t *dst)
{
	uint64_t d = p->head, half = d / 2;

	for (uint64_t r = 0; d && half && r < rows; r++)
		memcpy(dst + (r / d * d + r % d % half * 2 + r % d / half) * row_bytes, src + r * row_bytes, row_bytes);
}

int cwe_gguf_put_rows(const struct cwe_gguf_writer *file, const struct cwe_gguf_place *p, uint64_t row, uint64_t rows,
	uint64_t row_bytes, const void *src, struct cwb_err *err)
{
	uint64_t at = p->start + row * row_bytes, bytes = rows * row_bytes;
	uint8_t *turned;
	int rc;

	if (!p->head)
		return cwe_gguf_writer_write(file, p->tensor, at, src, bytes, err);
	turned = malloc(bytes + 1);
	if (!turned)
		return no_memory(err);
	take_turns(p, rows, row_bytes, src, turned);
	rc = cwe_gguf_writer_write(file, p->tensor, at, turned, bytes, err);
	free(turned);
	return rc;
}

/* Rows in the file's type: raw where that is the source's own. */
static int read_rows(const struct cwe_gguf_place *p, struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows,
	void *dst, struct cwb_err *err)
{
	float *x = dst;
	int rc;

	if (p->type != CWE_GGUF_TYPE_F32)
		return cwe_weights_read_raw(w, t, row, rows, dst, err);
	rc = cwe_weights_read_f32(w, t, row, rows, x, err);
	for (uint64_t i = 0; i < rows * p->cols && p->offset && !rc; i++)
		x[i] = 1 + x[i];
	return rc;
}

int cwe_gguf_put_tensor(const struct cwe_gguf_writer *file, const struct cwe_gguf_place *p, struct cwe_weights *w,
	const struct cwe_tensor *t, struct cwb_err *err)
{
	uint64_t step = cwe_gguf_step(p), size = p->type == CWE_GGUF_TYPE_F32 ? 4 : 2;
	void *buffer = malloc(step * p->cols * size + 1);
	int rc = buffer ? 0 : no_memory(err);

	for (uint64_t row = 0; row < p->rows && !rc; row += step) {
		uint64_t n = p->rows - row < step ? p->rows - row : step;

		rc = read_rows(p, w, t, row, n, buffer, err);
		if (!rc)
			rc = cwe_gguf_put_rows(file, p, row, n, p->cols * size, buffer, err);
	}
	free(buffer);
	return rc;
}

/* A piece of codes on its way into blocks; settling changes it. */
struct piece {
	uint8_t *codes, *blocks;
	float *scales;
	uint64_t per; /* scales of a row */
};

static int put_piece(const struct cwe_gguf_writer *file, const struct cwe_gguf_place *p, const char *module,
	const struct cwp_grid *grid, const struct piece *x, uint64_t row, uint64_t rows, struct cwb_err *err)
{
	uint64_t wrong = 0;
	size_t row_bytes = 0;

	if (cwe_gguf_settle(grid, rows, p->cols, x->codes, x->scales, &wrong))
		return cwb_err_set(err, CWP_EVALUE, "module \"%s\": the scale %g of row %" PRIu64 " is above what F16 holds (65504): skip this "
			"module, or choose compressed-tensors", module, (double)x->scales[wrong], row + wrong / x->per);
	for (uint64_t r = 0; r < rows; r++)
		row_bytes = cwe_gguf_encode_row(p->type, grid, p->cols, x->codes + r * p->cols, x->scales + r * x->per,
			x->blocks + r * row_bytes);
	return cwe_gguf_put_rows(file, p, row, rows, row_bytes, x->blocks, err);
}

int cwe_gguf_put_codes(const struct cwe_gguf_writer *file, const struct cwe_gguf_place *p, const char *module,
	const struct cwp_grid *grid, const uint8_t *codes, const float *scales, struct cwb_err *err)
{
	uint64_t step = cwe_gguf_step(p), per = cwe_grid_scales(grid, p->cols);
	struct piece x = {malloc(step * p->cols + 1), malloc(step * p->cols / CWE_GGUF_GROUP * 34 + 1),
		malloc(step * per * sizeof *scales + 1), per};
	int rc = x.codes && x.blocks && x.scales ? 0 : no_memory(err);

	for (uint64_t row = 0; row < p->rows && !rc; row += step) {
		uint64_t n = p->rows - row < step ? p->rows - row : step;

		memcpy(x.codes, codes + row * p->cols, n * p->cols);
		memcpy(x.scales, scales + row * per, n * per * sizeof *scales);
		rc = put_piece(file, p, module, grid, &x, row, n, err);
	}
	free(x.codes);
	free(x.blocks);
	free(x.scales);
	return rc;
}
