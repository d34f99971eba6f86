/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Brings the sets' importances to one scale and adds them. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "engine/select/select.h"

/* What score.utility and beta make of a set; critical sets count once. */
static double role_factor(const struct cwj_job *job, const struct cwj_set *set)
{
	if (set->role == CWJ_ROLE_CRITICAL) {
		return 1;
	}
	switch (job->utility) {
	case CWJ_UTILITY_ADD:
		return job->beta;
	case CWJ_UTILITY_SUBTRACT:
		return -job->beta;
	default:
		return 0;
	}
}

static int mean_factor(const struct cwj_set *set, double sum, uint64_t count, double *ret, struct cwb_err *err)
{
	double factor = (double)count / sum;

	if (isfinite(sum) && sum > 0 && isfinite(factor)) {
		*ret = factor;
		return 0;
	}
	const char *why = !isfinite(sum) ? "look for NaN or infinity in the model's weights or the set's data"
			  : sum < 0	 ? "scores with a sign have no scale of this kind: use score.combine: reference"
					 : "no weight matters to it: check the set's data, or leave the set out";
	return cwb_err_set(err, CWP_ENUMBER, "calibration set '%s': its importance adds up to %g over %" PRIu64
		" weights, so that score.combine: mean cannot scale it; %s",
		set->name, sum, count, why);
}

int cwe_combine_make(const struct cwj_job *job, const double *sum, uint64_t count, struct cwe_combine *ret, struct cwb_err *err)
{
	int rc = 0;

	if (job->n_sets == 0 || job->n_sets > UINT32_MAX) {
		return cwb_err_set(err, CWP_EMISSING, "no calibration set to score with; name at least one under calibrate.critical");
	}
	double *factor = calloc(job->n_sets, sizeof(*factor));
	struct cwe_rank *rank = job->combine == CWJ_COMBINE_RANK ? calloc(job->n_sets, sizeof(*rank)) : NULL;
	if (factor == NULL || (job->combine == CWJ_COMBINE_RANK && rank == NULL)) {
		free(factor);
		free(rank);
		return cwb_err_set(err, -ENOMEM, "no memory for the factors of %zu calibration sets", job->n_sets);
	}
	for (size_t s = 0; rc == 0 && s < job->n_sets; s++) {
		double scale = 1, role = role_factor(job, &job->sets[s]);
		if (job->combine == CWJ_COMBINE_MEAN && role != 0) {
			rc = mean_factor(&job->sets[s], sum[s], count, &scale, err);
		}
		factor[s] = role * scale;
	}
	if (rc < 0) {
		free(factor);
		free(rank);
		return rc;
	}
	*ret = (struct cwe_combine){.sets = (uint32_t)job->n_sets, .factor = factor, .rank = rank};
	return 0;
}

void cwe_combine_free(struct cwe_combine *c)
{
	if (c != NULL) {
		for (uint32_t s = 0; c->rank != NULL && s < c->sets; s++) {
			cwe_rank_end(&c->rank[s]);
		}
		free(c->rank);
		free(c->factor);
		*c = (struct cwe_combine){0};
	}
}

void cwe_combine_apply(const struct cwe_combine *c, const float *const *importance, uint64_t n, float *score)
{
	/* Pieces that stay in the cache; the order of the sums does not depend on them. */
	double total[512];

	for (uint64_t first = 0; first < n; first += 512) {
		uint64_t m = n - first < 512 ? n - first : 512;
		for (uint64_t i = 0; i < m; i++) {
			total[i] = 0;
		}
		for (uint32_t s = 0; s < c->sets; s++) {
			const double f = c->factor[s];
			/* An ignored set may have no scores at all. */
			if (f == 0) {
				continue;
			}
			const float *v = importance[s] + first;
			for (uint64_t i = 0; i < m; i++) {
				total[i] += f * (c->rank != NULL ? cwe_rank_of(&c->rank[s], v[i]) : (double)v[i]);
			}
		}
		for (uint64_t i = 0; i < m; i++) {
			score[first + i] = (float)total[i];
		}
	}
}
