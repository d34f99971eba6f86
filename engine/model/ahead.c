/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The thread that loads the next layer. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "engine/model/ahead.h"
#include "engine/plugin/pool.h"

uint64_t cwe_ahead_bytes(const struct cwe_model *m)
{
	return (cwe_device_remote(m->device) ? 2 : 1) * cwe_layer_bytes(m);
}

int cwe_ahead_new(struct cwe_model *m, struct cwe_layer *layer, struct cwe_ahead *ret, struct cwb_err *err)
{
	struct cwe_ahead a = {.model = m, .next = CWE_NO_LAYER, .taken = CWE_NO_LAYER};
	int r = cwe_layer_new(m, layer, err);
	if (r == 0 && cwe_device_remote(m->device) && (r = cwe_layer_new(m, &a.spare, err)) != 0) {
		cwe_layer_free(m, layer);
	}
	if (r == 0) {
		*ret = a;
	}
	return r;
}

static void *load(void *arg)
{
	struct cwe_ahead *a = arg;
	cwe_pool_apart();
	a->code = cwe_layer_fill(a->model, a->next, &a->spare, &a->err);
	return NULL;
}

/* Signals stay with the threads that the program made itself. */
int cwe_ahead_begin(struct cwe_ahead *a, uint32_t next, struct cwb_err *err)
{
	sigset_t all, old;
	int r = cwe_device_load_begin(a->model->device, err);
	if (r != 0) {
		return r;
	}
	a->next = next;
	a->code = 0;
	a->err = (struct cwb_err){0};
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&a->thread, NULL, load, a);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0) {
		/* There are no more threads: it is loaded when it is its turn. */
		a->next = CWE_NO_LAYER;
		return cwe_device_load_wait(a->model->device, err);
	}
	return 0;
}

/* Waits for what is being loaded; 0 also when that failed. */
static int finish(struct cwe_ahead *a, struct cwb_err *err)
{
	if (a->next == CWE_NO_LAYER) {
		return 0;
	}
	(void)pthread_join(a->thread, NULL);
	a->next = CWE_NO_LAYER;
	return cwe_device_load_wait(a->model->device, err);
}

void cwe_ahead_free(struct cwe_ahead *a, struct cwe_layer *layer)
{
	if (a->model != NULL) {
		(void)finish(a, NULL);
		cwe_layer_free(a->model, &a->spare);
		cwe_layer_free(a->model, layer);
	}
	memset(a, 0, sizeof *a);
}

int cwe_ahead_take(struct cwe_ahead *a, struct cwe_layer *layer, uint32_t index, uint32_t next, struct cwb_err *err)
{
	int remote = cwe_device_remote(a->model->device), loaded = remote && a->next == index;
	int r = finish(a, err);
	if (r == 0 && loaded) {
		struct cwe_layer before = *layer;
		*layer = a->spare;
		a->spare = before;
		r = a->code == 0 ? 0 : cwb_err_set(err, a->code, "%s", a->err.message);
	} else if (r == 0 && !(remote && a->taken == index)) {
		r = cwe_layer_load(a->model, index, layer, err);
	}
	a->taken = r == 0 ? index : CWE_NO_LAYER;
	return r == 0 && remote && next != CWE_NO_LAYER ? cwe_ahead_begin(a, next, err) : r;
}
