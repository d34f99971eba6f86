/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Experts that no token of the calibration reached: nothing is known of their weights. */
#pragma once

#include "engine/pipeline/run.h"
#include "engine/pipeline/tiles.h"

/* The note that a layer's line in the journal gets: which of its matrices no token came through. seen [matrices of the
 * layer]. *ret stays NULL where all were seen. */
int cwe_unseen_note(const struct cwe_run *run, uint32_t layer, const uint8_t *seen, json_t **ret, struct cwb_err *err);
/* Names them from the notes of all layers, in run->unseen; the first time, a warning says so, and the log. */
int cwe_unseen_report(struct cwe_run *run, const struct cwe_tiles *tiles, struct cwb_err *err);
