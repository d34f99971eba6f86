/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scorer: diagonal of the empirical Fisher information, I = E[g^2], g being the gradient of one sample's loss
 * (arXiv 2601.12033). Error-aware, the combined score is multiplied by (Q(W) - W)^2: the loss that quantizing this
 * weight is expected to cost, to second order. */
#include <string.h>

#include <cwp/plugin.h>
#include <cwp/scorer.h>

enum error_aware { ERROR_AWARE_AUTO, ERROR_AWARE_TRUE, ERROR_AWARE_FALSE };

static const struct cwp_option options[] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "error-aware", "auto", "auto|true|false", NULL,
		"multiply the combined score by the squared error of the job's quantizer; auto: unless score.combine is reference"},
};

static uint32_t needs(const struct cwp_setting *settings, const char *combine)
{
	int aware = settings[0].integer == ERROR_AWARE_TRUE ||
		    (settings[0].integer == ERROR_AWARE_AUTO && strcmp(combine, "reference") != 0);

	return CWP_STAT_GRAD_SQ | (aware ? CWP_STAT_QUANT_ERROR : 0);
}

static int score(const struct cwp_setting *settings, const struct cwp_scorer_tile *tile, float *importance)
{
	(void)settings;
	if (tile->flags != 0 || tile->samples == 0) {
		return CWP_EVALUE;
	}
	if (tile->grad_sq == NULL) {
		return CWP_EMISSING;
	}
	const uint64_t n = tile->rows * tile->cols;
	const float samples = (float)tile->samples;
	for (uint64_t i = 0; i < n; i++) {
		importance[i] = tile->grad_sq[i] / samples;
	}
	return 0;
}

/* Under auto the host hands the error over exactly when needs() asked for it. */
static int finish(const struct cwp_setting *settings, uint64_t rows, uint64_t cols, const float *weight,
	const float *quant_error, float *combined)
{
	(void)weight;
	if (settings[0].integer == ERROR_AWARE_FALSE || (settings[0].integer == ERROR_AWARE_AUTO && quant_error == NULL)) {
		return 0;
	}
	if (quant_error == NULL) {
		return CWP_EMISSING;
	}
	for (uint64_t i = 0; i < rows * cols; i++) {
		/* In f64: the product of three small numbers would underflow on the way. */
		double e = quant_error[i];
		combined[i] = (float)((double)combined[i] * (e * e));
	}
	return 0;
}

static const struct cwp_scorer scorer = {sizeof(struct cwp_scorer), needs, score, finish};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_SCORER_INTERFACE) == 0 ? &scorer : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_SCORER)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR,
	CWP_KIND_SCORER, sizeof(options) / sizeof(options[0]), "fisher", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"mean squared gradient (Fisher information), times the quantizer's squared error", options, get_interface};
