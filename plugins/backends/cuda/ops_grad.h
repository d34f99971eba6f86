/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Statistics of gradients: an operation of struct cwp_backend, where it is explained. */
#ifndef CUDA_OPS_GRAD_H
#define CUDA_OPS_GRAD_H

#include <cwp/backend.h>

int cuda_grad_stats(void *b, const struct cwp_grad_stats *s);

#endif
