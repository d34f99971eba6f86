/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An option whose range says nothing. */
#define ZOO_OPTION {sizeof(struct cwp_option), CWP_OPTION_FLOAT, "power", "9", "some", NULL, "exponent"}
#include "tests/plugins/zoo/zoo.h"
