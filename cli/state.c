/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The states of a job. */
#include "cli/state.h"

#include <string.h>

#include "base/nearest.h"
#include "cli/cwc.h"

struct state {
	const char *name;
	enum cwc_colour colour;
	int exit;
};

static const struct state states[] = {
	{"queued", CWC_CYAN, -1},
	{"held", CWC_YELLOW, -1},
	{"running", CWC_BOLD, -1},
	{"paused", CWC_YELLOW, -1},
	{"done", CWC_GREEN, CWC_DONE},
	{"failed", CWC_RED, CWC_FAILED},
	{"rejected", CWC_RED, CWC_REJECTED},
	{"cancelled", CWC_DIM, CWC_FAILED},
};

static const struct state *find(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof states / sizeof states[0]; i++) {
		if (strcmp(states[i].name, name) == 0) {
			return &states[i];
		}
	}
	return NULL;
}

const char *cwc_string(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

enum cwc_colour cwc_state_colour(const char *state)
{
	const struct state *found = find(state);

	return found ? found->colour : CWC_PLAIN;
}

int cwc_state_exit(const char *state)
{
	const struct state *found = find(state);

	return found ? found->exit : -1;
}

int cwc_state_known(const char *state)
{
	return find(state) != NULL;
}

const char *cwc_state_nearest(const char *state)
{
	return cwb_nearest(
		state, &states[0].name, sizeof states / sizeof states[0], sizeof states[0]);
}
