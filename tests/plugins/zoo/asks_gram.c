/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A scorer that asks for a statistic of quantizers. */
#define ZOO_ID "asks-gram"
#define ZOO_NEEDS CWP_STAT_GRAM
#include "tests/plugins/zoo/zoo.h"
