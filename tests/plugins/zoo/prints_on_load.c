/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Writes to standard output when it is loaded; apart from that it is fine. */
#define ZOO_ID "prints"
#include "tests/plugins/zoo/zoo.h"

#include <stdio.h>

__attribute__((constructor)) static void on_load(void)
{
	puts("{\"id\": \"forged\"}");
	fflush(stdout);
}
