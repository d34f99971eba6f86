/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* score.scale: pilot: the sets' scales from some of their samples, before the others are looked at. Private to this folder. */
#pragma once

#include "engine/pipeline/run.h"
#include "engine/pipeline/tiles.h"

/* Of each set an eighth of its samples, but no fewer than eight (or all): its first, which the seed chose. */
uint64_t cwe_pilot_samples(uint64_t samples);

/* The factors of all sets, from the journal's note where an earlier attempt made them, else from a calibration of the pilot's
 * samples, which is noted before it returns. *ret is freed with cwe_combine_free. */
int cwe_run_pilot(struct cwe_run *run, struct cwe_tiles *tiles, struct cwe_combine *ret, struct cwb_err *err);
