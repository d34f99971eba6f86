/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Crashes when it is asked for its interface. */
#include <cwp/plugin.h>

static const void *crash(const char *id)
{
	(void)id;
	__builtin_trap();
}

#define ZOO_GET_INTERFACE crash
#include "tests/plugins/zoo/zoo.h"
