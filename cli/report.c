/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* report: what a job's report.json says, as tables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/daemon.h"
#include "cli/report_text.h"
#include "cli/state.h"
#include "cli/sweep.h"

#define REPORT_MAX ((size_t)64 << 20)
#define REPORT_VERSION 2

/* Reports of jobs have had another form; those of sweeps have a version of their own. */
static int check_version(struct cwc *cwc, const char *id, const json_t *report)
{
	const json_t *version = json_object_get(report, "version");

	if (!json_is_integer(version) || json_integer_value(version) == REPORT_VERSION ||
		cwc_sweep_is_report(report)) {
		return 0;
	}
	return cwc_fail(cwc, CWC_BAD_INPUT, "OldReport", NULL,
		"the report of job %s has version %" JSON_INTEGER_FORMAT
		"; this cwpctl reads version %d: run the job again, or use the cwpctl of its time",
		id, json_integer_value(version), REPORT_VERSION);
}

int cwc_report_fetch(struct cwc *cwc, const char *id, json_t **ret)
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
	status = check_version(cwc, id, json_object_get(reply, "report"));
	if (status) {
		json_decref(reply);
		return status;
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
	int status = cwc_report_fetch(cwc, cwc->operand[0], &reply);

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
