/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Distributions in memory or on scratch, and how far another one is from them. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/calibrate/boundary.h"
#include "engine/pipeline/drift.h"

#define WHAT "scratch (distributions of the original model)"

void cwe_drift_bounds(uint64_t rows, uint64_t vocabulary, uint64_t *ret_memory, uint64_t *ret_scratch)
{
	uint64_t row = vocabulary * sizeof(float), bytes = rows > 0 && row > UINT64_MAX / rows ? UINT64_MAX : rows * row;
	int fits = bytes <= CWE_DRIFT_MEMORY;
	*ret_memory = rows == 0 ? 0 : row + (fits ? bytes : 0);
	*ret_scratch = fits ? 0 : bytes;
}

int cwe_drift_new(uint64_t rows, uint64_t vocabulary, const char *scratch, struct cwe_drift *ret, struct cwb_err *err)
{
	struct cwe_drift d = {.rows = rows, .vocabulary = vocabulary, .fd = -1};
	uint64_t row = vocabulary * sizeof(float), bytes;
	if (__builtin_mul_overflow(rows, row, &bytes) || bytes > INT64_MAX) {
		return cwb_err_set(err, CWP_ELIMIT, "%" PRIu64 " distributions of %" PRIu64 " tokens do not fit any disk", rows, vocabulary);
	}
	if (bytes > CWE_DRIFT_MEMORY && scratch != NULL && (d.fd = cwe_boundary_scratch(scratch, err)) < 0) {
		return d.fd;
	}
	d.memory = d.fd < 0 ? malloc(bytes + 1) : NULL;
	d.row = malloc(row + 1);
	if ((d.fd < 0 && d.memory == NULL) || d.row == NULL) {
		cwe_drift_free(&d);
		return cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " distributions of %" PRIu64 " tokens", rows, vocabulary);
	}
	*ret = d;
	return 0;
}

void cwe_drift_free(struct cwe_drift *d)
{
	if (d->vocabulary > 0 && d->fd >= 0) {
		(void)close(d->fd);
	}
	free(d->memory);
	free(d->row);
	memset(d, 0, sizeof *d);
	d->fd = -1;
}

int cwe_drift_put(struct cwe_drift *d, uint64_t i, const float *logp, struct cwb_err *err)
{
	uint64_t row = d->vocabulary * sizeof *logp;
	if (d->memory != NULL) {
		memcpy(d->memory + i * d->vocabulary, logp, row);
		return 0;
	}
	return cwb_file_pwrite(d->fd, logp, row, i * row, WHAT, err);
}

int cwe_drift_compare(struct cwe_drift *d, uint64_t i, const float *logp, double *ret_kl, int *ret_same, struct cwb_err *err)
{
	uint64_t row = d->vocabulary * sizeof *logp, best = 0, mine = 0;
	const float *p = d->memory != NULL ? d->memory + i * d->vocabulary : d->row;
	double kl = 0;
	int r = d->memory != NULL ? 0 : cwb_file_pread(d->fd, d->row, row, i * row, WHAT, err);
	if (r != 0) {
		return r;
	}
	for (uint64_t k = 0; k < d->vocabulary; k++) {
		kl += isinf(p[k]) ? 0 : exp((double)p[k]) * ((double)p[k] - (double)logp[k]);
		best = p[k] > p[best] ? k : best;
		mine = logp[k] > logp[mine] ? k : mine;
	}
	*ret_kl = kl > 0 ? kl : 0; /* rounding of distributions that are alike */
	*ret_same = best == mine;
	return 0;
}
