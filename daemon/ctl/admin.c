/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* org.cwpd.Admin. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/ctl/dispatch.h"
#include "daemon/ctl/present.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/plugins.h"
#include "daemon/supervise.h"

static void drain(struct cwd_call *call)
{
	struct cwd_daemon *daemon = call->daemon;
	const char *reason = cwd_call_string(call, "reason");
	char text[256];

	snprintf(text, sizeof text, "%.200s",
		reason == NULL ? "the administrator asked for it" : reason);
	cwd_daemon_drain(daemon, text);
	if (cwd_call_bool(call, "stop")) {
		cwd_supervise_stop_all(daemon);
	}
	cwd_call_reply(call,
		json_pack("{s:I, s:I}", "running", (json_int_t)daemon->queue.counts[CWD_RUNNING],
			"queued", (json_int_t)daemon->queue.counts[CWD_QUEUED]));
}

static void undrain(struct cwd_call *call)
{
	cwd_daemon_drain(call->daemon, NULL);
	cwd_call_reply(call, NULL);
}

static void on_scanned(struct cwd_daemon *daemon, void *arg)
{
	size_t bad, good = cwd_plugins_count(daemon, &bad);

	(void)cwd_notify("READY=1", NULL); /* without systemd nobody waits for it */
	cwd_log(CWD_LOG_NOTICE, "reloaded: %zu plugins, %zu unusable", good, bad);
	cwd_call_reply(arg, json_pack("{s:I}", "plugins", (json_int_t)good));
}

static void answer_config(
	struct cwd_call *call, const struct cwd_settings *settings, const struct cwb_err *err)
{
	cwd_log(CWD_LOG_ERROR, "the old configuration stays: %s", err->message);
	cwd_call_error(call, "org.cwpd.Admin.ConfigInvalid",
		json_pack("{s:o, s:i, s:i, s:o, s:o, s:o}", "file",
			cwd_present_text(settings->config == NULL ? "" : settings->config), "line",
			err->line, "column", err->column, "path", cwd_present_text(err->field),
			"reason", cwd_present_text(err->message), "nearest",
			cwd_present_text(err->nearest)));
}

static void reload(struct cwd_call *call)
{
	struct cwd_daemon *daemon = call->daemon;
	struct cwd_settings fresh;
	struct cwb_err err = {0};

	if (cwd_plugins_is_scanning(daemon)) {
		cwd_call_error(call, "org.cwpd.Admin.Busy", NULL);
		return;
	}
	if (cwd_daemon_reread(daemon, &fresh, &err) < 0) {
		answer_config(call, &fresh, &err);
		cwd_settings_free(&fresh);
		return;
	}
	if (cwd_daemon_apply(daemon, &fresh) < 0) {
		(void)cwb_err_set(&err, -ENOMEM, "no memory for the settings");
		cwd_settings_free(&fresh);
	} else {
		(void)cwd_plugins_scan(daemon, on_scanned, call, &err); /* err says it */
	}
	if (err.code != 0) {
		cwd_call_fail(call, &err);
	}
}

static void plugins(struct cwd_call *call)
{
	cwd_call_reply(call, json_pack("{s:o}", "plugins", cwd_plugins_present(call->daemon)));
}

/* ---- doctor ---- */

static void find(
	json_t *checks, const char *name, const char *result, const char *text, const char *remedy)
{
	/* A finding for which there is no memory is missing from the answer. */
	(void)json_array_append_new(
		checks, json_pack("{s:s, s:s, s:o, s:s?}", "name", name, "result", result, "text",
				cwd_present_text(text), "remedy", remedy));
}

static void check_program(const struct cwd_daemon *daemon, const char *name, json_t *checks)
{
	char *path = cwd_settings_program(daemon->settings, name), text[1200];

	if (path == NULL) {
		return;
	}
	if (access(path, X_OK) == 0) {
		find(checks, name, "good", path, NULL);
	} else {
		snprintf(text, sizeof text, "%s: %s", path, strerror(errno));
		find(checks, name, "bad", text, "install cwpd completely, with its libexec folder");
	}
	free(path);
}

static void check_folder(const char *name, const char *path, json_t *checks)
{
	struct statvfs fs;
	char text[1200];

	if (access(path, W_OK | X_OK) != 0 || statvfs(path, &fs) != 0) {
		snprintf(text, sizeof text, "%s: %s", path, strerror(errno));
		find(checks, name, "bad", text, "make the folder writable for the daemon's user");
		return;
	}
	snprintf(text, sizeof text, "%s: %llu MiB free", path,
		(unsigned long long)fs.f_bavail * (unsigned long long)fs.f_frsize >> 20);
	find(checks, name,
		(unsigned long long)fs.f_bavail * fs.f_frsize >> 20 < 100 ? "warning" : "good",
		text,
		(unsigned long long)fs.f_bavail * fs.f_frsize >> 20 < 100 ? "free some disk space"
									  : NULL);
}

static void check_store(const struct cwd_daemon *daemon, json_t *checks)
{
	int trouble = cwd_writer_trouble(daemon->writer);

	find(checks, "store", trouble ? "bad" : "good",
		trouble ? cwb_err_text(trouble) : "jobs can be stored",
		trouble ? "free disk space for the state folder; the daemon goes on by itself"
			: NULL);
}

static void check_plugins(const struct cwd_daemon *daemon, json_t *checks)
{
	size_t bad, good = cwd_plugins_count(daemon, &bad);
	char text[96];

	snprintf(text, sizeof text, "%zu usable, %zu not", good, bad);
	find(checks, "plugins", good == 0 || bad > 0 ? "warning" : "good", text,
		bad > 0     ? "cwpctl plugins says why"
		: good == 0 ? "check plugins.directories in the configuration"
			    : NULL);
}

static void doctor(struct cwd_call *call)
{
	const struct cwd_daemon *daemon = call->daemon;
	json_t *checks = json_array();

	check_program(daemon, "cwp-worker", checks);
	check_program(daemon, "cwp-probe", checks);
	check_folder("state", daemon->settings->state, checks);
	if (daemon->settings->scratch != NULL) {
		check_folder("scratch", daemon->settings->scratch, checks);
	}
	check_store(daemon, checks);
	check_plugins(daemon, checks);
	find(checks, "queue", daemon->drain_reason == NULL ? "good" : "warning",
		daemon->drain_reason == NULL ? "jobs are accepted" : daemon->drain_reason,
		daemon->drain_reason == NULL ? NULL : "cwpctl undrain");
	cwd_call_reply(call, json_pack("{s:o}", "checks", checks));
}

const struct cwd_method cwd_admin_methods[] = {{"Drain", drain, 0}, {"Undrain", undrain, 0},
	{"Reload", reload, 0}, {"Plugins", plugins, 0}, {"Doctor", doctor, 0}, {NULL, NULL, 0}};
