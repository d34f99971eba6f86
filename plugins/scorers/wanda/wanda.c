/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scorer: |w| times the norm of the weight's input channel, I_ij = |W_ij| sqrt(sum over tokens of X_j^2 / samples)
 * (Sun et al. 2023, "Wanda"). Needs no backward pass. */
#include <math.h>
#include <string.h>

#include <cwp/plugin.h>
#include <cwp/scorer.h>

static uint32_t needs(const struct cwp_setting *settings, const char *combine)
{
	(void)settings;
	(void)combine;
	return CWP_STAT_ACT_SQ;
}

static int score(const struct cwp_setting *settings, const struct cwp_scorer_tile *tile, float *importance)
{
	(void)settings;
	if (tile->flags != 0 || tile->samples == 0) {
		return CWP_EVALUE;
	}
	if (tile->act_sq == NULL) {
		return CWP_EMISSING;
	}
	const float samples = (float)tile->samples;
	/* Norms first, in the first row's place; that row is turned last, so nothing needs memory of its own. */
	if (tile->rows == 0) {
		return 0;
	}
	for (uint64_t c = 0; c < tile->cols; c++) {
		importance[c] = sqrtf(tile->act_sq[c] / samples);
	}
	for (uint64_t r = tile->rows; r-- > 0;) {
		const float *w = tile->weight + r * tile->cols;
		float *out = importance + r * tile->cols;
		for (uint64_t c = 0; c < tile->cols; c++) {
			out[c] = fabsf(w[c]) * importance[c];
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
	CWP_KIND_SCORER, 0, "wanda", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"magnitude of the weight times the norm of its input channel", NULL, get_interface};
