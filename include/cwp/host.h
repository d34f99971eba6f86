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

struct cwp_records; /* the host's: records of a data file */

/* How a data file is to be read. */
struct cwp_record_source {
	uint32_t size;
	uint32_t flags;      /* 0 */
	const char *data;    /* a set that the host knows (as `data` in cwp-job(5): "bbq"): its form, its encoding and what makes
			      * an item known again; NULL: by the ending of the path, .csv with a header, .jsonl or .json */
	const char *records; /* .json: path of the array of records; NULL: what the set says, else the document itself */
};

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

	/* The records of a data file (CSV as RFC 4180 has it, JSON lines, or a JSON document), all checked and in memory.
	 * Freed with records_close. What is wrong is already explained: return the code. [worker] */
	int (*records_open)(void *ctx, const char *path, const struct cwp_record_source *source, struct cwp_records **ret);
	void (*records_close)(void *ctx, struct cwp_records *records); /* NULL is allowed */
	uint64_t (*records_count)(void *ctx, const struct cwp_records *records);
	/* The line of the file where record i (from 0) begins, from 1; of a JSON document its number, from 1. */
	uint64_t (*records_line)(void *ctx, const struct cwp_records *records, uint64_t i);
	/* A column's text: of CSV by the header's name, or its number with # in front ("#1"); of JSON members and indices with
	 * dots between ("answer_info.ans0.1"). Numbers and booleans as they are written. 1 and a text that lives as long as the
	 * records (a NUL behind it); 0: absent or null; CWP_EVALUE: it is an array or an object. */
	int (*records_text)(void *ctx, struct cwp_records *records, uint64_t i, const char *column, const char **ret,
		size_t *ret_length);
	/* The same of a column that must be there and not be empty: else the failure is explained (file, line, column). */
	int (*records_need)(void *ctx, struct cwp_records *records, uint64_t i, const char *column, const char **ret,
		size_t *ret_length);
	/* As calibrated(), for record i of a set that the host knows; 0 for other data. To be asked once for each item. */
	int (*records_calibrated)(void *ctx, struct cwp_records *records, uint64_t i);

	/* Tells of a file besides the data file that results depend on: prompts, phrases, other parts of a set. Reports and
	 * manifests list it with its digest. records_open() tells itself. Only while open() runs. [worker] */
	void (*reads)(void *ctx, const char *path);
};

#ifdef __cplusplus
}
#endif
#endif
