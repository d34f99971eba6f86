/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What a report comes to in words: the same for the page, the terminal and the model card. */
#pragma once

#include <jansson.h>
#include <stddef.h>

enum cwb_verdict_state { CWB_VERDICT_NO_GATE, CWB_VERDICT_ACCEPTED, CWB_VERDICT_REJECTED };

struct cwb_verdict {
	enum cwb_verdict_state state;
	const char *headline;       /* "Accepted" */
	const char *name;           /* "accepted": a word for programs */
	size_t conditions, failed;  /* of the gate */
	/* Measures (rows of whole evaluations) by the verdict on their recovery. */
	size_t measures, recovered, partly, not_recovered, worse, unclear;
	char gate[640];             /* a sentence on the gate; names in it are as the report has them */
	char recovery[256];         /* a sentence on what protection recovered; empty where nothing is protected */
};

/* From a report.json, of which any member may be missing or of another type. [any-thread] */
void cwb_verdict_of(const json_t *report, struct cwb_verdict *ret);
