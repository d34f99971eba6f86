/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Needs a function that nobody has. */
#include <cwp/scorer.h>

int missing_function(const struct cwp_setting *settings, const struct cwp_scorer_tile *tile, float *importance);

#define ZOO_SCORE missing_function
#include "tests/plugins/zoo/zoo.h"
