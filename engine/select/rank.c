/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Importances -> their place among all of a set, from a histogram of the upper bits of their ordered integers. Counts are
 * integers, so that neither threads nor the order of the weights change anything. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/select/key.h"
#include "engine/select/select.h"

enum { LOW_BITS = 32 - CWE_RANK_BITS, BINS = 1 << CWE_RANK_BITS };

int cwe_rank_begin(struct cwe_rank *ret, struct cwb_err *err)
{
	struct cwe_rank r = {.below = calloc(BINS + 1, sizeof *r.below), .moment = calloc(BINS, sizeof *r.moment)};
	if (r.below == NULL || r.moment == NULL) {
		cwe_rank_end(&r);
		return cwb_err_set(err, -ENOMEM, "no memory for the histogram of a set's importances");
	}
	*ret = r;
	return 0;
}

/* Twice the place of a key's middle within its bin, in units of the lower bits: odd, below 2 << LOW_BITS. */
static uint32_t place(uint32_t key)
{
	return 2 * (key & ((1u << LOW_BITS) - 1)) + 1;
}

void cwe_rank_feed(struct cwe_rank *r, const float *value, uint64_t n)
{
	assert(r->moment != NULL);
	for (uint64_t i = 0; i < n; i++) {
		uint32_t key = cwe_key_of(value[i]);
		r->below[(key >> LOW_BITS) + 1]++;
		r->moment[key >> LOW_BITS] += place(key);
	}
	r->total += n;
}

/* What a weight of a bin counts: those in bins below it, and of its own bin the share that its lower bits say. */
static double standing(uint64_t below, uint64_t own, double places)
{
	return (double)below + (double)own * places / (double)(2u << LOW_BITS);
}

void cwe_rank_finish(struct cwe_rank *r)
{
	double sum = 0;
	for (uint32_t b = 0; b < BINS; b++) {
		uint64_t own = r->below[b + 1];
		r->below[b + 1] += r->below[b];
		if (own > 0) {
			/* The sum over the bin's weights is `own` times that of their average place. */
			sum += (double)own * standing(r->below[b], own, (double)r->moment[b] / (double)own);
		}
	}
	r->sum = r->total > 0 ? sum / (double)r->total : 0;
	free(r->moment);
	r->moment = NULL;
}

double cwe_rank_of(const struct cwe_rank *r, float value)
{
	uint32_t key = cwe_key_of(value), bin = key >> LOW_BITS;
	return standing(r->below[bin], r->below[bin + 1] - r->below[bin], place(key)) / (double)r->total;
}

void cwe_rank_end(struct cwe_rank *r)
{
	free(r->below);
	free(r->moment);
	*r = (struct cwe_rank){0};
}
