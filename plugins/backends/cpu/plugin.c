/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The plugin "cpu": its one exported symbol. */
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

static const struct cwp_option options[] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "isa", "auto", "auto|scalar|avx2|avx512", NULL,
		"Instruction set to use; auto takes the best that the machine has"},
};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_BACKEND_INTERFACE) == 0 ? &cpu_backend : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_BACKEND)

CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {
	.size = sizeof(struct cwp_plugin),
	.abi_major = CWP_ABI_MAJOR,
	.abi_minor = CWP_ABI_MINOR,
	.kind = CWP_KIND_BACKEND,
	.n_options = sizeof(options) / sizeof(options[0]),
	.id = "cpu",
	.version = "0.1.0",
	.vendor = "cwpd developers",
	.licence = "Apache-2.0",
	.summary = "Operations on the processor: plain C, AVX2 or AVX-512, products by oneDNN",
	.options = options,
	.get_interface = get_interface,
};
