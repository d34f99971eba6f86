/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* report and compare: what a job's report.json says, as tables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/daemon.h"
#include "cli/report_text.h"
#include "cli/state.h"
#include "cli/sweep.h"

#define REPORT_MAX ((size_t)64 << 20)

/* Asks for a job's report. A report too long for a message is read from its file. *ret is the
 * daemon's answer with "report" in it. */
static int fetch(struct cwc *cwc, const char *id, json_t **ret)
{
	json_t *reply = NULL, *report = NULL;
	struct cwb_err err = {0};
	int status = cwc_call(cwc, cwc_jobs_socket(cwc), CWC_JOBS ".Report",
		json_pack("{s:s}", "id", id), &reply);

	if (status) {
		return status;
	}
	if (!json_is_object(json_object_get(reply, "report"))) {
		const char *path = cwc_string(reply, "path");

		if (cwb_json_load_file(path, REPORT_MAX, CWB_JSON_DEPTH, &report, &err) < 0) {
			status = cwc_fail(
				cwc, cwb_err_exit(err.code), "NoReport", NULL, "%s", err.message);
			json_decref(reply);
			return status;
		}
		json_object_set_new(reply, "report", report);
	}
	*ret = reply;
	return 0;
}

void cwc_measure_add(struct cwc_table *table, const json_t *measure, enum cwc_colour colour)
{
	const json_t *value = json_object_get(measure, "value");
	const json_t *low = json_object_get(measure, "low"),
		     *high = json_object_get(measure, "high");
	struct cwc_text text = {0};

	if (!json_is_number(value)) {
		cwc_table_add(table, "-");
		return;
	}
	cwc_text_number(&text, json_number_value(value));
	if (json_is_number(low) && json_is_number(high)) {
		cwc_text_printf(&text, " [");
		cwc_text_number(&text, json_number_value(low));
		cwc_text_printf(&text, ", ");
		cwc_text_number(&text, json_number_value(high));
		cwc_text_printf(&text, "]");
	}
	cwc_table_add_coloured(table, cwc_text_get(&text), colour);
	cwc_text_free(&text);
}

static void print_path(const char *what, const char *path, struct cwc_text *text)
{
	if (*path) {
		cwc_text_printf(text, "%s ", what);
		cwc_text_clean(text, path, strlen(path), 0);
		cwc_text_add(text, "\n", 1);
	}
}

int cwc_report(struct cwc *cwc)
{
	struct cwc_text text = {0};
	const json_t *report;
	json_t *reply;
	int status = fetch(cwc, cwc->operand[0], &reply);

	if (status) {
		return status;
	}
	if (cwc->json) {
		return cwc_print_json(cwc, reply);
	}
	report = json_object_get(reply, "report");
	if (cwc_sweep_is_report(report)) {
		cwc_sweep_report(cwc, report, &text);
	} else {
		cwc_report_text(cwc, report, cwc_option_given(cwc, "all"), &text);
	}
	print_path("report", cwc_string(reply, "html"), &text);
	json_decref(reply);
	cwc_print(&text);
	return CWC_DONE;
}

/* The evaluation of that name and metric, or NULL. */
static const json_t *find_metric(const json_t *report, const char *name, const char *metric)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(report, "evaluation"), i, one)
	{
		if (strcmp(cwc_string(one, "name"), name) == 0 &&
			strcmp(cwc_string(one, "metric"), metric) == 0) {
			return one;
		}
	}
	return NULL;
}

/* Rows for what report `which` has and none before it had. */
static void compare_rows(struct cwc_table *table, json_t *const *reply, size_t count, size_t which)
{
	const json_t *one, *found, *result;
	size_t i, j;

	json_array_foreach(
		json_object_get(json_object_get(reply[which], "report"), "evaluation"), i, one)
	{
		const char *name = cwc_string(one, "name"), *metric = cwc_string(one, "metric");

		for (j = 0; j < which; j++) {
			if (find_metric(json_object_get(reply[j], "report"), name, metric)) {
				break;
			}
		}
		if (j < which) {
			continue;
		}
		cwc_table_addf(table, "%s.%s", name, metric);
		cwc_measure_add(table, json_object_get(one, "original"), CWC_PLAIN);
		for (j = 0; j < count; j++) {
			found = find_metric(json_object_get(reply[j], "report"), name, metric);
			result = json_object_get(found, "protected");
			cwc_measure_add(table,
				json_is_object(result) ? result
						       : json_object_get(found, "quantized"),
				CWC_PLAIN);
		}
	}
}

int cwc_compare(struct cwc *cwc)
{
	json_t *reply[8] = {0}, *all;
	size_t i, count = 0;
	struct cwc_table table;
	struct cwc_text text = {0};
	int status = 0;

	for (i = 0; i < (size_t)cwc->n_operands && status == 0; i++) {
		status = fetch(cwc, cwc->operand[i], &reply[i]);
		count += status == 0;
		if (status == 0 && cwc_sweep_is_report(json_object_get(reply[i], "report"))) {
			status = cwc_fail(cwc, CWC_BAD_INPUT, "IsSweep", NULL,
				"%s is a sweep, whose report compares its jobs already: cwpctl report "
				"%s",
				cwc->operand[i], cwc->operand[i]);
		}
	}
	if (status == 0 && cwc->json) {
		all = json_array();
		for (i = 0; i < count; i++) {
			json_array_append_new(
				all, json_pack("{s:s,s:O}", "id", cwc->operand[i], "report",
					     json_object_get(reply[i], "report")));
		}
		status = cwc_print_json(cwc, json_pack("{s:o}", "reports", all));
	} else if (status == 0) {
		cwc_table_init(&table, count + 2);
		table.elastic = 0;
		cwc_table_column(&table, 0, "METRIC", CWC_LEFT);
		cwc_table_column(&table, 1, "ORIGINAL", CWC_LEFT);
		for (i = 0; i < count; i++) {
			cwc_table_column(&table, i + 2, cwc->operand[i], CWC_LEFT);
		}
		for (i = 0; i < count; i++) {
			compare_rows(&table, reply, count, i);
		}
		cwc_table_render(&table, &text, cwc->width, cwc->colour);
		cwc_table_free(&table);
		cwc_print(&text);
	}
	for (i = 0; i < count; i++) {
		json_decref(reply[i]);
	}
	return status;
}
