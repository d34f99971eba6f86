/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the files that read overlays share. */
#pragma once

#include "engine/format/overlay.h"

/* The error of a module that is not what it must be. Returns CWP_EFORMAT. */
int cwe_overlay_refuse(const struct cwe_overlay_module *m, struct cwb_err *err, const char *what);
