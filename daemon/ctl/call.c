/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Answers to calls. */
#include "daemon/ctl/call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/ctl/dispatch.h"
#include "daemon/ctl/server.h"
#include "daemon/log.h"
#include "wire/call.h"

struct cwd_call *cwd_call_new(struct cwd_daemon *daemon, json_t *message, json_t *parameters)
{
	struct cwd_call *call = calloc(1, sizeof *call);

	if (call == NULL) {
		json_decref(message);
		return NULL;
	}
	call->daemon = daemon;
	call->message = message;
	call->parameters = parameters;
	if (call->parameters == NULL) {
		call->parameters = json_object();
		if (json_object_set_new(message, "parameters", call->parameters) != 0) {
			cwd_call_drop(call);
			return NULL;
		}
	}
	return call;
}

void cwd_call_drop(struct cwd_call *call)
{
	if (call->connection != NULL) {
		cwd_connection_call_ended(call->connection);
	}
	json_decref(call->message);
	free(call);
}

static int deliver(struct cwd_call *call, json_t *message)
{
	int rc = 0;

	if (message == NULL) {
		cwd_log(CWD_LOG_ERROR, "no memory for a reply");
		if (call->connection != NULL) {
			cwd_connection_close(call->connection);
		}
		return -ENOMEM;
	}
	if (call->connection == NULL) {
		rc = -ECONNRESET;
	} else if (!call->oneway) {
		rc = cwd_connection_send(call->connection, message);
	}
	json_decref(message);
	return rc;
}

/* Our own replies must follow our own interface text; a test reads the log for this line. */
static void check_reply(const struct cwd_call *call, const json_t *parameters)
{
	struct cwb_err err = {0};

	if (call->method != NULL &&
		cww_check(call->interface, call->method->out, parameters, &err) < 0) {
		cwd_log(CWD_LOG_ERROR, "reply of %s.%s does not follow its interface: %s",
			call->interface->name, call->method->name, err.message);
	}
}

void cwd_call_reply(struct cwd_call *call, json_t *parameters)
{
	check_reply(call, parameters);
	(void)deliver(call, cww_reply_make(parameters, 0)); /* a caller that is gone misses it */
	cwd_call_drop(call);
}

int cwd_call_continue(struct cwd_call *call, json_t *parameters)
{
	check_reply(call, parameters);
	return deliver(call, cww_reply_make(parameters, 1));
}

void cwd_call_error(struct cwd_call *call, const char *name, json_t *parameters)
{
	struct cwb_err err = {0};

	call->daemon->counters.errors++;
	if (cwd_dispatch_check_error(name, parameters, &err) < 0) {
		cwd_log(CWD_LOG_ERROR, "error %s does not follow its interface: %s", name,
			err.message);
	}
	(void)deliver(call, cww_error_make(name, parameters)); /* a caller that is gone misses it */
	cwd_call_drop(call);
}

void cwd_call_fail(struct cwd_call *call, const struct cwb_err *err)
{
	cwd_call_error(call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", err->message));
}

struct late {
	struct cwd_call *call;
	json_t *parameters;
};

static void on_committed(struct cwd_batch *batch, void *arg)
{
	struct late *late = arg;

	if (batch->rc < 0) {
		json_decref(late->parameters);
		cwd_call_fail(late->call, &batch->err);
	} else {
		cwd_call_reply(late->call, late->parameters);
	}
	free(late);
}

void cwd_call_reply_after_commit(struct cwd_call *call, json_t *parameters)
{
	struct late *late = malloc(sizeof *late);

	if (late == NULL) {
		json_decref(parameters);
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return;
	}
	late->call = call;
	late->parameters = parameters;
	cwd_daemon_after_commit(call->daemon, on_committed, late);
}

const char *cwd_call_string(const struct cwd_call *call, const char *name)
{
	return json_string_value(json_object_get(call->parameters, name));
}

int64_t cwd_call_int(const struct cwd_call *call, const char *name, int64_t absent)
{
	const json_t *value = json_object_get(call->parameters, name);

	return json_is_integer(value) ? (int64_t)json_integer_value(value) : absent;
}

int cwd_call_bool(const struct cwd_call *call, const char *name)
{
	return json_is_true(json_object_get(call->parameters, name));
}

int cwd_call_may_see(const struct cwd_call *call, const struct cwd_job *job)
{
	return call->admin || job->uid == call->uid;
}

struct cwd_job *cwd_call_job(struct cwd_call *call, const char *name)
{
	const char *id = cwd_call_string(call, name);
	struct cwd_job *job = cwd_queue_find(&call->daemon->queue, cwd_id_parse(id));

	if (job == NULL) {
		cwd_call_error(call, "org.cwpd.Jobs.NoSuchJob", json_pack("{s:s}", "id", id));
		return NULL;
	}
	if (!cwd_call_may_see(call, job)) {
		cwd_call_error(call, "org.cwpd.Jobs.NotOwner",
			json_pack("{s:s, s:s}", "id", id, "owner", job->owner));
		return NULL;
	}
	return job;
}
