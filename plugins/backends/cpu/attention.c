/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Causal attention with grouped queries over packed sequences, forward. One piece of work is one
 * block of queries of one head of one sequence: its scores against all keys that it may see are in
 * memory at once, so the softmax is exact, and memory is ATTENTION_BLOCK times the longest sequence
 * a thread. Within a block a key that a query does not see has probability 0; a NaN or infinity in
 * its value still reaches that query, as 0 * NaN is NaN. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

struct piece {
	uint64_t sequence;
	uint32_t head;
	uint64_t first; /* query within the sequence */
};

struct forward {
	struct cpu *b;
	const struct cwp_attention *a;
	const float *q;
	const float *k;
	const float *v;
	float *out;
	float *lse;
	struct piece *pieces;
	uint64_t tokens;
	atomic_int rc;
};

int cpu_check_attention(struct cpu *b, const char *op, const struct cwp_attention *a)
{
	if (!a || a->size < sizeof(*a) || a->flags != 0) {
		return cpu_refuse(b, CWP_EVALUE, "%s: unknown size or flags", op);
	}
	if (a->heads == 0 || a->kv_heads == 0 || a->heads % a->kv_heads != 0 || a->head_dim == 0) {
		return cpu_refuse(b, CWP_ESHAPE,
			"%s: %u heads of %u dimensions over %u heads of keys", op, a->heads,
			a->head_dim, a->kv_heads);
	}
	if (!(a->softcap >= 0.0F) || !isfinite(a->softcap) || !isfinite(a->scale)) {
		return cpu_refuse(b, CWP_EVALUE,
			"%s: scale %g and softcap %g must be finite, softcap not negative", op,
			(double)a->scale, (double)a->softcap);
	}
	return 0;
}

/* Tokens that sequence i goes on after. */
static uint64_t prefix_tokens(const struct cwp_attention *a, uint64_t i)
{
	uint64_t n = 0;
	for (uint64_t r = a->prefixes ? a->prefixes->range[i] : 0; a->prefixes && r < a->prefixes->range[i + 1]; r++) {
		n += a->prefixes->count[r];
	}
	return n;
}

static int check_prefixes(struct cpu *b, const struct cwp_attention *a)
{
	const struct cwp_prefixes *p = a->prefixes;
	for (uint64_t i = 0; p && i < a->sequences.count; i++) {
		if (p->range[0] != 0 || p->range[i + 1] < p->range[i]) {
			return cpu_refuse(b, CWP_EVALUE, "attention: ranges of prefixes must ascend from 0");
		}
		for (uint64_t r = p->range[i]; r < p->range[i + 1]; r++) {
			if (p->first[r] > a->sequences.start[i] || p->count[r] > a->sequences.start[i] - p->first[r]) {
				return cpu_refuse(b, CWP_EVALUE, "attention: a prefix must lie before the sequence that goes on after it");
			}
		}
	}
	return 0;
}

uint64_t cpu_first_key(const struct cwp_attention *a, uint64_t position)
{
	return a->window && position + 1 > a->window ? position + 1 - a->window : 0;
}

uint64_t cpu_most_keys(const struct cwp_attention *a)
{
	uint64_t most = 0;
	for (uint64_t i = 0; i < a->sequences.count; i++) {
		uint64_t n = a->sequences.start[i + 1] - a->sequences.start[i] + prefix_tokens(a, i);
		most = n > most ? n : most;
	}
	uint64_t limit = (uint64_t)a->window + ATTENTION_BLOCK;
	return a->window && limit < most ? limit : most;
}

/* Softmax of one row of scores [keys]; columns outside [from, end) become 0. Returns the factor
 * that is still to be applied: 1 / sum. */
static float softmax_row(const struct forward *f, float *s, uint64_t keys, uint64_t from,
	uint64_t end, float *ret_lse)
{
	const struct kernels *k = &f->b->k;
	memset(s, 0, (size_t)from * sizeof(float));
	memset(s + end, 0, (size_t)(keys - end) * sizeof(float));
	float max = k->scores(s + from, end - from, f->a->scale, f->a->softcap);
	float sum = k->exp_sum(s + from, end - from, max);
	*ret_lse = max + logf(sum);
	return 1.0F / sum;
}

/* Rows of keys and values that lie together, and the first column of theirs among a block's scores. */
struct span {
	uint64_t row;
	uint64_t count;
	uint64_t column;
};

/* The part of rows [row, row + count), at key `position` and on, that a block sees: keys [low, end). */
static struct span clip(uint64_t row, uint64_t count, uint64_t position, uint64_t low, uint64_t end)
{
	uint64_t from = position < low ? low : position, to = position + count < end ? position + count : end;
	return to > from ? (struct span){row + (from - position), to - from, from - low} : (struct span){0};
}

/* One span's part of a block's products: its scores, or when `scores` is 0 its share of the output. */
static int multiply(const struct forward *f, const struct span *n, int scores, int accumulate, struct gemm g)
{
	size_t ldk = (size_t)f->a->kv_heads * f->a->head_dim;
	g.trans_b = scores;
	g.accumulate = accumulate;
	g.ldb = ldk;
	g.b += n->row * ldk;
	if (scores) {
		g.n = n->count;
		g.c += n->column;
	} else {
		g.k = n->count;
		g.a += n->column;
	}
	return f->b->k.gemm(&g);
}

/* The same for all keys [low, end) of sequence i, whose own rows begin at `start` and at key `before`. */
static int multiply_all(const struct forward *f, uint64_t i, uint64_t before, uint64_t low, uint64_t end, int scores,
	const struct gemm *g)
{
	const struct cwp_prefixes *p = f->a->prefixes;
	uint64_t position = 0;
	int done = 0;
	int rc = 0;
	for (uint64_t r = p ? p->range[i] : 0; !rc && p && r < p->range[i + 1]; r++) {
		struct span n = clip(p->first[r], p->count[r], position, low, end);
		position += p->count[r];
		if (n.count > 0) {
			rc = multiply(f, &n, scores, !scores && done, *g);
			done = 1;
		}
	}
	struct span own = clip(f->a->sequences.start[i], end - before, before, low, end);
	return rc ? rc : multiply(f, &own, scores, !scores && done, *g);
}

static int block(const struct forward *f, const struct piece *p, float *s)
{
	const struct cwp_attention *a = f->a;
	uint64_t start = a->sequences.start[p->sequence], before = prefix_tokens(a, p->sequence),
		 length = before + a->sequences.start[p->sequence + 1] - start, first = before + p->first;
	uint64_t end = length - first < ATTENTION_BLOCK ? length : first + ATTENTION_BLOCK;
	uint64_t low = cpu_first_key(a, first), keys = end - low, rows = end - first;
	size_t ldq = (size_t)a->heads * a->head_dim;
	size_t kv = (size_t)(p->head / (a->heads / a->kv_heads)) * a->head_dim,
	       at = (start + p->first) * ldq + (size_t)p->head * a->head_dim;
	float factor[ATTENTION_BLOCK];
	struct gemm scores = {.m = rows, .k = a->head_dim, .a = f->q + at, .lda = ldq, .b = f->k + kv, .c = s, .ldc = keys};
	struct gemm product = {.m = rows, .n = a->head_dim, .a = s, .lda = keys, .b = f->v + kv, .c = f->out + at, .ldc = ldq};
	int rc = multiply_all(f, p->sequence, before, low, end, 1, &scores);
	if (rc) {
		return rc;
	}
	for (uint64_t i = 0; i < rows; i++) {
		uint64_t position = first + i;
		factor[i] = softmax_row(f, s + i * keys, keys, cpu_first_key(a, position) - low,
			position + 1 - low, &f->lse[p->head * f->tokens + start + p->first + i]);
	}
	rc = multiply_all(f, p->sequence, before, low, end, 0, &product);
	for (uint64_t i = 0; !rc && i < rows; i++) {
		f->b->k.scale(f->out + at + i * ldq, factor[i], a->head_dim);
	}
	return rc;
}

static void forward_piece(void *arg, size_t i)
{
	struct forward *f = arg;
	struct scratch *scratch = cpu_scratch_take(f->b);
	int rc = block(f, &f->pieces[i], scratch->memory);
	if (rc) {
		atomic_store(&f->rc, rc);
	}
	cpu_scratch_give(scratch);
}

/* Fills f->pieces; *ret_count of them. */
static int cut(struct forward *f, size_t *ret_count)
{
	const struct cwp_sequences *s = &f->a->sequences;
	size_t count = 0;
	for (uint64_t i = 0; i < s->count; i++) {
		uint64_t length = s->start[i + 1] - s->start[i];
		count += (size_t)((length + ATTENTION_BLOCK - 1) / ATTENTION_BLOCK) * f->a->heads;
	}
	f->pieces = cpu_alloc(f->b, count * sizeof(*f->pieces));
	if (!f->pieces) {
		return -ENOMEM;
	}
	size_t n = 0;
	for (uint64_t i = 0; i < s->count; i++) {
		for (uint32_t h = 0; h < f->a->heads; h++) {
			for (uint64_t first = 0; first < s->start[i + 1] - s->start[i];
				first += ATTENTION_BLOCK) {
				f->pieces[n++] = (struct piece){i, h, first};
			}
		}
	}
	*ret_count = count;
	return 0;
}

int cpu_attention(void *vb, const struct cwp_attention *a, const float *d_q, const float *d_k,
	const float *d_v, float *d_out, float *d_lse)
{
	struct forward f = {
		.b = vb, .a = a, .q = d_q, .k = d_k, .v = d_v, .out = d_out, .lse = d_lse};
	int rc = cpu_check_attention(vb, "attention", a);
	if (!rc) {
		rc = cpu_check_sequences(vb, "attention", &a->sequences);
	}
	if (!rc) {
		rc = check_prefixes(vb, a);
	}
	f.tokens = !rc && a->sequences.count ? a->sequences.start[a->sequences.count] : 0;
	if (!rc) {
		uint64_t ld = (uint64_t)a->heads * a->head_dim;
		rc = cpu_check_matrix(vb, "attention", "q", d_q, f.tokens, ld, ld);
	}
	if (rc || f.tokens == 0) {
		return rc;
	}
	if (!d_k || !d_v || !d_out || !d_lse) {
		return cpu_refuse(vb, CWP_EVALUE, "attention: an array is NULL");
	}
	size_t count = 0;
	rc = cut(&f, &count);
	if (!rc) {
		rc = cpu_scratch_reserve(
			vb, (size_t)cpu_most_keys(a) * ATTENTION_BLOCK * sizeof(float));
	}
	if (!rc) {
		cpu_run(vb, count, forward_piece, &f);
		rc = atomic_load(&f.rc);
	}
	cpu_free(vb, f.pieces);
	return rc;
}
