/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A backend that needs a function that nobody has, as one without its vendor's libraries does. */
#include <cwp/scorer.h>

int missing_function(const struct cwp_setting *settings, const struct cwp_scorer_tile *tile, float *importance);

#define ZOO_ID "cuda"
#define ZOO_NOTE_KIND CWP_KIND_BACKEND
#define ZOO_KIND CWP_KIND_BACKEND
#define ZOO_SCORE missing_function
#include "tests/plugins/zoo/zoo.h"
