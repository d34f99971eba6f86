/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A call that is being answered. Handlers get one and end it exactly once, now or later, with a
 * last reply or an error; the caller may be gone by then, which changes nothing for them. */
#pragma once

#include <jansson.h>
#include <sys/types.h>

#include "daemon/daemon.h"
#include "wire/idl.h"

struct cwd_connection;

struct cwd_call {
	struct cwd_daemon *daemon;
	struct cwd_connection *connection; /* NULL: the caller is gone */
	const struct cww_interface *interface;
	const struct cww_member *method;
	json_t *message;
	json_t *parameters; /* of the message; never NULL */
	int more, oneway;
	uid_t uid; /* of the caller, from the socket */
	int admin; /* may deal with everybody's jobs */
	void (*gone)(
		struct cwd_call *call); /* the caller left a stream: end the call (cwd_call_drop).
					   NULL: end it whenever it would have ended */
	void *data;                     /* the handler's own */
};

/* The last reply. parameters is taken and may be NULL; so is what a failed json_pack gave. Frees
 * the call. */
void cwd_call_reply(struct cwd_call *call, json_t *parameters);
/* One of several replies. Negative: the caller is gone or reads too slowly; `gone` follows later.
 */
int cwd_call_continue(struct cwd_call *call, json_t *parameters);
/* An error of that full name; frees the call. */
void cwd_call_error(struct cwd_call *call, const char *name, json_t *parameters);
/* org.cwpd.Jobs.Internal with the message of err; frees the call. */
void cwd_call_fail(struct cwd_call *call, const struct cwb_err *err);
/* Frees the call without an answer: only from `gone`. */
void cwd_call_drop(struct cwd_call *call);
/* The last reply, when everything that was changed before is on disk. */
void cwd_call_reply_after_commit(struct cwd_call *call, json_t *parameters);

/* For the server: a new call; takes the message. */
struct cwd_call *cwd_call_new(struct cwd_daemon *daemon, json_t *message, json_t *parameters);

/* What a parameter holds; the interface was checked before, so that types are right. */
const char *cwd_call_string(
	const struct cwd_call *call, const char *name); /* NULL: absent or null */
int64_t cwd_call_int(const struct cwd_call *call, const char *name, int64_t absent);
int cwd_call_bool(const struct cwd_call *call, const char *name);

/* The job named by parameter `name`, if it exists and the caller may deal with it; else NULL, and
 * the call was answered. */
struct cwd_job *cwd_call_job(struct cwd_call *call, const char *name);
int cwd_call_may_see(const struct cwd_call *call, const struct cwd_job *job);
