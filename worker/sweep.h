/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Job files with a matrix: all of their jobs one after another, one report. */
#pragma once

#include "job/sweep.h"
#include "worker/attempt.h"

/* Runs the jobs that are not done yet and writes the joint report; returns the program's exit code: that of the first job
 * that failed, else 2 where a gate rejected one, else 0. A signal ends it after the job that it stops. */
int cwk_sweep_run(const struct cwj_sweep *sweep, const struct cwk_options *options);

/* The attempt of a sweep for a daemon, which runs the jobs itself: writes the joint report. Returns the program's exit
 * code. */
int cwk_sweep_attempt(const struct cwj_sweep *sweep, const struct cwk_options *options);
