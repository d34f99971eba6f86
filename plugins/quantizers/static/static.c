/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantizer: integers of 8, 4, 3 or 2 bits, one scale a row, a group of its columns (scales.h) or the whole matrix (tensor.h), by
 * rounding to nearest, by GPTQ (gptq.h), or behind scales of channels (smooth.h) as AWQ, with narrower ranges (clip.h), and
 * SmoothQuant have them. Protected weights take no part in scales. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/plugin.h>
#include <cwp/quantizer.h>

#include "plugins/quantizers/inputs.h"
#include "plugins/quantizers/refuse.h"
#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/rows.h"
#include "plugins/quantizers/static/clip.h"
#include "plugins/quantizers/static/gptq.h"
#include "plugins/quantizers/static/scales.h"
#include "plugins/quantizers/static/smooth.h"
#include "plugins/quantizers/static/tensor.h"

enum option { BITS, GRANULARITY, GROUP, SYMMETRIC, ALGORITHM, SCALE, ACTIVATIONS, PERCENTILE, DAMPING, ACT_ORDER, PROTECTED, ACTIVATION_SCALE,
	ACTIVATION_PERCENTILE, ALPHA, ACTIVATION_SYMMETRIC };
enum { ALGORITHM_RTN, ALGORITHM_GPTQ, ALGORITHM_AWQ, ALGORITHM_SMOOTHQUANT };
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
		"rtn: round to nearest; gptq: calibrated, each column's error is made good by those that follow; awq: calibrated, channels are scaled and ranges narrowed for the least error at the outputs; smoothquant: calibrated, channels are scaled to ease int8 activations"},
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
	{sizeof(struct cwp_option), CWP_OPTION_FLOAT, "alpha", "0.5", "0..1", NULL,
		"smoothquant: how much of the range of the activations goes over to the weights"},
	{sizeof(struct cwp_option), CWP_OPTION_BOOL, "activation-symmetric", "true", NULL, NULL,
		"static activations: no zero point; false spends all codes on the range from the least to the greatest input"},
};

static struct input_rule input_rule_of(const struct cwp_setting *s)
{
	return (struct input_rule){(enum input_method)s[ACTIVATION_SCALE].integer, s[ACTIVATION_PERCENTILE].number, 127.0f,
		s[ACTIVATION_SYMMETRIC].integer == 0};
}

static uint32_t needs(const struct cwp_setting *settings)
{
	const struct input_rule rule = input_rule_of(settings);

	const uint32_t inputs = settings[ACTIVATIONS].integer == ACTIVATIONS_STATIC ? input_needs(&rule) : 0u;

	switch (settings[ALGORITHM].integer) {
	case ALGORITHM_GPTQ:
		return inputs | CWP_STAT_GRAM;
	case ALGORITHM_AWQ:
		return inputs | CWP_STAT_ACT_ABS | CWP_STAT_GRAM | CWP_QUANTIZER_SMOOTHS;
	case ALGORITHM_SMOOTHQUANT:
		return inputs | CWP_STAT_ACT_ABSMAX | CWP_QUANTIZER_SMOOTHS;
	default:
		return inputs;
	}
}

static struct gptq_options gptq_options_of(const struct cwp_setting *s)
{
	return (struct gptq_options){.damping = s[DAMPING].number, .act_order = s[ACT_ORDER].integer != 0,
		.compensated = s[PROTECTED].integer != 0};
}

static struct scale_rule rule_of(const struct cwp_setting *settings, const struct cwp_grid *g)
{
	return (struct scale_rule){.method = (enum scale_method)settings[SCALE].integer, .percentile = settings[PERCENTILE].number,
		.bits = (int)g->bits, .symmetric = g->symmetric != 0};
}

/* Of a module: what its algorithm found, the other NULL. */
struct state {
	struct gptq *gptq;
	struct clip *clip;
};

static void release(void *state)
{
	struct state *s = state;

	if (s != NULL) {
		gptq_release(s->gptq);
		clip_free(s->clip);
		free(s);
	}
}

static int prepare_gptq(const struct cwp_host *host, const struct cwp_setting *settings, const struct cwp_quantizer_module *module,
	struct state *state, char *note, size_t note_size)
{
	const struct gptq_options how = gptq_options_of(settings);
	const struct state *before = module->before;
	struct cwp_quantizer_module m = *module;

	m.before = before != NULL ? before->gptq : NULL;
	return m.gram != NULL || m.d_gram != NULL ? gptq_prepare(host, &how, &m, &state->gptq, note, note_size) : CWP_EVALUE;
}

/* Ranges of queries and keys stay whole: an error there is felt in every score. */
static int prepare(const struct cwp_host *host, const struct cwp_setting *settings, const struct cwp_grid *g,
	const struct cwp_quantizer_module *module, void **ret_state, char *note, size_t note_size)
{
	const struct scale_rule rule = rule_of(settings, g);
	const struct input_rule input = input_rule_of(settings);
	struct state *state = calloc(1, sizeof(*state));
	int rc = state != NULL ? 0 : -ENOMEM;

	if (rc == 0 && g->activation == CWP_ACT_INT8_TENSOR) {
		rc = input_scale_find(&input, module, note, note_size);
	}
	if (rc == 0 && settings[ALGORITHM].integer == ALGORITHM_GPTQ) {
		rc = prepare_gptq(host, settings, module, state, note, note_size);
	} else if (rc == 0 && settings[ALGORITHM].integer == ALGORITHM_AWQ && !(module->flags & CWP_MODULE_SCORES)) {
		rc = clip_search(host, &rule, g, module, &state->clip);
	}
	if (rc != 0 || (state->gptq == NULL && state->clip == NULL)) {
		release(state);
		state = NULL;
	}
	*ret_state = state;
	return rc;
}

static uint64_t memory(const struct cwp_setting *settings, uint64_t rows, uint64_t cols, uint32_t threads)
{
	const uint64_t group = settings[GRANULARITY].integer == GRANULARITY_GROUP ? SMALLEST_GROUP : cols;

	switch (settings[ALGORITHM].integer) {
	case ALGORITHM_GPTQ:
		return 2 * sizeof(struct state) + gptq_memory(cols, threads);
	case ALGORITHM_AWQ:
		return 2 * sizeof(struct state) + clip_memory(rows, cols, group, threads);
	default:
		return 2 * sizeof(struct state);
	}
}

static int smooth(const struct cwp_host *host, const struct cwp_setting *settings, const struct cwp_quantizer_input *input,
	float *ret_scale)
{
	if (settings[ALGORITHM].integer == ALGORITHM_AWQ) {
		return smooth_awq(host, input, ret_scale);
	}
	smooth_quant(input, settings[ALPHA].number, ret_scale);
	return 0;
}

/* What the algorithms that scale channels are made for. */
static int check_smoothing(const struct cwp_setting *s, char *err, size_t err_size)
{
	if (s[ALGORITHM].integer == ALGORITHM_AWQ && (s[BITS].integer == 8 || s[ACTIVATIONS].integer != ACTIVATIONS_NONE)) {
		return refuse(err, err_size, "algorithm: awq is for weights of 4 bits or fewer and activations none, not bits %d and activations %s; "
			"with activations use smoothquant", (int)s[BITS].integer, s[ACTIVATIONS].string);
	}
	if (s[ALGORITHM].integer == ALGORITHM_AWQ && s[SCALE].integer != SCALE_ABSMAX) {
		return refuse(err, err_size, "algorithm: awq looks for ranges itself: scale must be absmax, not %s", s[SCALE].string);
	}
	if (s[ALGORITHM].integer == ALGORITHM_SMOOTHQUANT && (s[BITS].integer != 8 || s[ACTIVATIONS].integer == ACTIVATIONS_NONE)) {
		return refuse(err, err_size, "algorithm: smoothquant eases the quantization of activations: it needs bits 8 and activations dynamic or static, "
			"not bits %d and activations %s; for weights alone use awq", (int)s[BITS].integer, s[ACTIVATIONS].string);
	}
	return 0;
}

static int check_settings(const struct cwp_setting *s, char *err, size_t err_size)
{
	int rc = check_smoothing(s, err, err_size);

	if (rc < 0) {
		return rc;
	}
	if (s[GRANULARITY].integer == GRANULARITY_TENSOR && s[ALGORITHM].integer != 0) {
		return refuse(err, err_size, "granularity: tensor goes with algorithm rtn, not %s; use channel or group", s[ALGORITHM].string);
	}
	if (s[ACTIVATIONS].integer != ACTIVATIONS_NONE && (s[BITS].integer != 8 || s[GRANULARITY].integer == GRANULARITY_GROUP)) {
		return refuse(err, err_size, "activations: %s needs bits 8 and granularity channel or tensor, not bits %d and granularity %s",
			s[ACTIVATIONS].string, (int)s[BITS].integer, s[GRANULARITY].string);
	}
	if (s[ACTIVATION_SYMMETRIC].integer == 0 && s[ACTIVATIONS].integer != ACTIVATIONS_STATIC) {
		return refuse(err, err_size, "activation-symmetric: false is for activations static, not %s", s[ACTIVATIONS].string);
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
		return refuse_empty(err, err_size, rows, cols);
	}
	*ret = (struct cwp_grid){
		.size = sizeof(*ret),
		.code = CWP_CODE_INT,
		.bits = (uint32_t)settings[BITS].integer,
		.symmetric = settings[SYMMETRIC].integer != 0,
		.granularity = settings[GRANULARITY].integer == GRANULARITY_TENSOR ? CWP_PER_TENSOR : CWP_PER_CHANNEL,
		.activation = settings[ACTIVATIONS].integer == ACTIVATIONS_DYNAMIC ? CWP_ACT_INT8_TOKEN :
			settings[ACTIVATIONS].integer == ACTIVATIONS_STATIC ? CWP_ACT_INT8_TENSOR : CWP_ACT_NONE,
		.input_zero = settings[ACTIVATION_SYMMETRIC].integer == 0,
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

/* Row r of the tile. clip may be NULL. CWP_ENUMBER where one of its weights is not finite. */
static int quantize_row(const struct scale_rule *rule, const struct clip *clip, uint64_t group, const struct cwp_quantizer_tile *tile,
	const struct cwp_quantizer_result *result, uint64_t r)
{
	const uint64_t cols = tile->cols, n_scales = (cols - 1) / group + 1;
	const float *row = tile->weight + r * cols;
	const uint8_t *mask = mask_row(tile->mask, tile->mask_stride, r);
	float *scales = result->scales + r * n_scales;
	int8_t *zeros = rule->symmetric ? NULL : result->zeros + r * n_scales;

	if (clip == NULL && mask == NULL && rule->symmetric && rule->method == SCALE_ABSMAX) {
		return row_quantize_int(row, cols, group, rule->bits, scales, result->codes + r * cols) ? 0 : CWP_ENUMBER;
	}
	if (clip != NULL ? !row_all_finite(row, cols) : !scales_find(rule, row, mask, cols, group, scales, zeros)) {
		return CWP_ENUMBER;
	}
	for (uint64_t first = 0, i = 0; clip != NULL && first < cols; first += group, i++) {
		int8_t zero;
		clip_scale(clip, rule, tile->row + r, row, mask, i, cols - first < group ? cols - first : group, &scales[i], &zero);
		if (zeros != NULL) {
			zeros[i] = zero;
		}
	}
	row_codes_int(row, cols, group, scales, zeros, rule->bits, result->codes + r * cols);
	return 0;
}

static int quantize(const struct cwp_setting *settings, const struct cwp_grid *g, const struct cwp_quantizer_tile *tile,
	const struct cwp_quantizer_result *result)
{
	const struct scale_rule rule = rule_of(settings, g);
	const struct state *state = tile->state;

	if (tile->flags != 0 || result->flags != 0 || g->code != CWP_CODE_INT || g->bits < 2 || g->bits > 8 || g->threshold != 0 ||
		g->granularity < CWP_PER_TENSOR || g->granularity > CWP_PER_GROUP ||
		(g->granularity == CWP_PER_GROUP && g->group == 0) || (!g->symmetric && result->zeros == NULL)) {
		return CWP_EVALUE;
	}
	if (tile->cols == 0) {
		return 0;
	}
	const uint64_t cols = tile->cols, group = g->granularity == CWP_PER_GROUP ? g->group : cols;
	if (g->granularity == CWP_PER_TENSOR) {
		return quantize_tensor(&rule, tile, result);
	}
	if (state != NULL && state->gptq != NULL && gptq_is_there(state->gptq)) {
		return CWP_EVALUE;
	}
	if (state != NULL && state->gptq != NULL) {
		const struct gptq_options how = gptq_options_of(settings);
		return row_all_finite(tile->weight, tile->rows * cols) ? gptq_rows(state->gptq, &how, &rule, group, tile, result) : CWP_ENUMBER;
	}
	int rc = 0;
	for (uint64_t r = 0; rc == 0 && r < tile->rows; r++) {
		rc = quantize_row(&rule, state != NULL ? state->clip : NULL, group, tile, result, r);
	}
	return rc;
}

/* Other scales than absmax are searched for on the host. */
static uint64_t device_memory(const struct cwp_setting *settings, const struct cwp_backend *backend, void *b, uint64_t rows, uint64_t cols)
{
	return settings[ALGORITHM].integer == ALGORITHM_GPTQ && settings[SCALE].integer == SCALE_ABSMAX
		? gptq_device_memory(backend, b, rows, cols) : 0;
}

static int quantize_module(const struct cwp_setting *settings, const struct cwp_grid *g, const struct cwp_quantizer_matrix *matrix)
{
	const struct scale_rule rule = rule_of(settings, g);
	const struct gptq_options how = gptq_options_of(settings);
	const struct state *state = matrix->state;

	if (state == NULL || state->gptq == NULL) {
		return 1;
	}
	if (matrix->flags != 0 || g->code != CWP_CODE_INT || g->exact_scales || (!g->symmetric && matrix->d_zeros == NULL) ||
		!gptq_is_there(state->gptq)) {
		return CWP_EVALUE;
	}
	return gptq_matrix(state->gptq, &how, &rule, g->granularity == CWP_PER_GROUP ? g->group : matrix->cols, matrix);
}

static const struct cwp_quantizer quantizer = {.size = sizeof(struct cwp_quantizer), .needs = needs, .grid = grid, .quantize = quantize,
	.prepare = prepare, .release = release, .memory = memory, .smooth = smooth, .device_memory = device_memory,
	.quantize_module = quantize_module};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_QUANTIZER_INTERFACE) == 0 ? &quantizer : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_QUANTIZER)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR,
	CWP_KIND_QUANTIZER, sizeof(options) / sizeof(options[0]), "static", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"integer weights of 2 to 8 bits with scales fixed beforehand", options, get_interface};
