/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Options as written in a job file -> checked settings in the order of the plugin's table. */
#pragma once

#include <cwp/plugin.h>

#include "base/err.h"
#include "job/job.h"

/* *ret [plugin->n_options] is freed with cwe_settings_free. CWP_EUNKNOWN (nearest name filled), CWP_EVALUE; err has
 * the line of the option and field "<field>.options.<name>". field: "score", "quantize". */
int cwe_settings_make(const struct cwp_plugin *plugin, const char *field, const struct cwj_option *option, size_t count,
	struct cwp_setting **ret, struct cwb_err *err);
void cwe_settings_free(const struct cwp_plugin *plugin, struct cwp_setting *settings);
/* Index of an option by name, or -1. */
int cwe_settings_index(const struct cwp_plugin *plugin, const char *name);

/* Checks one row of a table: type, name, range and default. CWP_EPLUGIN, naming the option. [any-thread] */
int cwe_option_check(const struct cwp_option *option, struct cwb_err *err);
/* Reads the value of one option. *ret's string is allocated (NULL for BOOL, INT, FLOAT). CWP_EVALUE with a message
 * that names option, value and what is allowed. [any-thread] */
int cwe_option_parse(const struct cwp_option *option, const char *text, struct cwp_setting *ret, struct cwb_err *err);
/* "bool", "int", "float", "enum", "string"; NULL for another number. */
const char *cwe_option_type_name(uint32_t type);
