/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* org.cwpd.Jobs.List: pages in order of submission. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/ctl/jobs.h"
#include "daemon/ctl/present.h"

#define PAGE 100
#define PAGE_MAX 250 /* names and reasons are bounded, so that a page fits a message */

static unsigned int wanted_states(const struct cwd_call *call)
{
	const json_t *states = json_object_get(call->parameters, "states"), *name;
	unsigned int wanted = 0;
	size_t i;

	if (!json_is_array(states)) {
		return ~0u;
	}
	json_array_foreach(states, i, name)
	{
		wanted |= 1u << cwd_state_find(
				  json_string_value(name)); /* the interface knows no other names */
	}
	return wanted;
}

/* Which jobs are wanted: those of one sweep, or all (with those of sweeps when they are asked for). */
static int is_wanted(const struct cwd_call *call, const struct cwd_job *job, int64_t parent)
{
	if (parent != 0) {
		return job->parent == parent;
	}
	return job->parent == 0 || cwd_call_bool(call, "children");
}

/* One page of jobs after *cursor; *cursor is then the last one's id, 0 when there are no more.
 * NULL: no memory. */
static json_t *page(const struct cwd_call *call, unsigned int states, int64_t parent, size_t limit,
	int64_t *cursor)
{
	const struct cwd_queue *queue = &call->daemon->queue;
	json_t *list = json_array();
	int64_t last = 0;
	size_t i, n = 0;

	for (i = 0; list != NULL && i < queue->n_jobs; i++) {
		const struct cwd_job *job = queue->jobs[i];

		if (job->id <= *cursor || !(states & (1u << job->state)) ||
			!is_wanted(call, job, parent) || !cwd_call_may_see(call, job)) {
			continue;
		}
		if (n == limit) {
			*cursor = last;
			return list;
		}
		if (json_array_append_new(list, cwd_present_job(call->daemon, job)) != 0) {
			json_decref(list);
			return NULL;
		}
		last = job->id;
		n++;
	}
	*cursor = 0;
	return list;
}

static json_t *page_reply(json_t *jobs, int64_t cursor)
{
	char text[24];

	if (cursor == 0) {
		return json_pack("{s:o}", "jobs", jobs);
	}
	snprintf(text, sizeof text, "%" PRId64, cursor);
	return json_pack("{s:o, s:s}", "jobs", jobs, "cursor", text);
}

void cwd_jobs_list(struct cwd_call *call)
{
	const char *text = cwd_call_string(call, "cursor");
	int64_t cursor = text == NULL ? 0 : cwd_id_parse(text),
		limit = cwd_call_int(call, "limit", PAGE);
	unsigned int states = wanted_states(call);
	const struct cwd_job *sweep = NULL;
	int64_t parent = 0;
	json_t *jobs;

	if ((text != NULL && cursor == 0) || limit < 1) {
		cwd_call_error(call, "org.varlink.service.InvalidParameter",
			json_pack("{s:s}", "parameter", limit < 1 ? "limit" : "cursor"));
		return;
	}
	if (cwd_call_string(call, "parent") != NULL) {
		sweep = cwd_call_job(call, "parent");
		if (sweep == NULL) {
			return;
		}
		parent = sweep->id;
	}
	limit = limit > PAGE_MAX ? PAGE_MAX : limit;
	jobs = page(call, states, parent, (size_t)limit, &cursor);
	while (call->more && cursor != 0) {
		if (cwd_call_continue(call, page_reply(jobs, cursor)) < 0) {
			cursor = 0; /* the caller is gone or does not read */
			jobs = json_array();
			break;
		}
		jobs = page(call, states, parent, (size_t)limit, &cursor);
	}
	cwd_call_reply(call, page_reply(jobs, cursor));
}
