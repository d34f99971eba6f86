/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Exports its descriptor under another name. */
#define ZOO_SYMBOL cwp_plugin_v1
#include "tests/plugins/zoo/zoo.h"
