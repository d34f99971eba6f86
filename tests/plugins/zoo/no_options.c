/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Says that it has options, and has no table. */
#define ZOO_OPTIONS NULL
#include "tests/plugins/zoo/zoo.h"
