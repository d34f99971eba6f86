/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Two options with one name. */
#define ZOO_OPTION \
	{sizeof(struct cwp_option), CWP_OPTION_BOOL, "power", "true", NULL, NULL, "exponent"}, \
	{sizeof(struct cwp_option), CWP_OPTION_BOOL, "power", "true", NULL, NULL, "exponent"}
#include "tests/plugins/zoo/zoo.h"
