/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Says that it has four thousand million options. */
#define ZOO_N_OPTIONS 0xffffffffu
#include "tests/plugins/zoo/zoo.h"
