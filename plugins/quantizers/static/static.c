/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantizer: integers of 8, 4, 3 or 2 bits, one scale a row or a group of its columns (scales.h), by rounding to nearest or
 * by GPTQ (gptq.h). Protected weights take no part in scales. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cwp/plugin.h>
#include <cwp/quantizer.h>

#include "plugins/quantizers/inputs.h"
#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/rows.h"
#include "plugins/quantizers/static/gptq.h"
#include "plugins/quantizers/static/scales.h"
#include "plugins/quantizers/static/tensor.h"

enum option { BITS, GRANULARITY, GROUP, SYMMETRIC, ALGORITHM, SCALE, ACTIVATIONS, PERCENTILE, DAMPING, ACT_ORDER, PROTECTED, ACTIVATION_SCALE,
	ACTIVATION_PERCENTILE };
enum { ALGORITHM_RTN, ALGORITHM_GPTQ };
enum { GRANULARITY_CHANNEL, GRANULARITY_TENSOR, GRANULARITY_GROUP };
enum { ACTIVATIONS_NONE, ACTIVATIONS_STATIC, ACTIVATIONS_DYNAMIC };
enum { SMALLEST_GROUP = 8 };

static const struct cwp_option options[] = {
	{sizeof(struct cwp_option), CWP_OPTION_INT, "bits", "8", "8|2|3|4", "bit", "width of a weight's code"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "granularity", "channel", "channel|tensor|group", NULL,
		"what shares a scale: an output channel, the whole matrix, or a group of an output channel's weights"},
	{sizeof(struct cwp_option), CWP_OPTION_INT, "group", "128", "8..65536", "weight",
		"size of a group; halved where it does not divide a module's width, down to 8, else one scale a channel"},
	{sizeof(struct cwp_option), CWP_OPTION_BOOL, "symmetric", "true", NULL, NULL,
		"no zero points; false spends all codes on the range from the least to the greatest weight"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "algorithm", "rtn", "rtn|gptq|awq|smoothquant", NULL,
		"rtn: round to nearest; gptq: calibrated, each column's error is made good by those that follow (the others: not in this version)"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "scale", "absmax", "absmax|percentile|mse", NULL,
		"where a range ends: at the greatest weight, so that it holds the given percentile of them, or where the sum of squared errors is least"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "activations", "none", "none|static|dynamic", NULL,
		"dynamic: int8 by token at run time; static: int8 with one scale a module, which is calibrated; both need bits 8 and granularity channel or tensor"},
	{sizeof(struct cwp_option), CWP_OPTION_FLOAT, "percentile", "99.9", "50..100", "%",
		"with scale percentile: share of a group's weights that its range holds"},
	{sizeof(struct cwp_option), CWP_OPTION_FLOAT, "damping", "0.01", "0..10", NULL,
		"gptq: share of the mean of the diagonal of x x^T that is added to it; raised tenfold where that is too little"},
	{sizeof(struct cwp_option), CWP_OPTION_BOOL, "act-order", "true", NULL, NULL,
		"gptq: columns of much input come first, all scales are found before; false: in their order, a scale when its group comes"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "protected", "compensated", "original|compensated", NULL,
		"gptq: a protected weight keeps its original value, or takes the one that makes good the errors of columns before it"},
	INPUT_OPTIONS,
};

__attribute__((format(printf, 3, 4))) static int refuse(
	char *err, size_t err_size, const char *format, ...)
{
	va_list ap;

	if (err != NULL && err_size > 0) {
		va_start(ap, format);
		vsnprintf(err, err_size, format, ap);
		va_end(ap);
	}
	return CWP_EVALUE;
}

static struct input_rule input_rule_of(const struct cwp_setting *s)
{
	return (struct input_rule){(enum input_method)s[ACTIVATION_SCALE].integer, s[ACTIVATION_PERCENTILE].number, 127.0f};
}

static uint32_t needs(const struct cwp_setting *settings)
{
	const struct input_rule rule = input_rule_of(settings);

	return (settings[ALGORITHM].integer == ALGORITHM_GPTQ ? CWP_STAT_GRAM : 0u) |
		(settings[ACTIVATIONS].integer == ACTIVATIONS_STATIC ? input_needs(&rule) : 0u);
}

static struct gptq_options gptq_options_of(const struct cwp_setting *s)
{
	return (struct gptq_options){.damping = s[DAMPING].number, .act_order = s[ACT_ORDER].integer != 0,
		.compensated = s[PROTECTED].integer != 0};
}

static int prepare(const struct cwp_host *host, const struct cwp_setting *settings, const struct cwp_grid *g,
	const struct cwp_quantizer_module *module, void **ret_state, char *note, size_t note_size)
{
	const struct input_rule rule = input_rule_of(settings);
	const struct gptq_options how = gptq_options_of(settings);
	struct gptq *state = NULL;
	int rc = g->activation == CWP_ACT_INT8_TENSOR ? input_scale_find(&rule, module, note, note_size) : 0;

	*ret_state = NULL;
	if (rc != 0 || settings[ALGORITHM].integer != ALGORITHM_GPTQ) {
		return rc;
	}
	if (module->gram == NULL) {
		return CWP_EVALUE;
	}
	rc = gptq_prepare(host, &how, module, &state, note, note_size);
	*ret_state = state;
	return rc;
}

static void release(void *state)
{
	gptq_release(state);
}

static uint64_t memory(const struct cwp_setting *settings, uint64_t rows, uint64_t cols, uint32_t threads)
{
	(void)rows;
	return settings[ALGORITHM].integer == ALGORITHM_GPTQ ? gptq_memory(cols, threads) : 0;
}

static int check_settings(const struct cwp_setting *s, char *err, size_t err_size)
{
	if (s[ALGORITHM].integer > ALGORITHM_GPTQ) {
		return refuse(err, err_size, "algorithm: %s is not available in this version; use rtn or gptq", s[ALGORITHM].string);
	}
	if (s[GRANULARITY].integer == GRANULARITY_TENSOR && s[ALGORITHM].integer != 0) {
		return refuse(err, err_size, "granularity: tensor goes with algorithm rtn, not %s; use channel or group", s[ALGORITHM].string);
	}
	if (s[ACTIVATIONS].integer != ACTIVATIONS_NONE && (s[BITS].integer != 8 || s[GRANULARITY].integer == GRANULARITY_GROUP)) {
		return refuse(err, err_size, "activations: %s needs bits 8 and granularity channel or tensor, not bits %d and granularity %s",
			s[ACTIVATIONS].string, (int)s[BITS].integer, s[GRANULARITY].string);
	}
	return 0;
}

static int grid(const struct cwp_setting *settings, uint64_t rows, uint64_t cols, struct cwp_grid *ret, char *err, size_t err_size)
{
	uint64_t group = (uint64_t)settings[GROUP].integer;
	int rc = check_settings(settings, err, err_size);

	if (rc < 0) {
		return rc;
	}
	if (rows == 0 || cols == 0) {
		return refuse(err, err_size, "a matrix of %llu x %llu has nothing to quantize", (unsigned long long)rows,
			(unsigned long long)cols);
	}
	*ret = (struct cwp_grid){
		.size = sizeof(*ret),
		.code = CWP_CODE_INT,
		.bits = (uint32_t)settings[BITS].integer,
		.symmetric = settings[SYMMETRIC].integer != 0,
		.granularity = settings[GRANULARITY].integer == GRANULARITY_TENSOR ? CWP_PER_TENSOR : CWP_PER_CHANNEL,
		.activation = settings[ACTIVATIONS].integer == ACTIVATIONS_DYNAMIC ? CWP_ACT_INT8_TOKEN :
			settings[ACTIVATIONS].integer == ACTIVATIONS_STATIC ? CWP_ACT_INT8_TENSOR : CWP_ACT_NONE,
	};
	if (settings[GRANULARITY].integer != GRANULARITY_GROUP) {
		return 0;
	}
	/* A half that is no whole number ends it. */
	while (group >= SMALLEST_GROUP && cols % group != 0) {
		group = group % 2 == 0 ? group / 2 : 0;
	}
	ret->fallback = group != (uint64_t)settings[GROUP].integer;
	if (group >= SMALLEST_GROUP) {
		ret->granularity = CWP_PER_GROUP;
		ret->group = (uint32_t)group;
	}
	return 0;
}

static int quantize(const struct cwp_setting *settings, const struct cwp_grid *g, const struct cwp_quantizer_tile *tile,
	const struct cwp_quantizer_result *result)
{
	const struct scale_rule rule = {.method = (enum scale_method)settings[SCALE].integer, .percentile = settings[PERCENTILE].number,
		.bits = (int)g->bits, .symmetric = g->symmetric != 0};

	if (tile->flags != 0 || result->flags != 0 || g->code != CWP_CODE_INT || g->bits < 2 || g->bits > 8 || g->threshold != 0 ||
		g->granularity < CWP_PER_TENSOR || g->granularity > CWP_PER_GROUP ||
		(g->granularity == CWP_PER_GROUP && g->group == 0) || (!g->symmetric && result->zeros == NULL)) {
		return CWP_EVALUE;
	}
	if (tile->cols == 0) {
		return 0;
	}
	const uint64_t cols = tile->cols, group = g->granularity == CWP_PER_GROUP ? g->group : cols;
	const uint64_t n_scales = (cols - 1) / group + 1;
	if (g->granularity == CWP_PER_TENSOR) {
		return quantize_tensor(&rule, tile, result);
	}
	if (tile->state != NULL) {
		const struct gptq_options how = gptq_options_of(settings);
		return row_all_finite(tile->weight, tile->rows * cols) ? gptq_rows(tile->state, &how, &rule, group, tile, result) : CWP_ENUMBER;
	}
	for (uint64_t r = 0; r < tile->rows; r++) {
		const float *row = tile->weight + r * cols;
		const uint8_t *mask = tile->mask != NULL ? tile->mask + r * tile->mask_stride : NULL;
		float *scales = result->scales + r * n_scales;
		int8_t *zeros = g->symmetric ? NULL : result->zeros + r * n_scales;
		if (!row_all_finite(row, cols)) {
			return CWP_ENUMBER;
		}
		for (uint64_t first = 0, i = 0; first < cols; first += group, i++) {
			int8_t zero;
			scale_find(&rule, row, mask, first, cols - first < group ? cols - first : group, &scales[i], &zero);
			if (zeros != NULL) {
				zeros[i] = zero;
			}
		}
		row_codes_int(row, cols, group, scales, zeros, rule.bits, result->codes + r * cols);
	}
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
	CWP_KIND_QUANTIZER, sizeof(options) / sizeof(options[0]), "static", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"integer weights of 2 to 8 bits with scales fixed beforehand", options, get_interface};
