/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Kernels of several devices. Included by launch.h alone. */
#ifndef CUDA_LAUNCH_REDUCE_H
#define CUDA_LAUNCH_REDUCE_H

/* reduce.cu: d_y [n] = sum or maximum (enum cwp_reduce) of d_y and d_x. */
cudaError_t launch_reduce(cudaStream_t stream, uint32_t kind, void *d_y, const void *d_x, uint64_t n);

#endif
