/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Adapters that outputs of ours carry: one factor selects the protected columns or rows, the other holds what the quantized
 * weights lack there. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/format/adapter.h"

#define STEP (64u << 10) /* elements read at a time */

/* Where the only 1 of n numbers stands; -1 when there are other numbers than 0, none that is not, or several. */
static int64_t only_one(const float *x, uint64_t n)
{
	int64_t at = -1;

	for (uint64_t i = 0; i < n; i++) {
		if (x[i] == 0)
			continue;
		if (x[i] != 1 || at >= 0)
			return -1;
		at = (int64_t)i;
	}
	return at;
}

/* A [rank, cols]: each row selects a column behind that of the row before it. 1 where it does, else 0. */
static int read_columns(
	const struct cwe_adapter *a, const struct cwe_adapter_module *m, uint32_t *index, struct cwb_err *err)
{
	uint64_t cols = m->a->shape[1];
	float *row = malloc(cols * sizeof *row);
	int64_t before = -1;
	int rc = row ? 1 : cwb_err_set(err, -ENOMEM, "%s: out of memory", a->directory);

	for (uint64_t k = 0; k < m->rank && rc == 1; k++) {
		int bad = cwe_adapter_read(a, m->a, k * cols, cols, row, err);
		int64_t at = bad ? -1 : only_one(row, cols);

		rc = bad ? bad : at > before;
		if (rc == 1)
			index[k] = (uint32_t)at;
		before = at;
	}
	free(row);
	return rc;
}

/* B [rows, rank]: its rows are 0, or select the next of the ranks. */
static int read_rows(
	const struct cwe_adapter *a, const struct cwe_adapter_module *m, uint32_t *index, struct cwb_err *err)
{
	uint64_t rows = m->b->shape[0], step = STEP / m->rank + 1, row, n, k = 0;
	float *piece = malloc(step * m->rank * sizeof *piece);
	int rc = piece ? 1 : cwb_err_set(err, -ENOMEM, "%s: out of memory", a->directory);

	for (row = 0; row < rows && rc == 1; row += n) {
		n = rows - row < step ? rows - row : step;
		int bad = cwe_adapter_read(a, m->b, row * m->rank, n * m->rank, piece, err);

		rc = bad ? bad : 1;
		for (uint64_t r = 0; r < n && rc == 1; r++) {
			const float *x = piece + r * m->rank;
			uint64_t set = 0;

			for (uint64_t i = 0; i < m->rank; i++)
				set += x[i] != 0;
			if (!set)
				continue;
			rc = k < m->rank && only_one(x, m->rank) == (int64_t)k;
			if (rc == 1)
				index[k++] = (uint32_t)(row + r);
		}
	}
	free(piece);
	return rc == 1 ? k == m->rank : rc;
}

int cwe_adapter_selector(const struct cwe_adapter *a, const struct cwe_adapter_module *m,
	struct cwe_adapter_selector *ret, struct cwb_err *err)
{
	struct cwe_adapter_selector s = {.rank = m->rank};
	int rc;

	if (m->a->shape[1] > UINT32_MAX || m->b->shape[0] > UINT32_MAX)
		return cwb_err_set(err, CWP_ELIMIT, "%s: module \"%.200s\" has more rows or columns than 32 bits number",
			a->file->input.path, m->name);
	s.index = malloc(m->rank * sizeof *s.index + 1);
	if (!s.index)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", a->directory);
	rc = read_columns(a, m, s.index, err);
	if (!rc) {
		s.by_row = 1;
		rc = read_rows(a, m, s.index, err);
	}
	if (rc == 1 && m->scale == 1) {
		*ret = s;
		return 0;
	}
	free(s.index);
	return rc < 0 ? rc : cwb_err_set(err, CWP_EFORMAT,
		"%s: module \"%.200s\": %s: the file is damaged or not of this output, write the output again", a->file->input.path,
		m->name, rc ? "its factors do not count once (lora_alpha is not r)" : "neither factor selects columns or rows");
}

void cwe_adapter_selector_mask(
	const struct cwe_adapter_selector *s, uint64_t cols, uint64_t row, uint64_t rows, uint8_t *bits)
{
	uint64_t stride = (cols + 7) / 8;

	memset(bits, 0, rows * stride);
	for (uint64_t k = 0; k < s->rank; k++) {
		uint64_t i = s->index[k];

		if (s->by_row && i >= row && i < row + rows)
			for (uint64_t c = 0; c < cols; c++)
				bits[(i - row) * stride + (c >> 3)] |= (uint8_t)(1u << (c & 7));
		for (uint64_t r = 0; !s->by_row && r < rows; r++)
			bits[r * stride + (i >> 3)] |= (uint8_t)(1u << (i & 7));
	}
}

int cwe_adapter_open_beside(const char *directory, struct cwe_adapter **ret, struct cwb_err *err)
{
	char *folder = NULL, *config = NULL;
	int rc = 0;

	*ret = NULL;
	if (asprintf(&folder, "%s/" CWE_OUTPUT_ADAPTER, directory) < 0)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	if (asprintf(&config, "%s/" CWE_ADAPTER_CONFIG_FILE, folder) < 0)
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	else if (!access(config, F_OK) || errno != ENOENT)
		rc = cwe_adapter_open(folder, ret, err);
	free(config);
	free(folder);
	return rc;
}
