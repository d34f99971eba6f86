/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
#include "plugins/quantizers/static/clip.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cwp/error.h>

#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/rows.h"

enum { STEPS = 20 /* whole times ROW_ERRORS */, WHOLE = 40, ROWS = 16 /* of a piece of work */ };

struct search {
	const struct cwp_host *host;
	const struct scale_rule *rule;
	const struct cwp_quantizer_module *module;
	struct clip *clip;
	atomic_int code;
};

static float part_of(unsigned step)
{
	return 1 - (float)step / WHOLE;
}

/* e y of each of the rows, where y is what e (x x^T) comes to: one after another by columns, all four side by side. */
static void inner(const float *e, const float *y, uint64_t n, double ret[ROW_ERRORS])
{
	_Static_assert((int)ROW_ERRORS == 4, "one sum for each");
	double a = 0, b = 0, c = 0, d = 0;

	for (uint64_t k = 0; k < n; k++) {
		a += (double)e[k] * (double)y[k];
		b += (double)e[n + k] * (double)y[n + k];
		c += (double)e[2 * n + k] * (double)y[2 * n + k];
		d += (double)e[3 * n + k] * (double)y[3 * n + k];
	}
	ret[0] = a;
	ret[1] = b;
	ret[2] = c;
	ret[3] = d;
}

static void errors(const struct scale_rule *rule, const float *w, const uint8_t *mask, uint64_t first, uint64_t n, float scale, int8_t zero,
	float *e)
{
	const float least = -(float)(1 << (rule->bits - 1));

	row_errors(w + first, n, scale, (float)zero, least, -least - 1, e);
	for (uint64_t k = 0; mask != NULL && k < n; k++) {
		e[k] = is_protected(mask, first + k) ? 0 : e[k];
	}
}

/* The step of least e (x x^T) e^T, with the block of x x^T at `first`; e [ROW_ERRORS, n] and y, as large, are room. */
static uint8_t best_step(const struct search *s, const float *w, const uint8_t *mask, uint64_t first, uint64_t n, float *e, float *y)
{
	const uint64_t cols = s->module->cols;
	double least = 0, error[ROW_ERRORS];
	unsigned best = 0;

	for (unsigned step = 0; step < STEPS; step += ROW_ERRORS) {
		for (unsigned i = 0; i < ROW_ERRORS; i++) {
			float scale;
			int8_t zero;
			scale_of_part(s->rule, w, mask, first, n, part_of(step + i), &scale, &zero);
			errors(s->rule, w, mask, first, n, scale, zero, e + i * n);
		}
		row_weigh(e, n, s->module->gram + first * cols + first, cols, y);
		inner(e, y, n, error);
		for (unsigned i = 0; i < ROW_ERRORS; i++) {
			if (step + i == 0 || error[i] < least) {
				least = error[i];
				best = step + i;
			}
		}
	}
	return (uint8_t)best;
}

static void search_rows(void *arg, size_t i)
{
	struct search *s = arg;
	const struct cwp_quantizer_module *m = s->module;
	const uint64_t first_row = (uint64_t)i * ROWS, end = m->rows - first_row < ROWS ? m->rows : first_row + ROWS;
	const uint64_t group = s->clip->group;
	float *e = s->host->alloc(s->host->ctx, 2 * ROW_ERRORS * group * sizeof(*e));

	if (e == NULL || s->host->cancelled(s->host->ctx)) {
		atomic_store(&s->code, e == NULL ? -ENOMEM : CWP_ECANCELLED);
		s->host->free(s->host->ctx, e);
		return;
	}
	for (uint64_t r = first_row; r < end; r++) {
		const float *w = m->weight + r * m->cols;
		const uint8_t *mask = mask_row(m->mask, m->mask_stride, r);
		if (!row_all_finite(w, m->cols)) {
			atomic_store(&s->code, CWP_ENUMBER);
			break;
		}
		for (uint64_t g = 0; g < s->clip->groups; g++) {
			const uint64_t first = g * group, n = m->cols - first < group ? m->cols - first : group;
			s->clip->step[r * s->clip->groups + g] = best_step(s, w, mask, first, n, e, e + ROW_ERRORS * group);
		}
	}
	s->host->free(s->host->ctx, e);
}

int clip_search(const struct cwp_host *host, const struct scale_rule *rule, const struct cwp_grid *grid,
	const struct cwp_quantizer_module *module, struct clip **ret)
{
	const uint64_t group = grid->granularity == CWP_PER_GROUP ? grid->group : module->cols;
	const uint64_t groups = group > 0 ? (module->cols + group - 1) / group : 0;
	struct search s = {.host = host, .rule = rule, .module = module};

	if (groups == 0 || module->gram == NULL) {
		return CWP_EVALUE;
	}
	s.clip = malloc(sizeof(*s.clip) + module->rows * groups);
	if (s.clip == NULL) {
		return -ENOMEM;
	}
	s.clip->group = group;
	s.clip->groups = groups;
	host->parallel_for(host->ctx, (size_t)((module->rows + ROWS - 1) / ROWS), search_rows, &s);
	if (atomic_load(&s.code) != 0) {
		free(s.clip);
		return atomic_load(&s.code);
	}
	*ret = s.clip;
	return 0;
}

void clip_free(struct clip *clip)
{
	free(clip);
}

uint64_t clip_memory(uint64_t rows, uint64_t cols, uint64_t group, uint32_t threads)
{
	return 2 * (sizeof(struct clip) + rows * ((cols + group - 1) / group)) + (uint64_t)threads * (2 * ROW_ERRORS * group * sizeof(float) + 64);
}

void clip_scale(const struct clip *clip, const struct scale_rule *rule, uint64_t row, const float *weight, const uint8_t *mask,
	uint64_t group, uint64_t n, float *ret_scale, int8_t *ret_zero)
{
	const uint8_t step = clip->step[row * clip->groups + group];

	scale_of_part(rule, weight, mask, group * clip->group, n, part_of(step), ret_scale, ret_zero);
}
