/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* AMX without AMX, for tests. */
#ifndef TESTS_KERNELS_PLAIN_TILES_H
#define TESTS_KERNELS_PLAIN_TILES_H

#include "plugins/backends/cpu/kernels.h"

/* kernels_amx() with tiles in plain C; the machine must have AVX512_BF16. */
void kernels_plain_tiles(struct kernels *k);

#endif
