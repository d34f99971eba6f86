/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Operations of the checking backend: which bytes they touch; the CPU backend computes. */
#include <cwp/scorer.h>

#include "tests/plugins/fake/fake.h"

#define F sizeof(float)
#define RETURN(operation, ...) return a.code != 0 ? a.code : cpu_backend.operation(a.b->cpu, __VA_ARGS__)

/* Bytes of a matrix whose rows are ld elements apart. */
static uint64_t matrix(uint64_t rows, uint64_t cols, uint64_t ld, uint64_t size)
{
	return rows > 0 && cols > 0 ? ((rows - 1) * ld + cols) * size : 0;
}

static uint64_t dtype_size(uint32_t dtype)
{
	return dtype == CWP_F32 ? 4 : 2;
}

static uint64_t tokens_of(const struct cwp_sequences *s)
{
	return s->count > 0 ? s->start[s->count] : 0;
}

static int fake_convert(void *vb, float *d_dst, const void *d_src, uint32_t dtype, uint64_t n)
{
	struct fake_access a = fake_begin(vb, "convert");
	const void *src = fake_read(&a, d_src, n * dtype_size(dtype));
	float *dst = fake_write(&a, d_dst, n * F);
	RETURN(convert, dst, src, dtype, n);
}

static int fake_narrow(void *vb, void *d_dst, uint32_t dtype, const float *d_src, uint64_t n)
{
	struct fake_access a = fake_begin(vb, "narrow");
	const float *src = fake_read(&a, d_src, n * F);
	void *dst = fake_write(&a, d_dst, n * dtype_size(dtype));
	RETURN(narrow, dst, dtype, src, n);
}

static int fake_matmul(void *vb, int trans_a, int trans_b, uint64_t m, uint64_t n, uint64_t k, const float *d_a, uint64_t lda,
	const float *d_b, uint64_t ldb, int accumulate, float *d_c, uint64_t ldc)
{
	struct fake_access a = fake_begin(vb, "matmul");
	const float *pa = fake_read(&a, d_a, trans_a ? matrix(k, m, lda, F) : matrix(m, k, lda, F));
	const float *pb = fake_read(&a, d_b, trans_b ? matrix(n, k, ldb, F) : matrix(k, n, ldb, F));
	float *c = fake_write(&a, d_c, matrix(m, n, ldc, F));
	RETURN(matmul, trans_a, trans_b, m, n, k, pa, lda, pb, ldb, accumulate, c, ldc);
}

static int fake_add(void *vb, float *d_y, const float *d_x, uint64_t n)
{
	struct fake_access a = fake_begin(vb, "add");
	const float *x = fake_read(&a, d_x, n * F);
	float *y = fake_write(&a, d_y, n * F);
	RETURN(add, y, x, n);
}

static int fake_add_bias(void *vb, float *d_y, const float *d_bias, uint64_t rows, uint64_t cols)
{
	struct fake_access a = fake_begin(vb, "add_bias");
	const float *bias = fake_read(&a, d_bias, cols * F);
	float *y = fake_write(&a, d_y, rows * cols * F);
	RETURN(add_bias, y, bias, rows, cols);
}

static int fake_rmsnorm(void *vb, const float *d_x, const float *d_w, float offset, float eps, uint64_t rows, uint64_t cols,
	float *d_y, float *d_rstd)
{
	struct fake_access a = fake_begin(vb, "rmsnorm");
	const float *x = fake_read(&a, d_x, rows * cols * F), *w = fake_read(&a, d_w, cols * F);
	float *y = fake_write(&a, d_y, rows * cols * F), *rstd = fake_write(&a, d_rstd, rows * F);
	RETURN(rmsnorm, x, w, offset, eps, rows, cols, y, rstd);
}

static int fake_rmsnorm_backward(void *vb, const float *d_dy, const float *d_x, const float *d_w, float offset,
	const float *d_rstd, uint64_t rows, uint64_t cols, int accumulate, float *d_dx, const struct cwp_sequences *samples,
	float *d_dw)
{
	struct fake_access a = fake_begin(vb, "rmsnorm_backward");
	const float *dy = fake_read(&a, d_dy, rows * cols * F), *x = fake_read(&a, d_x, rows * cols * F);
	const float *w = fake_read(&a, d_w, cols * F), *rstd = fake_read(&a, d_rstd, rows * F);
	float *dx = fake_write(&a, d_dx, rows * cols * F);
	float *dw = fake_write(&a, d_dw, samples != NULL ? samples->count * cols * F : 0);
	RETURN(rmsnorm_backward, dy, x, w, offset, rstd, rows, cols, accumulate, dx, samples, dw);
}

static int fake_rope(void *vb, float *d_x, uint64_t rows, uint64_t ld, uint32_t heads, uint32_t head_dim, uint32_t rotary,
	const float *d_cos, const float *d_sin, const uint32_t *d_position, int inverse)
{
	struct fake_access a = fake_begin(vb, "rope");
	const uint32_t *position = fake_read(&a, d_position, rows * sizeof *position);
	uint64_t positions = 0;
	for (uint64_t i = 0; a.code == 0 && i < rows; i++) {
		positions = position[i] >= positions ? (uint64_t)position[i] + 1 : positions;
	}
	const float *cosine = fake_read(&a, d_cos, positions * (rotary / 2) * F), *sine = fake_read(&a, d_sin, positions * (rotary / 2) * F);
	float *x = fake_write(&a, d_x, matrix(rows, (uint64_t)heads * head_dim, ld, F));
	RETURN(rope, x, rows, ld, heads, head_dim, rotary, cosine, sine, position, inverse);
}

static int fake_attention(void *vb, const struct cwp_attention *at, const float *d_q, const float *d_k, const float *d_v,
	float *d_out, float *d_lse)
{
	struct fake_access a = fake_begin(vb, "attention");
	uint64_t t = tokens_of(&at->sequences), q = t * at->heads * at->head_dim * F, kv = t * at->kv_heads * at->head_dim * F;
	const float *pq = fake_read(&a, d_q, q), *k = fake_read(&a, d_k, kv), *v = fake_read(&a, d_v, kv);
	float *out = fake_write(&a, d_out, q), *lse = fake_write(&a, d_lse, t * at->heads * F);
	RETURN(attention, at, pq, k, v, out, lse);
}

static int fake_attention_backward(void *vb, const struct cwp_attention *at, const float *d_q, const float *d_k,
	const float *d_v, const float *d_out, const float *d_lse, const float *d_dout, float *d_dq, float *d_dk, float *d_dv)
{
	struct fake_access a = fake_begin(vb, "attention_backward");
	uint64_t t = tokens_of(&at->sequences), q = t * at->heads * at->head_dim * F, kv = t * at->kv_heads * at->head_dim * F;
	const float *pq = fake_read(&a, d_q, q), *k = fake_read(&a, d_k, kv), *v = fake_read(&a, d_v, kv);
	const float *out = fake_read(&a, d_out, q), *lse = fake_read(&a, d_lse, t * at->heads * F), *dy = fake_read(&a, d_dout, q);
	float *dq = fake_write(&a, d_dq, q), *dk = fake_write(&a, d_dk, kv), *dv = fake_write(&a, d_dv, kv);
	RETURN(attention_backward, at, pq, k, v, out, lse, dy, dq, dk, dv);
}

static int fake_attention_decode(void *vb, const struct cwp_attention *at, const float *d_q, const float *d_k_cache,
	const float *d_v_cache, uint64_t length, float *d_out)
{
	struct fake_access a = fake_begin(vb, "attention_decode");
	uint64_t q = (uint64_t)at->heads * at->head_dim * F, kv = length * at->kv_heads * at->head_dim * F;
	const float *pq = fake_read(&a, d_q, q), *k = fake_read(&a, d_k_cache, kv), *v = fake_read(&a, d_v_cache, kv);
	float *out = fake_write(&a, d_out, q);
	RETURN(attention_decode, at, pq, k, v, length, out);
}

static int fake_glu(void *vb, uint32_t act, const float *d_gate, const float *d_up, uint64_t n, float *d_h)
{
	struct fake_access a = fake_begin(vb, "glu");
	const float *gate = fake_read(&a, d_gate, n * F), *up = fake_read(&a, d_up, n * F);
	float *h = fake_write(&a, d_h, n * F);
	RETURN(glu, act, gate, up, n, h);
}

static int fake_glu_backward(void *vb, uint32_t act, const float *d_gate, const float *d_up, const float *d_dh, uint64_t n,
	float *d_dgate, float *d_dup)
{
	struct fake_access a = fake_begin(vb, "glu_backward");
	const float *gate = fake_read(&a, d_gate, n * F), *up = fake_read(&a, d_up, n * F), *dh = fake_read(&a, d_dh, n * F);
	float *dgate = fake_write(&a, d_dgate, n * F), *dup = fake_write(&a, d_dup, n * F);
	RETURN(glu_backward, act, gate, up, dh, n, dgate, dup);
}

static int fake_xent_begin(void *vb, uint64_t rows, float *d_max, double *d_sum, float *d_target_logit, float *d_best,
	uint32_t *d_best_token)
{
	struct fake_access a = fake_begin(vb, "xent_begin");
	float *max = fake_write(&a, d_max, rows * F), *logit = fake_write(&a, d_target_logit, rows * F);
	double *sum = fake_write(&a, d_sum, rows * sizeof *sum);
	float *best = fake_write(&a, d_best, rows * F);
	uint32_t *token = fake_write(&a, d_best_token, rows * sizeof *token);
	RETURN(xent_begin, rows, max, sum, logit, best, token);
}

static int fake_xent_slice(void *vb, const float *d_logits, uint64_t rows, uint64_t ld, uint64_t n, uint32_t first,
	const uint32_t *d_target, float *d_max, double *d_sum, float *d_target_logit, float *d_best, uint32_t *d_best_token)
{
	struct fake_access a = fake_begin(vb, "xent_slice");
	const float *logits = fake_read(&a, d_logits, matrix(rows, n, ld, F));
	const uint32_t *target = fake_read(&a, d_target, rows * sizeof *target);
	float *max = fake_write(&a, d_max, rows * F), *logit = fake_write(&a, d_target_logit, rows * F);
	double *sum = fake_write(&a, d_sum, rows * sizeof *sum);
	float *best = fake_write(&a, d_best, rows * F);
	uint32_t *token = fake_write(&a, d_best_token, rows * sizeof *token);
	RETURN(xent_slice, logits, rows, ld, n, first, target, max, sum, logit, best, token);
}

static int fake_xent_backward(void *vb, float *d_logits, uint64_t rows, uint64_t ld, uint64_t n, uint32_t first,
	const uint32_t *d_target, const float *d_weight, const double *d_lse)
{
	struct fake_access a = fake_begin(vb, "xent_backward");
	const uint32_t *target = fake_read(&a, d_target, rows * sizeof *target);
	const float *weight = fake_read(&a, d_weight, rows * F);
	const double *lse = fake_read(&a, d_lse, rows * sizeof *lse);
	float *logits = fake_write(&a, d_logits, matrix(rows, n, ld, F));
	RETURN(xent_backward, logits, rows, ld, n, first, target, weight, lse);
}

static int fake_grad_stats(void *vb, const struct cwp_grad_stats *s)
{
	struct fake_access a = fake_begin(vb, "grad_stats");
	struct cwp_grad_stats here = *s;
	uint64_t t = tokens_of(&s->samples), n = s->rows * s->cols * F;
	here.d_x = fake_read(&a, s->d_x, matrix(t, s->cols, s->ldx, F));
	here.d_dy = fake_read(&a, s->d_dy, matrix(t, s->rows, s->lddy, F));
	here.d_sum = fake_write(&a, s->d_sum, n);
	here.d_abs = fake_write(&a, s->d_abs, n);
	here.d_sq = fake_write(&a, s->d_sq, n);
	RETURN(grad_stats, &here);
}

static int fake_act_stats(void *vb, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, double *d_sum, double *d_sq,
	float *d_absmax)
{
	struct fake_access a = fake_begin(vb, "act_stats");
	const float *x = fake_read(&a, d_x, matrix(rows, cols, ld, F));
	double *sum = fake_write(&a, d_sum, cols * sizeof *sum), *sq = fake_write(&a, d_sq, cols * sizeof *sq);
	float *absmax = fake_write(&a, d_absmax, cols * F);
	RETURN(act_stats, x, rows, cols, ld, sum, sq, absmax);
}

static int fake_act_histogram(void *vb, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, uint64_t *d_count)
{
	struct fake_access a = fake_begin(vb, "act_histogram");
	const float *x = fake_read(&a, d_x, matrix(rows, cols, ld, F));
	uint64_t *count = fake_write(&a, d_count, CWP_HISTOGRAM_BINS * sizeof *count);
	RETURN(act_histogram, x, rows, cols, ld, count);
}

static int fake_act_abs(void *vb, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, double *d_abs)
{
	struct fake_access a = fake_begin(vb, "act_abs");
	const float *x = fake_read(&a, d_x, matrix(rows, cols, ld, F));
	double *abs = fake_write(&a, d_abs, cols * sizeof *abs);
	RETURN(act_abs, x, rows, cols, ld, abs);
}

static int fake_fake_quant(void *vb, const struct cwp_activation *how, const float *d_x, uint64_t rows, uint64_t cols, float *d_y)
{
	struct fake_access a = fake_begin(vb, "fake_quant");
	const float *x = fake_read(&a, d_x, rows * cols * F);
	float *y = fake_write(&a, d_y, rows * cols * F);
	RETURN(fake_quant, how, x, rows, cols, y);
}

/* Rows up to the highest number. */
static uint64_t rows_up_to(const struct fake_access *a, const uint32_t *index, uint64_t rows)
{
	uint64_t n = 0;
	for (uint64_t i = 0; index != NULL && a->code == 0 && i < rows; i++) {
		n = index[i] >= n ? (uint64_t)index[i] + 1 : n;
	}
	return index != NULL ? n : rows;
}

static int fake_gather_rows(void *vb, const float *d_x, const uint32_t *d_index, const float *d_factor, uint64_t rows,
	uint64_t cols, float *d_y)
{
	struct fake_access a = fake_begin(vb, "gather_rows");
	const uint32_t *index = fake_read(&a, d_index, rows * sizeof *index);
	const float *factor = fake_read(&a, d_factor, rows * F);
	const float *x = fake_read(&a, d_x, rows_up_to(&a, index, rows) * cols * F);
	float *y = fake_write(&a, d_y, rows * cols * F);
	RETURN(gather_rows, x, index, factor, rows, cols, y);
}

static int fake_scatter_rows(void *vb, const float *d_x, const uint32_t *d_index, const float *d_factor, uint64_t rows,
	uint64_t cols, float *d_y)
{
	struct fake_access a = fake_begin(vb, "scatter_rows");
	const uint32_t *index = fake_read(&a, d_index, rows * sizeof *index);
	const float *factor = fake_read(&a, d_factor, rows * F);
	const float *x = fake_read(&a, d_x, rows * cols * F);
	float *y = fake_write(&a, d_y, rows_up_to(&a, index, rows) * cols * F);
	RETURN(scatter_rows, x, index, factor, rows, cols, y);
}

static int fake_dot_rows(void *vb, const float *d_x, const float *d_y, uint64_t rows, uint64_t cols, float *d_dot)
{
	struct fake_access a = fake_begin(vb, "dot_rows");
	const float *x = fake_read(&a, d_x, rows * cols * F), *y = fake_read(&a, d_y, rows * cols * F);
	float *dot = fake_write(&a, d_dot, rows * F);
	RETURN(dot_rows, x, y, rows, cols, dot);
}

static int fake_softcap(void *vb, float *d_x, uint64_t n, float cap)
{
	struct fake_access a = fake_begin(vb, "softcap");
	float *x = fake_write(&a, d_x, n * F);
	RETURN(softcap, x, n, cap);
}

static int fake_softcap_backward(void *vb, float *d_dx, const float *d_y, uint64_t n, float cap)
{
	struct fake_access a = fake_begin(vb, "softcap_backward");
	const float *y = fake_read(&a, d_y, n * F);
	float *dx = fake_write(&a, d_dx, n * F);
	RETURN(softcap_backward, dx, y, n, cap);
}

static int fake_rows_alone(void *vb)
{
	return cpu_backend.rows_alone(((struct fake *)vb)->cpu);
}

void fake_fill_ops(struct cwp_backend *t)
{
	t->convert = fake_convert;
	t->narrow = fake_narrow;
	t->matmul = fake_matmul;
	t->rows_alone = fake_rows_alone;
	t->add = fake_add;
	t->add_bias = fake_add_bias;
	t->rmsnorm = fake_rmsnorm;
	t->rmsnorm_backward = fake_rmsnorm_backward;
	t->rope = fake_rope;
	t->attention = fake_attention;
	t->attention_backward = fake_attention_backward;
	t->attention_decode = fake_attention_decode;
	t->glu = fake_glu;
	t->glu_backward = fake_glu_backward;
	t->xent_begin = fake_xent_begin;
	t->xent_slice = fake_xent_slice;
	t->xent_backward = fake_xent_backward;
	t->grad_stats = fake_grad_stats;
	t->act_stats = fake_act_stats;
	t->act_histogram = fake_act_histogram;
	t->act_abs = fake_act_abs;
	t->fake_quant = fake_fake_quant;
	t->gather_rows = fake_gather_rows;
	t->scatter_rows = fake_scatter_rows;
	t->dot_rows = fake_dot_rows;
	t->softcap = fake_softcap;
	t->softcap_backward = fake_softcap_backward;
}
