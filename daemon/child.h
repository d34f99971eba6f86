/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A short-lived helper process: text in, bounded text out, a time limit, its process group killed
 * at the end. */
#pragma once

#include <uv.h>

#include "base/err.h"

struct cwd_child;

struct cwd_child_result {
	int rc; /* 0, or why there is no exit: -ETIMEDOUT, CWP_ELIMIT (too much output), -errno of
		   spawn */
	int exit_code; /* valid when rc is 0 and signal is 0 */
	int signal;
	const char *output; /* standard output, NUL-terminated; NULL when it holds a NUL */
	size_t length;
	const char *errors; /* first KiB of standard error, escaped */
};

struct cwd_child_options {
	char *const *argv; /* argv[0] is the program's path */
	const char *input; /* standard input; NULL: none. Copied */
	size_t output_max; /* bytes */
	unsigned int timeout_ms;
	void (*done)(const struct cwd_child_result *result, void *arg); /* once; on the loop */
	void *arg;
};

/* Starts it; done is always called later, also when it cannot be started. Only -ENOMEM is returned.
 * *ret is valid until done was called; ret may be NULL. */
int cwd_child_start(uv_loop_t *loop, const struct cwd_child_options *options,
	struct cwd_child **ret, struct cwb_err *err);

/* Kills it; done is not called any more. */
void cwd_child_abandon(struct cwd_child *child);
