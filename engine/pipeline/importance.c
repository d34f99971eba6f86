/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Row tiles through the scorer, in parallel. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/pipeline/importance.h"

/* One tile of rows through the scorer. */
static void score_rows(void *arg, size_t i)
{
	struct cwe_importance *im = arg;
	const struct cwe_module_statistics *s = im->s;
	const struct cwp_scorer *scorer = im->run->scorer->interface;
	uint64_t row = i * CWE_ROW_TILE, at = row * s->cols;
	struct cwp_scorer_tile t = {.size = sizeof t, .cols = s->cols, .samples = s->samples, .tokens = s->tokens};
	t.rows = s->rows - row < CWE_ROW_TILE ? s->rows - row : CWE_ROW_TILE;
	t.weight = s->weight + at;
	t.grad_sum = s->grad_sum != NULL ? s->grad_sum + at : NULL;
	t.grad_abs = s->grad_abs != NULL ? s->grad_abs + at : NULL;
	t.grad_sq = s->grad_sq != NULL ? s->grad_sq + at : NULL;
	t.act_sum = s->act_sum != NULL ? im->act[0] : NULL;
	t.act_sq = s->act_sq != NULL ? im->act[1] : NULL;
	t.act_absmax = s->act_absmax;
	t.row = row;
	t.module = im->m->name;
	im->tile_code[i] = scorer->score(im->run->scorer_settings, &t, im->value + at);
	double sum = 0;
	if (im->run->job->store_bf16) {
		cwe_bf16_round(im->value + at, t.rows * t.cols); /* what is summed is what will be read again */
	}
	for (uint64_t k = 0; k < t.rows * t.cols; k++) {
		sum += (double)im->value[at + k];
	}
	im->tile_sum[i] = sum;
}

int cwe_importance_of(struct cwe_importance *im, const struct cwe_run_module *m, const struct cwe_module_statistics *s,
	uint32_t set, double *sum, struct cwb_err *err)
{
	size_t n = (s->rows + CWE_ROW_TILE - 1) / CWE_ROW_TILE;
	for (uint64_t k = 0; k < s->cols; k++) {
		im->act[0][k] = s->act_sum != NULL ? (float)s->act_sum[k] : 0;
		im->act[1][k] = s->act_sq != NULL ? (float)s->act_sq[k] : 0;
	}
	im->s = s;
	im->m = m;
	cwe_pool_run(im->run->p->host->pool, n, score_rows, im);
	for (size_t i = 0; i < n; i++) {
		*sum += im->tile_sum[i];
		if (im->tile_code[i] != 0) {
			return cwe_host_error(im->run->p->host, im->run->job->score.plugin, m->name, im->tile_code[i], err);
		}
	}
	return *sum - *sum == 0 ? 0 : cwb_err_set(err, CWP_ENUMBER, "%s: importances of set %s are not finite numbers", m->name,
		im->run->job->sets[set].name);
}

int cwe_importance_new(struct cwe_run *run, struct cwe_importance *ret, struct cwb_err *err)
{
	size_t tiles = run->tallest / CWE_ROW_TILE + 1;
	struct cwe_importance im = {.run = run, .value = malloc(run->largest * sizeof(float)),
		.tile_sum = calloc(tiles, sizeof(double)), .tile_code = calloc(tiles, sizeof(int)),
		.act = {malloc(run->widest * sizeof(float)), malloc(run->widest * sizeof(float))}};
	if (im.value == NULL || im.tile_sum == NULL || im.tile_code == NULL || im.act[0] == NULL || im.act[1] == NULL) {
		cwe_importance_free(&im);
		return cwb_err_set(err, -ENOMEM, "no memory for importances");
	}
	*ret = im;
	return 0;
}

void cwe_importance_free(struct cwe_importance *im)
{
	free(im->value);
	free(im->tile_sum);
	free(im->tile_code);
	free(im->act[0]);
	free(im->act[1]);
	memset(im, 0, sizeof *im);
}
