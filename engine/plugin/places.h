/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where plugins are found: folders given on the command line, else the build tree's when the program runs from there,
 * else the installed ones. */
#pragma once

#include <stddef.h>

#include "base/err.h"

/* *ret, freed with free(): the folder of plugins that belongs to the running program. */
int cwe_plugin_folder(char **ret, struct cwb_err *err);
