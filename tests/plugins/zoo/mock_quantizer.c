/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A quantizer that asks for every statistic, checks them against each other, and logs what it saw. Protected weights become
 * five quarters of what they were; each scale follows from the statistics, so that other statistics are other bytes. Its
 * options spoil one thing, or end the process once. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cwp/error.h>
#include <cwp/plugin.h>
#include <cwp/quantizer.h>

#ifndef MOCK_ID
#define MOCK_ID "mock-quantizer"
#endif
#ifndef MOCK_RELEASE
#define MOCK_RELEASE release
#endif
#ifndef MOCK_SMOOTH
#define MOCK_SMOOTH smooth
#endif
#ifndef MOCK_DEVICE_MEMORY
#define MOCK_DEVICE_MEMORY NULL
#endif

enum fault { NONE, NOT_NEEDED, GRADIENTS, FAILS, NO_SCALE, SMOOTH_FAILS };
enum { FAULT, STOP, FILE_NAME, SCALES };
enum { SCALES_NONE, SCALES_POWERS, SCALES_MEANS };

static const struct cwp_option options[] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "fault", "none", "none|not-needed|gradients|fails|no-scale|smooth-fails", NULL, "what is wrong"},
	{sizeof(struct cwp_option), CWP_OPTION_STRING, "stop", "", NULL, NULL, "module at which the process ends"},
	{sizeof(struct cwp_option), CWP_OPTION_STRING, "file", "", NULL, NULL, "where this file is, which is removed then"},
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "scales", "none", "none|powers|means", NULL, "how channels are scaled"}};

struct state {
	float part; /* of the usual scale */
};

static uint32_t needs(const struct cwp_setting *settings)
{
	return settings[FAULT].integer == NOT_NEEDED ? 0 : CWP_STAT_ACT_SUM | CWP_STAT_ACT_SQ | CWP_STAT_ACT_ABS | CWP_STAT_ACT_ABSMAX |
		CWP_STAT_GRAM | (settings[SCALES].integer != SCALES_NONE ? CWP_QUANTIZER_SMOOTHS : 0) |
		(settings[FAULT].integer == GRADIENTS ? CWP_STAT_GRAD_SQ : 0);
}

static int grid(const struct cwp_setting *settings, uint64_t rows, uint64_t cols, struct cwp_grid *ret, char *err, size_t err_size)
{
	(void)settings, (void)rows, (void)cols, (void)err, (void)err_size;
	*ret = (struct cwp_grid){.size = sizeof *ret, .code = CWP_CODE_INT, .bits = 8, .symmetric = 1, .granularity = CWP_PER_CHANNEL};
	return 0;
}

static int is(const char *module, const char *tail)
{
	size_t n = strlen(module), k = strlen(tail);
	return n >= k && strcmp(module + n - k, tail) == 0;
}

/* What is wrong with the statistics, or NULL. */
static const char *judge(const struct cwp_quantizer_module *m)
{
	int same = is(m->name, ".k_proj") || is(m->name, ".v_proj") || is(m->name, ".up_proj") || is(m->name, ".w3");
	if (m->size < sizeof *m || (m->flags & ~(uint32_t)CWP_MODULE_SCORES) != 0 || m->act_sum == NULL || m->act_sq == NULL || m->act_abs == NULL || m->act_absmax == NULL || m->gram == NULL) {
		return "a statistic is missing";
	}
	if ((m->before != NULL) != same) {
		return "the state before is not that of the same input";
	}
	for (uint64_t i = 0; i < m->cols; i++) {
		double diagonal = (double)m->gram[i * m->cols + i], most = (double)m->act_absmax[i];
		if (fabs(diagonal - m->act_sq[i]) > 1e-4 * m->act_sq[i] || most * most > m->act_sq[i] * 1.0001 ||
			m->act_sum[i] * m->act_sum[i] > (double)m->tokens * m->act_sq[i] * 1.0001 ||
			fabs(m->act_sum[i]) > m->act_abs[i] * 1.0001 || m->act_abs[i] > (double)m->tokens * most * 1.0001) {
			return "statistics contradict each other";
		}
		for (uint64_t k = 0; k < i; k++) {
			if (m->gram[i * m->cols + k] != m->gram[k * m->cols + i]) {
				return "x x^T is not symmetric";
			}
		}
	}
	return NULL;
}

static int prepare(const struct cwp_host *host, const struct cwp_setting *settings, const struct cwp_grid *g,
	const struct cwp_quantizer_module *m, void **ret_state, char *note, size_t note_size)
{
	const char *wrong = judge(m);
	char text[256];
	double mixed = 0;
	struct state *state = malloc(sizeof *state);
	(void)g;
	if (state == NULL) {
		return -12;
	}
	if (wrong != NULL || settings[FAULT].integer == FAILS) {
		host->fail(host->ctx, wrong != NULL ? wrong : "the mock fails");
		free(state);
		return CWP_EVALUE;
	}
	for (uint64_t i = 0; i < m->cols; i++) {
		mixed += (double)m->gram[i];
	}
	snprintf(text, sizeof text, "prepare %s tokens %llu act_sq %.17g first %.9g weight %.9g scores %u", m->name,
		(unsigned long long)m->tokens, m->act_sq[0], mixed, (double)m->weight[0], m->flags & CWP_MODULE_SCORES);
	host->log(host->ctx, CWP_LOG_INFO, text);
	if (strcmp(m->name, settings[STOP].string) == 0 && access(settings[FILE_NAME].string, F_OK) == 0) {
		(void)unlink(settings[FILE_NAME].string);
		_exit(99);
	}
	state->part = 1 + 0.25f * (float)fabs(fmod(mixed, 1));
	if (m->tokens == 0 || is(m->name, "o_proj")) {
		snprintf(note, note_size, m->tokens == 0 ? "no token came" : "a note\nof two lines");
	}
	*ret_state = state;
	return 0;
}

static float scale_of(const float *row, uint64_t cols, float part)
{
	float most = 0;
	uint32_t u;
	for (uint64_t c = 0; c < cols; c++) {
		most = fmaxf(most, fabsf(row[c]));
	}
	most = most > 0 ? most / 127 * part : 1;
	memcpy(&u, &most, 4);
	u &= 0xffff0000u;
	memcpy(&most, &u, 4);
	return most;
}

static int quantize(const struct cwp_setting *settings, const struct cwp_grid *g, const struct cwp_quantizer_tile *t,
	const struct cwp_quantizer_result *result)
{
	const struct state *state = t->state;
	(void)g;
	if ((state != NULL && settings[FAULT].integer == NOT_NEEDED) || (state == NULL && result->exact != NULL)) {
		return CWP_ESTATE;
	}
	for (uint64_t r = 0; r < t->rows; r++) {
		const float *row = t->weight + r * t->cols;
		result->scales[r] = scale_of(row, t->cols, state != NULL ? state->part : 1);
		for (uint64_t c = 0; c < t->cols; c++) {
			float code = fmaxf(fminf(nearbyintf(row[c] / result->scales[r]), 127), -128);
			result->codes[r * t->cols + c] = (uint8_t)(int8_t)code;
			if (result->exact != NULL && result->exact[r * t->cols + c] != row[c]) {
				return CWP_ESTATE;
			}
			if (result->exact != NULL) {
				result->exact[r * t->cols + c] = 1.25f * row[c];
			}
		}
	}
	return 0;
}

__attribute__((unused)) static void release(void *state)
{
	free(state);
}

static uint64_t memory(const struct cwp_setting *settings, uint64_t rows, uint64_t cols, uint32_t threads)
{
	(void)settings, (void)rows, (void)cols, (void)threads;
	return sizeof(struct state);
}

/* Powers of two by number, or of the means; says what both errors are. */
__attribute__((unused)) static int smooth(const struct cwp_host *host, const struct cwp_setting *settings,
	const struct cwp_quantizer_input *in, float *ret)
{
	char text[256];
	double plain = -1, scaled = -1;
	int r = in->size < sizeof *in || in->flags != 0 || in->tokens == 0 ? CWP_EVALUE : 0;
	for (uint64_t i = 0; i < in->channels; i++) {
		ret[i] = 1;
	}
	r = r == 0 ? in->error(in->ctx, ret, &plain) : r;
	for (uint64_t i = 0; i < in->channels; i++) {
		double mean = in->act_abs[i] / (double)in->tokens;
		if (fabs(in->act_sum[i]) > in->act_abs[i] * 1.0001 || in->act_abs[i] * in->act_abs[i] > (double)in->tokens * in->act_sq[i] * 1.0001 ||
			mean > (double)in->act_absmax[i] * 1.0001 || !(in->weight_absmax[i] > 0)) {
			host->fail(host->ctx, "statistics of an input contradict each other");
			return CWP_EVALUE;
		}
		ret[i] = settings[SCALES].integer == SCALES_POWERS ? (float)(1 << i % 4) / 2 : (float)sqrt(mean);
	}
	r = r == 0 ? in->error(in->ctx, ret, &scaled) : r;
	snprintf(text, sizeof text, "smooth %s channels %llu tokens %llu errors %.9g %.9g", in->name, (unsigned long long)in->channels,
		(unsigned long long)in->tokens, plain, scaled);
	host->log(host->ctx, CWP_LOG_INFO, text);
	ret[0] = settings[FAULT].integer == NO_SCALE ? 0 : ret[0];
	if (settings[FAULT].integer == SMOOTH_FAILS) {
		host->fail(host->ctx, "the mock cannot smooth");
		return CWP_EVALUE;
	}
	return r;
}

static const struct cwp_quantizer quantizer = {sizeof(struct cwp_quantizer), needs, grid, quantize, prepare, MOCK_RELEASE, memory,
	MOCK_SMOOTH, MOCK_DEVICE_MEMORY, NULL};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_QUANTIZER_INTERFACE) == 0 ? &quantizer : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_QUANTIZER)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR, CWP_KIND_QUANTIZER,
	sizeof(options) / sizeof(options[0]), MOCK_ID, "1.0", "zoo keepers", "Apache-2.0", "a quantizer for tests", options,
	get_interface};
