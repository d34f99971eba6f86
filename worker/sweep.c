/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The jobs of a matrix in one process, one after another. */
#include "worker/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/pipeline/sweep.h"
#include "worker/control.h"
#include "worker/status.h"

/* Each point has a scratch folder of its own; one is in use by one job. */
static int run_point(const struct cwj_sweep *sweep, size_t i, const struct cwk_options *o)
{
	const struct cwj_sweep_point *point = &sweep->points[i];
	struct cwk_options one = *o;
	char *scratch = NULL;
	if (o->scratch != NULL && asprintf(&scratch, "%s/%s", o->scratch, point->label) < 0) {
		(void)fputs("cwp-worker: no memory for a path\n", stderr);
		return 1;
	}
	one.scratch = scratch;
	one.finished_is_done = 1;
	(void)fprintf(stderr, "== %zu of %zu: %s\n", i + 1, sweep->n_points, point->label);
	int code = cwk_attempt(point->job, &one);
	cwk_control_end();
	if (scratch != NULL) {
		(void)rmdir(scratch); /* when nothing is kept in it */
	}
	free(scratch);
	return code;
}

static int write_report(const struct cwj_sweep *sweep)
{
	struct cwb_err err = {0};
	size_t found = 0;
	int r = cwe_sweep_report(sweep, &found, &err);
	if (r != 0) {
		cwk_error_print(&err);
		return cwb_err_exit(r);
	}
	if (found > 0) {
		(void)fprintf(stderr, "report of %zu of %zu jobs: %s/report.html\n", found, sweep->n_points, sweep->output);
	}
	return 0;
}

/* Jobs of a sweep mostly have the same scores: without a cache they get one of their own, where their scratch is. */
static char *own_cache(const struct cwj_sweep *sweep, const struct cwk_options *o)
{
	const char *slash = strrchr(sweep->output, '/');
	char *path = NULL;
	int n = o->scratch != NULL
		? asprintf(&path, "%s/.cwp-cache", o->scratch)
		: asprintf(&path, "%.*s/.%s.cwp-cache", (int)(slash - sweep->output), sweep->output, slash + 1);
	return n < 0 ? NULL : path;
}

int cwk_sweep_run(const struct cwj_sweep *sweep, const struct cwk_options *options)
{
	struct cwb_err err = {0};
	struct cwk_options o = *options;
	char *cache = o.cache == NULL ? own_cache(sweep, &o) : NULL;
	int worst = 0, stopped = 0;
	int r = cwb_file_make_folders(sweep->output, 0777, &err);
	if (r != 0) {
		free(cache);
		cwk_error_print(&err);
		return cwb_err_exit(r);
	}
	o.cache = o.cache == NULL ? cache : o.cache;
	for (size_t i = 0; i < sweep->n_points && !stopped; i++) {
		int code = run_point(sweep, i, &o);
		if (code != 0 && (worst == 0 || (worst == 2 && code != 2))) {
			worst = code;
		}
		stopped = cwk_control_reason() != CWK_STOP_NONE;
	}
	if (cache != NULL && !stopped) {
		(void)cwb_file_remove_tree(AT_FDCWD, cache, NULL); /* it has served its sweep */
	}
	free(cache);
	int code = write_report(sweep);
	return worst != 0 ? worst : code;
}

int cwk_sweep_attempt(const struct cwj_sweep *sweep, const struct cwk_options *o)
{
	struct cwe_host host = {0}; /* for its flag: a report computes nothing */
	struct cwk_status status;
	struct cwb_err err = {0};
	size_t found = 0;
	cwk_status_init(&status, o->status_fd);
	int r = cwk_control_start(&host, o->control_fd, o->control, o->control_length, 0, &err);
	if (r == 0) {
		cwk_status_progress(&status, CWE_STAGE_REPORT, 0, sweep->n_points, "jobs");
		r = cwe_sweep_report(sweep, &found, &err);
	}
	if (r == 0 && found == 0) {
		r = cwb_err_set(&err, CWP_EMISSING, "none of the %zu jobs has a report", sweep->n_points);
	}
	if (r == 0) {
		cwk_status_progress(&status, CWE_STAGE_REPORT, found, sweep->n_points, "jobs");
	}
	cwk_status_end(&status, r == 0 ? CWW_RESULT_DONE : CWW_RESULT_FAILED, r == 0 ? NULL : &err);
	return r == 0 ? 0 : 1;
}
