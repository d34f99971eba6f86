/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What a worker tells its daemon: builders for the worker, a parser with a state machine for the
 * daemon, which trusts nothing. Same framing as the control protocol. doc/worker-protocol.md tells
 * the whole story. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "wire/message.h"

#define CWW_STATUS_TEXT_MAX 1024 /* bytes of a log line, escaped */

enum cww_stage {
	CWW_STAGE_PLAN,
	CWW_STAGE_OPEN,
	CWW_STAGE_CALIBRATE,
	CWW_STAGE_SCORE,
	CWW_STAGE_SELECT,
	CWW_STAGE_QUANTIZE,
	CWW_STAGE_WRITE,
	CWW_STAGE_EVALUATE,
	CWW_STAGE_GATE,
	CWW_STAGE_REPORT,
	CWW_N_STAGES
};

enum cww_level { CWW_LEVEL_DEBUG, CWW_LEVEL_INFO, CWW_LEVEL_WARNING, CWW_LEVEL_ERROR };
enum cww_result { CWW_RESULT_DONE, CWW_RESULT_FAILED, CWW_RESULT_REJECTED, CWW_RESULT_CANCELLED };
enum cww_status_kind {
	CWW_STATUS_PLAN,
	CWW_STATUS_PROGRESS,
	CWW_STATUS_LOG,
	CWW_STATUS_CHECKPOINT,
	CWW_STATUS_END
};

/* At most these bytes a job needs; 0: nothing, or not known. */
struct cww_bounds {
	uint64_t memory, gpu_memory, scratch;
};

/* One message, after its checks. Texts are escaped and NUL-terminated. */
struct cww_status {
	enum cww_status_kind kind;
	struct cww_bounds bounds;       /* PLAN */
	enum cww_stage stage;           /* PROGRESS */
	uint64_t done, total;           /* PROGRESS; done <= total unless total is 0 (not known) */
	char unit[32];                  /* PROGRESS */
	enum cww_level level;           /* LOG */
	char text[CWW_STATUS_TEXT_MAX]; /* LOG */
	enum cww_result result;         /* END */
	struct cwb_err error;           /* END unless done; code 0 when the worker gave none */
};

const char *cww_stage_name(enum cww_stage stage);
const char *cww_level_name(enum cww_level level);
const char *cww_result_name(enum cww_result result);

/* For the worker: new messages, NULL when memory ran out. Text may hold anything: what is not UTF-8
 * is escaped. [any-thread] */
json_t *cww_status_plan(const struct cww_bounds *bounds);
json_t *cww_status_progress(enum cww_stage stage, uint64_t done, uint64_t total, const char *unit);
json_t *cww_status_log(enum cww_level level, const char *text);
json_t *cww_status_checkpoint(void);
json_t *cww_status_end(enum cww_result result, const struct cwb_err *error);

/* Encodes, writes the whole message to a blocking descriptor and frees it. NULL is -ENOMEM. Errors:
 * -errno (-EPIPE: the daemon is gone). One writer at a time. */
int cww_status_send(int fd, json_t *message, struct cwb_err *err);

/* For the daemon: the stream of one attempt. Legal: plan at most once and first, then progress, log
 * and checkpoint in any order, then one end and nothing after it. */
struct cww_status_reader {
	struct cww_reader reader;
	int begun; /* something but a plan or a log line came */
	int planned;
	int ended;
};

void cww_status_reader_init(struct cww_status_reader *reader);
void cww_status_reader_free(struct cww_status_reader *reader);

/* Appends bytes that came from the worker. */
int cww_status_reader_feed(
	struct cww_status_reader *reader, const void *bytes, size_t length, struct cwb_err *err);

/* 1: *ret is the next message; 0: more bytes are needed; negative: the worker broke the protocol,
 * for good. */
int cww_status_reader_next(
	struct cww_status_reader *reader, struct cww_status *ret, struct cwb_err *err);
