/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the host offers to a plugin. A plugin links against nothing of ours: it gets this table and calls
 * through it. Fields are only ever appended; compare `size` before using one that is newer than your build. */
#ifndef CWP_HOST_H
#define CWP_HOST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum cwp_log_level { CWP_LOG_ERROR = 3, CWP_LOG_WARNING = 4, CWP_LOG_INFO = 6, CWP_LOG_DEBUG = 7 };

struct cwp_host {
	uint32_t size;    /* sizeof(struct cwp_host) of the host's build */
	uint32_t threads; /* how many threads parallel_for uses at most; never make a result depend on it */
	void *ctx;        /* the host's own; hand it back as the first argument */

	/* 64-byte aligned memory, not cleared; NULL when there is none. Freed with free(). [any-thread] */
	void *(*alloc)(void *ctx, size_t bytes);
	/* Takes what alloc gave, or NULL. [any-thread] */
	void (*free)(void *ctx, void *p);
	/* One line for the job's log, no line end. The text is copied. [any-thread] */
	void (*log)(void *ctx, int level, const char *text);
	/* Non-zero once the job was cancelled: return CWP_ECANCELLED soon. [any-thread] */
	int (*cancelled)(void *ctx);
	/* Calls body(arg, i) once for each i in [0, n), on up to `threads` threads, and returns when all are
	 * done. Not to be nested. Cut work by shapes only, so that results are the same for any number of
	 * threads. [worker] */
	void (*parallel_for)(void *ctx, size_t n, void (*body)(void *arg, size_t i), void *arg);
	/* The index-th 64-bit number of the job's random stream `stream`: a pure function of (seed, stream,
	 * index). [any-thread] */
	uint64_t (*random)(void *ctx, uint64_t stream, uint64_t index);
	/* Explains the failure that the plugin is about to return: text is copied, the last one before the
	 * return wins. [any-thread] */
	void (*fail)(void *ctx, const char *text);
	/* Non-zero when the job calibrates on this item of a data set: an evaluator leaves such an item out. data is
	 * the set's name in a job and key what names the item in it, as cwp-job(5) has them: "crows-pairs" and "12".
	 * To be asked once for each item: the report says how many were left out. [worker] */
	int (*calibrated)(void *ctx, const char *data, const char *key);
};

#ifdef __cplusplus
}
#endif
#endif
