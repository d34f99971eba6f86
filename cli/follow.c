/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Verbs that stay with jobs until something has happened: follow, wait, events. */
#include "cli/follow.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/bar.h"
#include "cli/state.h"

#define PLAIN_SECONDS                                                                              \
	10 /* between two plain lines about the same stage, by the events' own time                \
	    */

struct watch {
	struct cwc *cwc;
	const char *id;
	json_t *parameters; /* of Follow: its cursor moves on */
	char stage[96];     /* that the last line was about */
	double printed;     /* time of the event behind the last plain line */
	int bar_open;       /* the bar's line is not ended yet */
	char state[24];     /* the last one heard of */
	char *reason;
	int64_t attempt;
};

/* A line about the job that is not progress; the bar's line is ended first. */
static void say(struct watch *watch, const char *what, const char *reason, enum cwc_colour colour)
{
	struct cwc_text text = {0};

	if (watch->bar_open) {
		putchar('\n');
		watch->bar_open = 0;
	}
	cwc_text_clean(&text, watch->id, strlen(watch->id), 0);
	cwc_text_printf(&text, ": %s", watch->cwc->colour ? cwc_colour_begin(colour) : "");
	cwc_text_clean(&text, what, strlen(what), 0);
	if (watch->cwc->colour && colour != CWC_PLAIN) {
		cwc_text_printf(&text, "%s", cwc_colour_end());
	}
	if (reason && *reason) {
		cwc_text_add(&text, ": ", 2);
		cwc_text_clean(&text, reason, strlen(reason), 0);
	}
	cwc_text_add(&text, "\n", 1);
	cwc_print(&text);
	(void)fflush(stdout);
}

static void draw_bar(struct watch *watch, const struct cwc_progress *progress)
{
	struct cwc_text text = {0};
	/* The size may change while we watch; the last column stays free, or some terminals wrap.
	 */
	size_t width = cwc_terminal_width(STDOUT_FILENO);

	if (watch->bar_open && strcmp(watch->stage, progress->stage) != 0) {
		putchar('\n');
	}
	cwc_text_printf(&text, "\r");
	cwc_bar_render(progress, width > 1 ? width - 1 : 1, &text);
	cwc_text_printf(&text, "\033[K");
	cwc_print(&text);
	(void)fflush(stdout);
	watch->bar_open = 1;
}

static void print_words(struct watch *watch, const struct cwc_progress *progress, double time)
{
	int same = strcmp(watch->stage, progress->stage) == 0;
	int complete = progress->total > 0 && progress->done >= progress->total;
	struct cwc_text text = {0};

	if (same && !complete && time - watch->printed < PLAIN_SECONDS) {
		return;
	}
	cwc_bar_words(progress, &text);
	cwc_text_add(&text, "\n", 1);
	cwc_print(&text);
	(void)fflush(stdout);
	watch->printed = time;
}

static void on_progress(struct watch *watch, const json_t *event)
{
	const char *term = getenv("TERM");
	struct cwc_progress progress;

	cwc_progress_read(json_object_get(event, "progress"), &progress);
	if (watch->cwc->json) {
		return;
	}
	/* Escape sequences only where they are understood. */
	if (watch->cwc->terminal && term && strcmp(term, "dumb") != 0) {
		draw_bar(watch, &progress);
	} else {
		print_words(watch, &progress, json_number_value(json_object_get(event, "time")));
	}
	(void)snprintf(watch->stage, sizeof watch->stage, "%s", progress.stage);
}

static void on_state(struct watch *watch, const json_t *event, const char *state)
{
	const char *reason = cwc_string(event, "reason");
	int changed = strcmp(watch->state, state) != 0;

	(void)snprintf(watch->state, sizeof watch->state, "%s", state);
	free(watch->reason);
	watch->reason = *reason ? strdup(reason) : NULL;
	/* The end is told with all that is known of it, by the caller. */
	if (changed && !watch->cwc->json && cwc_state_exit(state) < 0) {
		say(watch, state, reason, cwc_state_colour(state));
	}
}

static void on_attempt(struct watch *watch, const json_t *event)
{
	int64_t attempt = json_integer_value(json_object_get(event, "attempt"));
	char what[64];

	if (watch->cwc->json || attempt <= 1 || attempt == watch->attempt) {
		return;
	}
	watch->attempt = attempt;
	(void)snprintf(what, sizeof what, "attempt %lld", (long long)attempt);
	say(watch, what, cwc_string(event, "reason"), CWC_PLAIN);
}

static int on_event(void *context, const json_t *reply, int last)
{
	struct watch *watch = context;
	const json_t *event = json_object_get(reply, "event"),
		     *cursor = json_object_get(event, "cursor");
	const char *kind = cwc_string(event, "kind"), *state = cwc_string(event, "state");

	if (json_is_integer(cursor)) {
		json_object_set_new(
			watch->parameters, "cursor", json_integer(json_integer_value(cursor)));
	}
	if (strcmp(kind, "progress") == 0) {
		on_progress(watch, event);
	} else if (strcmp(kind, "attempt") == 0) {
		on_attempt(watch, event);
	}
	if (*state) {
		on_state(watch, event, state);
	}
	if (strcmp(kind, "removed") == 0) {
		(void)snprintf(watch->state, sizeof watch->state, "removed");
	}
	return last ? CWC_DONE : -1;
}

/* What a person wants to know at the end: how long it took and where the output is, or why there is
 * none. */
static void print_end(struct watch *watch, struct cwc_daemon *daemon)
{
	json_t *reply = NULL, *job, *parameters = json_pack("{s:s}", "id", watch->id);
	char *error = NULL, *reason = NULL;
	struct cwc_text text = {0};
	double seconds;

	if (cwc_daemon_try(daemon, CWC_JOBS ".Describe", parameters, &error, &reply) == 0 &&
		!error) {
		job = json_object_get(reply, "job");
		seconds = json_number_value(json_object_get(job, "ended")) -
			  json_number_value(json_object_get(job, "started"));
		if (cwc_state_exit(watch->state) == CWC_DONE) {
			cwc_text_printf(&text, "in ");
			cwc_text_duration(&text, seconds);
			cwc_text_printf(&text, ", output %s", cwc_string(job, "output"));
		} else if (json_is_object(json_object_get(job, "error"))) {
			cwc_text_printf(
				&text, "%s", cwc_string(json_object_get(job, "error"), "message"));
		}
	}
	reason = text.length ? text.data : watch->reason;
	say(watch, *watch->state ? watch->state : "no end was reported", reason,
		cwc_state_colour(watch->state));
	cwc_text_free(&text);
	json_decref(parameters);
	json_decref(reply);
	free(error);
}

int cwc_follow_job(struct cwc *cwc, struct cwc_daemon *daemon, const char *id)
{
	struct watch watch = {.cwc = cwc,
		.id = id,
		.printed = -HUGE_VAL,
		.parameters = json_pack("{s:s}", "id", id)};
	int status, end;

	status = cwc_daemon_stream(
		daemon, CWC_JOBS ".Follow", watch.parameters, -1, on_event, &watch);
	if (status == CWC_DONE) {
		end = cwc_state_exit(watch.state);
		if (cwc->json) {
			status = cwc_print_json(cwc, json_pack("{s:s,s:s,s:s?}", "id", id, "state",
							     watch.state, "reason", watch.reason));
		} else {
			print_end(&watch, daemon);
		}
		if (status == CWC_DONE) {
			status = end < 0 ? CWC_FAILED : end;
		}
	} else if (watch.bar_open) {
		putchar('\n');
	}
	free(watch.reason);
	json_decref(watch.parameters);
	return status;
}

int cwc_follow(struct cwc *cwc)
{
	struct cwc_daemon *daemon = NULL;
	int status = cwc_daemon_open(cwc, cwc_jobs_socket(cwc), &daemon);

	if (status) {
		return status;
	}
	status = cwc_follow_job(cwc, daemon, cwc->operand[0]);
	cwc_daemon_close(daemon);
	return status;
}

struct waiting {
	struct cwc *cwc;
	json_t *left; /* ids: the parameter of Wait, so that a new daemon is asked for these only */
	json_t *ended;
	int worst;
};

static void forget_id(json_t *ids, const char *id)
{
	size_t i;

	for (i = json_array_size(ids); i-- > 0;) {
		if (strcmp(json_string_value(json_array_get(ids, i)), id) == 0) {
			json_array_remove(ids, i);
		}
	}
}

static int on_ended(void *context, const json_t *reply, int last)
{
	struct waiting *waiting = context;
	const char *id = cwc_string(reply, "id"), *state = cwc_string(reply, "state"),
		   *reason = cwc_string(reply, "reason");
	struct watch watch = {.cwc = waiting->cwc, .id = id};
	int exit = cwc_state_exit(state);

	exit = exit < 0 ? CWC_FAILED : exit;
	/* A failure outweighs a rejection: it says that something went wrong. */
	if (exit == CWC_FAILED || waiting->worst == CWC_DONE) {
		waiting->worst = exit;
	}
	forget_id(waiting->left, id);
	json_array_append_new(waiting->ended, json_pack("{s:s,s:s,s:s?}", "id", id, "state", state,
						      "reason", *reason ? reason : NULL));
	if (!waiting->cwc->json && !cwc_option_given(waiting->cwc, "quiet")) {
		say(&watch, state, reason, cwc_state_colour(state));
	}
	return last || json_array_size(waiting->left) == 0 ? CWC_DONE : -1;
}

int cwc_wait(struct cwc *cwc)
{
	struct waiting waiting = {.cwc = cwc, .left = json_array(), .ended = json_array()};
	const char *timeout = cwc_option_value(cwc, "timeout", 0);
	struct cwc_daemon *daemon = NULL;
	json_t *parameters = NULL;
	int64_t seconds = -1;
	int i, status = 0;

	if (timeout) {
		status = cwc_parse_time(cwc, "--timeout", timeout, &seconds);
	}
	for (i = 0; i < cwc->n_operands; i++) {
		forget_id(waiting.left, cwc->operand[i]);
		json_array_append_new(waiting.left, json_string(cwc->operand[i]));
	}
	if (status == 0) {
		status = cwc_daemon_open(cwc, cwc_jobs_socket(cwc), &daemon);
	}
	if (status == 0) {
		parameters = json_pack("{s:O}", "ids", waiting.left);
		status = cwc_daemon_stream(
			daemon, CWC_JOBS ".Wait", parameters, seconds, on_ended, &waiting);
	}
	if (status == 0 && cwc->json) {
		status = cwc_print_json(cwc, json_pack("{s:O}", "jobs", waiting.ended));
	}
	cwc_daemon_close(daemon);
	json_decref(parameters);
	json_decref(waiting.left);
	json_decref(waiting.ended);
	return status ? status : waiting.worst;
}

struct feed {
	struct cwc *cwc;
	json_t *parameters;
};

static int print_event(void *context, const json_t *reply, int last)
{
	struct feed *feed = context;
	const json_t *event = json_object_get(reply, "event"),
		     *cursor = json_object_get(event, "cursor");
	struct cwc_text text = {0}, line = {0};
	struct cwc_progress progress;

	if (json_is_integer(cursor)) {
		json_object_set_new(
			feed->parameters, "cursor", json_integer(json_integer_value(cursor)));
	}
	if (feed->cwc->json) {
		json_dumpf(event, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17));
		putchar('\n');
		(void)fflush(stdout);
		return last ? CWC_DONE : -1;
	}
	cwc_text_time(&line, json_number_value(json_object_get(event, "time")));
	cwc_text_printf(&line, "  %s  %s", cwc_string(event, "id"), cwc_string(event, "kind"));
	if (*cwc_string(event, "state")) {
		cwc_text_printf(&line, "  %s", cwc_string(event, "state"));
	}
	if (json_is_object(json_object_get(event, "progress"))) {
		cwc_progress_read(json_object_get(event, "progress"), &progress);
		cwc_text_printf(&line, "  ");
		cwc_bar_words(&progress, &line);
	}
	if (*cwc_string(event, "reason")) {
		cwc_text_printf(&line, ": %s", cwc_string(event, "reason"));
	}
	cwc_text_clean(&text, cwc_text_get(&line), line.length, 0);
	cwc_text_add(&text, "\n", 1);
	cwc_text_free(&line);
	cwc_print(&text);
	(void)fflush(stdout);
	return last ? CWC_DONE : -1;
}

int cwc_events(struct cwc *cwc)
{
	struct feed feed = {.cwc = cwc, .parameters = json_object()};
	const char *from = cwc_option_value(cwc, "from", 0);
	struct cwc_daemon *daemon = NULL;
	int64_t cursor;
	int status = 0;

	if (from) {
		status = cwc_parse_int(cwc, "--from", from, 0, INT64_MAX, &cursor);
		if (status == 0) {
			json_object_set_new(feed.parameters, "cursor", json_integer(cursor));
		}
	}
	if (status == 0) {
		status = cwc_daemon_open(cwc, cwc_jobs_socket(cwc), &daemon);
	}
	if (status == 0) {
		status = cwc_daemon_stream(
			daemon, CWC_JOBS ".Follow", feed.parameters, -1, print_event, &feed);
	}
	cwc_daemon_close(daemon);
	json_decref(feed.parameters);
	return status;
}
