/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/calibrate/range.h"

#include <errno.h>
#include <stdlib.h>

static void take_row(const float *restrict x, uint64_t cols, float *restrict least, float *restrict greatest)
{
	for (uint64_t c = 0; c < cols; c++) {
		least[c] = x[c] < least[c] ? x[c] : least[c];
		greatest[c] = x[c] > greatest[c] ? x[c] : greatest[c];
	}
}

int cwe_range_take(struct cwe_device *device, const float *d_x, uint64_t tokens, uint64_t cols, float *least, float *greatest,
	struct cwb_err *err)
{
	int staged = !(device->ops->flags & CWP_BACKEND_HOST_MEMORY);
	float *copy = staged ? malloc(tokens * cols * sizeof *copy + 1) : NULL;
	const float *x = staged ? copy : d_x;
	int r = x != NULL || tokens == 0 ? 0 : cwb_err_set(err, -ENOMEM, "no memory for the range of an input");
	if (r == 0) {
		r = staged ? CWE_OP(device, download, copy, d_x, tokens * cols * sizeof *copy) : CWE_OP(device, sync);
	}
	for (uint64_t t = 0; r == 0 && t < tokens; t++) {
		take_row(x + t * cols, cols, least, greatest);
	}
	free(copy);
	return r;
}
