/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A text that would confuse a terminal. */
#define ZOO_VENDOR "zoo\033[31m"
#include "tests/plugins/zoo/zoo.h"
