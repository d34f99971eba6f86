/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* org.cwpd.Metrics: counters as values and as text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/ctl/dispatch.h"
#include "daemon/ctl/server.h"
#include "daemon/plugins.h"

struct list {
	json_t *metrics;
	FILE *text;
	const char *last; /* name that was described */
};

/* labels: one pair or none. */
static void add(struct list *list, const char *name, const char *kind, const char *help,
	const char *label, const char *label_value, double value)
{
	json_t *labels = json_object();

	if (label != NULL) {
		(void)json_object_set_new(labels, label,
			json_string(label_value)); /* the check of the reply sees it */
	}
	if (list->last == NULL || strcmp(list->last, name) != 0) {
		fprintf(list->text, "# HELP cwpd_%s %s\n# TYPE cwpd_%s %s\n", name, help, name,
			kind);
		list->last = name;
	}
	if (label == NULL) {
		fprintf(list->text, "cwpd_%s %.17g\n", name, value);
	} else {
		fprintf(list->text, "cwpd_%s{%s=\"%s\"} %.17g\n", name, label, label_value, value);
	}
	(void)json_array_append_new(
		list->metrics, json_pack("{s:s, s:s, s:s, s:o, s:f}", "name", name, "kind", kind,
				       "help", help, "labels", labels, "value", value));
}

static void count(struct list *list, const char *name, const char *help, uint64_t value)
{
	add(list, name, "counter", help, NULL, NULL, (double)value);
}

static void add_all(const struct cwd_daemon *daemon, struct list *list)
{
	const struct cwd_counters *c = &daemon->counters;
	size_t bad, good = cwd_plugins_count(daemon, &bad);
	int state;

	for (state = 0; state < CWD_N_STATES; state++) {
		add(list, "jobs", "gauge", "Jobs in that state", "state",
			cwd_state_name((enum cwd_state)state), (double)daemon->queue.counts[state]);
	}
	for (state = 0; state < CWD_N_STATES; state++) {
		add(list, "transitions_total", "counter", "Changes into that state since the start",
			"state", cwd_state_name((enum cwd_state)state),
			(double)daemon->queue.transitions[state]);
	}
	count(list, "submitted_total", "Jobs accepted", c->submitted);
	count(list, "attempts_total", "Workers started", c->attempts);
	count(list, "interrupted_total", "Attempts that were interrupted", c->interrupted);
	count(list, "calls_total", "Calls answered", c->calls);
	count(list, "call_errors_total", "Calls answered with an error", c->errors);
	count(list, "bad_messages_total", "Messages that were no calls", c->bad_messages);
	count(list, "connections_total", "Connections accepted", c->connections);
	count(list, "connections_refused_total", "Connections refused since there were too many",
		c->refused_connections);
	add(list, "connections", "gauge", "Open connections", NULL, NULL,
		(double)cwd_server_connections(daemon));
	add(list, "plugins", "gauge", "Plugins found", "usable", "yes", (double)good);
	add(list, "plugins", "gauge", "Plugins found", "usable", "no", (double)bad);
	add(list, "draining", "gauge", "1 while no jobs are accepted", NULL, NULL,
		daemon->drain_reason != NULL);
	add(list, "store_trouble", "gauge", "1 while the store cannot be written", NULL, NULL,
		cwd_writer_trouble(daemon->writer) != 0);
	add(list, "start_time_seconds", "gauge", "When the daemon was started", NULL, NULL,
		daemon->started);
}

static void get(struct cwd_call *call)
{
	char *text = NULL;
	size_t size = 0;
	struct list list = {.metrics = json_array(), .text = open_memstream(&text, &size)};

	if (list.text == NULL) {
		json_decref(list.metrics);
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return;
	}
	add_all(call->daemon, &list);
	if (fclose(list.text) != 0) {
		free(text);
		text = NULL;
	}
	cwd_call_reply(call,
		json_pack("{s:o, s:s}", "metrics", list.metrics, "text", text == NULL ? "" : text));
	free(text);
}

const struct cwd_method cwd_metrics_methods[] = {{"Get", get, 0}, {NULL, NULL, 0}};
