/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Asking for GPUs. */
#include "daemon/gpus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "daemon/child.h"
#include "daemon/log.h"

#define ANSWER_MAX ((size_t)64 << 10)
#define MOST_GPUS 64
/* Drivers of many devices take their time to start. */
#define PROBE_SECONDS "60"
#define TIMEOUT_MS 70000

struct cwd_gpus {
	struct cwd_daemon *daemon;
	struct cwd_child *child;
	void (*done)(struct cwd_daemon *daemon, void *arg);
	void *arg;
};

static int is_allowed(const struct cwd_settings *settings, const char *uuid)
{
	size_t i;

	for (i = 0; i < settings->gpus.n; i++) {
		if (strcasecmp(settings->gpus.items[i], uuid) == 0) {
			return 1;
		}
	}
	return settings->gpus.n == 0;
}

static void keep(struct cwd_daemon *daemon, struct cwd_gpu *list, size_t n)
{
	free(daemon->capacity.gpus);
	daemon->capacity.gpus = list;
	daemon->capacity.n_gpus = n;
}

/* What the settings name and the host lacks. */
static void tell_missing(const struct cwd_daemon *daemon)
{
	const struct cwd_list *wanted = &daemon->settings->gpus;
	size_t i, k;

	for (i = 0; i < wanted->n; i++) {
		int found = 0;

		for (k = 0; k < daemon->capacity.n_gpus; k++) {
			found |= strcasecmp(daemon->capacity.gpus[k].uuid, wanted->items[i]) == 0;
		}
		if (!found) {
			cwd_log(CWD_LOG_WARNING, "gpus: %s is not there", wanted->items[i]);
		}
	}
}

static int take_one(const json_t *device, struct cwd_gpu *ret, struct cwb_err *err)
{
	const char *uuid = NULL, *name = NULL;
	int rc = cwb_json_get_string(device, "uuid", CWB_JSON_REQUIRED, &uuid, err);

	rc = rc == 0 ? cwb_json_get_string(device, "name", CWB_JSON_REQUIRED, &name, err) : rc;
	rc = rc == 0 ? cwb_json_get_u64(device, "memory", CWB_JSON_REQUIRED, 0, INT64_MAX, &ret->memory, err) : rc;
	/* Lists of them have commas. */
	if (rc == 0 && (uuid[0] == '\0' || strlen(uuid) >= sizeof ret->uuid || strpbrk(uuid, ", ") != NULL)) {
		rc = cwb_err_set(err, CWP_EVALUE, "\"%.64s\" is no UUID of a device", uuid);
	}
	if (rc == 0) {
		snprintf(ret->uuid, sizeof ret->uuid, "%s", uuid);
		snprintf(ret->name, sizeof ret->name, "%s", name);
	}
	return rc;
}

static int take_answer(struct cwd_daemon *daemon, const json_t *answer, struct cwb_err *err)
{
	const json_t *devices = json_object_get(answer, "devices"), *device;
	const char *reason = json_string_value(json_object_get(answer, "reason"));
	struct cwd_gpu *list = calloc(MOST_GPUS, sizeof *list);
	size_t i, n = 0;
	int rc = list == NULL ? cwb_err_set(err, -ENOMEM, "no memory for GPUs") : 0;

	json_array_foreach(devices, i, device)
	{
		if (rc == 0 && n < MOST_GPUS && (rc = take_one(device, &list[n], err)) == 0) {
			n += (size_t)is_allowed(daemon->settings, list[n].uuid);
		}
	}
	if (rc < 0) {
		free(list);
		return rc;
	}
	keep(daemon, list, n);
	for (i = 0; i < n; i++) {
		cwd_log(CWD_LOG_INFO, "GPU %s: %s, %llu MiB", list[i].uuid, list[i].name,
			(unsigned long long)(list[i].memory >> 20));
	}
	if (n == 0) {
		cwd_log(CWD_LOG_INFO, "no GPU: %s", reason != NULL ? reason : "none that gpus allows");
	}
	return 0;
}

static void on_answered(const struct cwd_child_result *result, void *arg)
{
	struct cwd_gpus *gpus = arg;
	struct cwd_daemon *daemon = gpus->daemon;
	struct cwb_err err = {0};
	json_t *answer = NULL;

	keep(daemon, NULL, 0);
	if (result->rc != 0 || result->signal != 0 || result->exit_code != 0 || result->output == NULL) {
		cwd_log(CWD_LOG_WARNING, "no GPU: cwp-probe --devices: %s",
			result->rc != 0 ? cwb_err_text(result->rc) : result->errors[0] ? result->errors : "it failed without a reason");
	} else if (cwb_json_load(result->output, result->length, ANSWER_MAX, CWB_JSON_DEPTH, &answer, &err) < 0 ||
		   take_answer(daemon, answer, &err) < 0) {
		cwd_log(CWD_LOG_WARNING, "no GPU: cwp-probe --devices: %s", err.message);
	}
	json_decref(answer);
	tell_missing(daemon);
	daemon->gpus = NULL;
	gpus->done(daemon, gpus->arg);
	free(gpus);
}

static int start_probe(struct cwd_gpus *gpus, const char *file)
{
	struct cwd_daemon *daemon = gpus->daemon;
	char *program = cwd_settings_program(daemon->settings, "cwp-probe");
	const char *argv[] = {program, "--devices", "--timeout", PROBE_SECONDS, file,
		daemon->settings->user_mode ? NULL : "--check-owner", NULL};
	struct cwd_child_options options = {.argv = (char *const *)(uintptr_t)argv,
		.output_max = ANSWER_MAX,
		.timeout_ms = TIMEOUT_MS,
		.done = on_answered,
		.arg = gpus};
	int rc = program == NULL ? -ENOMEM : cwd_child_start(daemon->loop, &options, &gpus->child, NULL);

	free(program);
	return rc;
}

void cwd_gpus_scan(struct cwd_daemon *daemon, const char *file, void (*done)(struct cwd_daemon *daemon, void *arg), void *arg)
{
	struct cwd_gpus *gpus;

	if (file == NULL || daemon->settings->gpus_none) {
		keep(daemon, NULL, 0);
		tell_missing(daemon);
		done(daemon, arg);
		return;
	}
	gpus = calloc(1, sizeof *gpus);
	if (gpus != NULL) {
		*gpus = (struct cwd_gpus){.daemon = daemon, .done = done, .arg = arg};
		daemon->gpus = gpus;
	}
	if (gpus == NULL || start_probe(gpus, file) < 0) {
		cwd_log(CWD_LOG_ERROR, "no memory to ask for GPUs");
		daemon->gpus = NULL;
		free(gpus);
		done(daemon, arg);
	}
}

void cwd_gpus_abandon(struct cwd_daemon *daemon)
{
	if (daemon->gpus != NULL) {
		cwd_child_abandon(daemon->gpus->child);
		free(daemon->gpus);
		daemon->gpus = NULL;
	}
}

void cwd_gpus_free(struct cwd_daemon *daemon)
{
	keep(daemon, NULL, 0);
}
