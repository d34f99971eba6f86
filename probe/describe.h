/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What cwp-probe prints. */
#pragma once

#include <jansson.h>

#include "engine/plugin/registry.h"

/* One plugin: id, kind, version, vendor, licence, summary, abi, options, path, build_id. A new reference; NULL when
 * memory ran out or a text is not UTF-8 (err says which). */
json_t *cwx_describe(const struct cwe_plugin *plugin, struct cwb_err *err);

/* {"path", "error": {"code", "text", "message"}}. A new reference, or NULL. */
json_t *cwx_describe_error(const char *path, const struct cwb_err *error);
