/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Choosing, planning and opening the GPUs beside the first one. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/share.h"
#include "engine/pipeline/several.h"

/* Smaller pieces keep no GPU busy. */
#define PIECE_LEAST 512u

const char *cwe_run_several_first(const struct cwe_run *run, char *ret)
{
	const char *given = run->p->gpu, *name = strchr(run->job->backend, ':'), *at = given;
	if (given == NULL || strcmp(given, "none") == 0) {
		return given;
	}
	while (name != NULL && at != NULL && strncasecmp(at, name + 1, strlen(name + 1)) != 0) {
		at = strchr(at, ',');
		at = at != NULL ? at + 1 : NULL;
	}
	/* Without the one that is named, opening says what was given. */
	at = at != NULL ? at : given;
	(void)snprintf(ret, 64, "%.*s", (int)strcspn(at, ","), at);
	return ret;
}

/* There is no second GPU where there is no first one. */
static int refuse_cpu(const struct cwe_run *run, struct cwb_err *err)
{
	const char *why = run->device.why;
	return cwb_err_set(err, CWP_EMISSING, "limits.gpus: %" PRIu32 " GPUs are asked for, but the job would be computed on the CPU%s%s; "
		"ask for one, or see to the GPUs", run->job->limits.gpus, why[0] != '\0' ? ": " : "", why);
}

int cwe_run_several_find(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwj_limits *limits = &run->job->limits;
	struct cwe_run_several *s = &run->several;
	struct cwb_err why = {0};
	const char *given = run->p->gpu;
	int remote = cwe_device_remote(&run->device), r = 0;
	s->n = remote ? 1 : 0;
	s->smallest = UINT64_MAX;
	if (limits->gpus <= 1) {
		return 0;
	}
	if (!remote) {
		return cwe_run_place(err, refuse_cpu(run, err), limits->line, limits->column, "limits", "gpus");
	}
	r = cwe_companions_find(&run->device, given, limits->gpus - 1, s->found, &why);
	if (r != 0) {
		r = cwb_err_set(err, r, "limits.gpus: %s", why.message);
		return r == CWP_EMISSING ? cwe_run_place(err, r, limits->line, limits->column, "limits", "gpus") : r;
	}
	s->n = limits->gpus;
	for (uint32_t k = 0; k + 1 < s->n; k++) {
		s->smallest = s->found[k].total < s->smallest ? s->found[k].total : s->smallest;
	}
	return 0;
}

uint32_t cwe_run_lanes(const struct cwe_run *run)
{
	if (run->several.n <= 1 || run->scorer == NULL || run->corpus.pieces == 0 || !cwe_calibration_measures(run->needs)) {
		return 1;
	}
	return run->corpus.pieces < run->several.n ? (uint32_t)run->corpus.pieces : run->several.n;
}

uint64_t cwe_run_lane_tokens(const struct cwe_run *run)
{
	uint64_t all = run->corpus.tokens, n = cwe_run_lanes(run);
	if (n == 1) {
		return all;
	}
	/* The pilot's pieces are others: no part of them is larger than this. */
	uint64_t most = all / n + run->corpus.widest;
	return !run->job->scale_pilot ? cwe_share_tokens(&run->corpus, (uint32_t)n) : most < all ? most : all;
}

uint64_t cwe_run_lane_piece(const struct cwe_run *run, uint64_t tokens)
{
	uint64_t n = run->several.n, part = n > 1 && run->sets > 0 ? tokens / run->sets / n : UINT64_MAX;
	return run->scorer == NULL || part == UINT64_MAX ? UINT64_MAX : part > PIECE_LEAST ? part : PIECE_LEAST;
}

static int warn_idle(struct cwe_run *run, uint32_t lanes, struct cwb_err *err)
{
	uint32_t n = run->several.n;
	if (n <= lanes || n <= 1) {
		return 0;
	}
	if (lanes == 1 && (run->scorer == NULL || !cwe_calibration_measures(run->needs))) {
		return cwe_run_warn(run, err, "limits.gpus: only the samples of a score are divided, and this job measures none: of its %" PRIu32
			" GPUs it uses one", n);
	}
	return cwe_run_warn(run, err, "limits.gpus: the samples are so few that %" PRIu32 " of %" PRIu32 " GPUs take part", lanes, n);
}

int cwe_run_several_plan(struct cwe_run *run, const struct cwe_need *need, uint64_t budget, struct cwb_err *err)
{
	struct cwe_run_several *s = &run->several;
	if (need->lanes > 1) {
		s->use = need->use;
		s->least = run->device.ops->overhead(run->device.b, &s->use) + need->device;
		s->room = budget > s->least ? budget - s->least : 0; /* the first one, which needs as much, fits */
		s->room = need->boundaries < s->room ? need->boundaries : s->room;
	}
	return warn_idle(run, need->lanes > 1 ? need->lanes : 1, err);
}

/* With less free than was planned, yet enough, boundaries leave this GPU. */
static int reserve(struct cwe_run *run, void *arg, struct cwb_err *err)
{
	const struct cwe_run_several *s = &run->several;
	struct cwe_device *d = arg;
	uint64_t total = 0, idle = 0, room = s->room;
	int r = cwe_device_enter(d, err);
	r = r == 0 ? cwe_device_check(d, "memory", d->ops->memory(d->b, &total, &idle), err) : r;
	if (r == 0 && idle >= s->least && idle - s->least < room) {
		room = idle - s->least;
	}
	d->boundary_room = room;
	r = r == 0 ? cwe_device_check(d, "reserve", d->ops->reserve(d->b, s->least + room, &s->use), err) : r;
	return r == 0 ? 0 : cwb_err_prefix(err, "%s", d->uuid);
}

static void tell(const struct cwe_run *run, uint32_t lanes)
{
	const struct cwp_host *host = &run->p->host->table;
	char text[128];
	(void)snprintf(text, sizeof text, "the samples are divided among %" PRIu32 " GPUs", lanes);
	host->log(host->ctx, CWP_LOG_INFO, text);
	for (uint32_t k = 0; k + 1 < lanes; k++) {
		(void)snprintf(text, sizeof text, "also on %.63s", run->several.found[k].uuid);
		host->log(host->ctx, CWP_LOG_INFO, text);
	}
}

int cwe_run_several_open(struct cwe_run *run, struct cwb_err *err)
{
	struct cwe_run_several *s = &run->several;
	uint32_t lanes = cwe_run_lanes(run);
	if (lanes == 1 || s->open.n > 0) {
		return 0;
	}
	int r = cwe_companions_open(run->p->registry, &run->model, s->found, lanes - 1, &s->open, err);
	for (uint32_t k = 0; r == 0 && k < s->open.n; k++) {
		r = cwe_run_gpu_wait(run, reserve, &s->open.device[k], err);
	}
	int entered = cwe_device_enter(&run->device, r == 0 ? err : NULL);
	if (r == 0) {
		tell(run, lanes);
	}
	return r == 0 ? entered : r;
}

json_t *cwe_run_several_json(const struct cwe_run *run)
{
	json_t *list = json_array();
	if (run->several.n > 0 && json_array_append_new(list, json_string(run->device.uuid)) != 0) {
		json_decref(list);
		return NULL;
	}
	for (uint32_t k = 0; k + 1 < run->several.n; k++) {
		if (json_array_append_new(list, json_string(run->several.found[k].uuid)) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}
