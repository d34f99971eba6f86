/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sums over devices by NCCL, which is looked for when it is needed: without it the plugin works as well. */
#ifndef CUDA_NCCL_H
#define CUDA_NCCL_H

#include "plugins/backends/cuda/cuda.h"

enum { CUDA_NCCL_MOST = 64 };

struct cuda_nccl;

/* Among these handles; NULL: NCCL is not there, or does not work here; the log says which. */
struct cuda_nccl *cuda_nccl_open(struct cuda *const *b, uint32_t n);
void cuda_nccl_close(struct cuda_nccl *nccl); /* NULL is allowed */
int cuda_nccl_is_for(const struct cuda_nccl *nccl, struct cuda *const *b, uint32_t n);
/* As reduce() of struct cwp_backend, in the order of all streams. The current device is any afterwards. */
int cuda_nccl_reduce(struct cuda_nccl *nccl, uint32_t kind, void *const *d_x, uint64_t count);

#endif
