/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An id that could be a path. */
#define ZOO_ID "../zoo"
#include "tests/plugins/zoo/zoo.h"
