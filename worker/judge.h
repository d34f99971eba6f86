/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Finished outputs: judged anew (gate) and side by side (compare). JSON on standard output. */
#pragma once

#include <stddef.h>

/* Judges an output by the conditions in a text; file: what messages call it, NULL where they come from a daemon, whose errors
 * are JSON. 0: all hold, 2: one does not, 65: bad input. */
int cwk_gate(const char *output, const char *text, size_t length, const char *file);
/* {comparison, html}. 0 or 65; json_errors: for a daemon. */
int cwk_compare(const char *const *output, size_t n, int json_errors);
