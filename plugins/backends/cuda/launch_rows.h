/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Kernels of elements, rows and columns. Included by launch.h alone. */
#ifndef CUDA_LAUNCH_ROWS_H
#define CUDA_LAUNCH_ROWS_H

#endif
