/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Several handles at once: operations of struct cwp_backend, where they are explained. */
#ifndef CUDA_OPS_REDUCE_H
#define CUDA_OPS_REDUCE_H

#include <cwp/backend.h>

int cuda_enter(void *b);
int cuda_reduce(void *const *b, uint32_t n, uint32_t kind, void *const *d_x, uint64_t count);

#endif
