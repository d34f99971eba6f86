/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* doctor: what the daemon finds wrong with itself, and what a report of a bug needs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/state.h"
#include "config.h"

static enum cwc_colour colour_of(const char *result)
{
	return strcmp(result, "good") == 0      ? CWC_GREEN
	       : strcmp(result, "warning") == 0 ? CWC_YELLOW
						: CWC_RED;
}

static void print_checks(const struct cwc *cwc, const json_t *checks)
{
	struct cwc_table table;
	struct cwc_text text = {0};
	const json_t *check;
	size_t i;

	cwc_table_init(&table, 3);
	json_array_foreach(checks, i, check)
	{
		const char *result = cwc_string(check, "result"),
			   *remedy = cwc_string(check, "remedy");

		cwc_table_add_coloured(&table, result, colour_of(result));
		cwc_table_add(&table, cwc_string(check, "name"));
		cwc_table_add(&table, cwc_string(check, "text"));
		if (*remedy) {
			struct cwc_text advice = {0};

			cwc_text_printf(&advice, "-> %s", remedy);
			cwc_table_add(&table, "");
			cwc_table_add(&table, "");
			cwc_table_add(&table, cwc_text_get(&advice));
			cwc_text_free(&advice);
		}
	}
	cwc_table_render(&table, &text, 0, cwc->colour);
	cwc_table_free(&table);
	cwc_print(&text);
}

static int any_bad(const json_t *checks)
{
	const json_t *check;
	size_t i;

	json_array_foreach(checks, i, check)
	{
		if (strcmp(cwc_string(check, "result"), "bad") == 0) {
			return 1;
		}
	}
	return 0;
}

/* Adds what a call answers; where it fails, its error's name instead. */
static int add_answer(
	struct cwc *cwc, json_t *bundle, const char *key, const char *socket, const char *method)
{
	struct cwc_daemon *daemon = NULL;
	char *error = NULL;
	json_t *reply = NULL;
	int status = cwc_daemon_open(cwc, socket, &daemon);

	if (status) {
		return status;
	}
	status = cwc_daemon_try(daemon, method, NULL, &error, &reply);
	if (status == 0) {
		json_object_set_new(bundle, key, error ? json_string(error) : json_incref(reply));
	}
	json_decref(reply);
	free(error);
	cwc_daemon_close(daemon);
	return status;
}

/* Writes the bundle: versions, checks, plugins, jobs, counters. No weights, no texts, no
 * environment. */
static int write_bundle(struct cwc *cwc, const json_t *checks)
{
	json_t *bundle = json_pack("{s:s,s:O}", "cwpctl", PACKAGE_VERSION, "doctor", checks);
	struct utsname system;
	char path[64];
	time_t now = time(NULL);
	struct tm utc;
	int fd, status;

	if (uname(&system) == 0) {
		json_object_set_new(bundle, "system",
			json_pack("{s:s,s:s,s:s}", "kernel", system.sysname, "release",
				system.release, "machine", system.machine));
	}
	status = add_answer(cwc, bundle, "info", CWC_ADMIN, "org.varlink.service.GetInfo");
	if (status == 0) {
		status = add_answer(cwc, bundle, "plugins", CWC_ADMIN, CWC_ADMIN ".Plugins");
	}
	if (status == 0) {
		status = add_answer(cwc, bundle, "jobs", CWC_ADMIN, CWC_JOBS ".List");
	}
	if (status == 0) {
		status = add_answer(cwc, bundle, "metrics", CWC_ADMIN, CWC_METRICS ".Get");
	}
	if (status == 0) {
		(void)gmtime_r(&now, &utc);
		(void)strftime(path, sizeof path, "cwp-doctor-%Y%m%dT%H%M%SZ.json", &utc);
		/* For the user's eyes first: the names of models and jobs are in it. */
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || json_dumpfd(bundle, fd, JSON_INDENT(1)) < 0 || close(fd) < 0) {
			status = cwc_fail(cwc, CWC_BAD_INPUT, "NoFile", NULL, "%s: %s", path,
				strerror(errno));
		} else {
			fprintf(stderr, "cwpctl: wrote %s; read it before you send it\n", path);
		}
	}
	json_decref(bundle);
	return status;
}

int cwc_doctor(struct cwc *cwc)
{
	const json_t *checks;
	json_t *reply = NULL;
	int status, bad;

	status = cwc_call(cwc, CWC_ADMIN, CWC_ADMIN ".Doctor", NULL, &reply);
	if (status) {
		return status;
	}
	checks = json_object_get(reply, "checks");
	bad = any_bad(checks);
	if (cwc_option_given(cwc, "bundle")) {
		status = write_bundle(cwc, checks);
	}
	if (status == 0 && cwc->json) {
		status = cwc_print_json(cwc, json_incref(reply));
	} else if (status == 0) {
		print_checks(cwc, checks);
	}
	json_decref(reply);
	return status == 0 && bad ? CWC_CONFIG : status;
}
