/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* All rows of a module's weight, read and converted by all threads. */
#include "engine/pipeline/run.h"

struct reading {
	const struct cwe_run *run;
	const struct cwe_run_module *m;
	float *dst;
};

static int read_rows(void *arg, size_t i, struct cwb_err *err)
{
	const struct reading *d = arg;
	uint64_t row = i * CWE_ROW_TILE, rows = d->m->rows - row < CWE_ROW_TILE ? d->m->rows - row : CWE_ROW_TILE;
	return cwe_run_module_read(d->run, d->m, row, rows, d->dst + row * d->m->cols, err);
}

int cwe_run_module_read_all(const struct cwe_run *run, const struct cwe_run_module *m, float *dst, struct cwb_err *err)
{
	struct reading d = {.run = run, .m = m, .dst = dst};
	return cwe_pool_try(run->p->host->pool, (size_t)((m->rows + CWE_ROW_TILE - 1) / CWE_ROW_TILE), read_rows, &d, err);
}
