/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What comes before the rounding: the order of columns, and the factor of the inverse of x x^T. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <cwp/error.h>

#include "plugins/quantizers/rows/rows.h"
#include "plugins/quantizers/static/factor.h"
#include "plugins/quantizers/static/gptq_p.h"

/* Each failure raises the damping tenfold, up to this. */
#define DAMPING_LEAST 0.001
#define DAMPING_MOST 10.0

struct by_size {
	float size;
	uint64_t column;
};

static int compare(const void *a, const void *b)
{
	const struct by_size *x = a, *y = b;

	if (x->size != y->size) {
		return x->size > y->size ? -1 : 1;
	}
	return x->column < y->column ? -1 : x->column > y->column;
}

uint64_t *gptq_find_order(const float *diagonal, uint64_t stride, uint64_t n)
{
	struct by_size *list = malloc(n * sizeof(*list));
	uint64_t *order = malloc(n * sizeof(*order));

	if (list == NULL || order == NULL) {
		free(list);
		free(order);
		return NULL;
	}
	for (uint64_t i = 0; i < n; i++) {
		list[i] = (struct by_size){diagonal[i * stride], i};
	}
	qsort(list, n, sizeof(*list), compare);
	for (uint64_t i = 0; i < n; i++) {
		order[i] = list[i].column;
	}
	free(list);
	return order;
}

int gptq_factorize(gptq_try *try, void *arg, double mean, double *damping)
{
	double share = *damping;
	int rc = 1;

	while (rc == 1 && share <= DAMPING_MOST) {
		rc = try(arg, share * mean);
		*damping = share;
		share = (share > DAMPING_LEAST ? share : DAMPING_LEAST) * 10;
	}
	return rc;
}

void gptq_note(int code, double asked, double used, char *note, size_t note_size)
{
	if (code == 1) {
		snprintf(note, note_size, "rounded to nearest, since x x^T has no Cholesky factor even with a damping of %g", used);
	} else if (code == 0 && used > asked) {
		snprintf(note, note_size, "with a damping of %g, since x x^T has no Cholesky factor with less", used);
	}
}

void gptq_note_empty(const struct cwp_quantizer_module *m, char *note, size_t note_size)
{
	snprintf(note, note_size, "rounded to nearest, since %s", m->tokens == 0 ? "no token came to it" : "all its inputs are 0");
}

int gptq_refuse_channel(const struct cwp_host *host, uint64_t channel)
{
	char text[128];

	snprintf(text, sizeof(text), "x x^T of input channel %llu is not finite: the activations overflow", (unsigned long long)channel);
	host->fail(host->ctx, text);
	return CWP_ENUMBER;
}

/* ---- on the host ---- */

struct attempt {
	const struct cwp_host *host;
	const struct gptq *g;
	const float *gram;
	double *a;
};

/* x x^T in the order of the columns, reversed, with `damping` on its diagonal. A column without input is tied to no other,
 * which makes its rounding a plain one. */
static void fill(const struct gptq *g, const float *gram, double damping, double *a)
{
	const uint64_t n = g->cols;

	for (uint64_t i = 0; i < n; i++) {
		const float *row = gram + gptq_column(g, n - 1 - i) * n;
		for (uint64_t k = 0; k <= i; k++) {
			a[i * n + k] = (double)row[gptq_column(g, n - 1 - k)];
		}
		a[i * n + i] = a[i * n + i] > 0 ? a[i * n + i] + damping : 1;
	}
}

static int try_host(void *arg, double added)
{
	const struct attempt *t = arg;

	fill(t->g, t->gram, added, t->a);
	return factor_inverse(t->host, t->g->cols, t->a, t->g->u);
}

static int factorize(const struct cwp_host *host, struct gptq *g, const float *gram, double mean, double *damping)
{
	struct attempt t = {host, g, gram, host->alloc(host->ctx, g->cols * g->cols * sizeof(double))};
	const int rc = t.a != NULL ? gptq_factorize(try_host, &t, mean, damping) : -ENOMEM;

	host->free(host->ctx, t.a);
	return rc;
}

static int sum_diagonal(const struct cwp_host *host, const struct cwp_quantizer_module *m, double *ret_sum)
{
	double sum = 0;

	for (uint64_t i = 0; i < m->cols; i++) {
		if (!row_all_finite(m->gram + i * m->cols, m->cols)) {
			return gptq_refuse_channel(host, i);
		}
		sum += (double)m->gram[i * m->cols + i];
	}
	*ret_sum = sum;
	return 0;
}

static struct gptq *new_gptq(const struct cwp_quantizer_module *m, int act_order)
{
	struct gptq *g = calloc(1, sizeof(*g));

	if (g == NULL) {
		return NULL;
	}
	g->users = 1;
	g->cols = m->cols;
	g->u = malloc(m->cols * m->cols * sizeof(*g->u));
	g->order = act_order ? gptq_find_order(m->gram, m->cols + 1, m->cols) : NULL;
	if (g->u == NULL || (act_order && g->order == NULL)) {
		gptq_release(g);
		return NULL;
	}
	return g;
}

static int prepare_host(const struct cwp_host *host, const struct gptq_options *options, const struct cwp_quantizer_module *m,
	struct gptq **ret, char *note, size_t note_size)
{
	double sum = 0, damping = options->damping;
	int rc = sum_diagonal(host, m, &sum);

	if (rc != 0) {
		return rc;
	}
	if (!(sum > 0)) {
		gptq_note_empty(m, note, note_size);
		return 0;
	}
	struct gptq *g = new_gptq(m, options->act_order);
	rc = g != NULL ? factorize(host, g, m->gram, sum / (double)m->cols, &damping) : -ENOMEM;
	gptq_note(rc, options->damping, damping, note, note_size);
	if (rc != 0) {
		gptq_release(g);
		return rc == 1 ? 0 : rc;
	}
	*ret = g;
	return 0;
}

int gptq_prepare(const struct cwp_host *host, const struct gptq_options *options, const struct cwp_quantizer_module *m,
	struct gptq **ret, char *note, size_t note_size)
{
	*ret = NULL;
	if (m->before != NULL) {
		*ret = m->before;
		(*ret)->users++;
		return 0;
	}
	return m->backend != NULL ? gptq_prepare_device(host, options, m, ret, note, note_size)
		: prepare_host(host, options, m, ret, note, note_size);
}

void gptq_release(struct gptq *g)
{
	if (g != NULL && --g->users == 0) {
		free(g->order);
		free(g->u);
		free(g);
	}
}

uint64_t gptq_memory(uint64_t cols, uint32_t threads)
{
	const uint64_t prepare = cols * cols * sizeof(double) + cols * sizeof(struct by_size) + factor_memory(cols, threads);
	const uint64_t rows = threads * (64 * (cols + GPTQ_BLOCK) + GPTQ_BLOCK * GPTQ_BLOCK) * sizeof(float);

	return 2 * (cols * cols * sizeof(float) + cols * sizeof(uint64_t)) + (prepare > rows ? prepare : rows);
}
