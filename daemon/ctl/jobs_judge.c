/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* org.cwpd.Jobs.Gate and Compare: a worker looks at the outcomes of finished jobs; nothing is changed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "daemon/child.h"
#include "daemon/ctl/jobs.h"
#include "daemon/ctl/jobs_p.h"
#include "daemon/ctl/present.h"
#include "daemon/log.h"
#include "job/output.h"

#define JOBS_MAX 8
#define JUDGES_MAX 4 /* processes at a time */
#define ANSWER_MAX ((size_t)768 << 10) /* leaves room in a message for escapes */
#define TIMEOUT_MS 300000u

/* One call: folders are found on a thread, then a worker runs. */
struct cwd_judge {
	struct cwd_judge *next, **back;
	struct cwd_daemon *daemon;
	struct cwd_call *call;
	struct cwd_child *child;
	const char *gate; /* the call's; NULL: a comparison */
	size_t n;
	char *output[JOBS_MAX], *digest[JOBS_MAX];
};

static void judge_free(struct cwd_judge *judge)
{
	size_t i;

	if (judge->back != NULL) {
		*judge->back = judge->next;
		if (judge->next != NULL) {
			judge->next->back = judge->back;
		}
		judge->daemon->n_judges--;
	}
	for (i = 0; i < judge->n; i++) {
		free(judge->output[i]);
		free(judge->digest[i]);
	}
	free(judge);
}

static void answer_internal(struct cwd_judge *judge, const char *reason)
{
	cwd_call_error(judge->call, "org.cwpd.Jobs.Internal",
		json_pack("{s:o}", "reason", cwd_present_text(reason)));
	judge_free(judge);
}

/* The worker's own words. */
static void answer_refused(struct cwd_judge *judge, const json_t *answer)
{
	json_t *error = NULL;
	const char *message = NULL, *nearest = "";

	if (cwb_json_get_object(answer, "error", CWB_JSON_REQUIRED, &error, NULL) < 0 ||
		cwb_json_get_string(error, "message", CWB_JSON_REQUIRED, &message, NULL) < 0 ||
		cwb_json_get_string(error, "nearest", CWB_JSON_OPTIONAL, &nearest, NULL) < 0) {
		answer_internal(judge, "cwp-worker refused without saying why");
		return;
	}
	cwd_call_error(judge->call, "org.cwpd.Jobs.NoOutcomes",
		json_pack("{s:o, s:o}", "reason", cwd_present_text(message), "nearest",
			cwd_present_text(nearest)));
	judge_free(judge);
}

static void on_judged(const struct cwd_child_result *result, void *arg)
{
	struct cwd_judge *judge = arg;
	json_t *answer = NULL;
	char reason[1200];
	int ended = result->rc == 0 && result->signal == 0;

	judge->child = NULL;
	if (result->output != NULL) {
		(void)cwb_json_load(
			result->output, result->length, ANSWER_MAX, CWB_JSON_DEPTH - 4, &answer, NULL);
	}
	if (ended && result->exit_code == 65 && answer != NULL) {
		answer_refused(judge, answer);
	} else if (!ended || (result->exit_code != 0 && result->exit_code != 2) || answer == NULL) {
		snprintf(reason, sizeof reason, "cwp-worker: %s: %s",
			result->rc != 0 ? cwb_err_text(result->rc) : "no answer", result->errors);
		cwd_log(CWD_LOG_WARNING, "%s", reason);
		answer_internal(judge, reason);
	} else {
		cwd_call_reply(judge->call, json_incref(answer));
		judge_free(judge);
	}
	json_decref(answer);
}

static void find_outputs(void *arg)
{
	struct cwd_judge *judge = arg;
	size_t i;

	for (i = 0; i < judge->n; i++) {
		char *found = cwj_output_find(judge->output[i], judge->digest[i], NULL);

		/* What is not there is named by the worker. */
		if (found != NULL) {
			free(judge->output[i]);
			judge->output[i] = found;
		}
	}
}

static void on_found(void *arg)
{
	struct cwd_judge *judge = arg;
	char *program = cwd_settings_program(judge->daemon->settings, "cwp-worker");
	const char *argv[JOBS_MAX + 6];
	struct cwd_child_options options = {.argv = (char *const *)(uintptr_t)argv,
		.input = judge->gate,
		.output_max = ANSWER_MAX,
		.timeout_ms = TIMEOUT_MS,
		.done = on_judged,
		.arg = judge};
	struct cwb_err err = {0};
	size_t n = 0, i;

	if (program == NULL) {
		answer_internal(judge, "no memory");
		return;
	}
	argv[n++] = program;
	argv[n++] = judge->gate != NULL ? "gate" : "compare";
	argv[n++] = "--job-fd";
	argv[n++] = "0";
	argv[n++] = "--";
	for (i = 0; i < judge->n; i++) {
		argv[n++] = judge->output[i];
	}
	argv[n] = NULL;
	if (cwd_child_start(judge->daemon->loop, &options, &judge->child, &err) < 0) {
		answer_internal(judge, "no memory");
	}
	free(program);
}

/* Only what has ended with results: done, or rejected by its gate. 0, or the call was answered. */
static int take_job(struct cwd_judge *judge, const char *id)
{
	struct cwd_call *call = judge->call;
	const struct cwd_job *job = cwd_queue_find(&call->daemon->queue, cwd_id_parse(id));

	if (job == NULL) {
		cwd_call_error(call, "org.cwpd.Jobs.NoSuchJob", json_pack("{s:s}", "id", id));
		return -1;
	}
	if (!cwd_call_may_see(call, job)) {
		cwd_call_error(call, "org.cwpd.Jobs.NotOwner",
			json_pack("{s:s, s:s}", "id", id, "owner", job->owner));
		return -1;
	}
	if (job->n_children > 0 || (job->state != CWD_DONE && job->state != CWD_REJECTED)) {
		cwd_call_error(call, "org.cwpd.Jobs.BadState",
			json_pack("{s:s, s:s, s:s}", "id", id, "state", cwd_state_name(job->state), "reason",
				job->n_children > 0 ? "a sweep has no outcomes of its own; name one of its jobs"
						    : "only a job that is done or rejected has outcomes"));
		return -1;
	}
	judge->output[judge->n] = strdup(job->output);
	judge->digest[judge->n] = strdup(job->digest != NULL ? job->digest : "");
	judge->n++;
	if (judge->output[judge->n - 1] == NULL || judge->digest[judge->n - 1] == NULL) {
		cwd_call_error(call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return -1;
	}
	return 0;
}

static void start(struct cwd_call *call, const json_t *ids, const char *gate)
{
	struct cwd_daemon *daemon = call->daemon;
	struct cwd_judge *judge = NULL;
	const json_t *id;
	size_t i;

	if (daemon->n_judges >= JUDGES_MAX || (judge = calloc(1, sizeof *judge)) == NULL) {
		cwd_call_error(call, "org.cwpd.Jobs.Internal",
			json_pack("{s:s}", "reason",
				judge == NULL && daemon->n_judges >= JUDGES_MAX ? "four are being answered already"
										: "no memory"));
		return;
	}
	judge->daemon = daemon;
	judge->call = call;
	judge->gate = gate;
	json_array_foreach(ids, i, id)
	{
		if (take_job(judge, json_string_value(id)) < 0) {
			judge_free(judge);
			return;
		}
	}
	judge->next = daemon->judges;
	judge->back = &daemon->judges;
	if (judge->next != NULL) {
		judge->next->back = &judge->next;
	}
	daemon->judges = judge;
	daemon->n_judges++;
	if (cwd_daemon_task(daemon, find_outputs, on_found, judge) < 0) {
		answer_internal(judge, "no memory");
	}
}

void cwd_jobs_gate(struct cwd_call *call)
{
	json_t *ids = json_pack("[s]", cwd_call_string(call, "id"));

	start(call, ids, cwd_call_string(call, "gate"));
	json_decref(ids);
}

void cwd_jobs_compare(struct cwd_call *call)
{
	const json_t *ids = json_object_get(call->parameters, "ids");

	if (json_array_size(ids) < 2 || json_array_size(ids) > JOBS_MAX) {
		cwd_call_error(call, "org.varlink.service.InvalidParameter",
			json_pack("{s:s}", "parameter", "ids"));
		return;
	}
	start(call, ids, NULL);
}

void cwd_judge_abandon(struct cwd_daemon *daemon)
{
	struct cwd_judge *judge, *next;

	for (judge = daemon->judges; judge != NULL; judge = next) {
		next = judge->next;
		if (judge->child != NULL) {
			cwd_child_abandon(judge->child);
		}
		cwd_call_error(judge->call, "org.cwpd.Jobs.Draining",
			json_pack("{s:s}", "reason", "the daemon is stopping"));
		judge_free(judge);
	}
}
