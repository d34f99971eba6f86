/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* All rows of a module's weight, read and converted by all threads. */
#include <pthread.h>

#include "engine/pipeline/run.h"

struct reading {
	const struct cwe_run *run;
	const struct cwe_run_module *m;
	float *dst;
	pthread_mutex_t lock; /* of what follows */
	size_t bad;           /* the first rows that failed */
	struct cwb_err err;
};

static void read_rows(void *arg, size_t i)
{
	struct reading *d = arg;
	struct cwb_err err = {0};
	uint64_t row = i * CWE_ROW_TILE, rows = d->m->rows - row < CWE_ROW_TILE ? d->m->rows - row : CWE_ROW_TILE;
	if (cwe_run_module_read(d->run, d->m, row, rows, d->dst + row * d->m->cols, &err) != 0) {
		pthread_mutex_lock(&d->lock);
		if (d->err.code == 0 || i < d->bad) {
			d->bad = i;
			d->err = err;
		}
		pthread_mutex_unlock(&d->lock);
	}
}

int cwe_run_module_read_all(const struct cwe_run *run, const struct cwe_run_module *m, float *dst, struct cwb_err *err)
{
	struct reading d = {.run = run, .m = m, .dst = dst};
	pthread_mutex_init(&d.lock, NULL);
	cwe_pool_run(run->p->host->pool, (size_t)((m->rows + CWE_ROW_TILE - 1) / CWE_ROW_TILE), read_rows, &d);
	pthread_mutex_destroy(&d.lock);
	if (d.err.code != 0 && err != NULL) {
		*err = d.err;
	}
	return d.err.code;
}
