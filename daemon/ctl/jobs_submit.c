/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* org.cwpd.Jobs.Submit: checked on a thread, planned by a worker, stored, and only then answered.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/json.h"
#include "daemon/child.h"
#include "daemon/ctl/jobs.h"
#include "daemon/ctl/present.h"
#include "daemon/log.h"
#include "daemon/roots.h"
#include "job/job.h"
#include "wire/message.h"

#define SUBMITS_MAX 256 /* at a time */
#define PLANNING_MAX 4  /* processes at a time */
#define PLAN_MAX ((size_t)512 << 10)
#define AFTER_MAX 64
#define NAME_SIZE 201

enum phase { CHECKING, WAITING, PLANNING, STORING };

struct cwd_submit {
	struct cwd_daemon *daemon;
	const struct cwd_settings *settings; /* of the moment when it came: the thread's */
	struct cwd_call *call;
	enum phase phase;
	const char *text, *directory; /* of the call's message */
	struct cwd_job *job;
	struct cwd_child *child;
	json_t *plan;
	int rc;
	struct cwb_err err;
	char *denied; /* path that is not allowed */
	struct cwd_submit *next, **back;
};

static void submit_free(struct cwd_submit *submit)
{
	if (submit->back != NULL) {
		*submit->back = submit->next;
		if (submit->next != NULL) {
			submit->next->back = submit->back;
		}
		submit->daemon->n_submits--;
	}
	cwd_job_free(submit->job);
	json_decref(submit->plan);
	free(submit->denied);
	free(submit);
}

static void answer_error(struct cwd_submit *submit, const char *name, json_t *parameters)
{
	struct cwd_call *call = submit->call;

	submit_free(submit);
	cwd_call_error(call, name, parameters);
}

static json_t *invalid(const struct cwb_err *err)
{
	return json_pack("{s:o, s:i, s:i, s:o, s:o}", "path", cwd_present_text(err->field), "line",
		err->line, "column", err->column, "reason", cwd_present_text(err->message),
		"nearest", cwd_present_text(err->nearest));
}

static void answer_invalid(struct cwd_submit *submit)
{
	struct cwb_err err = submit->err;

	if (err.code == -ENOMEM) {
		answer_error(submit, "org.cwpd.Jobs.Internal",
			json_pack("{s:s}", "reason", err.message));
	} else {
		answer_error(submit, "org.cwpd.Jobs.JobInvalid", invalid(&err));
	}
}

static json_t *plan_reply(const struct cwd_submit *submit)
{
	return json_pack("{s:o, s:O?}", "resources", cwd_present_resources(&submit->job->resources),
		"plan", submit->plan);
}

static json_t *id_reply(int64_t id, json_t *plan)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRId64, id);
	return plan == NULL ? json_pack("{s:s}", "id", text)
			    : json_pack("{s:s, s:o}", "id", text, "plan", plan);
}

/* ---- checking, on a thread ---- */

static char *owner_name(uid_t uid)
{
	struct passwd entry, *found = NULL;
	char buffer[4096], *name;

	if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found != NULL) {
		return strdup(found->pw_name);
	}
	return asprintf(&name, "%u", (unsigned)uid) < 0 ? NULL : name;
}

/* The job's name, or that of its output, short and printable. */
static char *job_name(const struct cwj_job *parsed)
{
	const char *slash = strrchr(parsed->output, '/');
	const char *name = parsed->name != NULL ? parsed->name
			   : slash != NULL      ? slash + 1
						: parsed->output;
	char *text = malloc(NAME_SIZE);

	if (text != NULL) {
		cww_escape(name, strlen(name), text, NAME_SIZE);
	}
	return text;
}

/* What makes two submissions the same one. */
static char *request_digest(const char *directory, const char *text)
{
	struct cwb_digest digest = {0};
	char hex[CWB_DIGEST_HEX];

	if (cwb_digest_begin(&digest) < 0) {
		return NULL;
	}
	cwb_digest_update(&digest, directory, strlen(directory) + 1);
	cwb_digest_update(&digest, text, strlen(text));
	return cwb_digest_end_hex(&digest, hex) < 0 ? NULL : strdup(hex);
}

static int fill_job(struct cwd_submit *submit, const struct cwj_job *parsed)
{
	struct cwd_job *job = submit->job;
	char digest[65];

	if (cwj_job_digest(parsed, digest) < 0) {
		return -ENOMEM;
	}
	job->uid = submit->call->uid;
	job->owner = owner_name(job->uid);
	job->name = job_name(parsed);
	job->directory = strdup(submit->directory);
	job->request = request_digest(submit->directory, submit->text);
	job->digest = strdup(digest);
	job->model = strdup(parsed->model);
	job->output = strdup(parsed->output);
	job->resources.threads = parsed->limits.threads;
	job->resources.time = parsed->limits.time;
	return job->owner && job->name && job->directory && job->request && job->digest &&
			       job->model && job->output
		       ? 0
		       : -ENOMEM;
}

static void check(void *arg)
{
	struct cwd_submit *submit = arg;
	struct cwj_job *parsed = NULL;
	const char *path = NULL;

	submit->rc = cwj_job_parse(
		submit->text, strlen(submit->text), submit->directory, &parsed, &submit->err);
	if (submit->rc == 0) {
		submit->rc = cwd_roots_check(
			submit->settings, parsed, submit->call->uid, &path, &submit->err);
		submit->denied = path == NULL ? NULL : strdup(path);
	}
	if (submit->rc == 0 && fill_job(submit, parsed) < 0) {
		submit->rc = cwb_err_set(&submit->err, -ENOMEM, "no memory for a job");
	}
	cwj_job_free(parsed);
}

/* ---- storing ---- */

static void on_repeated(struct cwd_batch *batch, void *arg)
{
	struct cwd_submit *submit = arg;
	struct cwd_job *job =
		cwd_queue_find_key(&submit->daemon->queue, submit->job->uid, submit->job->key);
	struct cwd_call *call = submit->call;

	(void)batch; /* only says that the earlier submission has been stored, or not */
	if (job == NULL) {
		answer_error(submit, "org.cwpd.Jobs.Internal",
			json_pack("{s:s}", "reason",
				"the first submission with this key failed; try again"));
		return;
	}
	submit_free(submit);
	cwd_call_reply(call, id_reply(job->id, NULL));
}

static int same_key(const struct cwd_job *a, const struct cwd_job *b)
{
	return a->uid == b->uid && strcmp(a->key, b->key) == 0;
}

/* Another submission that is being stored with the same key (or output), or NULL. */
static const struct cwd_job *find_storing(const struct cwd_submit *submit, int by_output)
{
	const struct cwd_submit *other;

	for (other = submit->daemon->submits; other != NULL; other = other->next) {
		if (other != submit && other->phase == STORING &&
			(by_output ? strcmp(other->job->output, submit->job->output) == 0
				   : same_key(other->job, submit->job))) {
			return other->job;
		}
	}
	return NULL;
}

/* 1: the key was used before, and the call is being answered. */
static int answer_repeated(struct cwd_submit *submit)
{
	const struct cwd_job *job =
		cwd_queue_find_key(&submit->daemon->queue, submit->job->uid, submit->job->key);
	char id[24];

	if (job == NULL) {
		job = find_storing(submit, 0);
	}
	if (job == NULL) {
		return 0;
	}
	if (strcmp(job->request, submit->job->request) != 0) {
		snprintf(id, sizeof id, "%" PRId64, job->id);
		answer_error(submit, "org.cwpd.Jobs.KeyReused",
			json_pack("{s:s, s:s}", "key", submit->job->key, "id", id));
		return 1;
	}
	cwd_daemon_after_commit(submit->daemon, on_repeated, submit);
	return 1;
}

/* 1: another job writes there, and the call was answered. */
static int answer_taken_output(struct cwd_submit *submit)
{
	const struct cwd_job *other =
		cwd_queue_find_output(&submit->daemon->queue, submit->job->output);

	if (other == NULL) {
		other = find_storing(submit, 1);
	}
	if (other == NULL) {
		return 0;
	}
	(void)cwb_err_set(&submit->err, CWP_ESTATE,
		"output: %s: job %lld writes there; choose another folder or remove that"
		" job",
		submit->job->output, (long long)other->id);
	snprintf(submit->err.field, sizeof submit->err.field, "output");
	answer_invalid(submit);
	return 1;
}

static void on_stored(struct cwd_batch *batch, void *arg)
{
	struct cwd_submit *submit = arg;
	struct cwd_daemon *daemon = submit->daemon;
	struct cwd_call *call = submit->call;
	struct cwd_job *job = submit->job;
	json_t *plan;

	if (batch->rc < 0 || cwd_queue_added(&daemon->queue, job) < 0) {
		char reason[sizeof batch->err.message + 32];

		snprintf(reason, sizeof reason, "the job cannot be stored: %s", batch->err.message);
		answer_error(submit,
			batch->rc == -ENOSPC ? "org.cwpd.Jobs.QueueFull" : "org.cwpd.Jobs.Internal",
			json_pack("{s:s}", "reason", reason));
		return;
	}
	daemon->counters.submitted++;
	cwd_log(CWD_LOG_INFO, "job %lld: submitted by %s: %s", (long long)job->id, job->owner,
		job->name);
	plan = plan_reply(submit);
	submit->job = NULL;
	submit_free(submit);
	cwd_queue_announce(&daemon->queue, job);
	cwd_daemon_poke(daemon);
	cwd_call_reply(call, id_reply(job->id, plan));
}

static void store(struct cwd_submit *submit)
{
	struct cwd_batch *batch;

	if (cwd_call_bool(submit->call, "dry_run")) {
		struct cwd_call *call = submit->call;
		json_t *plan = plan_reply(submit);

		submit_free(submit);
		cwd_call_reply(call, json_pack("{s:o}", "plan", plan));
		return;
	}
	if (answer_repeated(submit) || answer_taken_output(submit)) {
		return;
	}
	submit->phase = STORING;
	batch = cwd_queue_add(&submit->daemon->queue, submit->job, submit->text);
	if (batch == NULL) {
		answer_error(submit, "org.cwpd.Jobs.Internal",
			json_pack("{s:s}", "reason", "no memory"));
		return;
	}
	batch->done = on_stored;
	batch->arg = submit;
	cwd_writer_put(submit->daemon->writer, batch);
}

/* ---- planning ---- */

static int check_bounds(struct cwd_submit *submit)
{
	const struct cwd_settings *settings = submit->daemon->settings;
	struct cwd_resources *r = &submit->job->resources;
	json_t *bounds = NULL;
	int rc = cwb_json_get_object(
		submit->plan, "bounds", CWB_JSON_REQUIRED, &bounds, &submit->err);

	if (rc == 0) {
		rc = cwb_json_get_u64(bounds, "memory", CWB_JSON_REQUIRED, 0, INT64_MAX, &r->memory,
			&submit->err);
	}
	if (rc == 0) {
		rc = cwb_json_get_u64(bounds, "gpu_memory", CWB_JSON_OPTIONAL, 0, INT64_MAX,
			&r->gpu_memory, &submit->err);
	}
	if (rc == 0) {
		rc = cwb_json_get_u64(bounds, "scratch", CWB_JSON_OPTIONAL, 0, INT64_MAX,
			&r->scratch, &submit->err);
	}
	if (rc == 0 && r->memory > settings->memory) {
		rc = cwb_err_set(&submit->err, CWP_ELIMIT,
			"the job needs up to %llu MiB of memory; the daemon may use %llu MiB (its "
			"limits.memory)",
			(unsigned long long)(r->memory >> 20),
			(unsigned long long)(settings->memory >> 20));
		snprintf(submit->err.field, sizeof submit->err.field, "limits.memory");
	}
	return rc;
}

static void start_next_plan(struct cwd_daemon *daemon);

static void answer_plan_failed(struct cwd_submit *submit, const char *how, const char *errors)
{
	char reason[1536];

	snprintf(reason, sizeof reason, "cwp-worker plan: %s%s%s", how, errors[0] ? ": " : "",
		errors);
	cwd_log(CWD_LOG_WARNING, "%s", reason);
	answer_error(submit, "org.cwpd.Jobs.PlanFailed",
		json_pack("{s:o}", "reason", cwd_present_text(reason)));
}

/* The job is refused with the planner's words. */
static void answer_refused(struct cwd_submit *submit, const struct cwd_child_result *result)
{
	json_t *json = NULL, *error = NULL;
	char *text = NULL;

	if (result->output == NULL ||
		cwb_json_load(result->output, result->length, PLAN_MAX, CWB_JSON_DEPTH, &json,
			NULL) < 0 ||
		cwb_json_get_object(json, "error", CWB_JSON_REQUIRED, &error, NULL) < 0 ||
		(text = cwb_json_dump(error, NULL)) == NULL ||
		cwd_error_parse(text, &submit->err, NULL) < 0) {
		answer_plan_failed(submit, "refused the job without saying why", result->errors);
	} else {
		answer_invalid(submit);
	}
	free(text);
	json_decref(json);
}

static void on_planned(const struct cwd_child_result *result, void *arg)
{
	struct cwd_submit *submit = arg;
	struct cwd_daemon *daemon = submit->daemon;
	char how[96];

	submit->child = NULL;
	daemon->n_planning--;
	start_next_plan(daemon);
	if (result->rc == 0 && result->signal == 0 && result->exit_code == 65) {
		answer_refused(submit, result);
	} else if (result->rc != 0 || result->signal != 0 || result->exit_code != 0) {
		if (result->rc == -ETIMEDOUT) {
			snprintf(how, sizeof how, "no answer within %u s",
				daemon->settings->plan_timeout);
		} else if (result->rc != 0) {
			snprintf(how, sizeof how, "%s", cwb_err_text(result->rc));
		} else {
			snprintf(how, sizeof how, "%s %d",
				result->signal ? "died of signal" : "exit code",
				result->signal ? result->signal : result->exit_code);
		}
		answer_plan_failed(submit, how, result->errors);
	} else if (result->output == NULL ||
		   cwb_json_load(result->output, result->length, PLAN_MAX, CWB_JSON_DEPTH - 4,
			   &submit->plan, &submit->err) < 0) {
		answer_plan_failed(submit, "its answer is not JSON", submit->err.message);
	} else if (check_bounds(submit) < 0) {
		if (submit->err.code == CWP_ELIMIT) {
			answer_invalid(submit);
		} else {
			answer_plan_failed(submit, "its answer has no bounds", submit->err.message);
		}
	} else {
		store(submit);
	}
}

static int start_plan(struct cwd_submit *submit)
{
	struct cwd_daemon *daemon = submit->daemon;
	const struct cwd_settings *settings = daemon->settings;
	char *program = cwd_settings_program(settings, "cwp-worker");
	const char **argv = calloc(8 + 2 * settings->plugins.n, sizeof *argv);
	struct cwd_child_options options = {.input = submit->text,
		.output_max = PLAN_MAX,
		.timeout_ms = settings->plan_timeout * 1000,
		.done = on_planned,
		.arg = submit};
	size_t n = 0, i;
	int rc = -ENOMEM;

	if (program != NULL && argv != NULL) {
		argv[n++] = program;
		argv[n++] = "plan";
		argv[n++] = "--job-fd";
		argv[n++] = "0";
		argv[n++] = "--directory";
		argv[n++] = submit->directory;
		for (i = 0; i < settings->plugins.n; i++) {
			argv[n++] = "--plugin-dir";
			argv[n++] = settings->plugins.items[i];
		}
		options.argv = (char *const *)(uintptr_t)argv;
		rc = cwd_child_start(daemon->loop, &options, &submit->child, &submit->err);
	}
	free(program);
	free(argv);
	return rc;
}

/* In order of arrival; the list has the newest first. */
static void start_next_plan(struct cwd_daemon *daemon)
{
	while (daemon->n_planning < PLANNING_MAX) {
		struct cwd_submit *submit, *oldest = NULL;

		for (submit = daemon->submits; submit != NULL; submit = submit->next) {
			/* A freed one has left the list through its `back`, which the analyzer does
			 * not see. */
			oldest = submit->phase == WAITING
					 ? submit
					 : oldest; /* NOLINT(clang-analyzer-unix.Malloc) */
		}
		if (oldest == NULL) {
			return;
		}
		oldest->phase = PLANNING;
		daemon->n_planning++;
		if (start_plan(oldest) < 0) {
			daemon->n_planning--;
			answer_error(oldest, "org.cwpd.Jobs.Internal",
				json_pack("{s:s}", "reason", "no memory"));
		}
	}
}

static void on_checked(void *arg)
{
	struct cwd_submit *submit = arg;

	if (submit->rc == CWP_EDENIED && submit->denied != NULL) {
		answer_error(submit, "org.cwpd.Jobs.PathNotAllowed",
			json_pack("{s:o, s:s, s:o}", "path", cwd_present_text(submit->denied),
				"field", submit->err.field, "reason",
				cwd_present_text(submit->err.message)));
	} else if (submit->rc < 0) {
		answer_invalid(submit);
	} else if (submit->daemon->stopping) {
		answer_error(submit, "org.cwpd.Jobs.Draining",
			json_pack("{s:s}", "reason", "the daemon is stopping"));
	} else if (cwd_call_bool(submit->call, "dry_run") ||
		   (!answer_repeated(submit) && !answer_taken_output(submit))) {
		submit->phase = WAITING;
		start_next_plan(submit->daemon);
	}
}

/* ---- the call ---- */

static int is_key(const char *key)
{
	size_t i, n = strlen(key);

	for (i = 0; i < n; i++) {
		if (!isalnum((unsigned char)key[i]) && key[i] != '-') {
			return 0;
		}
	}
	return n >= 8 && n <= 64;
}

/* Name of the parameter that is wrong, or NULL. */
static const char *check_parameters(const struct cwd_call *call)
{
	int64_t priority = cwd_call_int(call, "priority", 0);

	if (cwd_call_string(call, "directory")[0] != '/') {
		return "directory";
	}
	if (!is_key(cwd_call_string(call, "key"))) {
		return "key";
	}
	if (priority < -100 || priority > 100) {
		return "priority";
	}
	return json_array_size(json_object_get(call->parameters, "after")) > AFTER_MAX ? "after"
										       : NULL;
}

static size_t count_waiting(const struct cwd_daemon *daemon, uid_t uid)
{
	const struct cwd_submit *submit;
	size_t i, n = 0;

	for (i = 0; i < daemon->queue.n_jobs; i++) {
		const struct cwd_job *job = daemon->queue.jobs[i];

		n += job->uid == uid && !cwd_state_is_final(job->state) &&
		     job->state != CWD_RUNNING;
	}
	for (submit = daemon->submits; submit != NULL; submit = submit->next) {
		n += submit->call->uid == uid;
	}
	return n;
}

/* 1: no more jobs for now, and the call was answered. */
static int refuse_now(struct cwd_call *call)
{
	struct cwd_daemon *daemon = call->daemon;
	unsigned int quota = daemon->settings->queued_per_user;
	char reason[128] = "";
	int trouble = cwd_writer_trouble(daemon->writer);

	if (daemon->drain_reason != NULL) {
		cwd_call_error(call, "org.cwpd.Jobs.Draining",
			json_pack("{s:o}", "reason", cwd_present_text(daemon->drain_reason)));
		return 1;
	}
	if (trouble != 0) {
		snprintf(reason, sizeof reason, "the store cannot be written: %s",
			cwb_err_text(trouble));
	} else if (daemon->n_submits >= SUBMITS_MAX) {
		snprintf(reason, sizeof reason, "%zu submissions are being checked; try again",
			daemon->n_submits);
	} else if (quota != 0 && count_waiting(daemon, call->uid) >= quota) {
		snprintf(reason, sizeof reason, "%u jobs of yours wait already (quotas.queued)",
			quota);
	}
	if (reason[0] == '\0') {
		return 0;
	}
	cwd_call_error(call, "org.cwpd.Jobs.QueueFull", json_pack("{s:s}", "reason", reason));
	return 1;
}

/* Fills job->after. 0, or the call was answered. */
static int take_after(struct cwd_call *call, struct cwd_job *job)
{
	const json_t *list = json_object_get(call->parameters, "after"), *element;
	size_t i, n = json_array_size(list);

	if (n == 0) {
		return 0;
	}
	job->after = calloc(n, sizeof *job->after);
	if (job->after == NULL) {
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return -1;
	}
	json_array_foreach(list, i, element)
	{
		struct cwd_job *parent;

		if (cwd_after_parse_one(json_string_value(element), &job->after[i], NULL) < 0) {
			cwd_call_error(call, "org.varlink.service.InvalidParameter",
				json_pack("{s:s}", "parameter", "after"));
			return -1;
		}
		parent = cwd_queue_find(&call->daemon->queue, job->after[i].id);
		if (parent == NULL || !cwd_call_may_see(call, parent)) {
			cwd_call_error(
				call, "org.cwpd.Jobs.NoSuchJob", json_pack("{s:O}", "id", element));
			return -1;
		}
		job->n_after++;
	}
	return 0;
}

static struct cwd_job *new_job(struct cwd_call *call)
{
	struct cwd_job *job = calloc(1, sizeof *job);

	if (job == NULL || (job->key = strdup(cwd_call_string(call, "key"))) == NULL) {
		free(job);
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return NULL;
	}
	if (take_after(call, job) < 0) {
		cwd_job_free(job);
		return NULL;
	}
	job->priority = (int)cwd_call_int(call, "priority", 0);
	job->state = CWD_QUEUED;
	if (cwd_call_bool(call, "hold")) {
		job->state = CWD_HELD;
		job->reason = strdup("held at submission"); /* without memory it has no reason */
	}
	return job;
}

void cwd_jobs_submit(struct cwd_call *call)
{
	const char *wrong = check_parameters(call);
	struct cwd_daemon *daemon = call->daemon;
	struct cwd_submit *submit;
	struct cwd_job *job;

	if (wrong != NULL) {
		cwd_call_error(call, "org.varlink.service.InvalidParameter",
			json_pack("{s:s}", "parameter", wrong));
		return;
	}
	if (refuse_now(call)) {
		return;
	}
	job = new_job(call);
	if (job == NULL) {
		return;
	}
	submit = calloc(1, sizeof *submit);
	if (submit == NULL) {
		cwd_job_free(job);
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return;
	}
	submit->daemon = daemon;
	submit->settings = daemon->settings;
	submit->call = call;
	submit->job = job;
	submit->text = cwd_call_string(call, "job");
	submit->directory = cwd_call_string(call, "directory");
	submit->next = daemon->submits;
	submit->back = &daemon->submits;
	if (submit->next != NULL) {
		submit->next->back = &submit->next;
	}
	daemon->submits = submit;
	daemon->n_submits++;
	if (cwd_daemon_task(daemon, check, on_checked, submit) < 0) {
		answer_error(submit, "org.cwpd.Jobs.Internal",
			json_pack("{s:s}", "reason", "no memory"));
	}
}

void cwd_submit_abandon(struct cwd_daemon *daemon)
{
	struct cwd_submit *submit, *next;

	for (submit = daemon->submits; submit != NULL; submit = next) {
		next = submit->next;
		if (submit->phase == PLANNING || submit->phase == WAITING) {
			if (submit->child != NULL) {
				cwd_child_abandon(submit->child);
			}
			answer_error(submit, "org.cwpd.Jobs.Draining",
				json_pack("{s:s}", "reason", "the daemon is stopping"));
		}
	}
}
