/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The conditions of a file alone, for results that there are already. */
#pragma once

#include "job/job.h"

struct cwj_gates {
	size_t n;
	struct cwj_gate *gates;
};

/* Reads `gate` of a job file, or of a file that holds nothing else; other keys are not looked at. Errors as of cwj_job_parse;
 * CWP_EMISSING: there is no gate. Freed with cwj_gates_free. [any-thread] */
int cwj_gates_parse(const char *text, size_t length, struct cwj_gates *ret, struct cwb_err *err);
void cwj_gates_free(struct cwj_gates *gates);
