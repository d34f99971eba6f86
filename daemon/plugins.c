/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Probing plugins. */
#include "daemon/plugins.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "daemon/child.h"
#include "daemon/gpus.h"
#include "daemon/log.h"

#define PROBES_MAX 2
#define FILES_MAX 1024
#define ANSWER_MAX ((size_t)256 << 10)
#define TIMEOUT_MS 10000

struct plugin {
	char *path;
	struct stat st;  /* as it was probed */
	json_t *details; /* what the probe said, or NULL */
	char *error;     /* why it cannot be used, or NULL */
	int known;       /* probed */
	struct probe *probe;
};

struct probe {
	struct cwd_plugins *plugins;
	struct plugin *plugin;
	struct cwd_child *child;
};

struct cwd_plugins {
	struct cwd_daemon *daemon;
	struct plugin *found;
	size_t n;
	size_t next, running; /* of a scan */
	int scanning;
	int asking; /* for devices, the last part of a scan */
	void (*done)(struct cwd_daemon *daemon, void *arg);
	void *arg;
};

static void plugin_clear(struct plugin *plugin)
{
	free(plugin->path);
	free(plugin->error);
	json_decref(plugin->details);
	memset(plugin, 0, sizeof *plugin);
}

static void list_free(struct plugin *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		plugin_clear(&list[i]);
	}
	free(list);
}

static int is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Adds a file; what is known about it from before is moved over when it has not changed. */
static int add_file(struct cwd_plugins *plugins, const char *folder, const char *name,
	struct plugin **list, size_t *n)
{
	struct plugin *bigger = reallocarray(*list, *n + 1, sizeof **list), *plugin;
	size_t i;

	if (bigger == NULL) {
		return -ENOMEM;
	}
	*list = bigger;
	plugin = &bigger[*n];
	memset(plugin, 0, sizeof *plugin);
	if (asprintf(&plugin->path, "%s/%s", folder, name) < 0) {
		plugin->path = NULL;
		return -ENOMEM;
	}
	(*n)++;
	if (stat(plugin->path, &plugin->st) != 0) {
		plugin->error = strdup(strerror(errno));
		plugin->known = 1;
		return 0;
	}
	for (i = 0; i < plugins->n; i++) {
		struct plugin *old = &plugins->found[i];

		if (old->path != NULL && strcmp(old->path, plugin->path) == 0 &&
			is_same(&old->st, &plugin->st)) {
			plugin->details = old->details;
			plugin->error = old->error;
			plugin->known = old->known;
			old->details = NULL;
			old->error = NULL;
		}
	}
	return 0;
}

static int is_plugin_name(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);

	return entry->d_name[0] != '.' && n > 3 && strcmp(entry->d_name + n - 3, ".so") == 0;
}

static int list_files(struct cwd_plugins *plugins, struct plugin **ret, size_t *ret_n)
{
	const struct cwd_list *folders = &plugins->daemon->settings->plugins;
	size_t i;
	int rc = 0;

	for (i = 0; rc == 0 && i < folders->n; i++) {
		struct dirent **entries;
		int k, n = scandir(folders->items[i], &entries, is_plugin_name, alphasort);

		if (n < 0) {
			cwd_log(errno == ENOENT ? CWD_LOG_INFO : CWD_LOG_WARNING,
				"plugin folder %s: %s", folders->items[i], strerror(errno));
			continue;
		}
		for (k = 0; k < n; k++) {
			if (rc == 0 && *ret_n < FILES_MAX) {
				rc = add_file(
					plugins, folders->items[i], entries[k]->d_name, ret, ret_n);
			}
			free(entries[k]);
		}
		free(entries);
	}
	return rc;
}

static void go_on(struct cwd_plugins *plugins);

static void set_error(struct plugin *plugin, const char *text)
{
	free(plugin->error);
	plugin->error = strdup(text);
	cwd_log(CWD_LOG_WARNING, "plugin %s: %s", plugin->path, text);
}

/* A refusal: the probe says why in its JSON, or else in one line on standard error. */
static void take_refusal(struct plugin *plugin, const struct cwd_child_result *result)
{
	const char *message = NULL;
	json_t *json = NULL, *error = NULL;

	if (result->output != NULL &&
		cwb_json_load(result->output, result->length, ANSWER_MAX, CWB_JSON_DEPTH - 4, &json,
			NULL) == 0 &&
		cwb_json_get_object(json, "error", CWB_JSON_REQUIRED, &error, NULL) == 0) {
		(void)cwb_json_get_string(
			error, "message", CWB_JSON_OPTIONAL, &message, NULL); /* stays NULL */
	}
	if (message == NULL) {
		message = result->errors[0] ? result->errors
					    : "cwp-probe refuses it without a reason";
	}
	set_error(plugin, message);
	json_decref(json);
}

static void take_result(struct plugin *plugin, const struct cwd_child_result *result)
{
	struct cwb_err err = {0};
	char text[1200];

	if (result->rc == -ETIMEDOUT) {
		set_error(plugin,
			"cwp-probe did not answer in time: the plugin hangs when it is loaded");
	} else if (result->rc != 0) {
		snprintf(text, sizeof text, "cwp-probe: %s", cwb_err_text(result->rc));
		set_error(plugin, text);
	} else if (result->signal != 0) {
		snprintf(
			text, sizeof text, "crashes when it is loaded (signal %d)", result->signal);
		set_error(plugin, text);
	} else if (result->exit_code != 0) {
		take_refusal(plugin, result);
	} else if (result->output == NULL ||
		   cwb_json_load(result->output, result->length, ANSWER_MAX, CWB_JSON_DEPTH - 4,
			   &plugin->details, &err) < 0) {
		set_error(plugin, err.message[0] ? err.message : "cwp-probe's answer is not JSON");
	} else if (!json_is_object(plugin->details)) {
		json_decref(plugin->details);
		plugin->details = NULL;
		set_error(plugin, "cwp-probe's answer is not an object");
	}
}

static void on_probed(const struct cwd_child_result *result, void *arg)
{
	struct probe *probe = arg;
	struct cwd_plugins *plugins = probe->plugins;

	probe->plugin->probe = NULL;
	probe->plugin->known = 1;
	take_result(probe->plugin, result);
	free(probe);
	plugins->running--;
	go_on(plugins);
}

static int start_probe(struct cwd_plugins *plugins, struct plugin *plugin)
{
	struct cwd_daemon *daemon = plugins->daemon;
	struct probe *probe = calloc(1, sizeof *probe);
	char *program = cwd_settings_program(daemon->settings, "cwp-probe");
	/* A daemon for all loads only what root (or itself) put there. */
	char check_owner[] = "--check-owner";
	char *argv[] = {program, daemon->settings->user_mode ? plugin->path : check_owner,
		daemon->settings->user_mode ? NULL : plugin->path, NULL};
	struct cwd_child_options options = {.argv = argv,
		.output_max = ANSWER_MAX,
		.timeout_ms = TIMEOUT_MS,
		.done = on_probed,
		.arg = probe};
	int rc = -ENOMEM;

	if (probe != NULL && program != NULL) {
		probe->plugins = plugins;
		probe->plugin = plugin;
		plugin->probe = probe;
		rc = cwd_child_start(daemon->loop, &options, &probe->child, NULL);
	}
	free(program);
	if (rc < 0) {
		plugin->probe = NULL;
		free(probe);
	}
	return rc;
}

/* The first usable file of that name, as a worker takes it. */
static const char *gpu_backend(const struct cwd_plugins *plugins)
{
	size_t i;

	for (i = 0; i < plugins->n; i++) {
		const struct plugin *p = &plugins->found[i];
		const char *id = json_string_value(json_object_get(p->details, "id"));

		if (p->error == NULL && id != NULL && strcmp(id, "cuda") == 0) {
			return p->path;
		}
	}
	return NULL;
}

static void on_gpus(struct cwd_daemon *daemon, void *arg)
{
	struct cwd_plugins *plugins = daemon->plugins;

	(void)arg;
	plugins->scanning = plugins->asking = 0;
	plugins->done(daemon, plugins->arg);
}

static void go_on(struct cwd_plugins *plugins)
{
	while (plugins->running < PROBES_MAX && plugins->next < plugins->n) {
		struct plugin *plugin = &plugins->found[plugins->next++];

		if (plugin->known) {
			continue;
		}
		if (start_probe(plugins, plugin) < 0) {
			set_error(plugin, "no memory to probe it");
			continue;
		}
		plugins->running++;
	}
	if (plugins->running == 0 && plugins->scanning && !plugins->asking) {
		plugins->asking = 1;
		cwd_gpus_scan(plugins->daemon, gpu_backend(plugins), on_gpus, NULL);
	}
}

int cwd_plugins_scan(struct cwd_daemon *daemon, void (*done)(struct cwd_daemon *daemon, void *arg),
	void *arg, struct cwb_err *err)
{
	struct cwd_plugins *plugins = daemon->plugins;
	struct plugin *list = NULL;
	size_t n = 0;

	if (plugins == NULL) {
		plugins = daemon->plugins = calloc(1, sizeof *plugins);
		if (plugins == NULL) {
			return cwb_err_set(err, -ENOMEM, "no memory for the plugins");
		}
		plugins->daemon = daemon;
	}
	if (plugins->scanning) {
		return cwb_err_set(err, CWP_ESTATE, "the plugin folders are being read");
	}
	if (list_files(plugins, &list, &n) < 0) {
		list_free(list, n);
		return cwb_err_set(err, -ENOMEM, "no memory for the plugins");
	}
	list_free(plugins->found, plugins->n);
	plugins->found = list;
	plugins->n = n;
	plugins->next = 0;
	plugins->scanning = 1;
	plugins->done = done;
	plugins->arg = arg;
	go_on(plugins);
	return 0;
}

int cwd_plugins_is_scanning(const struct cwd_daemon *daemon)
{
	return daemon->plugins != NULL && daemon->plugins->scanning;
}

static json_t *word_of(const json_t *details, const char *key)
{
	const json_t *value = json_object_get(details, key);

	return json_is_string(value) ? json_incref((json_t *)(uintptr_t)value) : json_null();
}

json_t *cwd_plugins_present(const struct cwd_daemon *daemon)
{
	const struct cwd_plugins *plugins = daemon->plugins;
	json_t *list = json_array();
	size_t i;

	for (i = 0; plugins != NULL && i < plugins->n; i++) {
		const struct plugin *p = &plugins->found[i];
		json_t *entry = json_pack("{s:s, s:o, s:o, s:o, s:s?, s:O?}", "file", p->path, "id",
			word_of(p->details, "id"), "kind", word_of(p->details, "kind"), "version",
			word_of(p->details, "version"), "error", p->error, "details", p->details);

		if (json_array_append_new(list, entry) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

size_t cwd_plugins_count(const struct cwd_daemon *daemon, size_t *ret_bad)
{
	const struct cwd_plugins *plugins = daemon->plugins;
	size_t i, good = 0;

	*ret_bad = 0;
	for (i = 0; plugins != NULL && i < plugins->n; i++) {
		good += plugins->found[i].error == NULL;
		*ret_bad += plugins->found[i].error != NULL;
	}
	return good;
}

void cwd_plugins_abandon(struct cwd_daemon *daemon)
{
	struct cwd_plugins *plugins = daemon->plugins;
	size_t i;

	for (i = 0; plugins != NULL && i < plugins->n; i++) {
		struct probe *probe = plugins->found[i].probe;

		if (probe != NULL) {
			cwd_child_abandon(probe->child);
			plugins->found[i].probe = NULL;
			free(probe);
		}
	}
	if (plugins != NULL) {
		plugins->scanning = plugins->asking = 0;
	}
}

void cwd_plugins_free(struct cwd_daemon *daemon)
{
	if (daemon->plugins != NULL) {
		list_free(daemon->plugins->found, daemon->plugins->n);
		free(daemon->plugins);
		daemon->plugins = NULL;
	}
}
