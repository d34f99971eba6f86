/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Kernels of statistics of gradients. Included by launch.h alone. */
#ifndef CUDA_LAUNCH_GRAD_H
#define CUDA_LAUNCH_GRAD_H

#endif
