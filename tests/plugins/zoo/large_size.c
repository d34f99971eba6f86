/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A descriptor that says to be larger than it is. */
#define ZOO_SIZE 4096
#include "tests/plugins/zoo/zoo.h"
