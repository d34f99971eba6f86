/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Gated activations, forward and backward. */
#include "plugins/backends/cpu/cpu.h"

enum { CHUNK = 1 << 14 };

struct glu {
	struct cpu *b;
	uint32_t act;
	const float *gate;
	const float *up;
	const float *dh;
	uint64_t n;
	float *out; /* h or dgate */
	float *dup;
};

static size_t chunks(uint64_t n)
{
	return (size_t)(n / CHUNK + (n % CHUNK != 0));
}

static void forward_chunk(void *arg, size_t i)
{
	const struct glu *g = arg;
	uint64_t o = (uint64_t)i * CHUNK, n = g->n - o < CHUNK ? g->n - o : CHUNK;
	const struct kernels *k = &g->b->k;
	(g->act == CWP_GLU_SILU ? k->silu : k->gelu)(g->gate + o, g->up + o, n, g->out + o);
}

static void backward_chunk(void *arg, size_t i)
{
	const struct glu *g = arg;
	uint64_t o = (uint64_t)i * CHUNK, n = g->n - o < CHUNK ? g->n - o : CHUNK;
	const struct kernels *k = &g->b->k;
	(g->act == CWP_GLU_SILU ? k->silu_backward : k->gelu_backward)(
		g->gate + o, g->up + o, g->dh + o, n, g->out + o, g->dup + o);
}

static int check(struct cpu *b, const char *op, const struct glu *g)
{
	if (g->act != CWP_GLU_SILU && g->act != CWP_GLU_GELU_TANH) {
		return cpu_refuse(b, CWP_EVALUE, "%s: activation %u is neither SILU nor GELU_TANH",
			op, g->act);
	}
	int rc = cpu_check_matrix(b, op, "the gate", g->gate, 1, g->n, g->n);
	if (!rc) {
		rc = cpu_check_matrix(b, op, "up", g->up, 1, g->n, g->n);
	}
	if (!rc) {
		rc = cpu_check_matrix(b, op, "the result", g->out, 1, g->n, g->n);
	}
	return rc;
}

int cpu_glu(void *vb, uint32_t act, const float *d_gate, const float *d_up, uint64_t n, float *d_h)
{
	struct glu g = {vb, act, d_gate, d_up, NULL, n, d_h, NULL};
	int rc = check(vb, "glu", &g);
	if (rc) {
		return rc;
	}
	cpu_run(vb, chunks(n), forward_chunk, &g);
	return 0;
}

int cpu_glu_backward(void *vb, uint32_t act, const float *d_gate, const float *d_up,
	const float *d_dh, uint64_t n, float *d_dgate, float *d_dup)
{
	struct glu g = {vb, act, d_gate, d_up, d_dh, n, d_dgate, d_dup};
	int rc = check(vb, "glu_backward", &g);
	if (!rc) {
		rc = cpu_check_matrix(vb, "glu_backward", "dh", d_dh, 1, n, n);
	}
	if (!rc) {
		rc = cpu_check_matrix(vb, "glu_backward", "dup", d_dup, 1, n, n);
	}
	if (rc) {
		return rc;
	}
	cpu_run(vb, chunks(n), backward_chunk, &g);
	return 0;
}
