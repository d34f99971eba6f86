/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The symbol is there, but it is a function. */
#include <cwp/error.h>
#include <stdint.h>

struct note {
	uint32_t name_size, desc_size, type;
	char name[4];
	uint32_t abi_major, abi_minor, kind;
};

__attribute__((section(".note.cwp.abi"), used, aligned(4))) static const struct note note = {4, 12, 1, {'c', 'w', 'p', 0}, 1, 0, 1};

__attribute__((visibility("default"))) int cwp_plugin(void);

int cwp_plugin(void)
{
	return CWP_OK;
}
