/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* org.cwpd.Jobs.Log and Report: what lies in files, read on a thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "daemon/ctl/jobs.h"
#include "daemon/supervise.h"
#include "daemon/sweep.h"
#include "job/output.h"

#define LOG_PIECE ((size_t)65536)
#define FOLLOW_MS 250
#define REPORT_MAX ((size_t)768 << 10) /* leaves room in a message for escapes */

/* One Log call. It lives through three things that end on their own: the timer, a read on a thread,
 * and the call. */
struct log {
	struct cwd_call *call;
	struct cwd_daemon *daemon;
	int64_t id, cursor;
	size_t limit;
	char *path;
	int reading, ended; /* ended: the job, so that the next empty read is the last */
	int done;           /* the call was answered or the caller is gone */
	uv_timer_t timer;
	char *text;
	size_t length;
	int rc;
	struct cwb_err err;
};

static void on_timer_closed(uv_handle_t *handle)
{
	struct log *log = handle->data;

	free(log->path);
	free(log->text);
	free(log);
}

static void finish(struct log *log)
{
	if (log->done && !log->reading && !uv_is_closing((uv_handle_t *)&log->timer)) {
		uv_close((uv_handle_t *)&log->timer, on_timer_closed);
	}
}

static void end_call(struct log *log)
{
	log->done = 1;
	(void)uv_timer_stop(&log->timer); /* always succeeds */
	finish(log);
}

static void log_gone(struct cwd_call *call)
{
	end_call(call->data);
	cwd_call_drop(call);
}

/* On a thread: at most limit bytes from the cursor, cut after the last line end. */
static void read_piece(void *arg)
{
	struct log *log = arg;
	int fd = open(log->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = 0;

	log->length = 0;
	if (fd < 0) {
		log->rc = errno == ENOENT ? 0 : cwb_err_errno(&log->err, "%s", log->path);
		return;
	}
	n = pread(fd, log->text, log->limit, (off_t)log->cursor);
	log->rc = n < 0 ? cwb_err_errno(&log->err, "%s", log->path) : 0;
	close(fd);
	while (n > 0 && log->text[n - 1] != '\n') {
		n--;
	}
	log->length = n < 0 ? 0 : (size_t)n;
}

static void read_more(struct log *log);

static void on_timer(uv_timer_t *timer)
{
	read_more(timer->data);
}

static json_t *piece_reply(struct log *log)
{
	/* A cursor inside a character, or a file that others wrote: not our text, so nothing is
	 * shown of it. */
	json_t *text = json_stringn(log->text, log->length);

	if (text == NULL) {
		text = json_string("");
	}
	return json_pack("{s:o, s:I}", "text", text, "cursor", (json_int_t)log->cursor);
}

static void on_read(void *arg)
{
	struct log *log = arg;
	struct cwd_call *call = log->call;

	log->reading = 0;
	if (log->done) {
		finish(log);
		return;
	}
	if (log->rc < 0) {
		struct cwb_err err = log->err;

		end_call(log);
		cwd_call_fail(call, &err);
		return;
	}
	log->cursor += (int64_t)log->length;
	if (!call->more || (log->length == 0 && log->ended)) {
		json_t *reply = piece_reply(log);

		end_call(log);
		cwd_call_reply(call, reply);
		return;
	}
	if (log->length > 0 && cwd_call_continue(call, piece_reply(log)) < 0) {
		return; /* `gone` comes */
	}
	(void)uv_timer_start(
		&log->timer, on_timer, log->length > 0 || log->ended ? 0 : FOLLOW_MS, 0);
}

static void read_more(struct log *log)
{
	struct cwd_job *job = cwd_queue_find(&log->daemon->queue, log->id);
	struct cwd_call *call = log->call;

	if (log->reading || log->done) {
		return;
	}
	/* Seen before the read, so that what was written until then is read. */
	log->ended = job == NULL || cwd_state_is_final(job->state);
	if (cwd_daemon_task(log->daemon, read_piece, on_read, log) < 0) {
		end_call(log);
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return;
	}
	log->reading = 1;
}

void cwd_jobs_log(struct cwd_call *call)
{
	int64_t cursor = cwd_call_int(call, "cursor", 0),
		limit = cwd_call_int(call, "limit", (int64_t)LOG_PIECE);
	struct cwd_job *job;
	struct log *log;

	if (cursor < 0 || limit < 1) {
		cwd_call_error(call, "org.varlink.service.InvalidParameter",
			json_pack("{s:s}", "parameter", cursor < 0 ? "cursor" : "limit"));
		return;
	}
	job = cwd_call_job(call, "id");
	if (job == NULL) {
		return;
	}
	log = calloc(1, sizeof *log);
	if (log != NULL) {
		/* Never less than a whole line, or a caller would never get on. */
		log->limit = (uint64_t)limit > LOG_PIECE ? LOG_PIECE
			     : limit < 8192              ? 8192
							 : (size_t)limit;
		log->path = cwd_supervise_log_path(call->daemon, job->id);
		log->text = malloc(log->limit);
	}
	if (log == NULL || log->path == NULL || log->text == NULL) {
		if (log != NULL) {
			free(log->path);
			free(log->text);
			free(log);
		}
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return;
	}
	log->daemon = call->daemon;
	log->id = job->id;
	log->cursor = cursor;
	log->call = call;
	(void)uv_timer_init(call->daemon->loop, &log->timer); /* cannot fail */
	log->timer.data = log;
	call->data = log;
	call->gone = call->more ? log_gone : NULL;
	read_more(log);
}

struct report {
	struct cwd_call *call;
	char id[24];
	char *output, *digest; /* of the job */
	char *path, *html;
	json_t *json;
	int rc;
	struct cwb_err err;
};

static void report_free(struct report *report)
{
	free(report->output);
	free(report->digest);
	free(report->path);
	free(report->html);
	json_decref(report->json);
	free(report);
}

static void read_report(void *arg)
{
	struct report *report = arg;
	/* One that its gate rejected lies elsewhere; what is found otherwise is read as it is. */
	char *folder = cwj_output_find(report->output, report->digest, NULL);
	const char *where = folder != NULL ? folder : report->output;

	char *path = NULL, *html = NULL;

	report->path = asprintf(&path, "%s/report.json", where) < 0 ? NULL : path;
	report->html = asprintf(&html, "%s/report.html", where) < 0 ? NULL : html;
	free(folder);
	if (report->path == NULL || report->html == NULL) {
		report->rc = cwb_err_set(&report->err, -ENOMEM, "no memory for a path");
		return;
	}
	report->rc = cwb_json_load_file(
		report->path, REPORT_MAX, CWB_JSON_DEPTH - 4, &report->json, &report->err);
}

static void on_report(void *arg)
{
	struct report *report = arg;
	struct cwd_call *call = report->call;

	if (report->rc < 0 && report->rc != CWP_ELIMIT) {
		cwd_call_error(call, "org.cwpd.Jobs.NoReport",
			json_pack("{s:s, s:s}", "id", report->id, "reason", report->err.message));
	} else {
		cwd_call_reply(
			call, json_pack("{s:s, s:s, s:o}", "path", report->path, "html",
				      report->html, "report",
				      json_is_object(report->json) ? json_incref(report->json)
								   : json_null()));
	}
	report_free(report);
}

/* 1: what lies in the folder of an open sweep is none of its reports, and the call was answered. */
static int is_too_early(struct cwd_call *call, const struct cwd_job *job)
{
	char reason[256];
	size_t used;

	if (job->n_children == 0 || cwd_state_is_final(job->state)) {
		return 0;
	}
	used = (size_t)snprintf(reason, sizeof reason,
		"the report of a sweep is written when its jobs have ended; ");
	cwd_sweep_say(&call->daemon->queue, job, reason + used, sizeof reason - used);
	cwd_call_error(call, "org.cwpd.Jobs.NoReport",
		json_pack("{s:s, s:s}", "id", cwd_call_string(call, "id"), "reason", reason));
	return 1;
}

void cwd_jobs_report(struct cwd_call *call)
{
	struct cwd_job *job = cwd_call_job(call, "id");
	struct report *report;

	if (job == NULL || is_too_early(call, job)) {
		return;
	}
	report = calloc(1, sizeof *report);
	if (report != NULL) {
		report->output = strdup(job->output);
		report->digest = strdup(job->digest != NULL ? job->digest : "");
	}
	if (report == NULL || report->output == NULL || report->digest == NULL) {
		if (report != NULL) {
			report_free(report);
		}
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return;
	}
	report->call = call;
	snprintf(report->id, sizeof report->id, "%lld", (long long)job->id);
	if (cwd_daemon_task(call->daemon, read_report, on_report, report) < 0) {
		report_free(report);
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
	}
}
