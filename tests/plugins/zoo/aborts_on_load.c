/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Aborts as soon as it is loaded. */
#include "tests/plugins/zoo/zoo.h"

#include <stdlib.h>

__attribute__((constructor)) static void on_load(void)
{
	abort();
}
