/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The host's side of struct cwp_host: what plugins get from a worker, a probe or a tool. */
#pragma once

#include <stdatomic.h>

#include <cwp/host.h>

#include "base/err.h"
#include "engine/plugin/pool.h"

struct cwe_host {
	struct cwp_host table; /* handed to plugins; table.ctx is this struct */
	struct cwe_pool *pool; /* borrowed */
	uint64_t seed;
	atomic_int cancelled;  /* set from anywhere (a signal handler too) */
	/* Gets each log line; may be NULL. [any-thread] */
	void (*log)(void *arg, int level, const char *text);
	void *log_arg;
	/* Whether an item of this identity (cwe_dataset_identity) is calibrated on; NULL: none is. It counts in `excluded`. */
	int (*calibrated)(void *arg, const char *identity);
	void *calibrated_arg;
	uint64_t excluded;
	/* Gets each path that a plugin reads besides its data; may be NULL. */
	void (*reads)(void *arg, const char *path);
	void *reads_arg;
	char failure[512];     /* what a plugin said through fail(), of this thread of calls */
};

/* Fills *host; pool may be NULL for a host without threads (parallel_for runs in place). */
void cwe_host_init(struct cwe_host *host, struct cwe_pool *pool, uint64_t seed);

/* Turns a plugin's negative return into an err with its fail() text and its id, and clears that text. Returns code; a code
 * that is not negative is itself a fault of the plugin and becomes CWP_EPLUGIN. */
int cwe_host_error(struct cwe_host *host, const char *plugin, const char *what, int code, struct cwb_err *err);

/* The pure function behind cwp_host.random (SplitMix64 over seed, stream, index). */
uint64_t cwe_random(uint64_t seed, uint64_t stream, uint64_t index);
