/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* For tests of candidates; after cmocka.h. */
#pragma once

#include "engine/pipeline/candidates.h"

/* The k-th largest of them. */
static float threshold_of(const struct cwe_candidates *c, uint64_t k)
{
	struct cwe_threshold t;
	int r;
	assert_int_equal(cwe_threshold_begin(&t, k, NULL), 0);
	do {
		assert_int_equal(cwe_candidates_feed(c, &t, NULL), 0);
	} while ((r = cwe_threshold_next(&t, NULL)) == 1);
	assert_int_equal(r, 0);
	float value = cwe_threshold_value(&t, NULL, NULL);
	cwe_threshold_end(&t);
	return value;
}
