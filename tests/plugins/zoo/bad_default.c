/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An option whose default is out of its range. */
#define ZOO_OPTION {sizeof(struct cwp_option), CWP_OPTION_INT, "power", "9", "1..8", NULL, "exponent"}
#include "tests/plugins/zoo/zoo.h"
