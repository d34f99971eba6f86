/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The plugin "cpu": its one exported symbol. */
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

static const struct cwp_option options[CPU_OPTIONS] = {
	[CPU_OPTION_ISA] = {sizeof(struct cwp_option), CWP_OPTION_ENUM, "isa", "auto",
		"auto|scalar|avx2|avx512|avx512bf16|amx", NULL,
		"Instruction set to use; auto takes the best that the machine has. avx512bf16 and amx are avx512 but for "
		"precision bf16"},
	[CPU_OPTION_PRECISION] = {sizeof(struct cwp_option), CWP_OPTION_ENUM, CWP_BACKEND_PRECISION, "f32", "f32|bf16", NULL,
		"What products round their operands to; sums are f32. Machines without instructions for bf16 round and then "
		"multiply in f32"},
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
	.summary = "Operations on the processor: plain C, AVX2, AVX-512 or AMX, products in f32 by oneDNN",
	.options = options,
	.get_interface = get_interface,
};
