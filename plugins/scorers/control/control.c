/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scorer: what any choice of weights has to beat. random: a number in (0, 1) for each weight, drawn from the seed, the
 * matrix's name and the weight's place in it, so that neither threads nor tiles nor other matrices change it. magnitude:
 * |w|. Neither looks at the calibration sets. */
#include <math.h>
#include <string.h>

#include <cwp/plugin.h>
#include <cwp/scorer.h>

enum form { FORM_RANDOM, FORM_MAGNITUDE };

static const struct cwp_option options[] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "form", "random", "random|magnitude", NULL,
		"a random number for each weight, or |w|"},
	{sizeof(struct cwp_option), CWP_OPTION_INT, "seed", "0", "0..2147483647", NULL,
		"of the random numbers: each seed protects other weights"},
};

/* The finalizer of SplitMix64: all bits of the result depend on all bits of x. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* Where the numbers of a matrix begin in the generator's sequence. */
static uint64_t start_of(uint64_t seed, const char *module)
{
	uint64_t h = mix(seed + 0x9e3779b97f4a7c15u);
	for (const char *c = module; *c != '\0'; c++) {
		h = mix(h + 0x9e3779b97f4a7c15u + (unsigned char)*c);
	}
	return h;
}

static uint32_t needs(const struct cwp_setting *settings, const char *combine)
{
	(void)settings;
	(void)combine;
	return 0;
}

static void draw(uint64_t seed, const struct cwp_scorer_tile *tile, float *importance)
{
	const uint64_t n = tile->rows * tile->cols;
	uint64_t at = start_of(seed, tile->module) + tile->row * tile->cols * 0x9e3779b97f4a7c15u;

	for (uint64_t i = 0; i < n; i++) {
		at += 0x9e3779b97f4a7c15u;
		/* 23 bits and a half: never 0, never 1. */
		importance[i] = ((float)(mix(at) >> 41) + 0.5f) * 0x1p-23f;
	}
}

static int score(const struct cwp_setting *settings, const struct cwp_scorer_tile *tile, float *importance)
{
	const uint64_t n = tile->rows * tile->cols;

	if (tile->flags != 0) {
		return CWP_EVALUE;
	}
	if (settings[0].integer == FORM_RANDOM) {
		if (tile->size < sizeof *tile || tile->module == NULL) {
			return CWP_EMISSING; /* a host from before tiles had names */
		}
		draw((uint64_t)settings[1].integer, tile, importance);
		return 0;
	}
	for (uint64_t i = 0; i < n; i++) {
		importance[i] = fabsf(tile->weight[i]);
	}
	return 0;
}

static const struct cwp_scorer scorer = {sizeof(struct cwp_scorer), needs, score, NULL};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_SCORER_INTERFACE) == 0 ? &scorer : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_SCORER)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR,
	CWP_KIND_SCORER, sizeof(options) / sizeof(options[0]), "control", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"random numbers or magnitudes, the control that a choice of weights has to beat", options, get_interface};
