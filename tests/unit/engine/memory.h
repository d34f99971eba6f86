/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Memory that runs out at a chosen allocation. The linker sends a test's malloc, calloc, realloc and aligned_alloc through
 * it (-Wl,--wrap=...). */
#pragma once

/* The allocation of this number from now, counted from 0, fails; negative: none. */
void memory_fail(long number);
/* What is left of that count. */
long memory_left(void);
