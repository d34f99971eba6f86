/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Kernels of attention. Included by launch.h alone. */
#ifndef CUDA_LAUNCH_ATTENTION_H
#define CUDA_LAUNCH_ATTENTION_H

#endif
