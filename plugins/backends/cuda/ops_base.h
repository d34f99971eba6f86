/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Memory, transfers and products: operations of struct cwp_backend, where they are explained. */
#ifndef CUDA_OPS_BASE_H
#define CUDA_OPS_BASE_H

#include <cwp/backend.h>

void *cuda_alloc(void *b, size_t bytes);
void cuda_free(void *b, void *d_p);
int cuda_upload(void *b, void *d_dst, const void *src, size_t bytes);
int cuda_download(void *b, void *dst, const void *d_src, size_t bytes);
int cuda_zero(void *b, void *d_dst, size_t bytes);
int cuda_sync(void *b);
int cuda_copy(void *b, void *d_dst, const void *d_src, size_t bytes);
void *cuda_host_alloc(void *b, size_t bytes);
void cuda_host_free(void *b, void *p);
int cuda_load_begin(void *b);
int cuda_load(void *b, float *d_dst, const void *src, uint32_t dtype, uint64_t n);
int cuda_load_wait(void *b);
int cuda_fetch(void *b, void *dst, const void *d_src, size_t bytes);
int cuda_fetch_wait(void *b);
int cuda_send(void *b, void *d_dst, const void *src, size_t bytes);
int cuda_send_wait(void *b);
int cuda_memory(void *b, uint64_t *ret_total, uint64_t *ret_free);
uint64_t cuda_overhead(void *b, const struct cwp_backend_use *use);
int cuda_reserve(void *b, uint64_t bytes, const struct cwp_backend_use *use);
int cuda_matmul(void *b, int trans_a, int trans_b, uint64_t m, uint64_t n, uint64_t k, const float *d_a,
	uint64_t lda, const float *d_b, uint64_t ldb, int accumulate, float *d_c, uint64_t ldc);
int cuda_rows_alone(void *b);

#endif
