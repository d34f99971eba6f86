/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What one GGUF file carries. Only types that ggml decodes as d * q: symmetric integers; activations are the engine's business. */
#include <inttypes.h>

#include "engine/format/format.h"
#include "engine/format/gguf_encode.h"

#define SHARED (CWE_SET(CWP_PER_CHANNEL) | CWE_SET(CWP_PER_GROUP))

static const struct cwe_format_grid grids[] = {
	{"Q8_0", CWP_CODE_INT, CWE_SET(8), SHARED, CWE_SET(1), CWE_SET(CWP_ACT_NONE)},
	{"Q4_0", CWP_CODE_INT, CWE_SET(4), SHARED, CWE_SET(1), CWE_SET(CWP_ACT_NONE)},
};

static int check(const struct cwe_output_module *m, struct cwb_err *err)
{
	uint64_t group = m->grid.granularity == CWP_PER_GROUP ? m->grid.group : m->cols;

	if (m->grid.threshold > 0)
		return cwb_err_set(err, CWP_EVALUE, "write.format: gguf cannot carry module \"%s\" (outlier columns at run time, threshold "
			"%g): set threshold 0, or choose bitsandbytes", m->name, (double)m->grid.threshold);
	if (m->cols % CWE_GGUF_GROUP || !group || group % CWE_GGUF_GROUP)
		return cwb_err_set(err, CWP_EVALUE, "write.format: gguf has blocks of %d columns, and module \"%s\" has %" PRIu64 " columns "
			"in groups of %" PRIu64 ": choose granularity group and group 32, or skip the module", CWE_GGUF_GROUP, m->name,
			m->cols, group);
	return 0;
}

/* The writer has a way of its own for files that are no safetensors: no tensors, no encoding, no config.json. */
const struct cwe_format cwe_format_gguf = {.id = CWJ_FORMAT_GGUF, .name = "gguf",
	.carriers = CWE_SET(CWJ_CARRIER_NONE) | CWE_SET(CWJ_CARRIER_DENSE) | CWE_SET(CWJ_CARRIER_MODULES),
	.grid = grids, .n_grids = sizeof grids / sizeof *grids,
	.check = check};
