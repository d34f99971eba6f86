/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What one core can multiply at most: products in registers alone. */
#pragma once

#include "plugins/backends/cpu/kernels.h"

typedef void (*peak_loop)(void);

/* A loop of the tier's best multiplications, and how many GFLOP one call of it is; NULL where there is none. */
peak_loop peak_of(enum tier tier, int bf16, double *ret_gflop);
