/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
#include "plugins/quantizers/inputs.h"

#include <math.h>
#include <stdio.h>

#include "plugins/quantizers/rounding.h"

enum { SHRINK_STEPS = 80 /* of a hundredth of the range each */, POINTS = 4 /* of a bin whose errors are taken */ };

uint32_t input_needs(const struct input_rule *rule)
{
	return CWP_STAT_ACT_ABSMAX | (rule->asymmetric ? CWP_STAT_ACT_RANGE : 0) | (rule->method == INPUT_MINMAX ? 0 : CWP_STAT_ACT_HISTOGRAM);
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

/* What inputs are rounded to. */
struct input_grid {
	float scale;
	int8_t zero;
	float most; /* the greatest code of a magnitude */
};

/* A magnitude on the grid. That of an asymmetric one has its points at multiples of the scale too, and a magnitude beyond the
 * nearer end has the sign of the other one: so its sign need not be known. */
static float rounded(const struct input_rule *rule, float v, const struct input_grid *g)
{
	if (rule->top == 127.0f) {
		return round_even(clamp(v / g->scale, 0, g->most)) * g->scale;
	}
	return e4m3_value(e4m3_bits(v / g->scale)) * g->scale;
}

static double squared_error(const struct input_rule *rule, const uint64_t *count, float absmax, const struct input_grid *g)
{
	double sum = 0;

	for (uint64_t i = 0; i < CWP_HISTOGRAM_BINS && bin_start(i) <= absmax; i++) {
		const float start = bin_start(i), next = i + 1 < CWP_HISTOGRAM_BINS ? bin_start(i + 1) : absmax;
		const float end = next < absmax ? next : absmax;
		double part = 0;
		for (int k = 0; count[i] > 0 && k < POINTS; k++) {
			const float v = start + (end - start) * ((float)k + 0.5f) / (float)POINTS;
			const double error = (double)rounded(rule, v, g) - (double)v;
			part += error * error;
		}
		sum += part / POINTS * (double)count[i];
	}
	return sum;
}

/* The two ends of what calibration saw. */
struct ends {
	float low, high; /* low <= 0 <= high */
};

/* The grid of a range that ends at `most` at the furthest. */
static struct input_grid grid_of(const struct input_rule *rule, struct ends ends, float most)
{
	struct input_grid g = {.most = rule->top};

	if (!rule->asymmetric) {
		g.scale = usable_scale(most / rule->top);
		return g;
	}
	const float low = ends.low < -most ? -most : ends.low, high = ends.high > most ? most : ends.high;
	g.scale = usable_scale((float)(((double)high - (double)low) / 255));
	g.zero = (int8_t)clamp(round_even(-128 - low / g.scale), -128, 127);
	g.most = g.zero < 0 ? 127 - (float)g.zero : 128 + (float)g.zero;
	return g;
}

static struct input_grid search(const struct input_rule *rule, const uint64_t *count, struct ends ends, float absmax)
{
	struct input_grid best = grid_of(rule, ends, absmax);
	double least = squared_error(rule, count, absmax, &best);

	for (int step = 1; step <= SHRINK_STEPS; step++) {
		const struct input_grid g = grid_of(rule, ends, absmax * (1 - 0.01f * (float)step));
		const double error = squared_error(rule, count, absmax, &g);
		if (error < least) {
			least = error;
			best = g;
		}
	}
	return best;
}

static struct ends ends_of(const struct cwp_quantizer_module *m)
{
	struct ends ends = {0, 0};

	for (uint64_t c = 0; m->act_least != NULL && c < m->cols; c++) {
		ends.low = m->act_least[c] < ends.low ? m->act_least[c] : ends.low;
		ends.high = m->act_greatest[c] > ends.high ? m->act_greatest[c] : ends.high;
	}
	return ends;
}

int input_scale_find(const struct input_rule *rule, const struct cwp_quantizer_module *m, char *note, size_t note_size)
{
	struct input_grid g;
	float absmax = 0;

	if (rule->asymmetric && (m->input_zero == NULL || m->act_least == NULL || m->act_greatest == NULL)) {
		return CWP_EVALUE;
	}
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
		g = search(rule, m->act_histogram, ends_of(m), absmax);
	} else {
		g = grid_of(rule, ends_of(m), rule->method == INPUT_PERCENTILE ? percentile_of(m->act_histogram, rule->percentile, absmax) : absmax);
	}
	*m->input_scale = g.scale;
	if (rule->asymmetric) {
		*m->input_zero = g.zero;
	}
	return 0;
}
