/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where the output of a job lies when it has ended. */
#pragma once

/* The folder of the finished output of the job with this digest: the job's own output, or the newest one of it that a gate
 * rejected ("<output>.rejected", or with "-1" and so on behind it). NULL where there is none, or no memory. Freed with free().
 * *ret_rejected may be NULL. Reads manifests. [any-thread] */
char *cwj_output_find(const char *output, const char *digest, int *ret_rejected);
