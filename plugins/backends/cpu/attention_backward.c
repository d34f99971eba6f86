/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Attention, backward. One piece of work is one head of keys of one sequence with all its query
 *heads: dk and dv are sums over those heads and over blocks of queries, taken in that order. With p
 *= exp(s - lse), s = cap(scale q k^T):
 *
 *	dv = p^T dout,  dp = dout v^T,  ds = p (dp - sum(dout * out)) cap' scale,  dq = ds k,  dk =
 *ds^T q */
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

struct backward {
	struct cpu *b;
	const struct cwp_attention *a;
	const float *q;
	const float *k;
	const float *v;
	const float *out;
	const float *lse;
	const float *dout;
	float *dq;
	float *dk;
	float *dv;
	uint64_t tokens;
	uint64_t most_keys;
	atomic_int rc;
};

/* One block of queries of one head. All offsets are in elements of the packed matrices. */
struct block {
	uint64_t sequence_start;
	uint64_t first; /* query within the sequence */
	uint64_t rows;
	uint64_t low; /* first key within the sequence */
	uint64_t keys;
	uint32_t head;
	size_t ldq;
	size_t ldk;
	size_t q_at; /* first query's and first key's elements */
	size_t k_at;
	float *s, *p, *d; /* [rows, keys] */
};

static void outside_zero(float *row, uint64_t keys, uint64_t from, uint64_t end)
{
	memset(row, 0, (size_t)from * sizeof(float));
	memset(row + end, 0, (size_t)(keys - end) * sizeof(float));
}

/* s -> p, and dp in d -> ds in d. */
static void block_scores(const struct backward *w, const struct block *k)
{
	const struct cwp_attention *a = w->a;
	const struct kernels *kernel = &w->b->k;
	for (uint64_t i = 0; i < k->rows; i++) {
		uint64_t position = k->first + i, from = cpu_first_key(a, position) - k->low;
		uint64_t end = position + 1 - k->low, n = end - from;
		float *s = k->s + i * k->keys, *p = k->p + i * k->keys, *d = k->d + i * k->keys;
		size_t row = k->q_at + i * k->ldq;
		float delta = kernel->dot(w->dout + row, w->out + row, a->head_dim);
		kernel->probs(p + from, s + from, n, a->scale, a->softcap,
			w->lse[k->head * w->tokens + k->sequence_start + position]);
		kernel->dscores(d + from, p + from, s + from, n, delta, a->scale, a->softcap);
		outside_zero(p, k->keys, from, end);
		outside_zero(d, k->keys, from, end);
	}
}

static int block_backward(const struct backward *w, const struct block *k)
{
	size_t dim = w->a->head_dim, rows = k->rows, keys = k->keys, ldq = k->ldq, ldk = k->ldk;
	int (*gemm)(const struct gemm *) = w->b->k.gemm;
	struct gemm s = {
		0, 1, 0, rows, keys, dim, w->q + k->q_at, ldq, w->k + k->k_at, ldk, k->s, keys};
	struct gemm dp = {
		0, 1, 0, rows, keys, dim, w->dout + k->q_at, ldq, w->v + k->k_at, ldk, k->d, keys};
	struct gemm dv = {
		1, 0, 1, keys, dim, rows, k->p, keys, w->dout + k->q_at, ldq, w->dv + k->k_at, ldk};
	struct gemm dk = {
		1, 0, 1, keys, dim, rows, k->d, keys, w->q + k->q_at, ldq, w->dk + k->k_at, ldk};
	struct gemm dq = {
		0, 0, 0, rows, dim, keys, k->d, keys, w->k + k->k_at, ldk, w->dq + k->q_at, ldq};
	int rc = gemm(&s);
	if (!rc) {
		rc = gemm(&dp);
	}
	if (rc) {
		return rc;
	}
	block_scores(w, k);
	rc = gemm(&dv);
	if (!rc) {
		rc = gemm(&dk);
	}
	return rc ? rc : gemm(&dq);
}

static int head_backward(
	const struct backward *w, uint64_t sequence, uint32_t kv_head, float *memory)
{
	const struct cwp_attention *a = w->a;
	uint64_t start = a->sequences.start[sequence],
		 length = a->sequences.start[sequence + 1] - start;
	uint32_t group = a->heads / a->kv_heads;
	struct block k = {.sequence_start = start,
		.ldq = (size_t)a->heads * a->head_dim,
		.ldk = (size_t)a->kv_heads * a->head_dim};
	size_t kv = (size_t)kv_head * a->head_dim;
	k.s = memory;
	k.p = k.s + w->most_keys * ATTENTION_BLOCK;
	k.d = k.p + w->most_keys * ATTENTION_BLOCK;
	for (uint64_t t = start; t < start + length; t++) {
		memset(w->dk + t * k.ldk + kv, 0, a->head_dim * sizeof(float));
		memset(w->dv + t * k.ldk + kv, 0, a->head_dim * sizeof(float));
	}
	for (uint32_t h = 0; h < group; h++) {
		k.head = kv_head * group + h;
		for (k.first = 0; k.first < length; k.first += ATTENTION_BLOCK) {
			k.rows = length - k.first < ATTENTION_BLOCK ? length - k.first
								    : ATTENTION_BLOCK;
			k.low = cpu_first_key(a, k.first);
			k.keys = k.first + k.rows - k.low;
			k.q_at = (start + k.first) * k.ldq + (size_t)k.head * a->head_dim;
			k.k_at = (start + k.low) * k.ldk + kv;
			int rc = block_backward(w, &k);
			if (rc) {
				return rc;
			}
		}
	}
	return 0;
}

static void backward_piece(void *arg, size_t i)
{
	struct backward *w = arg;
	struct scratch *scratch = cpu_scratch_take(w->b);
	int rc = head_backward(
		w, i / w->a->kv_heads, (uint32_t)(i % w->a->kv_heads), scratch->memory);
	if (rc) {
		atomic_store(&w->rc, rc);
	}
	cpu_scratch_give(scratch);
}

int cpu_attention_backward(void *vb, const struct cwp_attention *a, const float *d_q,
	const float *d_k, const float *d_v, const float *d_out, const float *d_lse,
	const float *d_dout, float *d_dq, float *d_dk, float *d_dv)
{
	struct backward w = {.b = vb,
		.a = a,
		.q = d_q,
		.k = d_k,
		.v = d_v,
		.out = d_out,
		.lse = d_lse,
		.dout = d_dout,
		.dq = d_dq,
		.dk = d_dk,
		.dv = d_dv};
	int rc = cpu_check_attention(vb, "attention_backward", a);
	if (!rc && a->prefixes) {
		rc = cpu_refuse(vb, CWP_EVALUE, "attention_backward: prefixes are for the forward direction alone");
	}
	if (!rc) {
		rc = cpu_check_sequences(vb, "attention_backward", &a->sequences);
	}
	w.tokens = !rc && a->sequences.count ? a->sequences.start[a->sequences.count] : 0;
	if (!rc) {
		uint64_t ld = (uint64_t)a->heads * a->head_dim;
		rc = cpu_check_matrix(vb, "attention_backward", "q", d_q, w.tokens, ld, ld);
	}
	if (rc || w.tokens == 0) {
		return rc;
	}
	if (!d_k || !d_v || !d_out || !d_lse || !d_dout || !d_dq || !d_dk || !d_dv) {
		return cpu_refuse(vb, CWP_EVALUE, "attention_backward: an array is NULL");
	}
	w.most_keys = cpu_most_keys(a);
	rc = cpu_scratch_reserve(vb, (size_t)w.most_keys * ATTENTION_BLOCK * 3 * sizeof(float));
	if (rc) {
		return rc;
	}
	cpu_run(vb, (size_t)a->sequences.count * a->kv_heads, backward_piece, &w);
	return atomic_load(&w.rc);
}
