/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Never returns from being loaded. */
#include "tests/plugins/zoo/zoo.h"

#include <unistd.h>

__attribute__((constructor)) static void on_load(void)
{
	for (;;) {
		pause();
	}
}
