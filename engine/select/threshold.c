/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The exact k-th largest of a stream, by narrowing down its bits from the top. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/select/key.h"
#include "engine/select/select.h"

enum { PASSES = 3, BUCKETS = CWE_THRESHOLD_BUCKETS };

/* Each pass looks at `width` bits from `shift` on. */
static const struct {
	unsigned shift, width;
} passes[PASSES] = {{21, 11}, {10, 11}, {0, 10}};

int cwe_threshold_begin(struct cwe_threshold *t, uint64_t k, struct cwb_err *err)
{
	if (k == 0) {
		return cwb_err_set(err, CWP_EVALUE, "the largest 0 scores have no threshold; protect at least one weight");
	}
	uint64_t *histogram = calloc(BUCKETS, sizeof(*histogram));
	if (histogram == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the histogram of scores");
	}
	*t = (struct cwe_threshold){.k = k, .histogram = histogram};
	return 0;
}

static uint64_t count_values(const struct cwe_threshold *t, const float *value, uint64_t n, uint64_t *histogram, int *nan)
{
	const unsigned shift = passes[t->pass].shift;
	const uint32_t bucket_mask = (1u << passes[t->pass].width) - 1;
	/* Bits above this pass's must be those fixed so far; the first pass has none above. */
	const uint32_t fixed_mask = t->pass == 0 ? 0 : ~0u << (shift + passes[t->pass].width);
	int any_nan = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint32_t key = cwe_key_of(value[i]);
		any_nan |= value[i] != value[i];
		if (((key ^ t->prefix) & fixed_mask) == 0) {
			histogram[key >> shift & bucket_mask]++;
		}
	}
	*nan |= any_nan;
	return n;
}

void cwe_threshold_feed(struct cwe_threshold *t, const float *value, uint64_t n)
{
	assert(t->pass < PASSES);
	t->seen += count_values(t, value, n, t->histogram, &t->nan);
}

void cwe_threshold_count(const struct cwe_threshold *t, const float *value, uint64_t n, struct cwe_threshold_part *part)
{
	assert(t->pass < PASSES);
	part->seen += count_values(t, value, n, part->histogram, &part->nan);
}

void cwe_threshold_add(struct cwe_threshold *t, const struct cwe_threshold_part *part)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		t->histogram[i] += part->histogram[i];
	}
	t->seen += part->seen;
	t->nan |= part->nan;
}

static int check_pass(struct cwe_threshold *t, struct cwb_err *err)
{
	if (t->nan) {
		return cwb_err_set(err, CWP_ENUMBER,
			"a score is NaN; look for NaN in the model's weights, or for overflow in the calibration's losses");
	}
	if (t->pass == 0) {
		t->total = t->seen;
	}
	if (t->seen != t->total) {
		return cwb_err_set(err, CWP_ESTATE, "pass %" PRIu32 " over the scores saw %" PRIu64 " values, the first one %" PRIu64,
			t->pass + 1, t->seen, t->total);
	}
	if (t->k > t->total) {
		return cwb_err_set(err, CWP_EVALUE, "the %" PRIu64 "-th largest of %" PRIu64 " scores does not exist", t->k, t->total);
	}
	return 0;
}

int cwe_threshold_next(struct cwe_threshold *t, struct cwb_err *err)
{
	assert(t->pass < PASSES);
	int rc = check_pass(t, err);
	if (rc < 0) {
		return rc;
	}
	uint32_t bucket = (1u << passes[t->pass].width) - 1;
	/* Ends at bucket 0 at the latest: the candidates' counts add up to at least k - above. */
	while (bucket > 0 && t->above + t->histogram[bucket] < t->k) {
		t->above += t->histogram[bucket];
		bucket--;
	}
	t->prefix |= bucket << passes[t->pass].shift;
	t->pass++;
	if (t->pass == PASSES) {
		t->ties = t->histogram[bucket];
		return 0;
	}
	memset(t->histogram, 0, BUCKETS * sizeof(*t->histogram));
	t->seen = 0;
	return 1;
}

float cwe_threshold_value(const struct cwe_threshold *t, uint64_t *ret_above, uint64_t *ret_ties)
{
	assert(t->pass == PASSES);
	if (ret_above != NULL) {
		*ret_above = t->above;
	}
	if (ret_ties != NULL) {
		*ret_ties = t->ties;
	}
	return cwe_key_value(t->prefix);
}

void cwe_threshold_end(struct cwe_threshold *t)
{
	if (t != NULL) {
		free(t->histogram);
		t->histogram = NULL;
	}
}

/* The decimal number that was written, from its double: the shortest digits that give this double again. Its digits
 * times the count are exact in 128 bits, which a product of doubles is not. */
uint64_t cwe_fraction_count(double fraction, uint64_t count)
{
	char text[40], digits[24];
	int precision, exponent = 0;
	size_t n = 0;

	if (!(fraction > 0)) {
		return 0;
	}
	if (fraction >= 1) {
		return count;
	}
	for (precision = 0; precision < 17; precision++) {
		snprintf(text, sizeof(text), "%.*e", precision, fraction);
		if (strtod(text, NULL) == fraction) {
			break;
		}
	}
	for (const char *c = text; *c != '\0'; c++) {
		if (*c == 'e') {
			exponent = (int)strtol(c + 1, NULL, 10);
			break;
		}
		if (*c >= '0' && *c <= '9' && n + 1 < sizeof(digits)) {
			digits[n++] = *c;
		}
	}
	digits[n] = '\0';
	/* fraction = digits * 10^-places */
	int places = (int)n - 1 - exponent;
	unsigned __int128 product = (unsigned __int128)strtoull(digits, NULL, 10) * count;
	for (; places > 0 && product > 0; places--) {
		product /= 10;
	}
	return (uint64_t)product;
}
