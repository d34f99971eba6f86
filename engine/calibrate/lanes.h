/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One calibration on several devices. Each is a lane: a thread of its own that makes all passes over its part of the samples.
 * Where a layer's statistics of a set are complete in all lanes they are added, on the devices, into those of the first lane,
 * which runs in the caller's thread and alone calls back. The same number of devices gives the same bytes. */
#pragma once

#include "engine/calibrate/calibrate.h"

struct cwe_lane;

/* c with more devices than one; not more take part than there are pieces. All devices are the calling thread's again on return.
 * The first error in the order of the lanes ends all of them. */
int cwe_lanes_run(struct cwe_calibration *c, struct cwb_err *err);

/* Whether this lane calls back. */
int cwe_lane_tells(const struct cwe_lane *lane);
/* Waits for the same layer and set in all lanes, and adds. CWP_ECANCELLED when another lane failed. */
int cwe_lane_join(struct cwe_lane *lane, struct cwe_statistics *s, struct cwb_err *err);
/* The same for the losses of the sets, which the head has added to the lane's own array. */
int cwe_lane_losses(struct cwe_lane *lane, struct cwb_err *err);
