/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* BBQ's items and scores, shared by the files of the plugin. */
#ifndef CWP_BBQ_H
#define CWP_BBQ_H

#include "plugins/evaluators/common/bbq_row.h"

enum { PERSONS = 2, UNKNOWNS = 10, CHOICES = PERSONS + UNKNOWNS };

struct question {
	char id[96];
	const char *group;
	char *context;
	char *person[PERSONS]; /* continuations: a space, then the answer */
	unsigned biased;       /* bit k: person k */
	unsigned right;        /* person, or PERSONS: that it is unknown */
	int disambiguated;
	double loglik[CHOICES];
	int too_long;
};

const char *bbq_continuation(const struct question *q, size_t choice);
/* The metrics of the items that are not too long. */
int bbq_finish(const struct question *question, size_t count, const struct cwp_metric_sink *sink);

#endif
