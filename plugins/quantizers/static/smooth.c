/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
#include "plugins/quantizers/static/smooth.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include <cwp/error.h>

enum { RATIOS = 20 };

#define LEAST_AWQ 1e-4
#define LEAST_SMOOTHQUANT 1e-5

/* Powers of the means, centred. */
static void awq_scales(const struct cwp_quantizer_input *input, double ratio, float *scale)
{
	double least = INFINITY, most = 0;

	for (uint64_t i = 0; i < input->channels; i++) {
		const double s = fmax(pow(input->act_abs[i] / (double)input->tokens, ratio), LEAST_AWQ);
		least = fmin(least, s);
		most = fmax(most, s);
		scale[i] = (float)s;
	}
	for (uint64_t i = 0; i < input->channels; i++) {
		scale[i] = (float)((double)scale[i] / sqrt(least * most));
	}
}

int smooth_awq(const struct cwp_host *host, const struct cwp_quantizer_input *input, float *ret_scale)
{
	float *trial = host->alloc(host->ctx, input->channels * sizeof(*trial) + 1);
	double least = 0;
	int rc = trial != NULL ? 0 : -ENOMEM;

	for (int i = 0; i < RATIOS && rc == 0; i++) {
		double error;
		awq_scales(input, (double)i / RATIOS, trial);
		rc = host->cancelled(host->ctx) ? CWP_ECANCELLED : input->error(input->ctx, trial, &error);
		if (rc == 0 && (i == 0 || error < least)) {
			least = error;
			memcpy(ret_scale, trial, input->channels * sizeof(*trial));
		}
	}
	host->free(host->ctx, trial);
	return rc;
}

void smooth_quant(const struct cwp_quantizer_input *input, double alpha, float *ret_scale)
{
	for (uint64_t i = 0; i < input->channels; i++) {
		const double x = (double)input->act_absmax[i], w = (double)input->weight_absmax[i];
		ret_scale[i] = x > 0 && w > 0 ? (float)fmax(pow(x, alpha) / pow(w, 1 - alpha), LEAST_SMOOTHQUANT) : 1;
	}
}
