/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GPTQ on the device that has the module: of x x^T only the diagonal comes to the host. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include <cwp/backend.h>
#include <cwp/error.h>

#include "plugins/quantizers/static/gptq_p.h"

enum { LINE = 256 };

/* Elements of x x^T have numbers of 32 bits in gather_rows(). */
#define MOST_COLS 65535u

/* Where things are in the host's block: what lies before `work` is the same for all modules that share an input. */
struct places {
	uint64_t u, order, diagonal, index, work;
};

static uint64_t lines(uint64_t bytes)
{
	return (bytes + LINE - 1) / LINE * LINE;
}

static struct places places_of(uint64_t cols)
{
	struct places p = {.u = 0};

	p.order = lines(cols * cols * sizeof(float));
	p.diagonal = p.order + lines(cols * sizeof(uint32_t));
	p.index = p.diagonal + lines(cols * sizeof(float));
	p.work = p.index + lines(cols * sizeof(uint32_t));
	return p;
}

uint64_t gptq_device_memory(const struct cwp_backend *backend, void *b, uint64_t rows, uint64_t cols)
{
	if (backend->gptq_factor == NULL || cols == 0 || cols > MOST_COLS) {
		return 0;
	}
	return places_of(cols).work + lines(backend->gptq_work(b, rows, cols));
}

int gptq_is_there(const struct gptq *g)
{
	return g->backend != NULL;
}

/* x x^T's diagonal -> diagonal [cols]; index [cols] is room. */
static int fetch_diagonal(const struct cwp_quantizer_module *m, float *diagonal, uint32_t *index)
{
	const struct places p = places_of(m->cols);
	float *d_diagonal = (float *)(void *)((char *)m->d_work + p.diagonal);
	uint32_t *d_index = (uint32_t *)(void *)((char *)m->d_work + p.index);
	const size_t bytes = m->cols * sizeof(float);

	for (uint64_t i = 0; i < m->cols; i++) {
		index[i] = (uint32_t)(i * (m->cols + 1));
	}
	int rc = m->backend->upload(m->b, d_index, index, m->cols * sizeof(*index));
	rc = rc == 0 ? m->backend->gather_rows(m->b, m->d_gram, d_index, NULL, m->cols, 1, d_diagonal) : rc;
	return rc == 0 ? m->backend->download(m->b, diagonal, d_diagonal, bytes) : rc;
}

/* What is not finite in a row is so on the diagonal: no element is larger than both of its channels' own. */
static int sum_diagonal(const struct cwp_host *host, const float *diagonal, uint64_t n, double *ret_sum)
{
	double sum = 0;

	for (uint64_t i = 0; i < n; i++) {
		if (!isfinite(diagonal[i])) {
			return gptq_refuse_channel(host, i);
		}
		sum += (double)diagonal[i];
	}
	*ret_sum = sum;
	return 0;
}

static int upload_order(const struct cwp_quantizer_module *m, const float *diagonal, uint32_t *index, uint32_t *d_order)
{
	uint64_t *order = gptq_find_order(diagonal, 1, m->cols);

	if (order == NULL) {
		return -ENOMEM;
	}
	for (uint64_t i = 0; i < m->cols; i++) {
		index[i] = (uint32_t)order[i];
	}
	free(order);
	return m->backend->upload(m->b, d_order, index, m->cols * sizeof(*index));
}

struct attempt {
	const struct cwp_host *host;
	const struct cwp_quantizer_module *m;
	const struct gptq *g;
};

static int try_device(void *arg, double added)
{
	const struct attempt *t = arg;
	const struct cwp_quantizer_module *m = t->m;
	const struct cwp_gptq_factor f = {.size = sizeof(f), .n = m->cols, .d_gram = m->d_gram, .d_order = t->g->d_order, .damping = added,
		.d_u = t->g->d_u, .d_work = (char *)m->d_work + places_of(m->cols).work};

	return t->host->cancelled(t->host->ctx) ? CWP_ECANCELLED : m->backend->gptq_factor(m->b, &f);
}

/* From a diagonal that is finite and not all 0. */
static int factorize(const struct cwp_host *host, const struct gptq_options *options, const struct cwp_quantizer_module *m,
	const float *diagonal, uint32_t *index, struct gptq *g, double mean, double *damping)
{
	const struct places p = places_of(m->cols);
	struct attempt t = {host, m, g};

	*g = (struct gptq){.users = 1, .cols = m->cols, .backend = m->backend, .d_u = (float *)(void *)((char *)m->d_work + p.u)};
	if (options->act_order) {
		g->d_order = (uint32_t *)(void *)((char *)m->d_work + p.order);
		const int rc = upload_order(m, diagonal, index, g->d_order);
		if (rc != 0) {
			return rc;
		}
	}
	return gptq_factorize(try_device, &t, mean, damping);
}

int gptq_prepare_device(const struct cwp_host *host, const struct gptq_options *options, const struct cwp_quantizer_module *m,
	struct gptq **ret, char *note, size_t note_size)
{
	double sum = 0, damping = options->damping;
	float *diagonal = malloc(m->cols * sizeof(*diagonal));
	uint32_t *index = malloc(m->cols * sizeof(*index));
	struct gptq *g = calloc(1, sizeof(*g));
	int rc = diagonal != NULL && index != NULL && g != NULL ? fetch_diagonal(m, diagonal, index) : -ENOMEM;

	rc = rc == 0 ? sum_diagonal(host, diagonal, m->cols, &sum) : rc;
	if (rc == 0 && !(sum > 0)) {
		gptq_note_empty(m, note, note_size);
	} else if (rc == 0) {
		rc = factorize(host, options, m, diagonal, index, g, sum / (double)m->cols, &damping);
		gptq_note(rc, options->damping, damping, note, note_size);
		if (rc == 0) {
			*ret = g;
			g = NULL;
		}
	}
	free(diagonal);
	free(index);
	free(g);
	return rc == 1 ? 0 : rc;
}

int gptq_matrix(const struct gptq *g, const struct gptq_options *options, const struct scale_rule *rule, uint64_t group,
	const struct cwp_quantizer_matrix *m)
{
	const struct cwp_gptq_round r = {.size = sizeof(r), .rows = m->rows, .cols = m->cols, .group = group, .bits = (uint32_t)rule->bits,
		.symmetric = rule->symmetric != 0, .exact_scales = 0, .compensated = options->compensated != 0, .d_order = g->d_order,
		.d_u = g->d_u, .d_weight = m->d_weight, .d_mask = m->d_mask, .mask_stride = m->mask_stride, .d_codes = m->d_codes,
		.d_scales = m->d_scales, .d_zeros = m->d_zeros, .d_exact = m->d_exact,
		.d_work = (char *)m->d_work + places_of(m->cols).work};

	return m->backend->gptq_round(m->b, &r);
}
