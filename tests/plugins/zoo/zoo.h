/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A correct scorer in which each mock plugin spoils one thing, by defining a macro before it includes this. */
#ifndef CWP_TESTS_ZOO_H
#define CWP_TESTS_ZOO_H

#include <string.h>

#include <cwp/plugin.h>
#include <cwp/scorer.h>

#ifndef ZOO_NOTE_MAJOR
#define ZOO_NOTE_MAJOR CWP_ABI_MAJOR
#endif
#ifndef ZOO_NOTE_MINOR
#define ZOO_NOTE_MINOR CWP_ABI_MINOR
#endif
#ifndef ZOO_NOTE_KIND
#define ZOO_NOTE_KIND CWP_KIND_SCORER
#endif
#ifndef ZOO_SIZE
#define ZOO_SIZE sizeof(struct cwp_plugin)
#endif
#ifndef ZOO_MAJOR
#define ZOO_MAJOR CWP_ABI_MAJOR
#endif
#ifndef ZOO_KIND
#define ZOO_KIND CWP_KIND_SCORER
#endif
#ifndef ZOO_ID
#define ZOO_ID "zoo"
#endif
#ifndef ZOO_VENDOR
#define ZOO_VENDOR "zoo keepers"
#endif
#ifndef ZOO_LICENCE
#define ZOO_LICENCE "Apache-2.0"
#endif
#ifndef ZOO_OPTION
#define ZOO_OPTION {sizeof(struct cwp_option), CWP_OPTION_INT, "power", "2", "1..8", NULL, "exponent"}
#endif
#ifndef ZOO_N_OPTIONS
#define ZOO_N_OPTIONS sizeof(options) / sizeof(options[0])
#endif
#ifndef ZOO_OPTIONS
#define ZOO_OPTIONS options
#endif
#ifndef ZOO_NEEDS
#define ZOO_NEEDS 0
#endif
#ifndef ZOO_SCORE
#define ZOO_SCORE score
#endif
#ifndef ZOO_SCORER_SIZE
#define ZOO_SCORER_SIZE sizeof(struct cwp_scorer)
#endif
#ifndef ZOO_INTERFACE
#define ZOO_INTERFACE CWP_SCORER_INTERFACE
#endif
#ifndef ZOO_GET_INTERFACE
#define ZOO_GET_INTERFACE get_interface
#endif

static const struct cwp_option options[] __attribute__((unused)) = {ZOO_OPTION};

static uint32_t needs(const struct cwp_setting *settings, const char *combine)
{
	(void)settings;
	(void)combine;
	return ZOO_NEEDS;
}

__attribute__((unused)) static int score(const struct cwp_setting *settings, const struct cwp_scorer_tile *tile, float *importance)
{
	(void)settings;
	for (uint64_t i = 0; i < tile->rows * tile->cols; i++) {
		importance[i] = tile->weight[i] * tile->weight[i];
	}
	return 0;
}

static const struct cwp_scorer scorer = {ZOO_SCORER_SIZE, needs, ZOO_SCORE, NULL};

__attribute__((unused)) static const void *get_interface(const char *id)
{
	return strcmp(id, ZOO_INTERFACE) == 0 ? &scorer : NULL;
}

#ifndef ZOO_WITHOUT_NOTE
__attribute__((section(CWP_NOTE_SECTION), used, aligned(4))) static const struct cwp_plugin_note note = {4, 12, CWP_NOTE_TYPE,
	{'c', 'w', 'p', 0}, ZOO_NOTE_MAJOR, ZOO_NOTE_MINOR, ZOO_NOTE_KIND};
#endif

#ifndef ZOO_SYMBOL
#define ZOO_SYMBOL cwp_plugin
#endif
CWP_PLUGIN_EXPORT const struct cwp_plugin ZOO_SYMBOL = {ZOO_SIZE, ZOO_MAJOR, CWP_ABI_MINOR, ZOO_KIND, ZOO_N_OPTIONS, ZOO_ID, "1.0",
	ZOO_VENDOR, ZOO_LICENCE, "a plugin for tests", ZOO_OPTIONS, ZOO_GET_INTERFACE};

#endif
