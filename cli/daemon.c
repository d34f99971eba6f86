/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Talking to the daemon. */
#include "cli/daemon.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "wire/client.h"

#define SYSTEM_FOLDER "/run/cwp"
#define ANSWER_MS 60000      /* a daemon that is alive answers within this */
#define PLAN_MS (15 * 60000) /* Submit waits for a worker that plans the job */
#define RESTART_SECONDS 60   /* how long a stream waits for the daemon's successor */

struct cwc_daemon {
	const struct cwc *cwc;
	const char *socket;
	struct cww_client *client;
	char path[PATH_MAX];
};

const char *cwc_jobs_socket(const struct cwc *cwc)
{
	return cwc_option_given(cwc, "admin") ? CWC_ADMIN : CWC_JOBS;
}

/* Writes the folder's socket into path; 0, or -ENAMETOOLONG. */
static int path_in(
	char *path, size_t size, const char *folder, const char *more, const char *socket)
{
	int length = snprintf(path, size, "%s%s/%s", folder, more, socket);

	return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

static int connect_at(
	struct cwc_daemon *daemon, const char *folder, const char *more, struct cwb_err *err)
{
	if (path_in(daemon->path, sizeof daemon->path, folder, more, daemon->socket) < 0) {
		return cwb_err_set(err, -ENAMETOOLONG, "%s: too long for a socket's path", folder);
	}
	return cww_client_open(daemon->path, &daemon->client, err);
}

/* The folder that was asked for; else the user's own daemon, then the system's. */
static int find(struct cwc_daemon *daemon, struct cwb_err *err)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int status;

	if (daemon->cwc->folder) {
		return connect_at(daemon, daemon->cwc->folder, "", err);
	}
	if (runtime && runtime[0] == '/') {
		status = connect_at(daemon, runtime, "/cwp", err);
		if (status != -ENOENT && status != -ECONNREFUSED) {
			return status;
		}
		cwb_err_clear(err);
	}
	return connect_at(daemon, SYSTEM_FOLDER, "", err);
}

static int report_no_daemon(const struct cwc_daemon *daemon, int code, const struct cwb_err *err)
{
	const struct cwc *cwc = daemon->cwc;

	switch (code) {
	case -ENOENT:
	case -ECONNREFUSED:
	case -ENOTDIR:
		return cwc_fail(cwc, CWC_UNAVAILABLE, "NoDaemon", NULL,
			"no daemon listens at %s; start cwpd, or name the folder of its sockets "
			"with --socket",
			daemon->path);
	case -EACCES:
	case -EPERM:
		return cwc_fail(cwc, CWC_DENIED, "Denied", NULL,
			"%s: permission denied; members of the socket's group may connect",
			daemon->path);
	case -ENAMETOOLONG:
		return cwc_fail(cwc, CWC_USAGE, "Usage", NULL, "%s", err->message);
	default:
		return cwc_fail(cwc, CWC_UNAVAILABLE, "NoDaemon", NULL, "%s", err->message);
	}
}

int cwc_daemon_open(const struct cwc *cwc, const char *socket, struct cwc_daemon **ret)
{
	struct cwc_daemon *daemon = calloc(1, sizeof *daemon);
	struct cwb_err err = {0};
	int status;

	if (!daemon) {
		return cwc_fail(cwc, CWC_TRY_AGAIN, "NoMemory", NULL, "out of memory");
	}
	daemon->cwc = cwc;
	daemon->socket = socket;
	status = find(daemon, &err);
	if (status < 0) {
		status = report_no_daemon(daemon, status, &err);
		free(daemon);
		return status;
	}
	*ret = daemon;
	return 0;
}

void cwc_daemon_close(struct cwc_daemon *daemon)
{
	if (!daemon) {
		return;
	}
	cww_client_close(daemon->client);
	free(daemon);
}

const char *cwc_daemon_path(const struct cwc_daemon *daemon)
{
	return daemon->path;
}

static int is_lost(int code)
{
	return code == -EPIPE || code == -ECONNRESET || code == -ENOTCONN;
}

static int report_broken(const struct cwc_daemon *daemon, int code, const struct cwb_err *err)
{
	if (code == -ETIMEDOUT) {
		return cwc_fail(daemon->cwc, CWC_TRY_AGAIN, "Timeout", NULL,
			"the daemon at %s did not answer in time", daemon->path);
	}
	if (code == CWP_ELIMIT) {
		return cwc_fail(daemon->cwc, CWC_BAD_INPUT, "TooLong", NULL, "%s", err->message);
	}
	if (is_lost(code)) {
		return cwc_fail(daemon->cwc, CWC_UNAVAILABLE, "Lost", NULL,
			"the daemon at %s closed the connection; cwpctl doctor may know why",
			daemon->path);
	}
	return cwc_fail(
		daemon->cwc, CWC_UNAVAILABLE, "Broken", NULL, "%s: %s", daemon->path, err->message);
}

/* Waits for a daemon at the same path, for seconds at most. */
static int reconnect(struct cwc_daemon *daemon, int seconds)
{
	struct timespec pause = {.tv_nsec = 100000000};
	struct cwb_err err = {0};
	int i, status = -ECONNREFUSED;

	cww_client_close(daemon->client);
	daemon->client = NULL;
	for (i = 0; i < seconds * 10; i++) {
		cwb_err_clear(&err);
		status = cww_client_open(daemon->path, &daemon->client, &err);
		if (status == 0) {
			return 0;
		}
		if (status != -ENOENT && status != -ECONNREFUSED) {
			break;
		}
		(void)nanosleep(&pause, NULL);
	}
	return report_no_daemon(daemon, status, &err);
}

static int exchange(struct cwc_daemon *daemon, const char *method, const json_t *parameters,
	json_t **ret_message, struct cww_reply *ret_reply, struct cwb_err *err)
{
	int wait_ms = strcmp(method, CWC_JOBS ".Submit") == 0 ? PLAN_MS : ANSWER_MS;

	return cww_client_call(daemon->client, method,
		parameters ? json_deep_copy(parameters) : NULL, wait_ms, ret_message, ret_reply,
		err);
}

int cwc_daemon_try(struct cwc_daemon *daemon, const char *method, const json_t *parameters,
	char **ret_error, json_t **ret)
{
	struct cwb_err err = {0};
	struct cww_reply reply;
	json_t *message = NULL;
	char *error = NULL;
	int code, status;

	code = exchange(daemon, method, parameters, &message, &reply, &err);
	if (is_lost(code)) {
		/* It may have been restarted; keys make a second Submit harmless. */
		status = reconnect(daemon, RESTART_SECONDS / 4);
		if (status) {
			return status;
		}
		cwb_err_clear(&err);
		code = exchange(daemon, method, parameters, &message, &reply, &err);
	}
	if (code < 0) {
		return report_broken(daemon, code, &err);
	}
	if (reply.error) {
		error = strdup(reply.error);
		if (!error) {
			json_decref(message);
			return cwc_fail(
				daemon->cwc, CWC_TRY_AGAIN, "NoMemory", NULL, "out of memory");
		}
	}
	*ret_error = error;
	*ret = json_incref(reply.parameters);
	json_decref(message);
	return 0;
}

int cwc_daemon_call(struct cwc_daemon *daemon, const char *method, json_t *parameters, json_t **ret)
{
	char *error = NULL;
	json_t *reply = NULL;
	int status = cwc_daemon_try(daemon, method, parameters, &error, &reply);

	json_decref(parameters);
	if (status == 0 && error) {
		status = cwc_error_report(daemon->cwc, error, reply, NULL);
		json_decref(reply);
		free(error);
		return status;
	}
	if (status == 0) {
		*ret = reply;
	}
	return status;
}

int cwc_call(const struct cwc *cwc, const char *socket, const char *method, json_t *parameters,
	json_t **ret)
{
	struct cwc_daemon *daemon = NULL;
	int status = cwc_daemon_open(cwc, socket, &daemon);

	if (daemon == NULL) {
		json_decref(parameters);
		return status;
	}
	status = cwc_daemon_call(daemon, method, parameters, ret);
	cwc_daemon_close(daemon);
	return status;
}

struct stream {
	struct cwc_daemon *daemon;
	int64_t end_ms; /* of the monotonic clock; negative: none */
	int (*each)(void *context, const json_t *reply, int last);
	void *context;
};

static int64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Milliseconds until then, as poll(2) takes them. */
static int left_ms(int64_t end_ms)
{
	int64_t left = end_ms - now_ms();

	if (end_ms < 0) {
		return -1;
	}
	return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

/* Reads replies until the stream ends. *ret_status is the exit code where it returns 0; a negative
 * code otherwise. */
static int drain_stream(const struct stream *stream, int *ret_status, struct cwb_err *err)
{
	struct cww_reply reply;
	json_t *message;
	int code, status;

	for (;;) {
		cwb_err_clear(err);
		code = cww_client_receive(
			stream->daemon->client, left_ms(stream->end_ms), &message, &reply, err);
		if (code == -EINTR) {
			continue;
		}
		if (code < 0) {
			return code;
		}
		if (reply.error) {
			status = cwc_error_report(
				stream->daemon->cwc, reply.error, reply.parameters, NULL);
		} else {
			status = stream->each(stream->context, reply.parameters, !reply.continues);
			if (status < 0 && !reply.continues) {
				status = CWC_DONE;
			}
		}
		json_decref(message);
		if (status >= 0) {
			*ret_status = status;
			return 0;
		}
	}
}

int cwc_daemon_stream(struct cwc_daemon *daemon, const char *method, const json_t *parameters,
	int64_t seconds, int (*each)(void *context, const json_t *reply, int last), void *context)
{
	struct stream stream = {
		daemon, seconds < 0 ? -1 : now_ms() + seconds * 1000, each, context};
	struct cwb_err err = {0};
	int code, status;

	for (;;) {
		cwb_err_clear(&err);
		code = cww_client_send(daemon->client, method,
			parameters ? json_deep_copy(parameters) : NULL, CWW_CALL_MORE, &err);
		if (code == 0) {
			code = drain_stream(&stream, &status, &err);
		}
		if (code == 0) {
			return status;
		}
		if (code == -ETIMEDOUT) {
			return cwc_fail(daemon->cwc, CWC_TRY_AGAIN, "Timeout", NULL,
				"the time is over; the jobs go on");
		}
		if (!is_lost(code)) {
			return report_broken(daemon, code, &err);
		}
		fprintf(stderr, "%scwpctl: the daemon went away; waiting for it\n",
			daemon->cwc->terminal ? "\r" : "");
		status = reconnect(daemon, RESTART_SECONDS);
		if (status) {
			return status;
		}
	}
}
