/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Errors of the protocol: a sentence and an exit code for each of them. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/daemon.h"

struct known {
	const char *name;
	int exit;
	/* What the daemon does not say; parameters stand as {name}. */
	const char *sentence;
};

static const struct known known[] = {
	{"org.cwpd.Jobs.NoSuchJob", CWC_BAD_INPUT, "no job {id}; cwpctl list shows all of them"},
	{"org.cwpd.Jobs.BadState", CWC_BAD_INPUT, "job {id} is {state}: {reason}"},
	{"org.cwpd.Jobs.QueueFull", CWC_TRY_AGAIN, "the queue is full: {reason}"},
	{"org.cwpd.Jobs.Draining", CWC_UNAVAILABLE, "the daemon accepts no jobs: {reason}"},
	{"org.cwpd.Jobs.PathNotAllowed", CWC_DENIED, "{field}: {path}: {reason}"},
	{"org.cwpd.Jobs.NotOwner", CWC_DENIED,
		"job {id} belongs to {owner}; its owner may do this, or cwpctl --admin"},
	{"org.cwpd.Jobs.PluginUnknown", CWC_BAD_INPUT,
		"the daemon has no plugin \"{plugin}\" (nearest: {nearest}); cwpctl plugins lists "
		"them"},
	{"org.cwpd.Jobs.KeyReused", CWC_BAD_INPUT,
		"key {key} was used for job {id}, which is another one"},
	{"org.cwpd.Jobs.PlanFailed", CWC_TRY_AGAIN, "planning the job failed: {reason}"},
	{"org.cwpd.Jobs.NoOutcomes", CWC_BAD_INPUT, "{reason}"},
	{"org.cwpd.Jobs.NoReport", CWC_BAD_INPUT, "job {id} has no report: {reason}"},
	{"org.cwpd.Jobs.TooManyConnections", CWC_TRY_AGAIN, "too many connections (limit {limit})"},
	{"org.cwpd.Jobs.Internal", CWC_TRY_AGAIN,
		"the daemon failed: {reason}; its own log says more"},
	{"org.cwpd.Jobs.BadMessage", CWC_BAD_INPUT, "the daemon refused the message: {reason}"},
	{"org.cwpd.Admin.Busy", CWC_TRY_AGAIN, "another reload is under way"},
	{"org.varlink.service.PermissionDenied", CWC_DENIED,
		"the daemon does not permit this on this socket"},
	{"org.varlink.service.InvalidParameter", CWC_BAD_INPUT,
		"the daemon does not accept the parameter {parameter}"},
	{"org.varlink.service.MethodNotFound", CWC_UNAVAILABLE,
		"the daemon has no {method}; is it older than this cwpctl? See cwpctl version"},
	{"org.varlink.service.MethodNotImplemented", CWC_UNAVAILABLE,
		"the daemon was built without {method}"},
	{"org.varlink.service.InterfaceNotFound", CWC_UNAVAILABLE,
		"the socket does not serve {interface}; is it older than this cwpctl? See cwpctl "
		"version"},
	{"org.varlink.service.ExpectedMore", CWC_UNAVAILABLE,
		"the daemon wanted to stream its answer"},
};

static void add_value(struct cwc_text *text, const json_t *value)
{
	if (json_is_string(value) && json_string_length(value) > 0) {
		cwc_text_add(text, json_string_value(value), json_string_length(value));
	} else if (json_is_integer(value)) {
		cwc_text_printf(text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	} else {
		cwc_text_add(text, "none", 4);
	}
}

/* Puts parameters in the places of {name}. */
static void fill_in(struct cwc_text *text, const char *sentence, const json_t *parameters)
{
	while (*sentence) {
		size_t plain = strcspn(sentence, "{"), length;
		char name[32];

		cwc_text_add(text, sentence, plain);
		sentence += plain;
		if (*sentence == '\0') {
			break;
		}
		length = strcspn(sentence, "}");
		if (length < sizeof name) {
			memcpy(name, sentence + 1, length - 1);
			name[length - 1] = '\0';
			add_value(text, json_object_get(parameters, name));
		}
		sentence += length + 1;
	}
}

static const char *string_of(const json_t *parameters, const char *key)
{
	const char *text = json_string_value(json_object_get(parameters, key));

	return text ? text : "";
}

/* file:line:column: field: reason (nearest: name), as a compiler writes it. */
static int report_place(const struct cwc *cwc, const char *error, const json_t *parameters,
	const char *file, int exit)
{
	json_int_t line = json_integer_value(json_object_get(parameters, "line"));
	json_int_t column = json_integer_value(json_object_get(parameters, "column"));
	const char *path = string_of(parameters, "path"),
		   *nearest = string_of(parameters, "nearest");
	struct cwc_text text = {0};
	int status;

	cwc_text_printf(&text, "%s", file);
	if (line > 0) {
		cwc_text_printf(&text, ":%" JSON_INTEGER_FORMAT, line);
	}
	if (line > 0 && column > 0) {
		cwc_text_printf(&text, ":%" JSON_INTEGER_FORMAT, column);
	}
	cwc_text_printf(&text, ": ");
	if (*path) {
		cwc_text_printf(&text, "%s: ", path);
	}
	cwc_text_printf(&text, "%s", string_of(parameters, "reason"));
	/* The daemon's sentence may name it already. */
	if (*nearest && !strstr(string_of(parameters, "reason"), nearest)) {
		cwc_text_printf(&text, " (nearest: %s)", nearest);
	}
	status = cwc_fail(cwc, exit, error, parameters, "%s", cwc_text_get(&text));
	cwc_text_free(&text);
	return status;
}

int cwc_error_report(
	const struct cwc *cwc, const char *error, const json_t *parameters, const char *file)
{
	struct cwc_text text = {0};
	int status = CWC_FAILED;
	size_t i;

	if (strcmp(error, "org.cwpd.Jobs.JobInvalid") == 0) {
		return report_place(cwc, error, parameters, file ? file : "job", CWC_BAD_INPUT);
	}
	if (strcmp(error, "org.cwpd.Admin.ConfigInvalid") == 0) {
		return report_place(
			cwc, error, parameters, string_of(parameters, "file"), CWC_CONFIG);
	}
	for (i = 0; i < sizeof known / sizeof known[0]; i++) {
		if (strcmp(known[i].name, error) == 0) {
			break;
		}
	}
	if (i < sizeof known / sizeof known[0]) {
		fill_in(&text, known[i].sentence, parameters);
		status = known[i].exit;
	} else {
		/* A newer daemon's: its own name and facts are the best there is. */
		char *facts = cwb_json_text(parameters, JSON_COMPACT | JSON_SORT_KEYS, NULL);

		cwc_text_printf(&text, "the daemon answered %s %s", error, facts ? facts : "");
		free(facts);
		status = CWC_UNAVAILABLE;
	}
	status = cwc_fail(cwc, status, error, parameters, "%s%s%s", file ? file : "",
		file ? ": " : "", cwc_text_get(&text));
	cwc_text_free(&text);
	return status;
}
