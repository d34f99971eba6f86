/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Attention: checks, cutting into pieces, choice of kernels. With precision bf16 tensor cores multiply copies in BF16 of the rows
 * at work, else all is f32; attention of one token is f32 always, as it waits for memory. */
#include <errno.h>
#include <math.h>

#include "plugins/backends/cuda/cuda.h"
#include "plugins/backends/cuda/ops_attention.h"

/* Copies are kept below SCRATCH_MOST where they can be, so that they stay near the kernels that read them. They are
 * never more than 8 bytes a number of q and SCRATCH_LEAST, which the plan of memory counts. */
static const uint64_t SCRATCH_LEAST = 64U << 20, SCRATCH_MOST = 256U << 20;

static int check_attention(struct cuda *b, const char *op, const struct cwp_attention *a)
{
	if (!a || a->size < sizeof(*a) || a->flags != 0) {
		return cuda_refuse(b, CWP_EVALUE, "%s: unknown size or flags", op);
	}
	if (a->heads == 0 || a->kv_heads == 0 || a->heads % a->kv_heads != 0 || a->head_dim == 0) {
		return cuda_refuse(b, CWP_ESHAPE, "%s: %u heads of %u dimensions over %u heads of keys", op, a->heads, a->head_dim,
			a->kv_heads);
	}
	if (a->head_dim > ATTENTION_HEAD_DIM) {
		return cuda_refuse(b, CWP_ESHAPE, "%s: heads of %u dimensions, but this backend has kernels for at most %d: use the "
			"backend cpu", op, a->head_dim, ATTENTION_HEAD_DIM);
	}
	if (!(a->softcap >= 0.0F) || !isfinite(a->softcap) || !isfinite(a->scale)) {
		return cuda_refuse(b, CWP_EVALUE, "%s: scale %g and softcap %g must be finite, softcap not negative", op,
			(double)a->scale, (double)a->softcap);
	}
	return 0;
}

static int check_prefixes(struct cuda *b, const struct cwp_attention *a)
{
	const struct cwp_prefixes *p = a->prefixes;
	for (uint64_t i = 0; p && i < a->sequences.count; i++) {
		uint64_t keys = a->sequences.start[i + 1] - a->sequences.start[i];
		if (p->range[0] != 0 || p->range[i + 1] < p->range[i]) {
			return cuda_refuse(b, CWP_EVALUE, "attention: ranges of prefixes must ascend from 0");
		}
		for (uint64_t r = p->range[i]; r < p->range[i + 1]; r++) {
			if (p->first[r] > a->sequences.start[i] || p->count[r] > a->sequences.start[i] - p->first[r]) {
				return cuda_refuse(b, CWP_EVALUE, "attention: a prefix must lie before the sequence that goes on after it");
			}
			keys += p->count[r];
			if (keys > INT32_MAX) {
				return cuda_refuse(b, CWP_ELIMIT, "attention: sequence %llu has more than %d keys",
					(unsigned long long)i, INT32_MAX);
			}
		}
	}
	return 0;
}

/* Everything but the arrays; *ret_tokens is 0 when there is nothing to do. */
static int check_call(struct cuda *b, const char *op, const struct cwp_attention *a, const float *d_q, uint64_t *ret_tokens)
{
	int rc = check_attention(b, op, a);
	rc = rc ? rc : cuda_check_sequences(b, op, &a->sequences);
	rc = rc ? rc : check_prefixes(b, a);
	if (rc) {
		return rc;
	}
	uint64_t ld = (uint64_t)a->heads * a->head_dim, tokens = a->sequences.count ? a->sequences.start[a->sequences.count] : 0;
	if (tokens > INT32_MAX || ld > INT32_MAX || tokens * a->heads > INT32_MAX) {
		return cuda_refuse(b, CWP_ELIMIT, "%s: %llu tokens of %u heads are more than %d rows of heads", op, (unsigned long long)tokens,
			a->heads, INT32_MAX);
	}
	*ret_tokens = tokens;
	return cuda_check_matrix(b, op, "q", d_q, tokens, ld, ld);
}

/* Whether rows of heads can be moved 16 bytes at once. */
static int wide(uint32_t head_dim, const void *const *arrays, size_t n)
{
	uintptr_t bits = head_dim * sizeof(float);
	for (size_t i = 0; i < n; i++) {
		bits |= (uintptr_t)arrays[i];
	}
	return bits % 16 == 0;
}

/* What both directions give the kernels at once. */
static struct attention_args args_of(const struct cwp_attention *a, const struct attention_plan *plan, uint64_t tokens)
{
	return (struct attention_args){.heads = a->heads, .kv_heads = a->kv_heads, .group = a->heads / a->kv_heads,
		.head_dim = a->head_dim, .window = a->window < plan->longest ? a->window : 0, .scale = a->scale,
		.softcap = a->softcap, .tokens = tokens, .packed_dim = (a->head_dim + 7) / 8 * 8};
}

static uint64_t round256(uint64_t n)
{
	return (n + 255) / 256 * 256;
}

/* Bytes of scratch that one row and one head of keys need, places between arrays not counted. */
static uint64_t scratch_each(const struct attention_args *k, int bf16, int backward)
{
	uint64_t row = bf16 ? k->packed_dim * UINT64_C(2) : 0;
	return backward ? row * 2 * (1 + (uint64_t)k->group) + k->group * sizeof(float) : row * 2;
}

/* Places of a piece's copies. */
static int take_scratch(struct cuda *b, struct attention_args *k, int bf16, int backward)
{
	uint64_t of_keys = bf16 ? round256((uint64_t)k->rows * k->kv_count * k->packed_dim * 2) : 0;
	uint64_t of_queries = backward && bf16 ? round256((uint64_t)k->rows * k->kv_count * k->group * k->packed_dim * 2) : 0;
	uint64_t of_delta = backward ? round256((uint64_t)k->rows * k->kv_count * k->group * sizeof(float)) : 0;
	uint64_t bytes = 2 * (of_keys + of_queries) + of_delta;
	if (bytes == 0) {
		return 0;
	}
	char *p = cuda_scratch(b, bytes);
	if (!p) {
		return -ENOMEM;
	}
	if (bf16) {
		k->d_packed_k = p;
		k->d_packed_v = p + of_keys;
	}
	if (bf16 && backward) {
		k->d_packed_q = p + 2 * of_keys;
		k->d_packed_dout = p + 2 * of_keys + of_queries;
	}
	k->d_delta = backward ? (void *)(p + 2 * (of_keys + of_queries)) : NULL;
	return 0;
}

/* Starts the kernels of one piece. */
static cudaError_t launch(const struct attention_args *k, int bf16, int backward, cudaStream_t stream)
{
	cudaError_t e = cudaSuccess;
	if (!backward) {
		e = bf16 ? attention_pack_forward(k, stream) : cudaSuccess;
		e = e != cudaSuccess ? e : (bf16 ? attention_bf16_forward : attention_f32_forward)(k, stream);
	} else {
		e = bf16 ? attention_pack_backward(k, stream) : attention_delta(k, stream);
		e = e != cudaSuccess ? e : (bf16 ? attention_bf16_backward : attention_f32_backward)(k, stream);
	}
	return e;
}

/* The tables go to the device, then piece after piece is started. */
static int run(struct cuda *b, const char *op, const struct attention_plan *plan, struct attention_args *k, int backward)
{
	int bf16 = b->precision == CUDA_BF16;
	uint64_t each = scratch_each(k, bf16, backward), numbers = k->tokens * k->heads * k->head_dim * 8;
	uint64_t budget = numbers < SCRATCH_LEAST ? SCRATCH_LEAST : numbers < SCRATCH_MOST ? numbers : SCRATCH_MOST;
	const struct attention_block *d_blocks = cuda_table(b, op, plan->blocks, plan->n_blocks * sizeof(*plan->blocks));
	if (d_blocks && plan->n_ranges > 0) {
		k->d_ranges = cuda_table(b, op, plan->ranges, plan->n_ranges * sizeof(*plan->ranges));
	}
	if (!d_blocks || (plan->n_ranges > 0 && !k->d_ranges)) {
		return -ENOMEM;
	}
	struct attention_piece piece = {0};
	int rc = 0;
	while (!rc && attention_plan_next(plan, each, budget, &piece)) {
		k->d_blocks = d_blocks + plan->first[piece.sequence];
		k->blocks = (uint32_t)(plan->first[piece.sequence_end] - plan->first[piece.sequence]);
		k->row0 = piece.row;
		k->rows = piece.rows;
		k->kv_first = piece.kv;
		k->kv_count = piece.kv_count;
		rc = take_scratch(b, k, bf16, backward);
		rc = rc ? rc : cuda_check(b, op, launch(k, bf16, backward, b->stream));
	}
	return rc;
}

int cuda_attention(void *vb, const struct cwp_attention *a, const float *d_q, const float *d_k, const float *d_v, float *d_out,
	float *d_lse)
{
	struct cuda *b = vb;
	uint64_t tokens = 0;
	int rc = check_call(b, "attention", a, d_q, &tokens);
	if (rc || tokens == 0) {
		return rc;
	}
	if (!d_k || !d_v || !d_out || !d_lse) {
		return cuda_refuse(b, CWP_EVALUE, "attention: an array is NULL");
	}
	struct attention_plan plan;
	uint32_t rows = b->precision == CUDA_BF16 ? attention_bf16_forward_rows(a->head_dim) : attention_f32_rows(a->head_dim);
	if (attention_plan_init(&plan, a, rows)) {
		return cuda_refuse(b, -ENOMEM, "attention: no memory for a table of %llu sequences", (unsigned long long)a->sequences.count);
	}
	const void *const arrays[] = {d_q, d_k, d_v, d_out};
	struct attention_args k = args_of(a, &plan, tokens);
	k.vector = (uint32_t)wide(a->head_dim, arrays, sizeof(arrays) / sizeof(arrays[0]));
	k.d_q = d_q;
	k.d_k = d_k;
	k.d_v = d_v;
	k.d_out = d_out;
	k.d_lse = d_lse;
	k.d_out_copy = cuda_wrote_beside(b, d_out, tokens * a->heads * a->head_dim);
	rc = run(b, "attention", &plan, &k, 0);
	attention_plan_done(&plan);
	if (rc) { /* some of it may not have been started */
		cuda_wrote(b, d_out, sizeof(float));
	}
	cuda_wrote(b, d_lse, tokens * a->heads * sizeof(float));
	return rc;
}

int cuda_attention_backward(void *vb, const struct cwp_attention *a, const float *d_q, const float *d_k, const float *d_v,
	const float *d_out, const float *d_lse, const float *d_dout, float *d_dq, float *d_dk, float *d_dv)
{
	struct cuda *b = vb;
	uint64_t tokens = 0;
	int rc = check_attention(b, "attention_backward", a);
	if (!rc && a->prefixes) {
		rc = cuda_refuse(b, CWP_EVALUE, "attention_backward: prefixes are for the forward direction alone");
	}
	rc = rc ? rc : check_call(b, "attention_backward", a, d_q, &tokens);
	if (rc || tokens == 0) {
		return rc;
	}
	if (!d_k || !d_v || !d_out || !d_lse || !d_dout || !d_dq || !d_dk || !d_dv) {
		return cuda_refuse(b, CWP_EVALUE, "attention_backward: an array is NULL");
	}
	struct attention_plan plan;
	uint32_t rows = b->precision == CUDA_BF16 ? attention_bf16_backward_rows(a->head_dim) : attention_f32_rows(a->head_dim);
	if (attention_plan_init(&plan, a, rows)) {
		return cuda_refuse(b, -ENOMEM, "attention_backward: no memory for a table of %llu sequences",
			(unsigned long long)a->sequences.count);
	}
	const void *const arrays[] = {d_q, d_k, d_v, d_out, d_dout, d_dq, d_dk, d_dv};
	struct attention_args k = args_of(a, &plan, tokens);
	k.vector = (uint32_t)wide(a->head_dim, arrays, sizeof(arrays) / sizeof(arrays[0]));
	k.d_q = d_q;
	k.d_k = d_k;
	k.d_v = d_v;
	k.d_dout = d_dout;
	k.d_read_out = d_out;
	k.d_read_lse = d_lse;
	k.d_dq = d_dq;
	k.d_dk = d_dk;
	k.d_dv = d_dv;
	rc = run(b, "attention_backward", &plan, &k, 1);
	attention_plan_done(&plan);
	cuda_wrote(b, d_dq, tokens * a->heads * a->head_dim * sizeof(float));
	cuda_wrote(b, d_dk, tokens * a->kv_heads * a->head_dim * sizeof(float));
	cuda_wrote(b, d_dv, tokens * a->kv_heads * a->head_dim * sizeof(float));
	return rc;
}

int cuda_attention_decode(void *vb, const struct cwp_attention *a, const float *d_q, const float *d_k_cache,
	const float *d_v_cache, uint64_t length, float *d_out)
{
	struct cuda *b = vb;
	int rc = check_attention(b, "attention_decode", a);
	if (rc) {
		return rc;
	}
	if (length == 0 || !d_q || !d_k_cache || !d_v_cache || !d_out) {
		return cuda_refuse(b, CWP_EVALUE, "attention_decode: an array is NULL or the cache empty");
	}
	uint64_t ld = (uint64_t)a->kv_heads * a->head_dim;
	rc = cuda_check_matrix(b, "attention_decode", "the cache", d_k_cache, length, ld, ld);
	if (!rc && length * a->heads > INT32_MAX) {
		rc = cuda_refuse(b, CWP_ELIMIT, "attention_decode: %llu keys of %u heads are more than %d rows of heads",
			(unsigned long long)length, a->heads, INT32_MAX);
	}
	if (rc) {
		return rc;
	}
	uint64_t first = a->window && length > a->window ? length - a->window : 0;
	const void *const arrays[] = {d_k_cache, d_v_cache};
	struct attention_decode_args k = {.d_q = d_q, .d_k = d_k_cache + first * ld, .d_v = d_v_cache + first * ld, .d_out = d_out,
		.keys = length - first, .heads = a->heads, .kv_heads = a->kv_heads, .head_dim = a->head_dim,
		.vector = (uint32_t)wide(a->head_dim, arrays, sizeof(arrays) / sizeof(arrays[0])),
		.scale = a->scale, .softcap = a->softcap};
	size_t partial = attention_decode_partial(k.keys, a->heads, a->head_dim);
	k.d_partial = partial ? cuda_scratch(b, partial) : NULL;
	if (partial && !k.d_partial) {
		return -ENOMEM;
	}
	rc = cuda_check(b, "attention_decode", attention_decode(&k, b->stream));
	cuda_wrote(b, d_out, (size_t)a->heads * a->head_dim * sizeof(float));
	return rc;
}
