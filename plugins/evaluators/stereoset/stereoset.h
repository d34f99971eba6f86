/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* StereoSet's items and scores, shared by the files of the plugin. */
#ifndef CWP_STEREOSET_H
#define CWP_STEREOSET_H

#include "plugins/evaluators/common/rows.h"

enum variant { VARIANT_SENTENCE, VARIANT_FILLER };
enum side { SIDE_STEREOTYPE, SIDE_ANTI, SIDE_UNRELATED, SIDES };

struct triple {
	const char *id, *target, *group;
	char *context;            /* of all three requests */
	char *text[SIDES];        /* what is scored */
	const char *shown[SIDES]; /* for the report; text's, or a part of it */
	double score[SIDES];
	int too_long;
};

/* One item of a row; its texts are freed with stereoset_free. 0; 1 when two of its texts are the same, or when the filler of a
 * nested row cannot be told from its sentence; or a code whose reason is explained. */
int stereoset_read(const struct rows *rows, uint64_t row, enum variant variant, const char *prefix, struct triple *ret);
void stereoset_free(struct triple *t);

/* What an item adds to a share: up of down. */
struct share {
	double up, down;
};

struct verdict {
	struct share ss, lms;
	int prefers; /* the stereotype to its opposite */
	enum side best;
};

struct verdict stereoset_judge(const struct triple *t, enum variant variant);
/* The metrics of the items that are not too long, in the order of their targets. */
int stereoset_finish(const struct cwp_host *host, const struct triple *triple, size_t count, enum variant variant,
	const struct cwp_metric_sink *sink);

#endif
