/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* protect.fraction: auto: the least fraction whose output passes the gate. */
#pragma once

#include "engine/pipeline/pipeline.h"

/* The fraction to try next, from what was tried: (fraction, passed) in any order. at_most: the largest that may be taken.
 * Returns it; or -1 when the search is over: the least that passed is the answer, and where none did there is none. A pure
 * function, so that a search that was cut short goes on in the same way. */
struct cwe_tried {
	double fraction;
	int passed;
};
double cwe_search_next(const struct cwe_tried *tried, size_t count, double at_most);

/* Tries fractions, each as a job of its own in the scratch folder, then runs the job with the one that was found. Returns as
 * cwe_pipeline_run; CWP_EGATE also where no fraction passes: then there is no output, and the message names the best try.
 * [worker] */
int cwe_search_run(const struct cwe_pipeline *p, struct cwb_err *err);
