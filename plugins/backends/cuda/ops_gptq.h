/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GPTQ: operations of struct cwp_backend, where they are explained. */
#ifndef CUDA_OPS_GPTQ_H
#define CUDA_OPS_GPTQ_H

#include <cwp/backend.h>

int cuda_gptq_factor(void *b, const struct cwp_gptq_factor *f);
int cuda_gptq_round(void *b, const struct cwp_gptq_round *r);
uint64_t cuda_gptq_work(void *b, uint64_t rows, uint64_t cols);

#endif
