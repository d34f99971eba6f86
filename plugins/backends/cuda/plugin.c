/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The plugin "cuda": its one exported symbol. */
#include <string.h>

#include "plugins/backends/cuda/cuda.h"

static const struct cwp_option options[] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, CWP_BACKEND_PRECISION, "bf16", "bf16|f32", NULL,
		"What matrix products round their operands to; sums are f32"},
};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_BACKEND_INTERFACE) == 0 ? &cuda_backend : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_BACKEND)

CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {
	.size = sizeof(struct cwp_plugin),
	.abi_major = CWP_ABI_MAJOR,
	.abi_minor = CWP_ABI_MINOR,
	.kind = CWP_KIND_BACKEND,
	.n_options = sizeof(options) / sizeof(options[0]),
	.id = "cuda",
	.version = "0.1.0",
	.vendor = "cwpd developers",
	.licence = "Apache-2.0",
	.summary = "Operations on an NVIDIA GPU: tensor cores, products by cuBLASLt",
	.options = options,
	.get_interface = get_interface,
};
