/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Nothing is wrong with it. */
#define ZOO_ID "good"
#include "tests/plugins/zoo/zoo.h"
