/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Maps of matrices for the bulk copies of Hopper GPUs. */
#ifndef CUDA_TENSOR_MAP_H
#define CUDA_TENSOR_MAP_H

#include <stdint.h>

#include <cuda.h>
#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A map of X [rows, cols] in BF16, rows ld elements apart (a multiple of 8), in boxes of box_rows rows by 64 columns, which lie
 * in shared memory with a swizzle of 128 bytes; what a box has outside X becomes 0. */
cudaError_t cuda_tensor_map(CUtensorMap *ret, const void *d_x, uint64_t rows, uint64_t cols, uint64_t ld, uint32_t box_rows);

#ifdef __cplusplus
}
#endif
#endif
