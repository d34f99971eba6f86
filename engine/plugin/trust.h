/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Who could have put a file where it lies: plugins are loaded only from places that nobody else can write to. */
#pragma once

#include "base/err.h"

/* Every component of the absolute path, as given and with symbolic links resolved, belongs to root or to this
 * process's user; one that group or others may write to passes only as a sticky directory of root's. CWP_EDENIED names
 * the component, its owner and mode. *ret_resolved (may be NULL) is the resolved path, freed with free(). -ENOENT when
 * there is no such file. [any-thread] */
int cwe_trust_check(const char *path, char **ret_resolved, struct cwb_err *err);
