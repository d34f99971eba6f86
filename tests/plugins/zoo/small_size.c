/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A descriptor that says to be smaller than the smallest. */
#define ZOO_SIZE 16
#include "tests/plugins/zoo/zoo.h"
