/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A table of products made ready, by shape. cuBLASLt is column-major: a row-major matrix is its transpose there, so that
 * C^T = op(B)^T op(A)^T is what is asked for, B being its first operand. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cublasLt.h>

#include "plugins/backends/cuda/memory.h"
#include "plugins/backends/cuda/plans.h"

enum { BUCKETS = 256, MOST_PLANS = 4096, MOST_WAYS = 8 };

struct plan {
	struct plan *next;
	struct cuda_product key;
	cublasLtMatmulDesc_t desc;
	cublasLtMatrixLayout_t a, b, c; /* a: of cuBLASLt's first operand */
	cublasLtMatmulAlgo_t algo;
	size_t workspace;
};

struct cuda_plans {
	cublasLtHandle_t lt; /* made for the first product */
	struct plan *bucket[BUCKETS];
	size_t n;
};

int cuda_plans_open(struct cuda *b)
{
	b->plans = calloc(1, sizeof(*b->plans));
	return b->plans ? 0 : -ENOMEM;
}

static void destroy(struct plan *p)
{
	if (p->desc) {
		(void)cublasLtMatmulDescDestroy(p->desc);
	}
	cublasLtMatrixLayout_t layout[] = {p->a, p->b, p->c};
	for (size_t i = 0; i < 3; i++) {
		if (layout[i]) {
			(void)cublasLtMatrixLayoutDestroy(layout[i]);
		}
	}
	free(p);
}

static void clear(struct cuda_plans *plans)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		while (plans->bucket[i]) {
			struct plan *p = plans->bucket[i];
			plans->bucket[i] = p->next;
			destroy(p);
		}
	}
	plans->n = 0;
}

void cuda_plans_close(struct cuda *b)
{
	if (b->plans) {
		clear(b->plans);
		if (b->plans->lt) {
			(void)cublasLtDestroy(b->plans->lt);
		}
	}
	free(b->plans);
	b->plans = NULL;
}

uint32_t cuda_alignment(const void *p, uint64_t ld, uint32_t element)
{
	uint64_t bits = (uint64_t)(uintptr_t)p | ld * element | 16;
	return (uint32_t)(bits & -bits);
}

static int same(const struct cuda_product *a, const struct cuda_product *b)
{
	return a->m == b->m && a->n == b->n && a->k == b->k && a->lda == b->lda && a->ldb == b->ldb && a->ldc == b->ldc &&
		a->trans_a == b->trans_a && a->trans_b == b->trans_b && a->bf16 == b->bf16 && a->align_a == b->align_a &&
		a->align_b == b->align_b && a->align_c == b->align_c;
}

static size_t bucket_of(const struct cuda_product *p)
{
	uint64_t h = p->m * 0x9E3779B97F4A7C15U;
	h = (h ^ h >> 29 ^ p->n) * 0xBF58476D1CE4E5B9U;
	h = (h ^ h >> 32 ^ p->k) * 0x94D049BB133111EBU;
	h ^= h >> 31 ^ p->trans_a ^ (uint64_t)p->trans_b << 1;
	return (size_t)(h % BUCKETS);
}

static cublasStatus_t describe(struct plan *p)
{
	const struct cuda_product *k = &p->key;
	cudaDataType_t type = k->bf16 ? CUDA_R_16BF : CUDA_R_32F;
	cublasOperation_t first = k->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, second = k->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
	cublasStatus_t s = cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
	if (s == CUBLAS_STATUS_SUCCESS) {
		s = cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof(first));
	}
	if (s == CUBLAS_STATUS_SUCCESS) {
		s = cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof(second));
	}
	if (s == CUBLAS_STATUS_SUCCESS) {
		s = cublasLtMatrixLayoutCreate(&p->a, type, k->trans_b ? k->k : k->n, k->trans_b ? k->n : k->k, (int64_t)k->ldb);
	}
	if (s == CUBLAS_STATUS_SUCCESS) {
		s = cublasLtMatrixLayoutCreate(&p->b, type, k->trans_a ? k->m : k->k, k->trans_a ? k->k : k->m, (int64_t)k->lda);
	}
	if (s == CUBLAS_STATUS_SUCCESS) {
		s = cublasLtMatrixLayoutCreate(&p->c, CUDA_R_32F, k->n, k->m, (int64_t)k->ldc);
	}
	return s;
}

static cublasStatus_t prefer(cublasLtMatmulPreference_t preference, const struct cuda_product *k)
{
	const size_t most = CUDA_WORKSPACE;
	const struct {
		cublasLtMatmulPreferenceAttributes_t attribute;
		const void *value;
		size_t size;
	} set[] = {
		{CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof(most)},
		{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &k->align_b, sizeof(k->align_b)},
		{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &k->align_a, sizeof(k->align_a)},
		{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &k->align_c, sizeof(k->align_c)},
		{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &k->align_c, sizeof(k->align_c)},
	};
	cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
	for (size_t i = 0; s == CUBLAS_STATUS_SUCCESS && i < sizeof(set) / sizeof(set[0]); i++) {
		s = cublasLtMatmulPreferenceSetAttribute(preference, set[i].attribute, set[i].value, set[i].size);
	}
	return s;
}

/* Much result for few steps: the way that cuBLASLt puts first has large tiles, which are written while nothing is multiplied.
 * Measured on H100, 8,192 rows: 512 steps to 3,584 columns 393 TFLOP/s, 464 by the way that is taken here; 3,584 to 18,944 621
 * and 718. With other forms and shapes the first is the fastest or near it. */
static int broad(const struct cuda_product *k)
{
	enum { ROWS = 2048 };
	return k->bf16 && !k->trans_a && !k->trans_b && k->m >= ROWS && k->n / 4 >= k->k;
}

/* The first of the ways with a smaller tile, which are told by their custom option, or the first of all. */
static const cublasLtMatmulHeuristicResult_t *way_of(const struct cuda_product *k, const cublasLtMatmulHeuristicResult_t *found, int n)
{
	for (int i = 0; i < n && broad(k); i++) {
		uint32_t custom = 0;
		size_t size = 0;
		if (found[i].state == CUBLAS_STATUS_SUCCESS &&
			cublasLtMatmulAlgoConfigGetAttribute(&found[i].algo, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, &custom, sizeof(custom), &size) ==
				CUBLAS_STATUS_SUCCESS &&
			custom == 1) {
			return &found[i];
		}
	}
	return found;
}

static cublasStatus_t choose(struct cuda *b, struct plan *p)
{
	cublasLtMatmulPreference_t preference = NULL;
	cublasLtMatmulHeuristicResult_t found[MOST_WAYS];
	int n = 0;
	memset(found, 0, sizeof(found));
	cublasStatus_t s = cublasLtMatmulPreferenceCreate(&preference);
	if (s != CUBLAS_STATUS_SUCCESS) {
		return s;
	}
	s = prefer(preference, &p->key);
	if (s == CUBLAS_STATUS_SUCCESS) {
		s = cublasLtMatmulAlgoGetHeuristic(b->plans->lt, p->desc, p->a, p->b, p->c, p->c, preference,
			broad(&p->key) ? MOST_WAYS : 1, found, &n);
	}
	(void)cublasLtMatmulPreferenceDestroy(preference);
	if (s == CUBLAS_STATUS_SUCCESS && n < 1) {
		s = CUBLAS_STATUS_NOT_SUPPORTED;
	}
	const cublasLtMatmulHeuristicResult_t *way = way_of(&p->key, found, n);
	p->algo = way->algo;
	p->workspace = way->workspaceSize;
	return s != CUBLAS_STATUS_SUCCESS ? s : way->state;
}

static int refuse(struct cuda *b, const struct cuda_product *p, const char *what, cublasStatus_t s)
{
	/* A lost device is the runtime's to explain. */
	int rc = cuda_check(b, "matmul", cudaGetLastError());
	if (rc) {
		return rc;
	}
	return cuda_refuse(b, s == CUBLAS_STATUS_ALLOC_FAILED ? -ENOMEM : CWP_EPLUGIN,
		"matmul: cuBLASLt %s a product of %llu x %llu x %llu: %s: report this; the backend cpu can do the job", what,
		(unsigned long long)p->m, (unsigned long long)p->n, (unsigned long long)p->k, cublasLtGetStatusString(s));
}

static int make(struct cuda *b, const struct cuda_product *key, struct plan **ret)
{
	struct cuda_plans *plans = b->plans;
	cublasStatus_t s = plans->lt ? CUBLAS_STATUS_SUCCESS : cublasLtCreate(&plans->lt);
	if (s != CUBLAS_STATUS_SUCCESS) {
		plans->lt = NULL;
		return refuse(b, key, "does not start for", s);
	}
	if (plans->n >= MOST_PLANS) {
		clear(plans);
	}
	struct plan *p = calloc(1, sizeof(*p));
	if (!p) {
		return -ENOMEM;
	}
	p->key = *key;
	s = describe(p);
	s = s != CUBLAS_STATUS_SUCCESS ? s : choose(b, p);
	if (s != CUBLAS_STATUS_SUCCESS) {
		destroy(p);
		return refuse(b, key, "has no way for", s);
	}
	struct plan **bucket = &plans->bucket[bucket_of(key)];
	p->next = *bucket;
	*bucket = p;
	plans->n++;
	*ret = p;
	return 0;
}

static struct plan *find(const struct cuda_plans *plans, const struct cuda_product *key)
{
	struct plan *p = plans->bucket[bucket_of(key)];
	while (p && !same(&p->key, key)) {
		p = p->next;
	}
	return p;
}

int cuda_plans_run(struct cuda *b, const struct cuda_product *key, const void *d_a, const void *d_b, int accumulate, float *d_c)
{
	const float one = 1.0F, beta = accumulate ? 1.0F : 0.0F;
	struct plan *p = find(b->plans, key);
	void *workspace = cuda_memory_workspace(b, "matmul");
	int rc = !workspace ? b->refused : p ? 0 : make(b, key, &p);
	if (rc || !p) {
		return rc;
	}
	cublasStatus_t s = cublasLtMatmul(b->plans->lt, p->desc, &one, d_b, p->a, d_a, p->b, &beta, d_c, p->c, d_c, p->c, &p->algo,
		workspace, p->workspace, b->stream);
	return s == CUBLAS_STATUS_SUCCESS ? 0 : refuse(b, key, "failed at", s);
}
