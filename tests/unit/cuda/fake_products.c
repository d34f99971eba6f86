/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* cuBLASLt and the kernels that the host side starts, in plain C on the fake runtime. */
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <cublasLt.h>

#include <cwp/backend.h>

#include "plugins/backends/cuda/launch.h"
#include "tests/unit/cuda/fake_runtime.h"

uint16_t fake_to_bf16(float x)
{
	uint32_t u;
	memcpy(&u, &x, sizeof(u));
	return (uint16_t)((u + 0x7fffU + (u >> 16 & 1U)) >> 16);
}

float fake_from_bf16(uint16_t x)
{
	uint32_t u = (uint32_t)x << 16;
	float f;
	memcpy(&f, &u, sizeof(f));
	return f;
}

struct round {
	uint16_t *dst;
	const float *src;
	uint64_t ld_dst, rows, cols, ld_src;
};

static void run_round(const void *arg)
{
	struct round r;
	memcpy(&r, arg, sizeof(r));
	for (uint64_t i = 0; i < r.rows; i++) {
		for (uint64_t j = 0; j < r.ld_dst; j++) {
			r.dst[i * r.ld_dst + j] = j < r.cols ? fake_to_bf16(r.src[i * r.ld_src + j]) : 0;
		}
	}
}

cudaError_t launch_round(cudaStream_t stream, void *d_dst, uint64_t ld_dst, const float *d_src, uint64_t rows, uint64_t cols,
	uint64_t ld_src)
{
	struct round r = {d_dst, d_src, ld_dst, rows, cols, ld_src};
	assert_int_equal((uintptr_t)d_dst % 16, 0);
	assert_int_equal(ld_dst % 8, 0);
	fake.rounds++;
	if (!fake.stays) {
		fake_later(stream, run_round, &r, sizeof(r));
	}
	return fake.stays;
}

struct widen {
	float *dst;
	const uint16_t *src;
	uint64_t n;
};

static void run_widen(const void *arg)
{
	struct widen w;
	memcpy(&w, arg, sizeof(w));
	for (uint64_t i = 0; i < w.n; i++) {
		w.dst[i] = fake_from_bf16(w.src[i]);
	}
}

cudaError_t launch_from_bf16(cudaStream_t stream, float *d_dst, const uint16_t *d_src, uint64_t n)
{
	struct widen w = {d_dst, d_src, n};
	if (!fake.stays) {
		fake_later(stream, run_widen, &w, sizeof(w));
	}
	return fake.stays;
}

/* Twice what BF16 would be: enough to see which one was started. */
static void run_other(const void *arg)
{
	struct widen w;
	memcpy(&w, arg, sizeof(w));
	for (uint64_t i = 0; i < w.n; i++) {
		w.dst[i] = 2 * fake_from_bf16(w.src[i]);
	}
}

cudaError_t launch_from_f16(cudaStream_t stream, float *d_dst, const uint16_t *d_src, uint64_t n)
{
	struct widen w = {d_dst, d_src, n};
	if (!fake.stays) {
		fake_later(stream, run_other, &w, sizeof(w));
	}
	return fake.stays;
}

static double element(const void *p, int bf16, uint64_t at)
{
	return bf16 ? fake_from_bf16(((const uint16_t *)p)[at]) : ((const float *)p)[at];
}

static void run_few(const void *arg)
{
	struct launch_few f;
	memcpy(&f, arg, sizeof(f));
	for (uint64_t i = 0; i < f.m; i++) {
		for (uint64_t j = 0; j < f.n; j++) {
			double sum = f.accumulate ? f.d_c[i * f.ldc + j] : 0;
			for (uint64_t l = 0; l < f.k; l++) {
				sum += element(f.d_a, f.bf16, i * f.lda + l) * element(f.d_b, f.bf16, j * f.ldb + l);
			}
			f.d_c[i * f.ldc + j] = (float)sum;
		}
	}
}

cudaError_t launch_few(cudaStream_t stream, const struct launch_few *p)
{
	if (!fake.stays) {
		fake_later(stream, run_few, p, sizeof(*p));
	}
	return fake.stays;
}

/* Descriptions: of a matrix {type, rows, cols, ld}, of a product {first, second operand turned}. */
struct cublasLtContext {
	int unused;
};

cublasStatus_t cublasLtCreate(cublasLtHandle_t *ret)
{
	*ret = calloc(1, sizeof(**ret));
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t lt)
{
	free(lt);
	return CUBLAS_STATUS_SUCCESS;
}

const char *cublasLtGetStatusString(cublasStatus_t s)
{
	return s == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported" : "another";
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *ret, cublasComputeType_t compute, cudaDataType_t scale)
{
	assert_int_equal(compute, CUBLAS_COMPUTE_32F);
	assert_int_equal(scale, CUDA_R_32F);
	*ret = calloc(1, sizeof(**ret));
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d)
{
	free(d);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t attribute, const void *value,
	size_t size)
{
	cublasOperation_t op;
	assert_int_equal(size, sizeof(op));
	memcpy(&op, value, sizeof(op));
	d->data[attribute == CUBLASLT_MATMUL_DESC_TRANSA ? 0 : 1] = op == CUBLAS_OP_T;
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *ret, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld)
{
	assert_true((uint64_t)ld >= rows);
	*ret = calloc(1, sizeof(**ret));
	(*ret)->data[0] = type == CUDA_R_16BF;
	(*ret)->data[1] = rows;
	(*ret)->data[2] = cols;
	(*ret)->data[3] = (uint64_t)ld;
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
	free(l);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *ret)
{
	*ret = calloc(1, sizeof(**ret));
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
	free(p);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t attribute,
	const void *value, size_t size)
{
	uint32_t alignment = 0;
	if (attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES) {
		memcpy(&alignment, value, sizeof(alignment));
		p->data[0] = alignment;
	}
	assert_true(size > 0);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t lt, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
	cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t out, cublasLtMatmulPreference_t p, int wanted,
	cublasLtMatmulHeuristicResult_t ret[], int *ret_n)
{
	assert_non_null(lt);
	assert_true(wanted >= 1 && c == out);
	/* op(A) [n, k], op(B) [k, m], C [n, m]. */
	assert_int_equal(a->data[d->data[0] ? 2 : 1], c->data[1]);
	assert_int_equal(b->data[d->data[1] ? 1 : 2], c->data[2]);
	assert_int_equal(a->data[d->data[0] ? 1 : 2], b->data[d->data[1] ? 2 : 1]);
	*ret_n = wanted < 4 ? wanted : 4;
	for (int i = 0; i < *ret_n; i++) {
		ret[i].state = i == 1 ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
		ret[i].algo.data[0] = p->data[0];
		ret[i].algo.data[1] = (uint64_t)i;
	}
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algo, cublasLtMatmulAlgoConfigAttributes_t attribute,
	void *value, size_t size, size_t *ret_size)
{
	assert_true(attribute == CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION && size == sizeof(uint32_t));
	*(uint32_t *)value = algo->data[1] == 0 ? 7 : 1;
	*ret_size = size;
	return CUBLAS_STATUS_SUCCESS;
}

struct product {
	const void *a, *b;
	float *c;
	uint32_t turn_a, turn_b, bf16;
	float beta;
	uint64_t n, m, k, lda, ldb, ldc;
};

static void run_product(const void *arg)
{
	struct product p;
	memcpy(&p, arg, sizeof(p));
	for (uint64_t j = 0; j < p.m; j++) {
		for (uint64_t i = 0; i < p.n; i++) {
			double sum = p.beta != 0 ? p.c[j * p.ldc + i] : 0;
			for (uint64_t l = 0; l < p.k; l++) {
				sum += element(p.a, (int)p.bf16, p.turn_a ? i * p.lda + l : l * p.lda + i) *
					element(p.b, (int)p.bf16, p.turn_b ? l * p.ldb + j : j * p.ldb + l);
			}
			p.c[j * p.ldc + i] = (float)sum;
		}
	}
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t lt, cublasLtMatmulDesc_t d, const void *alpha, const void *a, cublasLtMatrixLayout_t la,
	const void *b, cublasLtMatrixLayout_t lb, const void *beta, const void *c, cublasLtMatrixLayout_t lc, void *out,
	cublasLtMatrixLayout_t lout, const cublasLtMatmulAlgo_t *algo, void *workspace, size_t size, cudaStream_t stream)
{
	struct product p = {a, b, out, (uint32_t)d->data[0], (uint32_t)d->data[1], (uint32_t)la->data[0], *(const float *)beta,
		lc->data[1], lc->data[2], la->data[d->data[0] ? 1 : 2], la->data[3], lb->data[3], lc->data[3]};
	assert_true(lt && workspace && size == 0 && c == out && lc == lout && la->data[0] == lb->data[0] && lc->data[0] == 0);
	assert_true(*(const float *)alpha == 1.0F);
	/* What the choice was told of the first operand's rows holds. */
	assert_int_equal((uintptr_t)a % algo->data[0], 0);
	assert_int_equal(la->data[3] * (p.bf16 ? 2 : 4) % algo->data[0], 0);
	fake.way = algo->data[1];
	if (fake.stays) {
		return CUBLAS_STATUS_EXECUTION_FAILED;
	}
	fake_later(stream, run_product, &p, sizeof(p));
	return CUBLAS_STATUS_SUCCESS;
}
