/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The share of a gap that was closed, and what to call it. */
#include <math.h>

#include "engine/statistics/statistics.h"

const char *cwe_verdict_name(enum cwe_verdict verdict)
{
	static const char *const name[] = {"cannot tell", "worse", "not", "partly", "recovered"};
	return name[verdict];
}

/* (p - q) / (o - q); NaN where there is no gap. */
static double share(const double *v)
{
	double gap = v[0] - v[1];
	return gap != 0 ? (v[2] - v[1]) / gap : NAN;
}

enum cwe_verdict cwe_recovery(const double value[CWE_BOOTSTRAP_MODELS], const struct cwe_interval *gap, const double *draws, size_t n,
	double confidence, double *work, struct cwe_interval *ret)
{
	struct cwe_interval r = {share(value), NAN, NAN};
	*ret = (struct cwe_interval){NAN, NAN, NAN};
	/* Told apart from 0 means above or below it; comparisons with NaN are false. */
	if (!(gap->low > 0 || gap->high < 0) || isnan(r.value)) {
		return CWE_RECOVERY_CANNOT_TELL;
	}
	for (size_t i = 0; i < n; i++) {
		work[i] = share(&draws[i * CWE_BOOTSTRAP_MODELS]);
	}
	cwe_percentiles(work, n, confidence, &r.low, &r.high);
	if (isnan(r.low)) {
		return CWE_RECOVERY_CANNOT_TELL;
	}
	*ret = r;
	if (r.high < 0) {
		return CWE_RECOVERY_WORSE;
	}
	if (r.low <= 0) {
		return CWE_RECOVERY_NOT;
	}
	return r.high >= 1 && r.value >= 0.5 ? CWE_RECOVERY_RECOVERED : CWE_RECOVERY_PARTLY;
}
