/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where a worker's news go: status messages for a daemon, or lines for a person. */
#pragma once

#include "engine/pipeline/pipeline.h"
#include "wire/status.h"

struct cwk_status {
	int fd;         /* -1: standard error */
	int terminal;   /* standard error is one */
	enum cwe_stage stage;
	int begun;
	int64_t sent;   /* milliseconds of the last news */
	int64_t started; /* of the stage */
	uint64_t first; /* progress with which this attempt began the stage: rates leave out what was done before */
	int line;       /* an unfinished line is on the terminal */
};

void cwk_status_init(struct cwk_status *s, int fd);
/* For struct cwe_pipeline; arg is the status. Throttled to five a second. */
void cwk_status_progress(void *arg, enum cwe_stage stage, uint64_t done, uint64_t total, const char *unit);
void cwk_status_checkpoint(void *arg);
/* For struct cwe_host. [any-thread] */
void cwk_status_log(void *arg, int level, const char *text);
/* The last word of an attempt. */
void cwk_status_end(struct cwk_status *s, enum cww_result result, const struct cwb_err *err);
