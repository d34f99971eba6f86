/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scorer: first-order importance from the gradient g of each sample's loss, averaged over samples.
 * absolute: E|g|; signed: E[g]; snip: E|w g| = |w| E|g| (Lee et al. 2019, "SNIP"). */
#include <math.h>
#include <string.h>

#include <cwp/plugin.h>
#include <cwp/scorer.h>

enum form { FORM_ABSOLUTE, FORM_SIGNED, FORM_SNIP };

static const struct cwp_option options[] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "form", "absolute", "absolute|signed|snip", NULL,
		"mean of |g|, mean of g with its sign, or mean of |w g|"},
};

static uint32_t needs(const struct cwp_setting *settings, const char *combine)
{
	(void)combine;
	return settings[0].integer == FORM_SIGNED ? CWP_STAT_GRAD_SUM : CWP_STAT_GRAD_ABS;
}

static int score(const struct cwp_setting *settings, const struct cwp_scorer_tile *tile, float *importance)
{
	const enum form form = (enum form)settings[0].integer;
	const uint64_t n = tile->rows * tile->cols;
	const float *g = form == FORM_SIGNED ? tile->grad_sum : tile->grad_abs;

	if (tile->flags != 0 || tile->samples == 0) {
		return CWP_EVALUE;
	}
	if (g == NULL) {
		return CWP_EMISSING;
	}
	const float samples = (float)tile->samples;
	if (form == FORM_SNIP) {
		for (uint64_t i = 0; i < n; i++) {
			importance[i] = fabsf(tile->weight[i]) * (g[i] / samples);
		}
	} else {
		for (uint64_t i = 0; i < n; i++) {
			importance[i] = g[i] / samples;
		}
	}
	return 0;
}

static const struct cwp_scorer scorer = {sizeof(struct cwp_scorer), needs, score, NULL};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_SCORER_INTERFACE) == 0 ? &scorer : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_SCORER)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR,
	CWP_KIND_SCORER, sizeof(options) / sizeof(options[0]), "gradient", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"mean gradient of the loss, plain or times the weight", options, get_interface};
