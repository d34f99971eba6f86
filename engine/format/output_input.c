/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs, read: what happens to the inputs of quantized modules, and which weights meet them as they are. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/output_state.h"

void cwe_output_input(const struct cwe_weights *w, const struct cwe_tensor *t, struct cwe_linear_input *ret)
{
	const struct cwe_output_item *m = &((const struct cwe_output_weights *)w)->item[t->index];

	if (!m->quantized)
		return;
	ret->how.kind = m->grid.activation;
	ret->how.group = m->grid.activation_group;
	ret->how.threshold = m->grid.threshold;
	ret->how.scale = m->input_scale;
	ret->how.zero = m->input_zero;
	ret->split = ret->how.kind != CWP_ACT_NONE && m->overlay;
}

/* Moves the weights of set bits from one matrix to the other. */
static void split_rows(const uint8_t *bits, uint64_t stride, uint64_t rows, uint64_t cols, float *from, float *to)
{
	uint64_t r, c;

	for (r = 0; r < rows; r++)
		for (c = 0; c < cols; c++)
			if (bits[r * stride + (c >> 3)] >> (c & 7) & 1) {
				to[r * cols + c] = from[r * cols + c];
				from[r * cols + c] = 0;
			}
}

int cwe_output_read_split(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *quantized,
	float *exact, struct cwb_err *err)
{
	const struct cwe_output_item *m = &((const struct cwe_output_weights *)w)->item[t->index];
	uint64_t stride = (m->cols + 7) / 8;
	uint8_t *bits;
	int rc = w->ops->read_f32(w, t, row, rows, quantized, err);

	if (rc)
		return rc;
	memset(exact, 0, rows * m->cols * sizeof *exact);
	if (!m->overlay)
		return 0;
	bits = malloc(rows * stride + 1);
	if (!bits)
		return cwb_err_set(err, -ENOMEM, "tensor \"%s\": out of memory", t->name);
	rc = cwe_overlay_mask(m->overlay, m->rows, m->cols, row, rows, bits, err);
	if (!rc)
		split_rows(bits, stride, rows, m->cols, quantized, exact);
	free(bits);
	return rc;
}
