/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A text that is not UTF-8. */
#define ZOO_VENDOR "z\374"
#include "tests/plugins/zoo/zoo.h"
