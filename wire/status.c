/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Status messages: what the worker builds. */
#include "wire/status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const stage_names[CWW_N_STAGES] = {"plan", "open", "calibrate", "score",
	"select", "quantize", "write", "evaluate", "gate", "report"};
static const char *const level_names[] = {"debug", "info", "warning", "error"};
static const char *const result_names[] = {"done", "failed", "rejected", "cancelled"};

const char *cww_stage_name(enum cww_stage stage)
{
	return stage_names[stage];
}

const char *cww_level_name(enum cww_level level)
{
	return level_names[level];
}

const char *cww_result_name(enum cww_result result)
{
	return result_names[result];
}

/* Text for a message: escaped only where it is no valid UTF-8, since the reader escapes the rest.
 */
static json_t *text_json(const char *text, size_t size)
{
	size_t length = strnlen(text, size);
	json_t *value = json_stringn(text, length);
	char *escaped;

	if (value != NULL) {
		return value;
	}
	escaped = malloc(size + 1);
	if (escaped == NULL) {
		return NULL;
	}
	length = cww_escape(text, length, escaped, size + 1);
	value = json_stringn(escaped, length);
	free(escaped);
	return value;
}

static json_t *bytes_json(uint64_t n)
{
	return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

json_t *cww_status_plan(const struct cww_bounds *bounds)
{
	return json_pack("{s:s, s:o, s:o, s:o}", "status", "plan", "memory",
		bytes_json(bounds->memory), "gpu_memory", bytes_json(bounds->gpu_memory), "scratch",
		bytes_json(bounds->scratch));
}

json_t *cww_status_progress(enum cww_stage stage, uint64_t done, uint64_t total, const char *unit)
{
	return json_pack("{s:s, s:s, s:o, s:o, s:o}", "status", "stage", "stage",
		cww_stage_name(stage), "done",
		bytes_json(total != 0 && done > total ? total : done), "total", bytes_json(total),
		"unit", text_json(unit, 31));
}

json_t *cww_status_log(enum cww_level level, const char *text)
{
	return json_pack("{s:s, s:s, s:o}", "status", "log", "level", cww_level_name(level), "text",
		text_json(text, CWW_STATUS_TEXT_MAX - 1));
}

json_t *cww_status_checkpoint(void)
{
	return json_pack("{s:s}", "status", "checkpoint");
}

static json_t *error_json(const struct cwb_err *error)
{
	return json_pack("{s:i, s:o, s:i, s:i, s:o, s:o}", "code", error->code, "message",
		text_json(error->message, sizeof error->message), "line", error->line, "column",
		error->column, "field", text_json(error->field, sizeof error->field), "nearest",
		text_json(error->nearest, sizeof error->nearest));
}

json_t *cww_status_end(enum cww_result result, const struct cwb_err *error)
{
	json_t *message =
		json_pack("{s:s, s:s}", "status", "end", "result", cww_result_name(result));

	if (message != NULL && error != NULL && error->code != 0 &&
		json_object_set_new(message, "error", error_json(error)) != 0) {
		json_decref(message);
		return NULL;
	}
	return message;
}

int cww_status_send(int fd, json_t *message, struct cwb_err *err)
{
	char *text;
	const char *at;
	size_t length;
	int rc;

	if (message == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for a status message");
	}
	rc = cww_message_encode(message, &text, &length, err);
	json_decref(message);
	if (rc < 0) {
		return rc;
	}
	for (at = text; rc == 0 && length > 0;) {
		ssize_t n = write(fd, at, length);

		if (n >= 0) {
			at += n;
			length -= (size_t)n;
		} else if (errno != EINTR) {
			rc = cwb_err_errno(err, "writing a status message");
		}
	}
	free(text);
	return rc;
}
