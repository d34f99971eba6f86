/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantizer: LLM.int8() (Dettmers et al. 2022): weights row by row, code = round(w / scale), scale = absmax / 127; inputs
 * token by token at run time, where channels that reach the threshold stay as they are.
 *
 * Where the output keeps scales in f32 (bitsandbytes), codes are those of bitsandbytes, to the last one: the weight is
 * rounded to F16 first, and multiplied by (1 / absmax) * 127. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/plugin.h>
#include <cwp/quantizer.h>

#include "plugins/quantizers/refuse.h"
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
		return refuse_empty(err, err_size, rows, cols);
	}
	*ret = (struct cwp_grid){
		.size = sizeof(*ret),
		.code = CWP_CODE_INT,
		.bits = 8,
		.symmetric = 1,
		.granularity = CWP_PER_CHANNEL,
		.activation = dynamic ? CWP_ACT_INT8_OUTLIER : CWP_ACT_NONE,
		.threshold = dynamic ? (float)settings[THRESHOLD].number : 0,
	};
	return 0;
}

/* A row as bitsandbytes has it: half is room for it. CWP_ENUMBER when F16 cannot hold a weight, or it is no number. */
static int quantize_exact(const float *row, const uint8_t *mask, uint64_t cols, float *half, float *ret_scale, uint8_t *codes)
{
	for (uint64_t c = 0; c < cols; c++) {
		half[c] = round_f16(row[c]);
	}
	float absmax;
	if (!row_finite_absmax(half, mask, 0, cols, &absmax)) {
		return CWP_ENUMBER;
	}
	const float inverse = absmax > 0 ? 1.0f / absmax * 127.0f : 0;
	for (uint64_t c = 0; c < cols; c++) {
		/* Protected weights may be larger than all others. */
		codes[c] = (uint8_t)(int8_t)round_even(clamp(half[c] * inverse, -127.0f, 127.0f));
	}
	*ret_scale = absmax / 127.0f;
	return 0;
}

static int quantize_row(const struct cwp_grid *g, const float *row, const uint8_t *mask, uint64_t cols, float *half, float *ret_scale,
	uint8_t *codes)
{
	float absmax;

	if (g->exact_scales) {
		return quantize_exact(row, mask, cols, half, ret_scale, codes);
	}
	if (mask == NULL) {
		return row_quantize_int(row, cols, cols, 8, ret_scale, codes) ? 0 : CWP_ENUMBER;
	}
	if (!row_finite_absmax(row, mask, 0, cols, &absmax)) {
		return CWP_ENUMBER;
	}
	*ret_scale = usable_scale(absmax / 127.0f);
	row_codes_int(row, cols, cols, ret_scale, NULL, 8, codes);
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
	float *half = g->exact_scales ? malloc(tile->cols * sizeof(*half) + 1) : NULL;
	int rc = g->exact_scales && half == NULL ? -ENOMEM : 0;
	for (uint64_t r = 0; rc == 0 && r < tile->rows; r++) {
		const uint8_t *mask = mask_row(tile->mask, tile->mask_stride, r);
		rc = quantize_row(g, tile->weight + r * tile->cols, mask, tile->cols, half, &result->scales[r], result->codes + r * tile->cols);
	}
	free(half);
	return rc;
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
