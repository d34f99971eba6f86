/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Setting up a run, and telling how it ended. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/pipeline/sweep.h"
#include "engine/plugin/places.h"
#include "worker/attempt.h"
#include "worker/control.h"
#include "worker/status.h"

struct bench {
	struct cwe_pool *pool;
	struct cwe_host host;
	struct cwe_registry *registry;
	char *own_folder;
};

static int open_registry(struct bench *b, const struct cwk_options *o, struct cwb_err *err)
{
	unsigned flags = o->trusted_only ? 0 : CWE_REGISTRY_ANY_OWNER;
	if (o->plugin_dirs > 0) {
		return cwe_registry_new(o->plugin_dir, o->plugin_dirs, flags, &b->registry, err);
	}
	int r = cwe_plugin_folder(&b->own_folder, err);
	const char *folder = b->own_folder;
	return r == 0 ? cwe_registry_new(&folder, 1, flags, &b->registry, err) : r;
}

static int set_up(struct bench *b, uint32_t threads, uint64_t seed, const struct cwk_options *o, struct cwb_err *err)
{
	/* Weights must not land in core files. */
	(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	int r = cwe_pool_new(o->threads > 0 ? o->threads : threads, &b->pool, err);
	if (r == 0) {
		if (o->cpus != NULL) {
			cwe_pool_pin(b->pool, o->cpus);
		}
		cwe_host_init(&b->host, b->pool, seed);
		r = open_registry(b, o, err);
	}
	return r;
}

static void tear_down(struct bench *b)
{
	cwe_registry_free(b->registry);
	cwe_pool_free(b->pool);
	free(b->own_folder);
}

void cwk_error_print(const struct cwb_err *err)
{
	/* Messages about a place in a file begin with it. */
	(void)fprintf(stderr, "%s%s", err->line > 0 ? "" : "cwp-worker: ", err->message);
	if (err->nearest[0] != '\0' && strstr(err->message, err->nearest) == NULL) {
		(void)fprintf(stderr, " (nearest: %s)", err->nearest);
	}
	(void)fputc('\n', stderr);
}

/* An error of a run that knows its place in the job file says so first. */
static void place(struct cwb_err *err, const struct cwk_options *o)
{
	char line[32];
	(void)snprintf(line, sizeof line, ":%d:", err->line);
	/* A message with a place of its own speaks of a data file. */
	if (err->line > 0 && o->file != NULL && strstr(err->message, line) == NULL) {
		(void)cwb_err_prefix(err, "%s:%d:%d", o->file, err->line, err->column);
	}
}

void cwk_error_json(const struct cwb_err *err)
{
	json_t *e = json_pack("{s:{s:i,s:s,s:s,s:i,s:i,s:s}}", "error", "code", err->code, "message", err->message, "field",
		err->field, "line", err->line, "column", err->column, "nearest", err->nearest);
	if (e != NULL) {
		(void)json_dumpf(e, stdout, JSON_COMPACT);
		(void)fputc('\n', stdout);
	}
	json_decref(e);
}

/* As many as the widest job takes: bounds count them. 0: all. */
static uint32_t most_threads(const struct cwj_sweep *sweep)
{
	uint32_t most = 0;
	for (size_t i = 0; i < sweep->n_points; i++) {
		uint32_t n = sweep->points[i].job->limits.threads;
		if (n == 0) {
			return 0;
		}
		most = n > most ? n : most;
	}
	return most;
}

int cwk_plan(const struct cwj_sweep *sweep, const struct cwk_options *o, int json_errors)
{
	const struct cwj_job *job = sweep->points[0].job;
	struct bench b = {0};
	struct cwb_err err = {0};
	json_t *plan = NULL;
	int r = set_up(&b, most_threads(sweep), job->seed, o, &err);
	if (r == 0) {
		struct cwe_pipeline p = {.job = job, .host = &b.host, .registry = b.registry, .gpu = o->gpu, .memory = o->memory};
		r = sweep->n_keys > 0 ? cwe_sweep_plan(&p, sweep, &plan, &err) : cwe_pipeline_plan(&p, &plan, &err);
	}
	if (r == 0) {
		(void)json_dumpf(plan, stdout, JSON_INDENT(json_errors ? 0 : 1));
		(void)fputc('\n', stdout);
	} else if (json_errors) {
		cwk_error_json(&err);
	} else {
		place(&err, o);
		cwk_error_print(&err);
	}
	json_decref(plan);
	tear_down(&b);
	return r == 0 ? 0 : 65;
}

/* The folder for scratch: as given, else one beside the output. */
static int open_scratch(const struct cwj_job *job, const struct cwk_options *o, char **ret, struct cwb_err *err)
{
	const char *slash = strrchr(job->output, '/');
	int n = o->scratch != NULL
		? asprintf(ret, "%s", o->scratch)
		: asprintf(ret, "%.*s/.%s.cwp-scratch", (int)(slash - job->output), job->output, slash + 1);
	if (n < 0) {
		*ret = NULL;
		return cwb_err_set(err, -ENOMEM, "no memory for a path");
	}
	return cwb_file_make_folders(*ret, 0700, err);
}

static int report_end(struct cwk_status *status, int code, struct cwb_err *err)
{
	enum cwk_stop why = cwk_control_reason();
	if (code == 0) {
		cwk_status_end(status, CWW_RESULT_DONE, NULL);
		return 0;
	}
	if (code == CWP_EGATE) {
		cwk_status_end(status, CWW_RESULT_REJECTED, err);
		return 2;
	}
	if (code == CWP_ECANCELLED && why == CWK_STOP_TERM && status->fd >= 0) {
		return 1; /* stopped at a checkpoint, to be continued: no last word */
	}
	if (code == CWP_ECANCELLED && why == CWK_STOP_TIME) {
		cwb_err_clear(err);
		cwb_err_set(err, CWP_ELIMIT, "limits.time is over; raise it, or use smaller sets");
		cwk_status_end(status, CWW_RESULT_FAILED, err);
		return 1;
	}
	cwk_status_end(status, code == CWP_ECANCELLED ? CWW_RESULT_CANCELLED : CWW_RESULT_FAILED, err);
	return 1;
}

int cwk_attempt(const struct cwj_job *job, const struct cwk_options *o)
{
	struct bench b = {0};
	struct cwb_err err = {0};
	struct cwk_status status;
	char *scratch = NULL;
	cwk_status_init(&status, o->status_fd);
	int r = set_up(&b, job->limits.threads, job->seed, o, &err);
	r = r == 0 ? cwk_control_start(&b.host, o->control_fd, o->control, o->control_length, job->limits.time, &err) : r;
	r = r == 0 ? open_scratch(job, o, &scratch, &err) : r;
	if (r == 0) {
		b.host.log = cwk_status_log;
		b.host.log_arg = &status;
		struct cwe_pipeline p = {.job = job, .host = &b.host, .registry = b.registry, .gpu = o->gpu, .memory = o->memory,
			.scratch = scratch, .arg = &status,
			.cache = o->cache, .cache_size = o->cache_size, .cache_age = o->cache_age,
			.progress = cwk_status_progress, .checkpoint = cwk_status_checkpoint,
			.finished_is_done = o->status_fd >= 0 || o->finished_is_done};
		r = cwe_pipeline_run(&p, &err);
		if (o->scratch == NULL) {
			(void)rmdir(scratch); /* when nothing is kept in it */
		}
	}
	int code = report_end(&status, r, &err);
	if (r != 0 && o->status_fd < 0) {
		place(&err, o);
		cwk_error_print(&err);
		code = code == 1 && r != CWP_ECANCELLED ? cwb_err_exit(r) : code;
	}
	free(scratch);
	tear_down(&b);
	return code;
}
