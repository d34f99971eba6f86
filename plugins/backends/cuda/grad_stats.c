/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Statistics of per-sample gradients: checks, and the choice of a kernel. The sum of all samples' gradients is one product
 * over all tokens; |g| and g^2 have kernels of their own, in which a sample's gradient stays in registers. */
#include <errno.h>

#include "plugins/backends/cuda/cuda.h"
#include "plugins/backends/cuda/ops_base.h"
#include "plugins/backends/cuda/ops_grad.h"

static const char op[] = "grad_stats";

static int check(struct cuda *b, const struct cwp_grad_stats *s)
{
	if (!s || s->size < sizeof(*s) || s->flags != 0) {
		return cuda_refuse(b, CWP_EVALUE, "grad_stats: unknown size or flags");
	}
	int rc = cuda_check_sequences(b, op, &s->samples);
	if (rc) {
		return rc;
	}
	uint64_t tokens = s->samples.count ? s->samples.start[s->samples.count] : 0;
	rc = cuda_check_matrix(b, op, "X", s->d_x, tokens, s->cols, s->ldx);
	if (!rc) {
		rc = cuda_check_matrix(b, op, "dY", s->d_dy, tokens, s->rows, s->lddy);
	}
	/* Only for the size: the arrays themselves are optional. */
	rc = rc ? rc : cuda_check_matrix(b, op, "the result", b, s->rows, s->cols, s->cols);
	return rc || s->samples.count <= UINT32_MAX
		       ? rc
		       : cuda_refuse(b, CWP_ESHAPE, "grad_stats: %llu samples are more than one call takes",
				 (unsigned long long)s->samples.count);
}

static const uint64_t *starts(struct cuda *b, const struct cwp_grad_stats *s)
{
	return cuda_table(b, op, s->samples.start, (size_t)(s->samples.count + 1) * sizeof(uint64_t));
}

static void wrote(struct cuda *b, const struct cwp_grad_stats *s)
{
	float *all[] = {s->d_sum, s->d_abs, s->d_sq};
	for (int i = 0; i < 3; i++) {
		if (all[i]) {
			cuda_wrote(b, all[i], (size_t)(s->rows * s->cols) * sizeof(float));
		}
	}
}

static int one_column(struct cuda *b, const struct cwp_grad_stats *s)
{
	struct grad_bias g = {.d_x = s->d_x,
		.ldx = s->ldx,
		.d_dy = s->d_dy,
		.lddy = s->lddy,
		.rows = s->rows,
		.d_start = starts(b, s),
		.samples = (uint32_t)s->samples.count,
		.d_sum = s->d_sum,
		.d_abs = s->d_abs,
		.d_sq = s->d_sq};
	return g.d_start ? cuda_check(b, op, cuda_grad_bias(&g, b->stream)) : -ENOMEM;
}

typedef struct grad_cut (*cut_fn)(const struct grad_launch *g);
typedef cudaError_t (*run_fn)(const struct grad_launch *g, const struct grad_cut *cut, float *d_parts, cudaStream_t stream);

/* The copies or the matrices themselves into g. */
static int operands(struct cuda *b, const struct cwp_grad_stats *s, struct grad_launch *g)
{
	g->d_x = s->d_x;
	g->ldx = s->ldx;
	g->d_dy = s->d_dy;
	g->lddy = s->lddy;
	if (b->precision == CUDA_BF16) {
		g->d_x = cuda_bf16(b, s->d_x, g->tokens, s->cols, s->ldx, &g->ldx);
		g->d_dy = g->d_x ? cuda_bf16(b, s->d_dy, g->tokens, s->rows, s->lddy, &g->lddy) : NULL;
	}
	return g->d_x && g->d_dy ? 0 : -ENOMEM;
}

/* |g| or g^2, into the array that g names. */
static int fused(struct cuda *b, const struct grad_launch *g)
{
	cut_fn cut_of = cuda_grad_f32_cut;
	run_fn run = cuda_grad_f32;
	if (b->precision == CUDA_BF16) {
		int hopper = cuda_grad_sm90_can(g, b->capability);
		cut_of = hopper ? cuda_grad_sm90_cut : cuda_grad_mma_cut;
		run = hopper ? cuda_grad_sm90 : cuda_grad_mma;
	}
	struct grad_cut cut = cut_of(g);
	size_t bytes = cuda_grad_parts(g, &cut);
	float *d_parts = bytes ? cuda_scratch(b, bytes) : NULL;
	if (bytes && !d_parts) {
		return cuda_refuse(b, -ENOMEM, "grad_stats: %zu bytes of device memory for parts are not there", bytes);
	}
	return cuda_check(b, op, run(g, &cut, d_parts, b->stream));
}

int cuda_grad_stats(void *vb, const struct cwp_grad_stats *s)
{
	struct cuda *b = vb;
	int rc = check(b, s);
	if (rc) {
		return rc;
	}
	uint64_t tokens = s->samples.count ? s->samples.start[s->samples.count] : 0;
	if (tokens == 0 || s->rows == 0 || s->cols == 0 || (!s->d_sum && !s->d_abs && !s->d_sq)) {
		return 0;
	}
	wrote(b, s);
	if (s->cols == 1) {
		return one_column(b, s);
	}
	if (s->d_sum) {
		rc = cuda_matmul(b, 1, 0, s->rows, s->cols, tokens, s->d_dy, s->lddy, s->d_x, s->ldx, 1, s->d_sum, s->cols);
	}
	if (rc || (!s->d_abs && !s->d_sq)) {
		return rc;
	}
	struct grad_launch g = {.rows = s->rows,
		.cols = s->cols,
		.tokens = tokens,
		.d_start = starts(b, s),
		.samples = (uint32_t)s->samples.count};
	rc = g.d_start ? operands(b, s, &g) : -ENOMEM;
	float *wanted[] = {s->d_abs, s->d_sq};
	for (int i = 0; !rc && i < 2; i++) {
		g.d_out = wanted[i];
		g.square = i;
		rc = wanted[i] ? fused(b, &g) : 0;
	}
	return rc;
}
