/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Verbs that steer one job: cancel, hold, release, retry, rm, top, priority. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/daemon.h"
#include "cli/state.h"

/* Calls the method and says what became of the job: "ID: word". With --json {"id", and what the
 * daemon answered}. */
static int steer(struct cwc *cwc, const char *method, json_t *more)
{
	json_t *parameters = json_pack("{s:s}", "id", cwc->operand[0]), *reply = NULL, *priority;
	struct cwc_text text = {0}, clean = {0};
	const char *state;
	int status;

	if (more) {
		json_object_update(parameters, more);
		json_decref(more);
	}
	status = cwc_call(cwc, cwc_jobs_socket(cwc), method, parameters, &reply);
	if (status) {
		return status;
	}
	if (cwc->json) {
		json_object_set_new(reply, "id", json_string(cwc->operand[0]));
		return cwc_print_json(cwc, reply);
	}
	state = cwc_string(reply, "state");
	priority = json_object_get(reply, "priority");
	if (json_is_integer(priority)) {
		cwc_text_printf(&text, "%s: priority %" JSON_INTEGER_FORMAT, cwc->operand[0],
			json_integer_value(priority));
	} else {
		cwc_text_printf(&text, "%s: %s", cwc->operand[0], *state ? state : "removed");
	}
	cwc_text_clean(&clean, cwc_text_get(&text), text.length, 0);
	cwc_text_add(&clean, "\n", 1);
	cwc_text_free(&text);
	json_decref(reply);
	cwc_print(&clean);
	return CWC_DONE;
}

static json_t *reason_of(const struct cwc *cwc)
{
	return json_pack("{s:s*}", "reason", cwc_option_value(cwc, "reason", 0));
}

int cwc_cancel(struct cwc *cwc)
{
	return steer(cwc, CWC_JOBS ".Cancel", reason_of(cwc));
}

int cwc_hold(struct cwc *cwc)
{
	return steer(cwc, CWC_JOBS ".Hold", reason_of(cwc));
}

int cwc_release(struct cwc *cwc)
{
	return steer(cwc, CWC_JOBS ".Release", NULL);
}

int cwc_retry(struct cwc *cwc)
{
	return steer(cwc, CWC_JOBS ".Retry", NULL);
}

int cwc_remove(struct cwc *cwc)
{
	return steer(cwc, CWC_JOBS ".Remove", NULL);
}

int cwc_top(struct cwc *cwc)
{
	return steer(cwc, CWC_JOBS ".Top", NULL);
}

int cwc_priority(struct cwc *cwc)
{
	int64_t priority;
	int status = cwc_parse_int(cwc, "priority", cwc->operand[1], -100, 100, &priority);

	return status ? status
		      : steer(cwc, CWC_JOBS ".SetPriority",
				json_pack("{s:I}", "priority", (json_int_t)priority));
}
