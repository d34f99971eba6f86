/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Inside of Submit: a submission on its way through checking, planning and storing. */
#pragma once

#include <jansson.h>

#include "daemon/child.h"
#include "daemon/ctl/call.h"
#include "job/sweep.h"

enum cwd_phase { CWD_CHECKING, CWD_WAITING, CWD_PLANNING, CWD_STORING };

struct cwd_submit {
	struct cwd_daemon *daemon;
	const struct cwd_settings *settings; /* of the moment when it came: the thread's */
	struct cwd_call *call;
	enum cwd_phase phase;
	const char *text, *directory; /* of the call's message */
	struct cwj_sweep *sweep; /* the text, once it is checked */
	struct cwd_job *job;
	size_t n_children; /* the jobs of a matrix; 0: there is none */
	struct cwd_job **children;
	struct cwd_child *child;
	json_t *plan;
	int rc;
	struct cwb_err err;
	char *denied; /* path that is not allowed */
	struct cwd_submit *next, **back;
};

/* Takes it out of the list and frees it; not its call. */
void cwd_submit_free(struct cwd_submit *submit);
/* Frees it and answers its call with an error; with JobInvalid and the words of submit->err. */
void cwd_submit_error(struct cwd_submit *submit, const char *name, json_t *parameters);
void cwd_submit_invalid(struct cwd_submit *submit);

/* Checks the text and fills job and children; rc and err say how it went. On a thread. */
void cwd_submit_check(void *submit);

/* 1: the key was used before, or another job writes to that output; the call was answered, or will
 * be. */
int cwd_submit_is_repeated(struct cwd_submit *submit);
int cwd_submit_is_taken(struct cwd_submit *submit);

/* Whether the daemon has the GPUs that its jobs ask for; CWP_ELIMIT with submit->err filled. */
int cwd_submit_gpus_check(struct cwd_submit *submit);
/* All that the daemon may give, with commas between them, or "none"; NULL: it knows of none, or memory is short. */
char *cwd_submit_gpu_list(const struct cwd_daemon *daemon);

/* Stores what was planned and answers. */
void cwd_submit_store(struct cwd_submit *submit);
/* Starts the plans that wait, as many as may run. */
void cwd_submit_plan_next(struct cwd_daemon *daemon);
