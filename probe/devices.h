/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What devices a backend has. */
#pragma once

#include <jansson.h>

#include "engine/plugin/registry.h"

/* {"devices": [{"uuid", "name", "memory"}, ..], "reason"}: bytes of memory; reason: why devices could not be asked for, else null.
 * A new reference; NULL with err filled: the plugin is no backend, or says what cannot be told. */
json_t *cwx_devices(const struct cwe_plugin *plugin, struct cwb_err *err);
