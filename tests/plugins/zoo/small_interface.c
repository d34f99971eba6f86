/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An interface that says to be smaller than it must be. */
#define ZOO_SCORER_SIZE 8
#include "tests/plugins/zoo/zoo.h"
