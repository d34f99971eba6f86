/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Progress of a job as one line: a bar on a terminal, words elsewhere. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/text.h"

/* What org.cwpd.Jobs calls Progress. Negative: not known. */
struct cwc_progress {
	char stage[96]; /* cleaned, at most 23 columns */
	char unit[96];  /* likewise */
	int64_t done, total;
	double fraction; /* of the whole job, 0 to 1 */
	double rate;     /* units a second */
	double eta;      /* seconds */
};

/* Fills *ret from the daemon's object (NULL or of a wrong shape: nothing is known). */
void cwc_progress_read(const json_t *object, struct cwc_progress *ret);

/* Share of the present stage, 0 to 1; negative where total is not known. */
double cwc_progress_share(const struct cwc_progress *progress);

/* "calibrate    [=======>        ]  43%  13/30 layers  1.21/s  ETA 15 s", at most `width`
 * columns: what does not fit is left out from the right, the bar first shrinks and then goes. */
void cwc_bar_render(const struct cwc_progress *progress, size_t width, struct cwc_text *text);

/* "calibrate: 13/30 layers (43%), 1.21/s, ETA 15 s" */
void cwc_bar_words(const struct cwc_progress *progress, struct cwc_text *text);
