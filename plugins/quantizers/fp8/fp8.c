/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantizer: 8-bit floating point E4M3 weights, scale = absmax / 448 of an output channel, a block of 128 x 128 or the whole
 * matrix; inputs by token or by group of 128 at run time, or with one scale that is found in calibration. */
#include <string.h>

#include <cwp/plugin.h>
#include <cwp/quantizer.h>

#include "plugins/quantizers/inputs.h"
#include "plugins/quantizers/refuse.h"
#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/rows.h"

enum option { GRANULARITY, ACTIVATIONS, ACTIVATION_SCALE, ACTIVATION_PERCENTILE };
enum { GRANULARITY_CHANNEL, GRANULARITY_TENSOR, GRANULARITY_BLOCK };
enum { ACTIVATIONS_DYNAMIC, ACTIVATIONS_STATIC, ACTIVATIONS_NONE };
enum { BLOCK = 128 };

static const struct cwp_option options[] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "granularity", "channel", "channel|tensor|block", NULL,
		"what shares a scale: an output channel, the whole matrix, or a block of 128 output and 128 input channels"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "activations", "dynamic", "dynamic|static|none", NULL,
		"dynamic: E4M3 at run time, by token, with blocks by 128 channels of a token; static: with one scale a module, which is calibrated; none: weights only"},
	INPUT_OPTIONS,
};

static struct input_rule input_rule_of(const struct cwp_setting *s)
{
	return (struct input_rule){(enum input_method)s[ACTIVATION_SCALE].integer, s[ACTIVATION_PERCENTILE].number, 448.0f, 0};
}

static uint32_t needs(const struct cwp_setting *settings)
{
	const struct input_rule rule = input_rule_of(settings);

	return settings[ACTIVATIONS].integer == ACTIVATIONS_STATIC ? input_needs(&rule) : 0;
}

static int grid(const struct cwp_setting *settings, uint64_t rows, uint64_t cols, struct cwp_grid *ret, char *err, size_t err_size)
{
	static const uint32_t granularity[] = {CWP_PER_CHANNEL, CWP_PER_TENSOR, CWP_PER_BLOCK};
	const int block = settings[GRANULARITY].integer == GRANULARITY_BLOCK;
	const int64_t activations = settings[ACTIVATIONS].integer;

	if (rows == 0 || cols == 0) {
		return refuse_empty(err, err_size, rows, cols);
	}
	if (block && activations == ACTIVATIONS_STATIC) {
		return refuse(err, err_size, "activations: static does not go with granularity block; use dynamic or none");
	}
	if (block && activations == ACTIVATIONS_DYNAMIC && cols % BLOCK != 0) {
		return refuse(err, err_size, "activations: dynamic with granularity block needs a width that %d divides, not %llu; use none, another "
			"granularity, or quantize.skip", BLOCK, (unsigned long long)cols);
	}
	*ret = (struct cwp_grid){
		.size = sizeof(*ret),
		.code = CWP_CODE_E4M3,
		.bits = 8,
		.symmetric = 1,
		.granularity = granularity[settings[GRANULARITY].integer],
		.group = block ? BLOCK : 0,
		.block_rows = block ? BLOCK : 0,
	};
	if (activations == ACTIVATIONS_DYNAMIC) {
		ret->activation = block ? CWP_ACT_FP8_GROUP : CWP_ACT_FP8_TOKEN;
		ret->activation_group = block ? BLOCK : 0;
	} else if (activations == ACTIVATIONS_STATIC) {
		ret->activation = CWP_ACT_FP8_TENSOR;
	}
	return 0;
}

/* One scale for the columns [first, first + n) of the rows [row, row + rows): the k-th of each of them. CWP_ENUMBER where
 * one of these weights is not finite. */
static int quantize_block(const struct cwp_quantizer_tile *tile, const struct cwp_quantizer_result *result, uint64_t row, uint64_t rows,
	uint64_t first, uint64_t n, uint64_t n_scales, uint64_t k)
{
	float most = 0;

	for (uint64_t r = row; r < row + rows; r++) {
		float absmax;
		if (!row_finite_absmax(tile->weight + r * tile->cols, mask_row(tile->mask, tile->mask_stride, r), first, n, &absmax)) {
			return CWP_ENUMBER;
		}
		most = absmax > most ? absmax : most;
	}
	const float scale = usable_scale(most / 448.0f);
	for (uint64_t r = row; r < row + rows; r++) {
		result->scales[r * n_scales + k] = scale;
		row_codes_e4m3(tile->weight + r * tile->cols + first, n, scale, result->codes + r * tile->cols + first);
	}
	return 0;
}

/* Rows of this tile that share scales, from row r: blocks are counted from the matrix's first row. */
static uint64_t shared_rows(const struct cwp_grid *g, const struct cwp_quantizer_tile *tile, uint64_t r)
{
	const uint64_t left = tile->rows - r;
	uint64_t n = 1;

	if (g->granularity == CWP_PER_TENSOR) {
		n = left;
	} else if (g->granularity == CWP_PER_BLOCK) {
		n = g->block_rows - (tile->row + r) % g->block_rows;
	}
	return n < left ? n : left;
}

static int quantize(const struct cwp_setting *settings, const struct cwp_grid *g, const struct cwp_quantizer_tile *tile,
	const struct cwp_quantizer_result *result)
{
	const uint64_t cols = tile->cols, width = g->granularity == CWP_PER_BLOCK ? g->group : cols;

	(void)settings;
	if (tile->flags != 0 || result->flags != 0 || g->code != CWP_CODE_E4M3 ||
		(g->granularity != CWP_PER_CHANNEL && g->granularity != CWP_PER_TENSOR && g->granularity != CWP_PER_BLOCK) ||
		(g->granularity == CWP_PER_BLOCK && (g->group == 0 || g->block_rows == 0))) {
		return CWP_EVALUE;
	}
	int rc = 0;
	for (uint64_t r = 0, rows; rc == 0 && cols > 0 && r < tile->rows; r += rows) {
		const uint64_t n_scales = (cols - 1) / width + 1;
		rows = shared_rows(g, tile, r);
		for (uint64_t k = 0; rc == 0 && k < n_scales; k++) {
			const uint64_t first = k * width;
			rc = quantize_block(tile, result, r, rows, first, cols - first < width ? cols - first : width, n_scales, k);
		}
	}
	return rc;
}

static int prepare(const struct cwp_host *host, const struct cwp_setting *settings, const struct cwp_grid *g,
	const struct cwp_quantizer_module *module, void **ret_state, char *note, size_t note_size)
{
	const struct input_rule rule = input_rule_of(settings);

	(void)host;
	*ret_state = NULL;
	return g->activation == CWP_ACT_FP8_TENSOR ? input_scale_find(&rule, module, note, note_size) : 0;
}

static void release(void *state)
{
	(void)state;
}

static uint64_t memory(const struct cwp_setting *settings, uint64_t rows, uint64_t cols, uint32_t threads)
{
	(void)settings, (void)rows, (void)cols, (void)threads;
	return 0;
}

static const struct cwp_quantizer quantizer = {.size = sizeof(struct cwp_quantizer), .needs = needs, .grid = grid, .quantize = quantize,
	.prepare = prepare, .release = release, .memory = memory};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_QUANTIZER_INTERFACE) == 0 ? &quantizer : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_QUANTIZER)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR,
	CWP_KIND_QUANTIZER, sizeof(options) / sizeof(options[0]), "fp8", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"8-bit floating point (E4M3) weights, and inputs at run time or with fixed scales", options, get_interface};
