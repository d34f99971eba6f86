/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Soft limits of logits. Attention has its own inside. */
#include "plugins/backends/cpu/cpu.h"

enum { PIECE = 1 << 14 };

struct softcap {
	struct cpu *b;
	float *x;
	const float *y;
	uint64_t n;
	float cap;
};

static void forward_piece(void *arg, size_t i)
{
	const struct softcap *w = arg;
	uint64_t o = (uint64_t)i * PIECE, n = w->n - o < PIECE ? w->n - o : PIECE;
	(void)w->b->k.scores(w->x + o, (size_t)n, 1.0F, w->cap);
}

static void backward_piece(void *arg, size_t i)
{
	const struct softcap *w = arg;
	uint64_t o = (uint64_t)i * PIECE, n = w->n - o < PIECE ? w->n - o : PIECE;
	for (uint64_t k = o; k < o + n; k++) {
		float t = w->y[k] / w->cap;
		w->x[k] *= 1.0F - t * t;
	}
}

static int run(struct softcap *w, const char *op, void (*body)(void *arg, size_t i))
{
	int rc = cpu_check_matrix(w->b, op, "x", w->x, 1, w->n, w->n);
	if (!rc && !(w->cap > 0.0F)) {
		rc = cpu_refuse(w->b, CWP_EVALUE, "%s: the limit %g is not above 0", op, (double)w->cap);
	}
	if (!rc) {
		cpu_run(w->b, (size_t)((w->n + PIECE - 1) / PIECE), body, w);
	}
	return rc;
}

int cpu_softcap(void *b, float *d_x, uint64_t n, float cap)
{
	struct softcap w = {b, d_x, NULL, n, cap};
	return run(&w, "softcap", forward_piece);
}

int cpu_softcap_backward(void *b, float *d_dx, const float *d_y, uint64_t n, float cap)
{
	struct softcap w = {b, d_dx, d_y, n, cap};
	int rc = cpu_check_matrix(b, "softcap_backward", "y", d_y, 1, n, n);
	return rc ? rc : run(&w, "softcap_backward", backward_piece);
}
