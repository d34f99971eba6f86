/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Matrix products: by cuBLASLt, but for those of few rows, where a row must not depend on how many there are. */
#include "plugins/backends/cuda/memory.h"
#include "plugins/backends/cuda/ops_base.h"
#include "plugins/backends/cuda/plans.h"

struct matmul {
	struct cuda_product p;
	const float *d_a, *d_b;
	float *d_c;
	int accumulate;
};

static int check(struct cuda *b, const struct matmul *g)
{
	const struct cuda_product *p = &g->p;
	int rc = p->trans_a ? cuda_check_matrix(b, "matmul", "A", g->d_a, p->k, p->m, p->lda)
			    : cuda_check_matrix(b, "matmul", "A", g->d_a, p->m, p->k, p->lda);
	if (!rc) {
		rc = p->trans_b ? cuda_check_matrix(b, "matmul", "B", g->d_b, p->n, p->k, p->ldb)
				: cuda_check_matrix(b, "matmul", "B", g->d_b, p->k, p->n, p->ldb);
	}
	return rc ? rc : cuda_check_matrix(b, "matmul", "C", g->d_c, p->m, p->n, p->ldc);
}

static int no_product(struct cuda *b, const struct matmul *g)
{
	const struct cuda_product *p = &g->p;
	if (g->accumulate) {
		return 0;
	}
	return cuda_check(b, "matmul", cudaMemset2DAsync(g->d_c, p->ldc * sizeof(float), 0, p->n * sizeof(float), p->m, b->stream));
}

static int few(struct cuda *b, const struct matmul *g)
{
	const struct cuda_product *p = &g->p;
	struct launch_few f = {.m = p->m, .n = p->n, .k = p->k, .d_a = g->d_a, .d_b = g->d_b, .lda = p->lda, .ldb = p->ldb,
		.accumulate = g->accumulate, .d_c = g->d_c, .ldc = p->ldc};
	if (b->precision == CUDA_BF16) {
		f.bf16 = 1;
		f.d_b = cuda_bf16(b, g->d_b, p->n, p->k, p->ldb, &f.ldb);
		f.d_a = f.d_b ? cuda_bf16(b, g->d_a, p->m, p->k, p->lda, &f.lda) : NULL;
		if (!f.d_a) {
			return b->refused;
		}
	}
	return cuda_check(b, "matmul", launch_few(b->stream, &f));
}

static int many(struct cuda *b, const struct matmul *g)
{
	struct cuda_product p = g->p;
	const void *d_a = g->d_a, *d_b = g->d_b;
	p.bf16 = b->precision == CUDA_BF16;
	if (p.bf16) {
		/* B first: in X^T X it is all of X, and A a part of it. */
		d_b = p.trans_b ? cuda_bf16_part(b, g->d_b, p.n, p.k, p.ldb, &p.ldb) : cuda_bf16_part(b, g->d_b, p.k, p.n, p.ldb, &p.ldb);
		if (d_b) {
			d_a = p.trans_a ? cuda_bf16_part(b, g->d_a, p.k, p.m, p.lda, &p.lda)
					: cuda_bf16_part(b, g->d_a, p.m, p.k, p.lda, &p.lda);
		}
		if (!d_b || !d_a) {
			return b->refused;
		}
	}
	uint32_t element = p.bf16 ? 2 : sizeof(float);
	p.align_a = cuda_alignment(d_a, p.lda, element);
	p.align_b = cuda_alignment(d_b, p.ldb, element);
	p.align_c = cuda_alignment(g->d_c, p.ldc, sizeof(float));
	return cuda_plans_run(b, &p, d_a, d_b, g->accumulate, g->d_c);
}

int cuda_matmul(void *vb, int trans_a, int trans_b, uint64_t m, uint64_t n, uint64_t k, const float *d_a, uint64_t lda,
	const float *d_b, uint64_t ldb, int accumulate, float *d_c, uint64_t ldc)
{
	struct cuda *b = vb;
	const struct matmul g = {{.m = m, .n = n, .k = k, .lda = lda, .ldb = ldb, .ldc = ldc, .trans_a = trans_a != 0,
		.trans_b = trans_b != 0}, d_a, d_b, d_c, accumulate};
	int rc = check(b, &g);
	if (rc || m == 0 || n == 0) {
		return rc;
	}
	if (k == 0) {
		rc = no_product(b, &g);
	} else {
		rc = m <= CUDA_FEW && trans_b && !trans_a ? few(b, &g) : many(b, &g);
	}
	cuda_wrote(b, d_c, ((m - 1) * ldc + n) * sizeof(float));
	return rc;
}

/* cuBLASLt cuts k otherwise for other m. */
int cuda_rows_alone(void *vb)
{
	(void)vb;
	return 0;
}
