/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A job from its file to its finished output, stage by stage; resumable, reporting progress through callbacks. */
#pragma once

#include <jansson.h>

#include "engine/plugin/host.h"
#include "engine/plugin/registry.h"
#include "job/job.h"

enum cwe_stage {
	CWE_STAGE_PLAN,
	CWE_STAGE_OPEN,
	CWE_STAGE_CALIBRATE,
	CWE_STAGE_SCORE,
	CWE_STAGE_SELECT,
	CWE_STAGE_QUANTIZE,
	CWE_STAGE_WRITE,
	CWE_STAGE_EVALUATE,
	CWE_STAGE_GATE,
	CWE_STAGE_REPORT,
	CWE_STAGES
};
const char *cwe_stage_name(enum cwe_stage stage);

struct cwe_pipeline {
	const struct cwj_job *job;
	struct cwe_host *host;         /* with its pool; setting host->cancelled ends the run with CWP_ECANCELLED */
	struct cwe_registry *registry;
	const char *gpu;               /* UUIDs of those that this job may have, commas between them; "none"; NULL: whichever there are */
	uint64_t memory;               /* bytes that a job without limits.memory may come to for speed alone; 0: a part of the machine's */
	const char *cache;             /* folder of scores that jobs share, NULL: none */
	uint64_t cache_size, cache_age; /* bytes of it at most, 0: none; seconds that an entry stays unused, 0: for ever */
	const char *scratch;           /* folder of this job alone; exists; what lies there is reused or removed */
	int finished_is_done;          /* a finished output of this same job is success: the run that made it was not heard */
	const json_t *search;          /* what was tried for protect.fraction: auto, for the report; NULL: nothing yet */
	void *arg;
	/* News of a stage; total 0: not known. May be NULL. [worker] */
	void (*progress)(void *arg, enum cwe_stage stage, uint64_t done, uint64_t total, const char *unit);
	/* New work is on disk: a later attempt goes on from here. May be NULL. */
	void (*checkpoint)(void *arg);
};

/* Bounds in bytes, from shapes alone. memory: resident memory at most, mapped pages included. */
struct cwe_bounds {
	uint64_t memory;
	uint64_t gpu_memory;
	uint64_t scratch;
};

/* What the job will do and need, without doing it: opens the model's headers and the data sets, no weights. *ret is an
 * object {stages, sizes, bounds, chat, warnings, gate}; a new reference. chat is the name of the chat format, or null;
 * warnings are texts: what was assumed. Refuses what could not run: a limit that is below the bounds
 * (CWP_ELIMIT), an unknown plugin, option or architecture, an output that exists. */
int cwe_pipeline_plan(const struct cwe_pipeline *p, json_t **ret, struct cwb_err *err);

/* Runs the job. 0: done, the output has its manifest, scratch is empty. CWP_EGATE: the gate rejected it, the output lies
 * under "<output>.rejected". CWP_ECANCELLED, and errors that may go away: stopped, what is on scratch and in the output
 * is kept for a later attempt. Errors of input: nothing is left. [worker] */
int cwe_pipeline_run(const struct cwe_pipeline *p, struct cwb_err *err);
