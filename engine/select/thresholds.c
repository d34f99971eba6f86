/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Several exact k-th largest of one stream, by the bits of their keys from the top, as threshold.c finds one. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/select/key.h"
#include "engine/select/select.h"

enum { PASSES = 3, BUCKETS = CWE_THRESHOLD_BUCKETS, NONE = 0xff };

/* Each pass counts `width` bits from `shift` on, among the values whose bits above are those of a group. */
static const struct {
	unsigned shift, width;
} passes[PASSES] = {{21, 11}, {10, 11}, {0, 10}};

int cwe_thresholds_begin(struct cwe_thresholds *t, const uint64_t *k, uint32_t n, struct cwb_err *err)
{
	assert(n > 0 && n <= CWE_SIZES_MOST);
	if (t->histogram == NULL) {
		t->histogram = malloc((size_t)CWE_SIZES_MOST * sizeof *t->histogram);
		t->group_of = malloc(CWE_THRESHOLDS_PREFIXES);
		if (t->histogram == NULL || t->group_of == NULL) {
			cwe_thresholds_end(t);
			return cwb_err_set(err, -ENOMEM, "no memory for the histograms of scores");
		}
	}
	t->n = n;
	t->pass = 0;
	t->groups = 1;
	t->seen = 0;
	memcpy(t->k, k, n * sizeof *k);
	memset(t->prefix, 0, sizeof t->prefix);
	memset(t->above, 0, sizeof t->above);
	memset(t->group, 0, sizeof t->group);
	memset(t->histogram[0], 0, sizeof t->histogram[0]);
	return 0;
}

void cwe_thresholds_feed(struct cwe_thresholds *t, const float *value, uint64_t n)
{
	const unsigned shift = passes[t->pass].shift, above = shift + passes[t->pass].width;
	const uint32_t mask = (1u << passes[t->pass].width) - 1;

	assert(t->pass < PASSES);
	for (uint64_t i = 0; i < n; i++) {
		uint32_t key = cwe_key_of(value[i]);
		unsigned group = t->pass == 0 ? 0 : t->group_of[key >> above];
		if (group != NONE) {
			t->histogram[group][key >> shift & mask]++;
		}
	}
	t->seen += n;
}

/* Thresholds whose bits so far are equal share a histogram. */
static void make_groups(struct cwe_thresholds *t)
{
	const unsigned above = passes[t->pass].shift + passes[t->pass].width;

	memset(t->group_of, NONE, CWE_THRESHOLDS_PREFIXES);
	t->groups = 0;
	for (uint32_t i = 0; i < t->n; i++) {
		uint8_t *group = &t->group_of[t->prefix[i] >> above];
		if (t->k[i] == 0) {
			continue;
		}
		if (*group == NONE) {
			memset(t->histogram[t->groups], 0, sizeof t->histogram[0]);
			*group = (uint8_t)t->groups++;
		}
		t->group[i] = *group;
	}
}

int cwe_thresholds_next(struct cwe_thresholds *t, struct cwb_err *err)
{
	assert(t->pass < PASSES);
	for (uint32_t i = 0; i < t->n; i++) {
		const uint64_t *histogram = t->histogram[t->group[i]];
		uint32_t bucket = (1u << passes[t->pass].width) - 1;
		if (t->k[i] > t->seen) {
			return cwb_err_set(err, CWP_EVALUE, "the %" PRIu64 "-th largest of %" PRIu64 " scores does not exist", t->k[i], t->seen);
		}
		while (t->k[i] > 0 && bucket > 0 && t->above[i] + histogram[bucket] < t->k[i]) {
			t->above[i] += histogram[bucket--];
		}
		t->prefix[i] |= bucket << passes[t->pass].shift;
	}
	if (++t->pass == PASSES) {
		return 0;
	}
	t->seen = 0;
	make_groups(t);
	return 1;
}

float cwe_thresholds_value(const struct cwe_thresholds *t, uint32_t i)
{
	assert(t->pass == PASSES && i < t->n);
	return t->k[i] > 0 ? cwe_key_value(t->prefix[i]) : INFINITY;
}

void cwe_thresholds_end(struct cwe_thresholds *t)
{
	free(t->histogram);
	free(t->group_of);
	t->histogram = NULL;
	t->group_of = NULL;
}
