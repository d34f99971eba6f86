/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantizer: 8-bit floating point E4M3 weights, one scale an output channel, scale = absmax / 448; activations by
 * token at run time. Needs no calibration. */
#include <stdio.h>
#include <string.h>

#include <cwp/plugin.h>
#include <cwp/quantizer.h>

#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/rows.h"

enum option { GRANULARITY, ACTIVATIONS };
enum { GRANULARITY_CHANNEL, GRANULARITY_TENSOR, GRANULARITY_BLOCK };
enum { ACTIVATIONS_DYNAMIC, ACTIVATIONS_STATIC, ACTIVATIONS_NONE };

static const struct cwp_option options[] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "granularity", "channel", "channel|tensor|block", NULL,
		"what shares a scale: an output channel (the others: not in this version)"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "activations", "dynamic", "dynamic|static|none", NULL,
		"dynamic: E4M3 by token at run time; none: weights only (static: not in this version)"},
};

static uint32_t needs(const struct cwp_setting *settings)
{
	(void)settings;
	return 0;
}

static int grid(const struct cwp_setting *settings, uint64_t rows, uint64_t cols, struct cwp_grid *ret, char *err, size_t err_size)
{
	char unused[1];
	char *text = err != NULL && err_size > 0 ? err : unused;
	size_t size = text == err ? err_size : sizeof(unused);

	if (settings[GRANULARITY].integer != GRANULARITY_CHANNEL) {
		snprintf(text, size, "granularity: %s is not available in this version; use channel", settings[GRANULARITY].string);
		return CWP_EVALUE;
	}
	if (settings[ACTIVATIONS].integer == ACTIVATIONS_STATIC) {
		snprintf(text, size, "activations: static is not available in this version; use dynamic or none");
		return CWP_EVALUE;
	}
	if (rows == 0 || cols == 0) {
		snprintf(text, size, "a matrix of %llu x %llu has nothing to quantize", (unsigned long long)rows,
			(unsigned long long)cols);
		return CWP_EVALUE;
	}
	*ret = (struct cwp_grid){
		.size = sizeof(*ret),
		.code = CWP_CODE_E4M3,
		.bits = 8,
		.symmetric = 1,
		.granularity = CWP_PER_CHANNEL,
		.activation = settings[ACTIVATIONS].integer == ACTIVATIONS_DYNAMIC ? CWP_ACT_FP8_TOKEN : CWP_ACT_NONE,
	};
	return 0;
}

static int quantize(const struct cwp_setting *settings, const struct cwp_grid *g, const struct cwp_quantizer_tile *tile,
	const struct cwp_quantizer_result *result)
{
	(void)settings;
	if (tile->flags != 0 || result->flags != 0 || g->code != CWP_CODE_E4M3 || g->granularity != CWP_PER_CHANNEL) {
		return CWP_EVALUE;
	}
	for (uint64_t r = 0; r < tile->rows; r++) {
		const float *row = tile->weight + r * tile->cols;
		const uint8_t *mask = tile->mask != NULL ? tile->mask + r * tile->mask_stride : NULL;
		if (!row_all_finite(row, tile->cols)) {
			return CWP_ENUMBER;
		}
		result->scales[r] = usable_scale(row_absmax_of(row, mask, 0, tile->cols) / 448.0f);
		row_codes_e4m3(row, tile->cols, result->scales[r], result->codes + r * tile->cols);
	}
	return 0;
}

static const struct cwp_quantizer quantizer = {.size = sizeof(struct cwp_quantizer), .needs = needs, .grid = grid, .quantize = quantize};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_QUANTIZER_INTERFACE) == 0 ? &quantizer : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_QUANTIZER)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR,
	CWP_KIND_QUANTIZER, sizeof(options) / sizeof(options[0]), "fp8", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"8-bit floating point (E4M3) weights, activations quantized at run time", options, get_interface};
