/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Status messages: what the daemon accepts. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "wire/status.h"

void cww_status_reader_init(struct cww_status_reader *reader)
{
	memset(reader, 0, sizeof *reader);
	cww_reader_init(&reader->reader);
}

void cww_status_reader_free(struct cww_status_reader *reader)
{
	if (reader != NULL) {
		cww_reader_free(&reader->reader);
	}
}

int cww_status_reader_feed(
	struct cww_status_reader *reader, const void *bytes, size_t length, struct cwb_err *err)
{
	/* A worker that sends faster than messages are taken, or one endless message, ends here. */
	if (cww_reader_pending(&reader->reader) + length > 2 * CWW_MESSAGE_MAX) {
		reader->reader.failed = CWP_ELIMIT;
		return cwb_err_set(err, CWP_ELIMIT, "status message is longer than %zu bytes",
			CWW_MESSAGE_MAX);
	}
	return cww_reader_feed(&reader->reader, bytes, length, err);
}

static int refuse(struct cwb_err *err, const char *kind, const char *key)
{
	return cwb_err_set(
		err, CWP_EPROTO, "status message \"%s\": bad or missing \"%s\"", kind, key);
}

static int take_count(
	const json_t *object, const char *kind, const char *key, uint64_t *ret, struct cwb_err *err)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0) {
		return refuse(err, kind, key);
	}
	*ret = (uint64_t)json_integer_value(value);
	return 0;
}

static int take_text(const json_t *object, const char *kind, const char *key, char *buffer,
	size_t size, struct cwb_err *err)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_string(value)) {
		return refuse(err, kind, key);
	}
	cww_escape(json_string_value(value), json_string_length(value), buffer, size);
	return 0;
}

static int take_name(const json_t *object, const char *kind, const char *key,
	const char *(*name)(int), int n, int *ret, struct cwb_err *err)
{
	const char *text = json_string_value(json_object_get(object, key));
	int i;

	for (i = 0; text != NULL && i < n; i++) {
		if (strcmp(text, name(i)) == 0) {
			*ret = i;
			return 0;
		}
	}
	return refuse(err, kind, key);
}

static const char *stage_at(int i)
{
	return cww_stage_name((enum cww_stage)i);
}

static const char *level_at(int i)
{
	return cww_level_name((enum cww_level)i);
}

static const char *result_at(int i)
{
	return cww_result_name((enum cww_result)i);
}

static int take_plan(struct cww_status_reader *reader, const json_t *message,
	struct cww_status *status, struct cwb_err *err)
{
	int rc;

	if (reader->planned || reader->begun) {
		return cwb_err_set(
			err, CWP_EPROTO, "status message \"plan\" comes once, before any stage");
	}
	reader->planned = 1;
	status->kind = CWW_STATUS_PLAN;
	rc = take_count(message, "plan", "memory", &status->bounds.memory, err);
	if (rc == 0) {
		rc = take_count(message, "plan", "gpu_memory", &status->bounds.gpu_memory, err);
	}
	return rc < 0 ? rc : take_count(message, "plan", "scratch", &status->bounds.scratch, err);
}

static int take_progress(const json_t *message, struct cww_status *status, struct cwb_err *err)
{
	int stage = 0, rc;

	status->kind = CWW_STATUS_PROGRESS;
	rc = take_name(message, "stage", "stage", stage_at, CWW_N_STAGES, &stage, err);
	if (rc == 0) {
		status->stage = (enum cww_stage)stage;
		rc = take_count(message, "stage", "done", &status->done, err);
	}
	if (rc == 0) {
		rc = take_count(message, "stage", "total", &status->total, err);
	}
	if (rc == 0 && status->total != 0 && status->done > status->total) {
		rc = refuse(err, "stage", "done");
	}
	return rc < 0 ? rc
		      : take_text(message, "stage", "unit", status->unit, sizeof status->unit, err);
}

static int take_log(const json_t *message, struct cww_status *status, struct cwb_err *err)
{
	int level = 0, rc;

	status->kind = CWW_STATUS_LOG;
	rc = take_name(message, "log", "level", level_at, CWW_LEVEL_ERROR + 1, &level, err);
	if (rc < 0) {
		return rc;
	}
	status->level = (enum cww_level)level;
	return take_text(message, "log", "text", status->text, sizeof status->text, err);
}

static int take_place(const json_t *error, const char *key, int *ret, struct cwb_err *err)
{
	const json_t *value = json_object_get(error, key);

	if (value == NULL) {
		return 0;
	}
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
		json_integer_value(value) > INT32_MAX) {
		return refuse(err, "end", key);
	}
	*ret = (int)json_integer_value(value);
	return 0;
}

static int take_error(const json_t *error, struct cwb_err *ret, struct cwb_err *err)
{
	const json_t *code = json_object_get(error, "code");
	int rc;

	if (!json_is_integer(code) || json_integer_value(code) >= 0 ||
		json_integer_value(code) < -100000) {
		return refuse(err, "end", "error.code");
	}
	ret->code = (int)json_integer_value(code);
	rc = take_text(error, "end", "message", ret->message, sizeof ret->message, err);
	if (rc == 0) {
		rc = take_place(error, "line", &ret->line, err);
	}
	if (rc == 0) {
		rc = take_place(error, "column", &ret->column, err);
	}
	if (rc == 0 && json_object_get(error, "field") != NULL) {
		rc = take_text(error, "end", "field", ret->field, sizeof ret->field, err);
	}
	if (rc == 0 && json_object_get(error, "nearest") != NULL) {
		rc = take_text(error, "end", "nearest", ret->nearest, sizeof ret->nearest, err);
	}
	return rc;
}

static int take_end(struct cww_status_reader *reader, const json_t *message,
	struct cww_status *status, struct cwb_err *err)
{
	const json_t *error = json_object_get(message, "error");
	int result = 0, rc;

	reader->ended = 1;
	status->kind = CWW_STATUS_END;
	rc = take_name(message, "end", "result", result_at, CWW_RESULT_CANCELLED + 1, &result, err);
	if (rc < 0) {
		return rc;
	}
	status->result = (enum cww_result)result;
	if (error == NULL || json_is_null(error)) {
		return 0;
	}
	if (!json_is_object(error) || status->result == CWW_RESULT_DONE) {
		return refuse(err, "end", "error");
	}
	return take_error(error, &status->error, err);
}

static int take_message(struct cww_status_reader *reader, const json_t *message,
	struct cww_status *status, struct cwb_err *err)
{
	const char *kind = json_string_value(json_object_get(message, "status"));

	memset(status, 0, sizeof *status);
	if (kind == NULL) {
		return cwb_err_set(err, CWP_EPROTO, "status message without \"status\"");
	}
	if (reader->ended) {
		return cwb_err_set(err, CWP_EPROTO, "status message after \"end\"");
	}
	if (strcmp(kind, "log") == 0) {
		return take_log(message, status, err);
	}
	if (strcmp(kind, "plan") == 0) {
		return take_plan(reader, message, status, err);
	}
	reader->begun = 1;
	if (strcmp(kind, "stage") == 0) {
		return take_progress(message, status, err);
	}
	if (strcmp(kind, "checkpoint") == 0) {
		status->kind = CWW_STATUS_CHECKPOINT;
		return 0;
	}
	if (strcmp(kind, "end") == 0) {
		return take_end(reader, message, status, err);
	}
	return cwb_err_set(err, CWP_EPROTO, "status message of an unknown kind");
}

int cww_status_reader_next(
	struct cww_status_reader *reader, struct cww_status *ret, struct cwb_err *err)
{
	struct cww_status status;
	json_t *message;
	int rc = cww_reader_next(&reader->reader, &message, err);

	if (rc <= 0) {
		return rc;
	}
	rc = take_message(reader, message, &status, err);
	json_decref(message);
	if (rc < 0) {
		reader->reader.failed = rc;
		return rc;
	}
	*ret = status;
	return 1;
}
