/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What files in CUDA offer to files in C: each function starts kernels on a stream and returns what the runtime said of it.
 * All pointers but starts of sequences named d_ are in device memory. */
#ifndef CUDA_LAUNCH_H
#define CUDA_LAUNCH_H

#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "plugins/backends/cuda/launch_attention.h"
#include "plugins/backends/cuda/launch_base.h"
#include "plugins/backends/cuda/launch_gptq.h"
#include "plugins/backends/cuda/launch_grad.h"
#include "plugins/backends/cuda/launch_reduce.h"
#include "plugins/backends/cuda/launch_rows.h"

#ifdef __cplusplus
}
#endif
#endif
