/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The plugin ABI: one exported symbol, `cwp_plugin`, a constant descriptor that begins with its own size,
 * and an ELF note that states ABI and kind, so that a file can be refused without running its code.
 *
 * A plugin file looks like this:
 *
 *	#include <cwp/plugin.h>
 *	#include <cwp/scorer.h>
 *	static const void *get_interface(const char *id) { ... }
 *	CWP_PLUGIN_NOTE(CWP_KIND_SCORER)
 *	CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = { sizeof(struct cwp_plugin), ... };
 *
 * Where a function may be called stands in brackets:
 *   [scan]        quick, no I/O, no allocation beyond a few kB, callable at any time after loading
 *   [worker]      the worker's main thread
 *   [any-thread]  concurrently, from any thread
 */
#ifndef CWP_PLUGIN_H
#define CWP_PLUGIN_H

#include <stdint.h>

#include <cwp/error.h>
#include <cwp/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CWP_ABI_MAJOR 1
#define CWP_ABI_MINOR 0

enum cwp_kind {
	CWP_KIND_SCORER = 1,
	CWP_KIND_QUANTIZER = 2,
	CWP_KIND_BACKEND = 3,
	CWP_KIND_EVALUATOR = 4
};

enum cwp_option_type {
	CWP_OPTION_BOOL = 1,
	CWP_OPTION_INT = 2,
	CWP_OPTION_FLOAT = 3,
	CWP_OPTION_ENUM = 4,
	CWP_OPTION_STRING = 5
};

/* One option: it validates the job file, prints `cwpctl plugins show` and makes the manual page.
 * All strings live as long as the plugin. */
struct cwp_option {
	uint32_t size; /* sizeof(struct cwp_option) */
	uint32_t type; /* enum cwp_option_type */
	const char *name;
	const char *standard; /* the default, as one would write it in a job file */
	const char *range;    /* INT, FLOAT: "low..high"; ENUM: "a|b|c"; INT may also be "8|2|3|4"; else NULL */
	const char *unit;     /* NULL where there is none */
	const char *help;     /* one sentence, no final stop */
};

/* The value of one option: the host checked it against the table and filled in defaults. */
struct cwp_setting {
	uint32_t size; /* sizeof(struct cwp_setting) */
	uint32_t type; /* enum cwp_option_type */
	int64_t integer;    /* BOOL (0, 1), INT, and ENUM as the index into its range */
	double number;      /* FLOAT, and INT again */
	const char *string; /* STRING, and ENUM again; owned by the host, lives as long as the settings */
};

/* The descriptor. Constant; all it points to lives as long as the process. */
struct cwp_plugin {
	uint32_t size; /* sizeof(struct cwp_plugin) of the plugin's build */
	uint16_t abi_major;
	uint16_t abi_minor;
	uint32_t kind; /* enum cwp_kind; the same as in the note */
	uint32_t n_options;
	const char *id;      /* what a job file names: lower-case letters, digits, hyphens */
	const char *version; /* the plugin's own */
	const char *vendor;
	const char *licence; /* SPDX expression */
	const char *summary; /* one line */
	const struct cwp_option *options; /* n_options of them */
	/* The interface with this id (such as "cwp.scorer/1.draft"), or NULL. [scan] */
	const void *(*get_interface)(const char *id);
};

#define CWP_PLUGIN_SYMBOL "cwp_plugin"
#define CWP_NOTE_SECTION ".note.cwp.abi"
#define CWP_NOTE_NAME "cwp"
#define CWP_NOTE_TYPE 1

/* The note's layout, an ordinary ELF note of name "cwp" and type 1, all words little endian. */
struct cwp_plugin_note {
	uint32_t name_size; /* 4 */
	uint32_t desc_size; /* 12 */
	uint32_t type;      /* CWP_NOTE_TYPE */
	char name[4];       /* "cwp\0" */
	uint32_t abi_major;
	uint32_t abi_minor;
	uint32_t kind;
};

#define CWP_PLUGIN_NOTE(the_kind)                                                                  \
	__attribute__((section(CWP_NOTE_SECTION), used, aligned(4))) static const struct cwp_plugin_note \
		cwp_plugin_note_ = {4, 12, CWP_NOTE_TYPE, {'c', 'w', 'p', 0}, CWP_ABI_MAJOR,         \
			CWP_ABI_MINOR, (the_kind)};

#ifdef __cplusplus
#define CWP_PLUGIN_EXPORT extern __attribute__((visibility("default")))
#else
#define CWP_PLUGIN_EXPORT __attribute__((visibility("default")))
#endif

extern __attribute__((visibility("default"))) const struct cwp_plugin cwp_plugin;

#ifdef __cplusplus
}
#endif
#endif
