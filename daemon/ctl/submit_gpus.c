/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The GPUs that a submission asks for, and those that the daemon has to give. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/ctl/submit_p.h"

/* A GPU that the job names must be among them. */
static int check_name(const struct cwd_capacity *capacity, const char *name, struct cwb_err *err)
{
	size_t i, n = strlen(name);

	for (i = 0; i < capacity->n_gpus; i++) {
		if (strncasecmp(capacity->gpus[i].uuid, name, n) == 0) {
			return 0;
		}
	}
	if (n == 0 || capacity->n_gpus == 0) {
		return 0;
	}
	snprintf(err->field, sizeof err->field, "backend");
	return cwb_err_set(err, CWP_ELIMIT,
		"the daemon gives no job GPU %s (its gpus); it has %zu, such as %s: name one of these, or use backend: cuda", name,
		capacity->n_gpus, capacity->gpus[0].uuid);
}

/* Where the daemon knows of no GPU, planning says what there is. */
static int check_number(const struct cwd_submit *submit, const struct cwj_limits *limits, struct cwb_err *err)
{
	const struct cwd_daemon *daemon = submit->daemon;
	size_t n = daemon->capacity.n_gpus;

	if (limits->gpus <= 1 || (n == 0 && !daemon->settings->gpus_none) || limits->gpus <= n) {
		return 0;
	}
	snprintf(err->field, sizeof err->field, "limits.gpus");
	err->line = limits->line;
	err->column = limits->column;
	return cwb_err_set(err, CWP_ELIMIT, "limits.gpus: %u GPUs are asked for, but the daemon gives its jobs %zu (its gpus): ask for fewer",
		(unsigned)limits->gpus, n);
}

int cwd_submit_gpus_check(struct cwd_submit *submit)
{
	const struct cwj_sweep *sweep = submit->sweep;
	size_t i;
	int rc = 0;

	for (i = 0; rc == 0 && i < sweep->n_points; i++) {
		const struct cwd_job *job = submit->n_children > 0 ? submit->children[i] : submit->job;

		rc = check_name(&submit->daemon->capacity, job->resources.gpu, &submit->err);
		rc = rc == 0 ? check_number(submit, &sweep->points[i].job->limits, &submit->err) : rc;
	}
	return rc;
}

char *cwd_submit_gpu_list(const struct cwd_daemon *daemon)
{
	size_t i, at = 0, size = (daemon->capacity.n_gpus + 1) * CWD_GPU_UUID;
	char *text;

	if (daemon->settings->gpus_none) {
		return strdup("none");
	}
	text = daemon->capacity.n_gpus > 0 ? malloc(size) : NULL;
	for (i = 0; text != NULL && i < daemon->capacity.n_gpus; i++) {
		at += (size_t)snprintf(text + at, size - at, "%s%s", i > 0 ? "," : "", daemon->capacity.gpus[i].uuid);
	}
	return text;
}
