/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Talking to the daemon: finds its sockets, calls, streams that survive its restart, and turns each
 * error of the protocol into a sentence and an exit code. */
#pragma once

#include <jansson.h>

#include "cli/cwc.h"

#define CWC_JOBS "org.cwpd.Jobs"
#define CWC_ADMIN "org.cwpd.Admin"
#define CWC_METRICS "org.cwpd.Metrics"

struct cwc_daemon;

/* The socket that serves the jobs: the administrators' with --admin. */
const char *cwc_jobs_socket(const struct cwc *cwc);

/* Connects to the socket of that name. 0, or an exit code after saying why. */
int cwc_daemon_open(const struct cwc *cwc, const char *socket, struct cwc_daemon **ret);
void cwc_daemon_close(struct cwc_daemon *daemon);
const char *cwc_daemon_path(const struct cwc_daemon *daemon);

/* One call, one reply. parameters is stolen and may be NULL. 0 with the reply's parameters in *ret
 * (a new reference), or an exit code after saying why. */
int cwc_daemon_call(
	struct cwc_daemon *daemon, const char *method, json_t *parameters, json_t **ret);
/* The same where the caller wants to put an error of the daemon in its own words: then the call
 * succeeds, *ret_error is the error's full name (a string to be freed), else NULL. Safe to send
 * twice: a lost connection is made anew once. */
int cwc_daemon_try(struct cwc_daemon *daemon, const char *method, const json_t *parameters,
	char **ret_error, json_t **ret);

/* A call with "more". each() gets every reply's parameters (borrowed) and whether it is the last;
 * what it returns ends the stream: negative to go on, else the exit code. parameters is borrowed:
 * each() may move its cursor, and where the daemon goes away the call is sent again with it as soon
 * as there is a daemon again, within a minute. seconds: for the whole, -1 for ever; then the exit
 * code is CWC_TRY_AGAIN. */
int cwc_daemon_stream(struct cwc_daemon *daemon, const char *method, const json_t *parameters,
	int64_t seconds, int (*each)(void *context, const json_t *reply, int last), void *context);

/* Connects, calls once, closes. */
int cwc_call(const struct cwc *cwc, const char *socket, const char *method, json_t *parameters,
	json_t **ret);

/* The sentence and the exit code for an error of the protocol; file is the job file where one was
 * submitted, else NULL. */
int cwc_error_report(
	const struct cwc *cwc, const char *error, const json_t *parameters, const char *file);
