/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantizer: LLM.int8() (Dettmers et al. 2022): weights row by row, code = round(w / scale), scale = absmax / 127;
 * activations token by token at run time, where input channels beyond the threshold stay in 16 bits. */
#include <stdio.h>
#include <string.h>

#include <cwp/plugin.h>
#include <cwp/quantizer.h>

#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/rows.h"

enum option { THRESHOLD, GRANULARITY, ACTIVATIONS };
enum { ACTIVATIONS_DYNAMIC, ACTIVATIONS_NONE };

static const struct cwp_option options[] = {
	{sizeof(struct cwp_option), CWP_OPTION_FLOAT, "threshold", "6.0", "0..10000", NULL,
		"magnitude from which an input channel is an outlier at run time; 0: none is"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "granularity", "channel", "channel", NULL,
		"what shares a scale: an output channel"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "activations", "dynamic", "dynamic|none", NULL,
		"dynamic: int8 by token at run time; none: weights only"},
};

static uint32_t needs(const struct cwp_setting *settings)
{
	(void)settings;
	return 0;
}

static int grid(const struct cwp_setting *settings, uint64_t rows, uint64_t cols, struct cwp_grid *ret, char *err, size_t err_size)
{
	int dynamic = settings[ACTIVATIONS].integer == ACTIVATIONS_DYNAMIC;

	if (rows == 0 || cols == 0) {
		if (err != NULL && err_size > 0) {
			snprintf(err, err_size, "a matrix of %llu x %llu has nothing to quantize", (unsigned long long)rows,
				(unsigned long long)cols);
		}
		return CWP_EVALUE;
	}
	*ret = (struct cwp_grid){
		.size = sizeof(*ret),
		.code = CWP_CODE_INT,
		.bits = 8,
		.symmetric = 1,
		.granularity = CWP_PER_CHANNEL,
		.activation = dynamic ? CWP_ACT_INT8_TOKEN : CWP_ACT_NONE,
		.threshold = dynamic ? (float)settings[THRESHOLD].number : 0,
	};
	return 0;
}

static int quantize(const struct cwp_setting *settings, const struct cwp_grid *g, const struct cwp_quantizer_tile *tile,
	const struct cwp_quantizer_result *result)
{
	(void)settings;
	if (tile->flags != 0 || result->flags != 0 || g->code != CWP_CODE_INT || g->bits != 8 || !g->symmetric ||
		g->granularity != CWP_PER_CHANNEL) {
		return CWP_EVALUE;
	}
	for (uint64_t r = 0; r < tile->rows; r++) {
		const float *row = tile->weight + r * tile->cols;
		const uint8_t *mask = tile->mask != NULL ? tile->mask + r * tile->mask_stride : NULL;
		if (!row_all_finite(row, tile->cols)) {
			return CWP_ENUMBER;
		}
		result->scales[r] = usable_scale(row_absmax_of(row, mask, 0, tile->cols) / 127.0f);
		row_codes_int(row, tile->cols, tile->cols, &result->scales[r], NULL, 8, result->codes + r * tile->cols);
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
	CWP_KIND_QUANTIZER, sizeof(options) / sizeof(options[0]), "int8", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"LLM.int8(): row-wise int8 weights, activations quantized at run time", options, get_interface};
