/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "bench/ops-layer.h"

enum matrix { Q, K, V, O, GATE, UP, DOWN, MATRICES };
enum array { X, H1, AQ, AK, AV, ATT, X2, H2, AGATE, AUP, H, OUT, DX, DXN, DH, DQ, DK, DV, LSE, RSTD1, RSTD2, ARRAYS };

struct layer {
	const struct cwp_backend *ops;
	void *b;
	const struct ops_layer_shape *s;
	uint64_t tokens;
	struct cwp_attention attention;
	float *d_w[MATRICES], *d_sq[MATRICES];
	float *d[ARRAYS];
	const float *d_turn;
	const uint32_t *d_index;
};

static void matrix_shape(const struct ops_layer_shape *s, int m, uint64_t *ret_rows, uint64_t *ret_cols)
{
	*ret_rows = m == K || m == V ? s->kv_heads * s->head_dim : m == GATE || m == UP ? s->inner : m == Q ? s->heads * s->head_dim : s->hidden;
	*ret_cols = m == DOWN ? s->inner : m == O ? s->heads * s->head_dim : s->hidden;
}

static uint64_t array_size(const struct ops_layer_shape *s, int a, uint64_t tokens)
{
	uint64_t q = s->heads * s->head_dim, wide = s->inner > q ? s->inner : q;
	switch (a) {
	case AQ:
	case DQ:
	case ATT: return tokens * q;
	case AK:
	case AV:
	case DK:
	case DV: return tokens * s->kv_heads * s->head_dim;
	case AGATE:
	case AUP:
	case H: return tokens * s->inner;
	case DH: return tokens * wide;
	case LSE: return tokens * s->heads;
	case RSTD1:
	case RSTD2: return tokens;
	default: return tokens * s->hidden;
	}
}

static int allocate(struct layer *l, const float *d_weights)
{
	int r = 0;
	for (int m = 0; m < MATRICES; m++) {
		uint64_t rows, cols;
		matrix_shape(l->s, m, &rows, &cols);
		l->d_w[m] = l->ops->alloc(l->b, rows * cols * sizeof(float));
		l->d_sq[m] = l->ops->alloc(l->b, rows * cols * sizeof(float));
		if (!l->d_w[m] || !l->d_sq[m]) {
			return -ENOMEM;
		}
		r = r ? r : l->ops->copy(l->b, l->d_w[m], d_weights, rows * cols * sizeof(float));
		r = r ? r : l->ops->zero(l->b, l->d_sq[m], rows * cols * sizeof(float));
	}
	for (int a = 0; a < ARRAYS; a++) {
		l->d[a] = l->ops->alloc(l->b, array_size(l->s, a, l->tokens) * sizeof(float));
		if (!l->d[a]) {
			return -ENOMEM;
		}
	}
	return r;
}

static void release(struct layer *l)
{
	for (int m = 0; m < MATRICES; m++) {
		l->ops->free(l->b, l->d_w[m]);
		l->ops->free(l->b, l->d_sq[m]);
	}
	for (int a = 0; a < ARRAYS; a++) {
		l->ops->free(l->b, l->d[a]);
	}
}

static int linear(const struct layer *l, int m, int x, int y)
{
	uint64_t rows, cols;
	matrix_shape(l->s, m, &rows, &cols);
	return l->ops->matmul(l->b, 0, 1, l->tokens, rows, cols, l->d[x], cols, l->d_w[m], cols, 0, l->d[y], rows);
}

static int linear_backward(const struct layer *l, int m, int x, int dy, int accumulate, int dx)
{
	uint64_t rows, cols;
	matrix_shape(l->s, m, &rows, &cols);
	const struct cwp_grad_stats g = {.size = sizeof g, .rows = rows, .cols = cols, .samples = l->attention.sequences, .d_x = l->d[x], .ldx = cols,
		.d_dy = l->d[dy], .lddy = rows, .d_sq = l->d_sq[m]};
	int r = l->ops->grad_stats(l->b, &g);
	return r ? r : l->ops->matmul(l->b, 0, 0, l->tokens, cols, rows, l->d[dy], rows, l->d_w[m], cols, accumulate, l->d[dx], cols);
}

static int norm(const struct layer *l, int x, int y, int rstd)
{
	return l->ops->rmsnorm(l->b, l->d[x], l->d_turn, 0, 1e-5F, l->tokens, l->s->hidden, l->d[y], l->d[rstd]);
}

static int turn(const struct layer *l, int x, uint64_t heads, int inverse)
{
	uint32_t d = (uint32_t)l->s->head_dim;
	return l->ops->rope(l->b, l->d[x], l->tokens, heads * d, (uint32_t)heads, d, d, l->d_turn, l->d_turn, l->d_index, inverse);
}

static int biased(const struct layer *l, int m, int x, int y)
{
	uint64_t rows, cols;
	matrix_shape(l->s, m, &rows, &cols);
	int r = linear(l, m, x, y);
	return r ? r : l->ops->add_bias(l->b, l->d[y], l->d_turn, l->tokens, rows);
}

#define DO(call) do { int rc_ = (call); if (rc_) { return rc_; } } while (0)

static int forward(const struct layer *l, int all)
{
	uint64_t n = l->tokens * l->s->hidden;
	float *const *d = l->d;
	DO(norm(l, X, H1, RSTD1));
	DO(biased(l, Q, H1, AQ));
	DO(biased(l, K, H1, AK));
	DO(biased(l, V, H1, AV));
	DO(turn(l, AQ, l->s->heads, 0));
	DO(turn(l, AK, l->s->kv_heads, 0));
	DO(l->ops->attention(l->b, &l->attention, d[AQ], d[AK], d[AV], d[ATT], d[LSE]));
	DO(linear(l, O, ATT, X2));
	DO(l->ops->add(l->b, d[X2], d[X], n));
	DO(norm(l, X2, H2, RSTD2));
	DO(linear(l, GATE, H2, AGATE));
	DO(linear(l, UP, H2, AUP));
	DO(l->ops->glu(l->b, CWP_GLU_SILU, d[AGATE], d[AUP], l->tokens * l->s->inner, d[H]));
	if (all) {
		DO(linear(l, DOWN, H, OUT));
		DO(l->ops->add(l->b, d[OUT], d[X2], n));
	}
	return 0;
}

static int norm_backward(const struct layer *l, int x, int rstd)
{
	return l->ops->rmsnorm_backward(l->b, l->d[DXN], l->d[x], l->d_turn, 0, l->d[rstd], l->tokens, l->s->hidden, 1, l->d[DX], NULL, NULL);
}

static int backward(const struct layer *l)
{
	float *const *d = l->d;
	DO(linear_backward(l, DOWN, H, DX, 0, DH));
	DO(l->ops->glu_backward(l->b, CWP_GLU_SILU, d[AGATE], d[AUP], d[DH], l->tokens * l->s->inner, d[AGATE], d[AUP]));
	DO(linear_backward(l, GATE, H2, AGATE, 0, DXN));
	DO(linear_backward(l, UP, H2, AUP, 1, DXN));
	DO(norm_backward(l, X2, RSTD2));
	DO(linear_backward(l, O, ATT, DX, 0, DH));
	DO(l->ops->attention_backward(l->b, &l->attention, d[AQ], d[AK], d[AV], d[ATT], d[LSE], d[DH], d[DQ], d[DK], d[DV]));
	DO(turn(l, DQ, l->s->heads, 1));
	DO(turn(l, DK, l->s->kv_heads, 1));
	DO(linear_backward(l, Q, H1, DQ, 0, DXN));
	DO(linear_backward(l, K, H1, DK, 1, DXN));
	DO(linear_backward(l, V, H1, DV, 1, DXN));
	return norm_backward(l, X, RSTD1);
}

/* Boundaries come from elsewhere. */
static int whole(const struct layer *l, const float *d_filled)
{
	size_t bytes = l->tokens * l->s->hidden * sizeof(float);
	DO(l->ops->copy(l->b, l->d[X], d_filled, bytes));
	DO(forward(l, 1));
	DO(l->ops->copy(l->b, l->d[DX], d_filled, bytes));
	DO(forward(l, 0));
	return backward(l);
}

static double now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double measure(const struct layer *l, const float *d_filled, unsigned rounds)
{
	enum { EACH = 4 };
	double least = 1e30;
	int r = 0;
	for (unsigned i = 0; r == 0 && i <= rounds; i++) {
		double begin = now();
		for (int k = 0; r == 0 && k < EACH; k++) {
			r = whole(l, d_filled);
		}
		r = r ? r : l->ops->sync(l->b);
		double each = (now() - begin) / EACH;
		least = i > 0 && each < least ? each : least;
	}
	return r ? (double)r : least;
}

double ops_layer(const struct cwp_backend *ops, void *b, const struct ops_layer_shape *s, const struct cwp_sequences *sequences,
	const float *d_filled, const float *d_weights, const uint32_t *d_index, const float *d_turn, unsigned rounds)
{
	struct layer l = {.ops = ops, .b = b, .s = s, .tokens = sequences->start[sequences->count], .d_turn = d_turn, .d_index = d_index};
	l.attention = (struct cwp_attention){.size = sizeof l.attention, .heads = (uint32_t)s->heads, .kv_heads = (uint32_t)s->kv_heads,
		.head_dim = (uint32_t)s->head_dim, .scale = 1.0F / sqrtf((float)s->head_dim), .sequences = *sequences};
	int r = allocate(&l, d_weights);
	double t = r ? (double)r : measure(&l, d_filled, rounds);
	release(&l);
	return t;
}
