/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Work that may fail: which failure is told does not depend on the threads. */
#include <pthread.h>

#include "engine/plugin/pool.h"

struct attempt {
	int (*task)(void *arg, size_t i, struct cwb_err *err);
	void *arg;
	pthread_mutex_t lock; /* of what follows */
	size_t bad;           /* the first one that failed */
	struct cwb_err err;
};

static void take(void *arg, size_t i)
{
	struct attempt *a = arg;
	struct cwb_err err = {0};
	int r = a->task(a->arg, i, &err);

	if (r == 0) {
		return;
	}
	pthread_mutex_lock(&a->lock);
	if (a->err.code == 0 || i < a->bad) {
		a->bad = i;
		a->err = err;
		a->err.code = r;
	}
	pthread_mutex_unlock(&a->lock);
}

int cwe_pool_try(struct cwe_pool *pool, size_t n, int (*task)(void *arg, size_t i, struct cwb_err *err), void *arg, struct cwb_err *err)
{
	struct attempt a = {.task = task, .arg = arg};

	pthread_mutex_init(&a.lock, NULL);
	if (pool != NULL) {
		cwe_pool_run(pool, n, take, &a);
	} else {
		for (size_t i = 0; i < n && a.err.code == 0; i++) {
			take(&a, i);
		}
	}
	pthread_mutex_destroy(&a.lock);
	if (a.err.code != 0 && err != NULL) {
		*err = a.err;
	}
	return a.err.code;
}
