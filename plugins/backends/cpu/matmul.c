/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Matrix products. In f32 C is cut into tiles by its shape alone, and each tile is one product on one
 * thread; products of few rows have their own kernel, and others in BF16 go over panels (products.c). */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

enum {
	TILE_M = 256, /* at most */
	TILE_N = 384,
	STEP_M = 8, /* tiles are whole multiples of oneDNN's register tiles */
	STEP_N = 48,
	FEW = 16,     /* rows of A that are multiplied in one go, with B read once */
	FEW_COLS = 64 /* columns of C of one piece of work then */
};

struct matmul {
	struct cpu *b;
	struct gemm g;
	size_t tile_m;
	size_t tile_n;
	size_t across; /* tiles side by side */
	atomic_int rc;
};

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The size of tiles of at most `most`, all alike but for the last. */
static size_t even(size_t n, size_t most, size_t step)
{
	size_t count = (n + most - 1) / most, each = (n + count - 1) / count;
	return (each + step - 1) / step * step;
}

static void tile(void *arg, size_t i)
{
	struct matmul *p = arg;
	struct gemm g = p->g;
	size_t row = i / p->across * p->tile_m, col = i % p->across * p->tile_n;
	g.m = least(p->tile_m, g.m - row);
	g.n = least(p->tile_n, g.n - col);
	g.a += g.trans_a ? row : row * g.lda;
	g.b += g.trans_b ? col * g.ldb : col;
	g.c += row * g.ldc + col;
	int rc = p->b->k.gemm(&g);
	if (rc) {
		atomic_store(&p->rc, rc);
	}
}

static void few_piece(void *arg, size_t i)
{
	const struct matmul *p = arg;
	struct gemm g = p->g;
	size_t first = i * FEW_COLS;
	g.n = least(FEW_COLS, g.n - first);
	g.b += first * g.ldb;
	g.c += first;
	if (p->b->bf16) {
		p->b->k.few_bf16(&g);
	} else {
		p->b->k.few(&g);
	}
}

static int few_rows(struct matmul *p)
{
	struct gemm *g = &p->g;
	if (p->b->bf16) {
		float *rounded = cpu_scratch_shared(p->b, g->m * g->k * sizeof(float));
		if (!rounded) {
			return -ENOMEM;
		}
		for (size_t i = 0; i < g->m; i++) {
			p->b->k.round_bf16(rounded + i * g->k, g->a + i * g->lda, g->k);
		}
		g->a = rounded;
		g->lda = g->k;
	}
	cpu_run(p->b, (g->n + FEW_COLS - 1) / FEW_COLS, few_piece, p);
	return 0;
}

/* C = (accumulate ? C : 0) + 0 */
static void no_product(const struct gemm *g)
{
	for (size_t i = 0; i < g->m && !g->accumulate; i++) {
		for (size_t j = 0; j < g->n; j++) {
			g->c[i * g->ldc + j] = 0.0F;
		}
	}
}

static int check(struct cpu *b, const struct gemm *g)
{
	int rc = g->trans_a ? cpu_check_matrix(b, "matmul", "A", g->a, g->k, g->m, g->lda)
			    : cpu_check_matrix(b, "matmul", "A", g->a, g->m, g->k, g->lda);
	if (!rc) {
		rc = g->trans_b ? cpu_check_matrix(b, "matmul", "B", g->b, g->n, g->k, g->ldb)
				: cpu_check_matrix(b, "matmul", "B", g->b, g->k, g->n, g->ldb);
	}
	return rc ? rc : cpu_check_matrix(b, "matmul", "C", g->c, g->m, g->n, g->ldc);
}

int cpu_matmul(void *vb, int trans_a, int trans_b, uint64_t m, uint64_t n, uint64_t k,
	const float *d_a, uint64_t lda, const float *d_b, uint64_t ldb, int accumulate, float *d_c,
	uint64_t ldc)
{
	struct matmul p = {.b = vb,
		.g = {trans_a, trans_b, accumulate, m, n, k, d_a, lda, d_b, ldb, d_c, ldc}};
	int rc = check(vb, &p.g);
	if (rc || m == 0 || n == 0) {
		return rc;
	}
	if (k == 0) {
		no_product(&p.g);
		return 0;
	}
	if (m <= FEW && trans_b && !trans_a) {
		return few_rows(&p);
	}
	if (p.b->bf16) {
		return cpu_product(vb, &p.g);
	}
	p.tile_m = even(m, TILE_M, STEP_M);
	p.tile_n = even(n, TILE_N, STEP_N);
	p.across = (n + p.tile_n - 1) / p.tile_n;
	cpu_run(vb, p.across * ((m + p.tile_m - 1) / p.tile_m), tile, &p);
	rc = atomic_load(&p.rc);
	return rc ? cpu_refuse(vb, rc, "matmul: a product of %llu x %llu x %llu failed",
			    (unsigned long long)m, (unsigned long long)n, (unsigned long long)k)
		  : 0;
}

/* oneDNN's kernels for AVX-512 go through k alike for every row, and so does plain C; those for AVX2 sum the last rows of a
 * tile otherwise. Panels are cut in their depth whatever the number of rows. */
int cpu_rows_alone(void *vb)
{
	const struct cpu *b = vb;
	return b->bf16 || b->k.gemm != onednn_gemm || strcmp(b->k.name, "avx512") == 0;
}
