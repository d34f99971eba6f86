/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Verbs about the daemon itself: plugins, metrics, reload, drain, undrain, version. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "cli/daemon.h"
#include "cli/state.h"
#include "config.h"

static void list_plugins(const struct cwc *cwc, const json_t *plugins)
{
	static const char *const head[] = {"ID", "KIND", "VERSION", "FILE"};
	struct cwc_table table;
	struct cwc_text text = {0};
	const json_t *plugin;
	size_t i;

	cwc_table_init(&table, sizeof head / sizeof head[0]);
	for (i = 0; i < table.columns; i++) {
		cwc_table_column(&table, i, head[i], CWC_LEFT);
	}
	json_array_foreach(plugins, i, plugin)
	{
		const char *error = cwc_string(plugin, "error"), *id = cwc_string(plugin, "id");
		struct cwc_text where = {0};

		cwc_text_printf(
			&where, "%s%s%s", cwc_string(plugin, "file"), *error ? ": " : "", error);
		cwc_table_add(&table, *id ? id : "-");
		cwc_table_add(&table, cwc_string(plugin, "kind"));
		cwc_table_add(&table, cwc_string(plugin, "version"));
		cwc_table_add_coloured(&table, cwc_text_get(&where), *error ? CWC_RED : CWC_PLAIN);
		cwc_text_free(&where);
	}
	/* A reason for a refusal is worth a wrapped line. */
	cwc_table_render(&table, &text, 0, cwc->colour);
	cwc_table_free(&table);
	cwc_print(&text);
}

static void add_option_rows(const struct cwc *cwc, const json_t *options, struct cwc_text *text)
{
	static const char *const key[] = {"name", "type", "default", "range", "unit", "help"};
	static const char *const head[] = {"OPTION", "TYPE", "DEFAULT", "RANGE", "UNIT", "MEANING"};
	struct cwc_table table;
	const json_t *option;
	size_t i, j;

	if (json_array_size(options) == 0) {
		return;
	}
	cwc_table_init(&table, sizeof head / sizeof head[0]);
	for (j = 0; j < table.columns; j++) {
		cwc_table_column(&table, j, head[j], CWC_LEFT);
	}
	json_array_foreach(options, i, option)
	{
		for (j = 0; j < table.columns; j++) {
			cwc_table_add(&table, cwc_string(option, key[j]));
		}
	}
	cwc_text_add(text, "\n", 1);
	cwc_table_render(&table, text, cwc->width, cwc->colour);
	cwc_table_free(&table);
}

static void show_plugin(const struct cwc *cwc, const json_t *plugin)
{
	static const char *const own[] = {"file", "id", "kind", "version", "error"};
	const json_t *details = json_object_get(plugin, "details");
	struct cwc_table table;
	struct cwc_text text = {0};
	const char *key;
	json_t *value;
	size_t i;

	cwc_table_init(&table, 2);
	for (i = 0; i < sizeof own / sizeof own[0]; i++) {
		if (*cwc_string(plugin, own[i])) {
			cwc_table_add_coloured(&table, own[i], CWC_DIM);
			cwc_table_add(&table, cwc_string(plugin, own[i]));
		}
	}
	json_object_foreach((json_t *)details, key, value)
	{
		if (json_is_string(value) && !json_object_get(plugin, key)) {
			cwc_table_add_coloured(&table, key, CWC_DIM);
			cwc_table_add(&table, json_string_value(value));
		}
	}
	cwc_table_render(&table, &text, 0, cwc->colour);
	cwc_table_free(&table);
	add_option_rows(cwc, json_object_get(details, "options"), &text);
	cwc_print(&text);
}

/* The plugin with that id, or NULL. */
static json_t *find_plugin(const json_t *plugins, const char *id)
{
	json_t *plugin;
	size_t i;

	json_array_foreach(plugins, i, plugin)
	{
		if (strcmp(cwc_string(plugin, "id"), id) == 0) {
			return plugin;
		}
	}
	return NULL;
}

static int no_plugin(const struct cwc *cwc, const json_t *plugins, const char *name)
{
	const char *names[64] = {NULL}, *nearest;
	const json_t *plugin;
	size_t i, count = 0;

	json_array_foreach(plugins, i, plugin)
	{
		if (*cwc_string(plugin, "id") && count < sizeof names / sizeof names[0]) {
			names[count++] = cwc_string(plugin, "id");
		}
	}
	nearest = cwb_nearest(name, names, count, sizeof names[0]);
	return cwc_fail(cwc, CWC_BAD_INPUT, "NoSuchPlugin", NULL,
		"the daemon has no plugin \"%s\"%s%s%s", name, nearest ? " (nearest: " : "",
		nearest ? nearest : "", nearest ? ")" : "");
}

int cwc_plugins(struct cwc *cwc)
{
	const json_t *plugins;
	json_t *reply = NULL, *plugin;
	int status, one = cwc->n_operands > 0;

	if (one && (strcmp(cwc->operand[0], "show") != 0 || cwc->n_operands != 2)) {
		return cwc_usage_error(cwc, "plugins takes no operand, or: show NAME");
	}
	status = cwc_call(cwc, CWC_ADMIN, CWC_ADMIN ".Plugins", NULL, &reply);
	if (status) {
		return status;
	}
	plugins = json_object_get(reply, "plugins");
	if (!one) {
		if (cwc->json) {
			return cwc_print_json(cwc, reply);
		}
		list_plugins(cwc, plugins);
		json_decref(reply);
		return CWC_DONE;
	}
	plugin = find_plugin(plugins, cwc->operand[1]);
	if (!plugin) {
		status = no_plugin(cwc, plugins, cwc->operand[1]);
	} else if (cwc->json) {
		status = cwc_print_json(cwc, json_incref(plugin));
	} else {
		show_plugin(cwc, plugin);
	}
	json_decref(reply);
	return status;
}

int cwc_metrics(struct cwc *cwc)
{
	struct cwc_text text = {0};
	json_t *reply = NULL;
	int status = cwc_call(cwc, CWC_METRICS, CWC_METRICS ".Get", NULL, &reply);

	if (status) {
		return status;
	}
	if (cwc->json) {
		return cwc_print_json(cwc, reply);
	}
	cwc_text_clean(&text, cwc_string(reply, "text"), strlen(cwc_string(reply, "text")), 1);
	json_decref(reply);
	cwc_print(&text);
	return CWC_DONE;
}

int cwc_reload(struct cwc *cwc)
{
	json_t *reply = NULL;
	int status = cwc_call(cwc, CWC_ADMIN, CWC_ADMIN ".Reload", NULL, &reply);

	if (status) {
		return status;
	}
	if (cwc->json) {
		return cwc_print_json(cwc, reply);
	}
	printf("reloaded: %" JSON_INTEGER_FORMAT " plugins\n",
		json_integer_value(json_object_get(reply, "plugins")));
	json_decref(reply);
	return CWC_DONE;
}

int cwc_drain(struct cwc *cwc)
{
	json_t *reply = NULL,
	       *parameters = json_pack("{s:s*}", "reason", cwc_option_value(cwc, "reason", 0));
	int status;

	if (cwc_option_given(cwc, "stop")) {
		json_object_set_new(parameters, "stop", json_true());
	}
	status = cwc_call(cwc, CWC_ADMIN, CWC_ADMIN ".Drain", parameters, &reply);
	if (status) {
		return status;
	}
	if (cwc->json) {
		return cwc_print_json(cwc, reply);
	}
	printf("draining: %" JSON_INTEGER_FORMAT " running, %" JSON_INTEGER_FORMAT " queued\n",
		json_integer_value(json_object_get(reply, "running")),
		json_integer_value(json_object_get(reply, "queued")));
	json_decref(reply);
	return CWC_DONE;
}

int cwc_undrain(struct cwc *cwc)
{
	json_t *reply = NULL;
	int status = cwc_call(cwc, CWC_ADMIN, CWC_ADMIN ".Undrain", NULL, &reply);

	if (status) {
		return status;
	}
	if (cwc->json) {
		return cwc_print_json(cwc, reply);
	}
	printf("accepting jobs\n");
	json_decref(reply);
	return CWC_DONE;
}

int cwc_version(struct cwc *cwc)
{
	struct cwc_text text = {0};
	json_t *reply = NULL;
	int status = 0;

	if (!cwc_option_given(cwc, "client")) {
		if (!cwc->json) {
			printf("cwpctl %s\n", PACKAGE_VERSION);
		}
		status = cwc_call(
			cwc, cwc_jobs_socket(cwc), "org.varlink.service.GetInfo", NULL, &reply);
		if (status) {
			return status;
		}
	}
	if (cwc->json) {
		status = cwc_print_json(cwc, json_pack("{s:s,s:O?}", "cwpctl", PACKAGE_VERSION,
						     "cwpd", json_object_get(reply, "version")));
	} else if (reply) {
		cwc_text_printf(&text, "cwpd ");
		cwc_text_clean(&text, cwc_string(reply, "version"),
			strlen(cwc_string(reply, "version")), 0);
		cwc_text_add(&text, "\n", 1);
		cwc_print(&text);
	} else {
		printf("cwpctl %s\n", PACKAGE_VERSION);
	}
	json_decref(reply);
	return status;
}
