/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Submissions planned by workers, a few at a time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/quantity.h"
#include "daemon/ctl/present.h"
#include "daemon/ctl/submit_p.h"
#include "daemon/log.h"

#define PLANNING_MAX 4 /* processes at a time */
#define PLAN_MAX ((size_t)512 << 10)

/* The bounds of one plan into r. */
static int take_bounds(
	struct cwd_submit *submit, const json_t *plan, struct cwd_resources *r)
{
	const struct cwd_settings *settings = submit->daemon->settings;
	json_t *bounds = NULL;
	int rc = cwb_json_get_object(plan, "bounds", CWB_JSON_REQUIRED, &bounds, &submit->err);

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

/* Of a sweep each job has bounds of its own. */
static int check_bounds(struct cwd_submit *submit)
{
	const json_t *children = json_object_get(submit->plan, "children");
	int rc = take_bounds(submit, submit->plan, &submit->job->resources);
	size_t i;

	if (rc == 0 && json_array_size(children) != submit->n_children) {
		rc = cwb_err_set(&submit->err, CWP_EMISSING, "it has %zu children, not %zu",
			json_array_size(children), submit->n_children);
	}
	for (i = 0; rc == 0 && i < submit->n_children; i++) {
		rc = take_bounds(
			submit, json_array_get(children, i), &submit->children[i]->resources);
	}
	return rc;
}

/* The jobs of a matrix read the same files one after another, and few are large. */
static unsigned int plan_seconds(const struct cwd_submit *submit)
{
	return submit->daemon->settings->plan_timeout * (1 + (unsigned int)submit->n_children / 8);
}

static void answer_plan_failed(struct cwd_submit *submit, const char *how, const char *errors)
{
	char reason[1536];

	snprintf(reason, sizeof reason, "cwp-worker plan: %s%s%s", how, errors[0] ? ": " : "",
		errors);
	cwd_log(CWD_LOG_WARNING, "%s", reason);
	cwd_submit_error(submit, "org.cwpd.Jobs.PlanFailed",
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
		cwd_submit_invalid(submit);
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
	cwd_submit_plan_next(daemon);
	if (result->rc == 0 && result->signal == 0 && result->exit_code == 65) {
		answer_refused(submit, result);
	} else if (result->rc != 0 || result->signal != 0 || result->exit_code != 0) {
		if (result->rc == -ETIMEDOUT) {
			snprintf(how, sizeof how, "no answer within %u s", plan_seconds(submit));
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
			cwd_submit_invalid(submit);
		} else {
			answer_plan_failed(submit, "its answer has no bounds", submit->err.message);
		}
	} else {
		cwd_submit_store(submit);
	}
}

static int start_plan(struct cwd_submit *submit)
{
	struct cwd_daemon *daemon = submit->daemon;
	const struct cwd_settings *settings = daemon->settings;
	char *program = cwd_settings_program(settings, "cwp-worker");
	const char **argv = calloc(12 + 2 * settings->plugins.n, sizeof *argv);
	char *gpus = cwd_submit_gpu_list(submit->daemon);
	struct cwd_child_options options = {.input = submit->text,
		.output_max = PLAN_MAX,
		.timeout_ms = plan_seconds(submit) * 1000,
		.done = on_planned,
		.arg = submit};
	char memory[CWB_QUANTITY_TEXT];
	size_t n = 0, i;
	int rc = -ENOMEM;

	/* As much may stay free, for the files that jobs read and write. */
	cwb_size_print(settings->memory / 2 / (settings->running > 0 ? settings->running : 1), memory);
	if (program != NULL && argv != NULL) {
		argv[n++] = program;
		argv[n++] = "plan";
		argv[n++] = "--job-fd";
		argv[n++] = "0";
		argv[n++] = "--directory";
		argv[n++] = submit->directory;
		if (gpus != NULL) {
			argv[n++] = "--gpu";
			argv[n++] = gpus;
		}
		argv[n++] = "--memory";
		argv[n++] = memory;
		for (i = 0; i < settings->plugins.n; i++) {
			argv[n++] = "--plugin-dir";
			argv[n++] = settings->plugins.items[i];
		}
		options.argv = (char *const *)(uintptr_t)argv;
		rc = cwd_child_start(daemon->loop, &options, &submit->child, &submit->err);
	}
	free(program);
	free(argv);
	free(gpus);
	return rc;
}

/* In order of arrival; the list has the newest first. */
void cwd_submit_plan_next(struct cwd_daemon *daemon)
{
	while (daemon->n_planning < PLANNING_MAX) {
		struct cwd_submit *submit, *oldest = NULL;

		for (submit = daemon->submits; submit != NULL; submit = submit->next) {
			/* A freed one has left the list through its `back`, which the analyzer does
			 * not see. */
			oldest = submit->phase == CWD_WAITING
					 ? submit
					 : oldest; /* NOLINT(clang-analyzer-unix.Malloc) */
		}
		if (oldest == NULL) {
			return;
		}
		oldest->phase = CWD_PLANNING;
		daemon->n_planning++;
		if (start_plan(oldest) < 0) {
			daemon->n_planning--;
			cwd_submit_error(oldest, "org.cwpd.Jobs.Internal",
				json_pack("{s:s}", "reason", "no memory"));
		}
	}
}
