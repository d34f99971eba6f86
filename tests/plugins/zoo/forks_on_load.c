/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Leaves a process behind that keeps all descriptors open; apart from that it is fine. */
#define ZOO_ID "forks"
#include "tests/plugins/zoo/zoo.h"

#include <unistd.h>

__attribute__((constructor)) static void on_load(void)
{
	if (fork() == 0) {
		for (;;) {
			pause();
		}
	}
}
