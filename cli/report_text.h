/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A job's report as text for a terminal. */
#pragma once

#include "cli/cwc.h"

/* Appends the verdict, the table of metrics, the gate, what is protected and what took the time. all: groups of items too. */
void cwc_report_text(const struct cwc *cwc, const json_t *report, int all, struct cwc_text *text);
