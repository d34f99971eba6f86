/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Ends the process when it is loaded. */
#include "tests/plugins/zoo/zoo.h"

#include <stdlib.h>

__attribute__((constructor)) static void on_load(void)
{
	exit(EXIT_SUCCESS);
}
