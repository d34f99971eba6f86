/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Finds, checks and opens plugin files in configured directories. The note is read first; only an accepted file is
 * opened (RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE). */
#pragma once

#include <stddef.h>

#include <cwp/plugin.h>

#include "base/err.h"
#include "engine/plugin/note.h"

struct cwe_plugin {
	const struct cwp_plugin *descriptor;
	const void *interface; /* the kind's interface of this host's version, never NULL */
	char *path;
	char build_id[65];     /* GNU build id in hexadecimal, or SHA-256 of the file where it has none */
};

struct cwe_registry;

enum cwe_registry_flags {
	CWE_REGISTRY_ANY_OWNER = 1 << 0 /* do not check who owns the directories (--plugin-dir, cwp-plugin-check) */
};

/* directories: count absolute paths, searched in order. Nothing is opened yet. */
int cwe_registry_new(const char *const *directories, size_t count, unsigned flags, struct cwe_registry **ret, struct cwb_err *err);
void cwe_registry_free(struct cwe_registry *r);

/* The plugin of this kind and id; opened on first use: the first file <directory>/<id>.so of the kind, whose descriptor
 * must have the id. No other file is ever opened, so that a faulty plugin harms only the jobs that name it. CWP_EUNKNOWN
 * (nearest filled), CWP_EFORMAT, CWP_EABI, CWP_EPLUGIN, CWP_EDENIED. Lives as long as the process. [worker] */
int cwe_registry_find(struct cwe_registry *r, uint32_t kind, const char *id, const struct cwe_plugin **ret, struct cwb_err *err);

/* Opens one file (the probe's and cwp-plugin-check's way): note, descriptor, tables all checked. */
int cwe_plugin_open(const char *path, struct cwe_plugin *ret, struct cwb_err *err);

/* The interface id that this host wants for a kind: CWP_SCORER_INTERFACE and so on. */
const char *cwe_kind_interface(uint32_t kind);
