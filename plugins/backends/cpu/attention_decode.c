/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Attention of one new token against the keys and values of all earlier ones. */
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

struct decode {
	struct cpu *b;
	const struct cwp_attention *a;
	const float *q;
	const float *k; /* from the first key that is seen */
	const float *v;
	uint64_t keys;
	float *out;
};

static void decode_head(void *arg, size_t head)
{
	const struct decode *d = arg;
	const struct cwp_attention *a = d->a;
	const struct kernels *k = &d->b->k;
	struct scratch *scratch = cpu_scratch_take(d->b);
	float *s = scratch->memory;
	size_t ld = (size_t)a->kv_heads * a->head_dim,
	       kv = head / (a->heads / a->kv_heads) * a->head_dim;
	float *out = d->out + head * a->head_dim;
	const struct gemm scores = {.trans_b = 1, .m = 1, .n = (size_t)d->keys, .k = a->head_dim,
		.a = d->q + head * a->head_dim, .lda = a->head_dim, .b = d->k + kv, .ldb = ld, .c = s,
		.ldc = (size_t)d->keys};
	k->few(&scores);
	float max = k->scores(s, (size_t)d->keys, a->scale, a->softcap);
	float sum = k->exp_sum(s, (size_t)d->keys, max);
	memset(out, 0, a->head_dim * sizeof(float));
	for (uint64_t t = 0; t < d->keys; t++) {
		k->axpy(out, s[t], d->v + t * ld + kv, a->head_dim);
	}
	k->scale(out, 1.0F / sum, a->head_dim);
	cpu_scratch_give(scratch);
}

int cpu_attention_decode(void *vb, const struct cwp_attention *a, const float *d_q,
	const float *d_k_cache, const float *d_v_cache, uint64_t length, float *d_out)
{
	int rc = cpu_check_attention(vb, "attention_decode", a);
	if (rc) {
		return rc;
	}
	if (length == 0 || !d_q || !d_k_cache || !d_v_cache || !d_out) {
		return cpu_refuse(
			vb, CWP_EVALUE, "attention_decode: an array is NULL or the cache empty");
	}
	uint64_t ld = (uint64_t)a->kv_heads * a->head_dim, first = cpu_first_key(a, length - 1);
	rc = cpu_check_matrix(vb, "attention_decode", "the cache", d_k_cache, length, ld, ld);
	if (!rc) {
		rc = cpu_scratch_reserve(vb, (size_t)(length - first) * sizeof(float));
	}
	if (rc) {
		return rc;
	}
	struct decode d = {
		vb, a, d_q, d_k_cache + first * ld, d_v_cache + first * ld, length - first, d_out};
	cpu_run(vb, a->heads, decode_head, &d);
	return 0;
}
