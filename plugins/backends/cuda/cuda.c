/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The backend "cuda": its table, its opening, checks that all operations share. */
#include "plugins/backends/cuda/cuda.h"

const struct cwp_backend cuda_backend = {.size = sizeof(struct cwp_backend)};
