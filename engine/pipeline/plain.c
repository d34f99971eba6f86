/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Codes of all modules in one file. */
#include "engine/pipeline/plain.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/calibrate/boundary.h"

#define WHAT "scratch (plain codes)"

static uint64_t scales_of(const struct cwe_run_module *m)
{
	return cwe_grid_scales(&m->grid, m->cols);
}

static uint64_t bytes_of(const struct cwe_run_module *m)
{
	return m->quantized ? m->rows * (m->cols + scales_of(m) * (sizeof(float) + 1)) : 0;
}

uint64_t cwe_plain_bytes(const struct cwe_run *run)
{
	uint64_t bytes = 0;
	int wanted = run->quantizer_needs != 0 && run->job->n_evaluations > 0 && cwe_run_may_protect(run);
	for (size_t i = 0; wanted && i < run->modules; i++) {
		bytes += bytes_of(&run->module[i]);
	}
	return bytes;
}

int cwe_plain_new(const struct cwe_run *run, struct cwe_plain *ret, struct cwb_err *err)
{
	uint64_t at = 0;
	*ret = (struct cwe_plain){.fd = cwe_boundary_scratch(run->p->scratch, err), .at = calloc(run->modules + 1, sizeof *ret->at)};
	if (ret->fd < 0 || ret->at == NULL) {
		return ret->fd < 0 ? ret->fd : cwb_err_set(err, -ENOMEM, "no memory for the plain form");
	}
	for (size_t i = 0; i < run->modules; i++) {
		ret->at[i] = at;
		at += bytes_of(&run->module[i]);
	}
	return 0;
}

void cwe_plain_free(struct cwe_plain *p)
{
	if (p->fd >= 0) {
		(void)close(p->fd);
	}
	free(p->at);
	cwe_smoothing_free(p->smoothing);
	*p = (struct cwe_plain){.fd = -1};
}

int cwe_plain_put(struct cwe_plain *p, const struct cwe_run *run, const struct cwe_run_module *m, const uint8_t *codes,
	const float *scales, const int8_t *zeros, struct cwb_err *err)
{
	uint64_t at = p->at[m - run->module], n = m->rows * scales_of(m);
	int r = cwb_file_pwrite(p->fd, codes, m->rows * m->cols, at, WHAT, err);
	at += m->rows * m->cols;
	r = r == 0 ? cwb_file_pwrite(p->fd, scales, n * sizeof *scales, at, WHAT, err) : r;
	return r == 0 && !m->grid.symmetric ? cwb_file_pwrite(p->fd, zeros, n, at + n * sizeof *scales, WHAT, err) : r;
}

int cwe_plain_read(const struct cwe_plain *p, const struct cwe_run *run, const struct cwe_run_module *m, uint64_t row, uint64_t rows,
	float *dst, struct cwb_err *err)
{
	uint64_t at = p->at[m - run->module], s = scales_of(m);
	uint64_t scales_at = at + m->rows * m->cols, zeros_at = scales_at + m->rows * s * sizeof(float);
	uint8_t *codes = malloc(rows * m->cols + 1);
	float *scales = malloc(rows * s * sizeof *scales + 1);
	int8_t *zeros = malloc(rows * s + 1);
	int r = codes != NULL && scales != NULL && zeros != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for %s", m->name);
	r = r == 0 ? cwb_file_pread(p->fd, codes, rows * m->cols, at + row * m->cols, WHAT, err) : r;
	r = r == 0 ? cwb_file_pread(p->fd, scales, rows * s * sizeof *scales, scales_at + row * s * sizeof *scales, WHAT, err) : r;
	if (r == 0 && !m->grid.symmetric) {
		r = cwb_file_pread(p->fd, zeros, rows * s, zeros_at + row * s, WHAT, err);
	}
	if (r == 0) {
		cwe_dequantize(&m->grid, rows, m->cols, codes, scales, m->grid.symmetric ? NULL : zeros, dst);
	}
	free(codes);
	free(scales);
	free(zeros);
	return r;
}
