/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One scale for all inputs of a module, from what calibration saw of them. */
#ifndef CWP_QUANTIZERS_INPUTS_H
#define CWP_QUANTIZERS_INPUTS_H

#include <cwp/quantizer.h>

enum input_method { INPUT_MINMAX, INPUT_PERCENTILE, INPUT_MSE };

struct input_rule {
	enum input_method method;
	double percentile; /* of INPUT_PERCENTILE */
	float top;         /* the greatest code: 127 of int8, 448 of E4M3 */
	int asymmetric;    /* of int8: codes -128 .. 127 are spent on the range from the least to the greatest, 0 in it */
};

/* What a plugin with such inputs has among its options, in the order of struct input_rule. */
#define INPUT_OPTIONS                                                                                                                \
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "activation-scale", "minmax", "minmax|percentile|mse", NULL,                     \
		"static activations: where their range ends: at the greatest that calibration saw, so that it holds the given percentile of them, or where the sum of squared errors is least"}, \
	{                                                                                                                             \
		sizeof(struct cwp_option), CWP_OPTION_FLOAT, "activation-percentile", "99.99", "50..100", "%",                         \
			"with activation-scale percentile: share of all inputs whose magnitude the range holds"                        \
	}

/* enum cwp_statistic bits. */
uint32_t input_needs(const struct input_rule *rule);

/* Fills *module->input_scale: a value of BF16. Where calibration saw no input but zeros it is 1, and note says so.
 *
 * minmax: absmax / top. percentile: the same of the magnitude that so many per cent of the inputs do not exceed, to the
 *   width of a bin of the histogram. mse: of the ranges 1.00, 0.99, .. 0.20 of absmax, the one with the least sum of squared
 *   errors of the rounded inputs, each bin's taken at its middle; the widest of equals.
 *
 * Asymmetric: absmax is the greater magnitude of the two ends, and the other end stays where it is unless it lies further
 *   out; scale = (high - low) / 255, and *module->input_zero stands for 0 where low gets the code -128. */
int input_scale_find(const struct input_rule *rule, const struct cwp_quantizer_module *module, char *note, size_t note_size);

#endif
