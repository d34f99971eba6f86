/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The states of a job, as the protocol names them: their colours, and the exit codes of those that
 * are an end. */
#pragma once

#include <jansson.h>

#include "cli/table.h"

/* The string of a key, "" where it is absent or none. Borrowed. */
const char *cwc_string(const json_t *object, const char *key);

enum cwc_colour cwc_state_colour(const char *state);
/* CWC_DONE, CWC_FAILED or CWC_REJECTED; negative for a state that is no end. */
int cwc_state_exit(const char *state);
int cwc_state_known(const char *state);
/* The nearest state's name, or NULL. */
const char *cwc_state_nearest(const char *state);
