/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Threads of the lanes, and where they meet. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/lanes.h"
#include "engine/calibrate/share.h"

struct cwe_lane {
	struct lanes *all;
	uint32_t index;
	struct cwe_calibration c; /* of its part */
	struct cwe_corpus share;
	double *set_loss;         /* [sets] of its part */
	void *brings;             /* to the meeting */
	pthread_t thread;
	int started;
	int code;
	struct cwb_err err;
};

struct lanes {
	struct cwe_calibration *c; /* the caller's */
	uint32_t n;
	pthread_mutex_t lock;
	pthread_cond_t news;
	uint32_t arrived;  /* at the meeting */
	uint64_t meetings; /* that are over */
	atomic_int stop;   /* a lane failed */
	struct cwe_lane lane[];
};

typedef int (*meeting)(struct lanes *all, struct cwb_err *err);

int cwe_lane_tells(const struct cwe_lane *lane)
{
	return lane->index == 0;
}

static int stopped(struct lanes *all)
{
	return atomic_load_explicit(&all->stop, memory_order_relaxed);
}

static void stop(struct lanes *all)
{
	(void)pthread_mutex_lock(&all->lock);
	atomic_store_explicit(&all->stop, 1, memory_order_relaxed);
	(void)pthread_cond_broadcast(&all->news);
	(void)pthread_mutex_unlock(&all->lock);
}

/* Waits until all lanes are here; then the first one does the work, and all go on. While it works no other lane runs, so that
 * none can fail. */
static int meet(struct cwe_lane *lane, void *brings, meeting work, struct cwb_err *err)
{
	struct lanes *all = lane->all;
	int r = 0;
	(void)pthread_mutex_lock(&all->lock);
	uint64_t mine = all->meetings;
	lane->brings = brings;
	all->arrived++;
	(void)pthread_cond_broadcast(&all->news);
	while (!stopped(all) && all->meetings == mine && !(lane->index == 0 && all->arrived == all->n)) {
		(void)pthread_cond_wait(&all->news, &all->lock);
	}
	if (lane->index == 0 && !stopped(all)) {
		r = work(all, err);
		all->arrived = 0;
		all->meetings += r == 0;
		if (r != 0) {
			atomic_store_explicit(&all->stop, 1, memory_order_relaxed);
		}
		(void)pthread_cond_broadcast(&all->news);
	} else if (all->meetings == mine) {
		r = cwb_err_set(err, CWP_ECANCELLED, "another device's part of the samples failed");
	}
	(void)pthread_mutex_unlock(&all->lock);
	return r;
}

static int join_statistics(struct lanes *all, struct cwb_err *err)
{
	struct cwe_statistics *s[CWE_LANES_MAX];
	for (uint32_t k = 0; k < all->n; k++) {
		s[k] = all->lane[k].brings;
	}
	return cwe_statistics_join(s, all->n, err);
}

int cwe_lane_join(struct cwe_lane *lane, struct cwe_statistics *s, struct cwb_err *err)
{
	return meet(lane, s, join_statistics, err);
}

static int join_losses(struct lanes *all, struct cwb_err *err)
{
	(void)err;
	for (uint32_t set = 0; all->c->set_loss != NULL && set < all->c->corpus->sets; set++) {
		double sum = 0;
		for (uint32_t k = 0; k < all->n; k++) {
			sum += all->lane[k].set_loss[set];
		}
		all->c->set_loss[set] = sum;
	}
	return 0;
}

int cwe_lane_losses(struct cwe_lane *lane, struct cwb_err *err)
{
	return meet(lane, NULL, join_losses, err);
}

/* The first lane's part stands for all of it. */
static void tell_progress(void *arg, uint64_t done, uint64_t total)
{
	const struct cwe_lane *lane = arg;
	const struct cwe_calibration *c = lane->all->c;
	uint64_t part = lane->share.tokens, all = c->corpus->tokens;
	if (c->progress != NULL) {
		c->progress(c->arg, done / part * all + done % part * all / part, total / part * all);
	}
}

/* Layers that an earlier run told of. */
static int is_done(const struct cwe_calibration *c, uint32_t layer)
{
	return layer >= c->resume || layer < c->first;
}

static int tell_module(void *arg, uint32_t layer, uint32_t set, uint32_t linear, const struct cwe_module_statistics *s,
	struct cwb_err *err)
{
	const struct cwe_lane *lane = arg;
	const struct cwe_calibration *c = lane->all->c;
	return is_done(c, layer) ? 0 : c->module(c->arg, layer, set, linear, s, err);
}

static int tell_layer(void *arg, uint32_t layer, const char *digest, struct cwb_err *err)
{
	const struct cwe_lane *lane = arg;
	struct cwe_calibration *c = lane->all->c;
	c->passes = lane->c.passes;
	return c->layer_done == NULL || is_done(c, layer) ? 0 : c->layer_done(c->arg, layer, digest, err);
}

/* Nothing is kept for a run to come: what is between layers is on several devices. */
static int prepare(struct lanes *all, uint32_t k, struct cwb_err *err)
{
	const struct cwe_calibration *c = all->c;
	struct cwe_lane *lane = &all->lane[k];
	lane->all = all;
	lane->index = k;
	lane->set_loss = calloc(c->corpus->sets + 1, sizeof *lane->set_loss);
	if (lane->set_loss == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for several devices");
	}
	int r = cwe_share_new(c->corpus, all->n, k, &lane->share, err);
	struct cwe_model *model = k == 0 ? c->model : c->more[k - 1];
	lane->c = (struct cwe_calibration){.model = model, .corpus = &lane->share, .needs = c->needs, .scratch = c->scratch,
		.boundary_memory = c->boundary_memory / all->n, .resume = model->arch.layers, .arg = lane, .set_loss = lane->set_loss,
		.lane = lane};
	if (k == 0) {
		lane->c.module = tell_module;
		lane->c.layer_done = tell_layer;
		lane->c.progress = tell_progress;
	}
	model->device->stop = &all->stop;
	return r;
}

static void run_lane(struct cwe_lane *lane)
{
	struct cwe_device *device = lane->c.model->device;
	lane->code = cwe_device_enter(device, &lane->err);
	lane->code = lane->code == 0 ? cwe_calibrate_run(&lane->c, &lane->err) : lane->code;
	if (lane->code != 0) {
		stop(lane->all);
	}
}

static void *run_thread(void *arg)
{
	cwe_pool_apart(); /* the first lane may run the pool */
	run_lane(arg);
	return NULL;
}

/* Signals stay with the threads that the program made itself. */
static void start(struct cwe_lane *lane)
{
	sigset_t all, old;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = pthread_create(&lane->thread, NULL, run_thread, lane);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	lane->started = r == 0;
	if (r != 0) {
		lane->code = cwb_err_set(&lane->err, -r, "no thread for another device");
		stop(lane->all);
	}
}

/* What ended all: the first lane's error that is more than being told to stop. */
static int result(struct lanes *all, struct cwb_err *err)
{
	const struct cwe_lane *first = NULL;
	for (uint32_t k = 0; k < all->n; k++) {
		const struct cwe_lane *lane = &all->lane[k];
		if (lane->code != 0 && (first == NULL || (first->code == CWP_ECANCELLED && lane->code != CWP_ECANCELLED))) {
			first = lane;
		}
	}
	if (first == NULL) {
		return 0;
	}
	int r = cwb_err_set(err, first->code, "%s", first->err.message);
	const char *uuid = first->c.model->device->uuid;
	return first->code != CWP_ECANCELLED && uuid[0] != '\0' ? cwb_err_prefix(err, "%s", uuid) : r;
}

static int run(struct lanes *all, struct cwb_err *err)
{
	int r = 0;
	for (uint32_t k = 0; r == 0 && k < all->n; k++) {
		r = prepare(all, k, err);
	}
	if (r != 0) {
		return r;
	}
	for (uint32_t k = 1; k < all->n; k++) {
		start(&all->lane[k]);
	}
	run_lane(&all->lane[0]);
	for (uint32_t k = 1; k < all->n; k++) {
		if (all->lane[k].started) {
			(void)pthread_join(all->lane[k].thread, NULL);
		}
	}
	all->c->passes = all->lane[0].c.passes;
	r = result(all, err);
	for (uint32_t k = all->n; k > 0; k--) {
		int e = cwe_device_enter(all->lane[k - 1].c.model->device, err);
		r = r == 0 ? e : r;
	}
	return r;
}

int cwe_lanes_run(struct cwe_calibration *c, struct cwb_err *err)
{
	uint32_t n = c->n_more + 1;
	n = c->corpus->pieces < n ? (uint32_t)c->corpus->pieces : n;
	if (n > CWE_LANES_MAX || c->norm != NULL || c->embedding != NULL || c->trace != NULL) {
		return cwb_err_set(err, CWP_EVALUE, "several devices: at most %d, and nothing by sample", CWE_LANES_MAX);
	}
	struct lanes *all = calloc(1, sizeof *all + (n > 0 ? n : 1) * sizeof *all->lane);
	if (all == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for several devices");
	}
	all->c = c;
	all->n = n;
	(void)pthread_mutex_init(&all->lock, NULL);
	(void)pthread_cond_init(&all->news, NULL);
	atomic_init(&all->stop, 0);
	int r = run(all, err);
	for (uint32_t k = 0; k < n; k++) {
		struct cwe_lane *lane = &all->lane[k];
		if (lane->all != NULL) {
			free(lane->set_loss);
			cwe_share_free(&lane->share);
		}
		if (lane->c.model != NULL) {
			lane->c.model->device->stop = NULL;
		}
	}
	(void)pthread_cond_destroy(&all->news);
	(void)pthread_mutex_destroy(&all->lock);
	free(all);
	return r;
}
