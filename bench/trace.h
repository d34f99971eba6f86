/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where the host's time goes in a backend with memory of its own: calls of transfers, memory and products, timed from outside. */
#pragma once

#include <stdio.h>

#include <cwp/backend.h>

/* The same operations, each call timed; for one backend at a time, all of whose handles share it. */
const struct cwp_backend *trace_wrap(const struct cwp_backend *ops);
/* What follows counts from now on; calls of at least `least` seconds are remembered one by one. */
void trace_begin(double least);
/* Sums by operation, then the remembered calls in the order of their ends, seconds after trace_begin(). */
void trace_print(FILE *f);
