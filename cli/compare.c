/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* gate and compare: finished jobs judged anew, and side by side. The daemon's worker does both, from what outputs keep of
 * every item. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/daemon.h"
#include "cli/report_text.h"
#include "cli/state.h"
#include "cli/sweep.h"

int cwc_gate(struct cwc *cwc)
{
	const char *path = cwc_option_value(cwc, "with", 0);
	struct cwc_text text = {0};
	char *gate = NULL;
	size_t length = 0;
	json_t *reply = NULL;
	int status, rejected;

	if (!path) {
		return cwc_usage_error(cwc, "gate needs --with FILE, which holds the conditions");
	}
	status = cwc_job_text(cwc, path, &gate, &length);
	if (status) {
		return status;
	}
	status = cwc_call(cwc, cwc_jobs_socket(cwc), CWC_JOBS ".Gate",
		json_pack("{s:s,s:s%}", "id", cwc->operand[0], "gate", gate, length), &reply);
	free(gate);
	if (status) {
		return status;
	}
	rejected = json_is_true(json_object_get(reply, "rejected"));
	if (cwc->json) {
		status = cwc_print_json(cwc, reply);
	} else {
		cwc_gate_text(cwc, json_object_get(reply, "gate"), &text);
		cwc_text_printf(&text, "%s\n", rejected ? "rejected" : "accepted");
		cwc_print(&text);
		json_decref(reply);
	}
	return status ? status : rejected ? CWC_REJECTED : CWC_DONE;
}

static void add_metric(struct cwc_table *table, const json_t *row)
{
	cwc_table_addf(table, "%s.%s", cwc_string(row, "name"), cwc_string(row, "metric"));
}

/* The jobs' own values. */
static void print_values(const struct cwc *cwc, const json_t *metrics, struct cwc_text *text)
{
	struct cwc_table table;
	const json_t *row, *value;
	size_t i, k;

	cwc_table_init(&table, (size_t)cwc->n_operands + 2);
	table.elastic = 0;
	cwc_table_column(&table, 0, "METRIC", CWC_LEFT);
	cwc_table_column(&table, 1, "ORIGINAL", CWC_LEFT);
	for (k = 0; k < (size_t)cwc->n_operands; k++) {
		cwc_table_column(&table, k + 2, cwc->operand[k], CWC_LEFT);
	}
	json_array_foreach(metrics, i, row)
	{
		const json_t *values = json_object_get(row, "values");

		add_metric(&table, row);
		cwc_measure_add(&table, json_object_get(row, "original"), CWC_PLAIN);
		for (k = 0; k < (size_t)cwc->n_operands; k++) {
			value = json_array_get(values, k);
			cwc_measure_add(&table, value, CWC_PLAIN);
		}
	}
	cwc_table_render(&table, text, cwc->width, cwc->colour);
	cwc_table_free(&table);
}

/* A difference with its interval, and flips. */
static void add_difference(struct cwc_table *table, const json_t *difference)
{
	const json_t *flips = json_object_get(difference, "flips");
	struct cwc_text text = {0};

	cwc_measure_add(table, difference, CWC_PLAIN);
	if (!json_is_object(flips)) {
		cwc_table_add(table, "-");
		return;
	}
	cwc_text_printf(&text, "%" JSON_INTEGER_FORMAT " (%" JSON_INTEGER_FORMAT " up, %" JSON_INTEGER_FORMAT " down)",
		json_integer_value(json_object_get(flips, "count")), json_integer_value(json_object_get(flips, "up")),
		json_integer_value(json_object_get(flips, "down")));
	cwc_table_add(table, cwc_text_get(&text));
	cwc_text_free(&text);
}

static void print_differences(const struct cwc *cwc, const json_t *metrics, size_t which, struct cwc_text *text)
{
	struct cwc_table table;
	const json_t *row;
	size_t i;

	cwc_text_printf(text, "\n%s less %s, on the same items\n", cwc->operand[which], cwc->operand[0]);
	cwc_table_init(&table, 4);
	table.elastic = 0;
	cwc_table_column(&table, 0, "METRIC", CWC_LEFT);
	cwc_table_column(&table, 1, "N", CWC_RIGHT);
	cwc_table_column(&table, 2, "DIFFERENCE", CWC_LEFT);
	cwc_table_column(&table, 3, "FLIPS", CWC_LEFT);
	json_array_foreach(metrics, i, row)
	{
		const json_t *difference = json_array_get(json_object_get(row, "differences"), which);

		if (json_is_object(difference)) {
			add_metric(&table, row);
			cwc_table_addf(&table, "%" JSON_INTEGER_FORMAT,
				json_integer_value(json_object_get(difference, "n")));
			add_difference(&table, difference);
		}
	}
	cwc_table_render(&table, text, cwc->width, cwc->colour);
	cwc_table_free(&table);
}

static int write_page(struct cwc *cwc, const json_t *html)
{
	const char *path = cwc_option_value(cwc, "html", 0);
	struct cwb_err err = {0};

	if (!path) {
		return 0;
	}
	if (cwb_file_replace_path(path, json_string_value(html), json_string_length(html), 0644, &err) < 0) {
		return cwc_fail(cwc, cwb_err_exit(err.code), "NoFile", NULL, "%s", err.message);
	}
	return 0;
}

/* The reports of all jobs, as an array of {id, report}. */
static int fetch_all(struct cwc *cwc, json_t *reports)
{
	int status = 0;

	for (int i = 0; i < cwc->n_operands && status == 0; i++) {
		json_t *reply = NULL;
		const char *id = cwc->operand[i];

		status = cwc_report_fetch(cwc, id, &reply);
		if (status == 0 && cwc_sweep_is_report(json_object_get(reply, "report"))) {
			status = cwc_fail(cwc, CWC_BAD_INPUT, "IsSweep", NULL,
				"%s is a sweep, whose report compares its jobs already: cwpctl report %s", id, id);
		}
		if (status == 0) {
			(void)json_array_append_new(reports,
				json_pack("{s:s,s:O}", "id", id, "report", json_object_get(reply, "report")));
		}
		json_decref(reply);
	}
	return status;
}

int cwc_compare(struct cwc *cwc)
{
	struct cwc_text text = {0};
	json_t *reports = json_array(), *ids = json_array(), *reply = NULL;
	const json_t *comparison, *metrics;
	int status = fetch_all(cwc, reports);

	for (int i = 0; i < cwc->n_operands; i++) {
		(void)json_array_append_new(ids, json_string(cwc->operand[i]));
	}
	status = status ? status : cwc_call(cwc, cwc_jobs_socket(cwc), CWC_JOBS ".Compare",
		json_pack("{s:O}", "ids", ids), &reply);
	status = status ? status : write_page(cwc, json_object_get(reply, "html"));
	comparison = json_object_get(reply, "comparison");
	metrics = json_object_get(comparison, "metrics");
	if (status == 0 && cwc->json) {
		status = cwc_print_json(cwc, json_pack("{s:O,s:O}", "reports", reports, "comparison", comparison));
	} else if (status == 0) {
		print_values(cwc, metrics, &text);
		for (size_t i = 1; i < (size_t)cwc->n_operands; i++) {
			print_differences(cwc, metrics, i, &text);
		}
		cwc_print(&text);
	}
	json_decref(reply);
	json_decref(reports);
	json_decref(ids);
	return status;
}
