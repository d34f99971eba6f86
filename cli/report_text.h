/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A job's report as text for a terminal. */
#pragma once

#include "cli/cwc.h"

/* Appends the verdict, the table of metrics, the gate, what is protected and what took the time. all: groups of items too. */
void cwc_report_text(const struct cwc *cwc, const json_t *report, int all, struct cwc_text *text);
/* Appends the rows of a gate. */
void cwc_gate_text(const struct cwc *cwc, const json_t *rows, struct cwc_text *text);

/* Asks for a job's report; one too long for a message is read from its file. *ret is the daemon's answer with "report" in it.
 * Returns the exit code; what went wrong was said. report.c */
int cwc_report_fetch(struct cwc *cwc, const char *id, json_t **ret);
