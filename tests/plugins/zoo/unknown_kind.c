/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A kind of plugin that does not exist. */
#define ZOO_NOTE_KIND 77
#define ZOO_KIND 77
#include "tests/plugins/zoo/zoo.h"
