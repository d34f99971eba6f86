/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Checks of what an opened plugin says about itself. Internal to engine/plugin. */
#pragma once

#include <stdint.h>

#include <cwp/plugin.h>

#include "base/err.h"
#include "engine/plugin/note.h"

/* 1 to 63 lower-case letters, digits and hyphens, a letter first. */
int cwe_id_is_valid(const char *id);

/* Descriptor against the note, and the option table. symbol_size: bytes of the symbol in the file, 0 where it is
 * not known. CWP_EPLUGIN or CWP_EABI, beginning with the path. */
int cwe_descriptor_check(const struct cwp_plugin *p, uint64_t symbol_size, const struct cwe_note *note, const char *path,
	struct cwb_err *err);

/* The interface that this host wants of the plugin, with every function that must be there. */
int cwe_interface_get(const struct cwp_plugin *p, const char *path, const void **ret, struct cwb_err *err);
