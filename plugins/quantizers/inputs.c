/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
#include "plugins/quantizers/inputs.h"

#include <math.h>
#include <stdio.h>

#include "plugins/quantizers/rounding.h"

enum { SHRINK_STEPS = 80 /* of a hundredth of the range each */, POINTS = 4 /* of a bin whose errors are taken */ };

uint32_t input_needs(const struct input_rule *rule)
{
	return CWP_STAT_ACT_ABSMAX | (rule->method == INPUT_MINMAX ? 0 : CWP_STAT_ACT_HISTOGRAM);
}

/* Where bin i begins. */
static float bin_start(uint64_t i)
{
	return i == 0 ? 0 : bits_float((uint32_t)(i - 1 + CWP_HISTOGRAM_FIRST) << 17);
}

/* The magnitude that so many per cent do not exceed: the end of the bin that holds it. */
static float percentile_of(const uint64_t *count, double percent, float absmax)
{
	uint64_t total = 0, seen = 0, i = 0;

	for (uint64_t k = 0; k < CWP_HISTOGRAM_BINS; k++) {
		total += count[k];
	}
	uint64_t rank = (uint64_t)ceil(percent / 100 * (double)total);
	rank = rank < 1 ? 1 : rank;
	while (i + 1 < CWP_HISTOGRAM_BINS && (seen += count[i]) < rank) {
		i++;
	}
	const float end = i + 1 < CWP_HISTOGRAM_BINS ? bin_start(i + 1) : absmax;
	return end < absmax ? end : absmax;
}

static float e4m3_value(uint8_t code)
{
	const int e = code >> 3 & 15, m = code & 7;

	return e > 0 ? ldexpf((float)(8 + m), e - 10) : ldexpf((float)m, -9);
}

/* A magnitude on the grid: both are symmetric. */
static float rounded(const struct input_rule *rule, float v, float scale)
{
	if (rule->top == 127.0f) {
		return round_even(clamp(v / scale, 0, 127)) * scale;
	}
	return e4m3_value(e4m3_bits(v / scale)) * scale;
}

static double squared_error(const struct input_rule *rule, const uint64_t *count, float absmax, float scale)
{
	double sum = 0;

	for (uint64_t i = 0; i < CWP_HISTOGRAM_BINS && bin_start(i) <= absmax; i++) {
		const float start = bin_start(i), next = i + 1 < CWP_HISTOGRAM_BINS ? bin_start(i + 1) : absmax;
		const float end = next < absmax ? next : absmax;
		double part = 0;
		for (int k = 0; count[i] > 0 && k < POINTS; k++) {
			const float v = start + (end - start) * ((float)k + 0.5f) / (float)POINTS;
			const double error = (double)rounded(rule, v, scale) - (double)v;
			part += error * error;
		}
		sum += part / POINTS * (double)count[i];
	}
	return sum;
}

static float search(const struct input_rule *rule, const uint64_t *count, float absmax)
{
	float best = usable_scale(absmax / rule->top);
	double least = squared_error(rule, count, absmax, best);

	for (int step = 1; step <= SHRINK_STEPS; step++) {
		const float scale = usable_scale(absmax * (1 - 0.01f * (float)step) / rule->top);
		const double error = squared_error(rule, count, absmax, scale);
		if (error < least) {
			least = error;
			best = scale;
		}
	}
	return best;
}

int input_scale_find(const struct input_rule *rule, const struct cwp_quantizer_module *m, char *note, size_t note_size)
{
	float absmax = 0;

	if (m->input_scale == NULL || m->act_absmax == NULL || (rule->method != INPUT_MINMAX && m->act_histogram == NULL)) {
		return CWP_EVALUE;
	}
	for (uint64_t c = 0; c < m->cols; c++) {
		if (!(m->act_absmax[c] <= FLT_MAX)) {
			return CWP_ENUMBER;
		}
		absmax = m->act_absmax[c] > absmax ? m->act_absmax[c] : absmax;
	}
	if (absmax == 0) {
		snprintf(note, note_size, "calibration saw no input of it but zeros: its inputs get the scale 1");
	}
	if (rule->method == INPUT_MSE && absmax > 0) {
		*m->input_scale = search(rule, m->act_histogram, absmax);
		return 0;
	}
	const float range = rule->method == INPUT_PERCENTILE ? percentile_of(m->act_histogram, rule->percentile, absmax) : absmax;
	*m->input_scale = usable_scale(range / rule->top);
	return 0;
}
