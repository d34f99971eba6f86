/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* log: the text that a job's attempts wrote. */
#include <stdio.h>
#include <string.h>

#include "cli/daemon.h"
#include "cli/state.h"

struct reading {
	const struct cwc *cwc;
	json_t *parameters;   /* of Log: its cursor moves on */
	struct cwc_text text; /* with --json: all of it */
};

static int on_text(void *context, const json_t *reply, int last)
{
	struct reading *reading = context;
	const json_t *text = json_object_get(reply, "text"),
		     *cursor = json_object_get(reply, "cursor");
	struct cwc_text clean = {0};

	if (json_is_integer(cursor)) {
		json_object_set_new(
			reading->parameters, "cursor", json_integer(json_integer_value(cursor)));
	}
	if (json_is_string(text) && reading->cwc->json) {
		cwc_text_add(&reading->text, json_string_value(text), json_string_length(text));
	} else if (json_is_string(text)) {
		cwc_text_clean(&clean, json_string_value(text), json_string_length(text), 1);
		cwc_print(&clean);
		(void)fflush(stdout);
	}
	return last ? CWC_DONE : -1;
}

/* Page after page until there is nothing new. */
static int read_pages(struct reading *reading, struct cwc_daemon *daemon)
{
	json_t *reply;
	int status;

	for (;;) {
		json_int_t before =
			json_integer_value(json_object_get(reading->parameters, "cursor"));

		status = cwc_daemon_call(
			daemon, CWC_JOBS ".Log", json_incref(reading->parameters), &reply);
		if (status) {
			return status;
		}
		(void)on_text(reading, reply, 0);
		json_decref(reply);
		if (json_integer_value(json_object_get(reading->parameters, "cursor")) <= before) {
			return CWC_DONE;
		}
	}
}

int cwc_log(struct cwc *cwc)
{
	struct reading reading = {.cwc = cwc,
		.parameters = json_pack("{s:s,s:i}", "id", cwc->operand[0], "cursor", 0)};
	const char *from = cwc_option_value(cwc, "from", 0);
	struct cwc_daemon *daemon = NULL;
	int64_t cursor = 0;
	int status = 0;

	if (from) {
		status = cwc_parse_int(cwc, "--from", from, 0, INT64_MAX, &cursor);
		json_object_set_new(reading.parameters, "cursor", json_integer(cursor));
	}
	if (status == 0) {
		status = cwc_daemon_open(cwc, cwc_jobs_socket(cwc), &daemon);
	}
	if (status == 0 && cwc_option_given(cwc, "follow")) {
		status = cwc_daemon_stream(
			daemon, CWC_JOBS ".Log", reading.parameters, -1, on_text, &reading);
	} else if (status == 0) {
		status = read_pages(&reading, daemon);
	}
	if (status == 0 && cwc->json) {
		status =
			cwc_print_json(cwc, json_pack("{s:s,s:s,s:O}", "id", cwc->operand[0],
						    "text", cwc_text_get(&reading.text), "cursor",
						    json_object_get(reading.parameters, "cursor")));
	}
	cwc_text_free(&reading.text);
	json_decref(reading.parameters);
	cwc_daemon_close(daemon);
	return status;
}
