/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The size of an output before anything of it is written: laid out as the writer does it, byte for byte. */
#include <errno.h>
#include <stdlib.h>

#include "engine/format/writer_state.h"

static int measure_tensors(const struct cwe_writer *w, struct cwe_writer_size *size, struct cwb_err *err)
{
	size_t i;

	for (i = 0; i < w->n_plan; i++) {
		const struct cwe_safetensors_plan *p = &w->plan[i];
		uint64_t bytes;

		if (cwe_dtype_bytes(p->dtype, p->rank, p->shape, &bytes))
			return cwb_err_set(err, CWP_ESHAPE, "tensor \"%s\": its shape has no size", p->name);
		if (w->unit[w->plan_unit[i]].module)
			size->quantized_bytes += bytes;
	}
	return 0;
}

static int measure_files(struct cwe_writer *w, uint64_t shard, struct cwe_writer_size *size, struct cwb_err *err)
{
	struct cwe_texts texts;
	int kept, rc;

	rc = cwe_shards_new(-1, CWE_SHARDS_LOOK | CWE_SHARDS_MEASURE | CWE_SAFETENSORS_IN_ORDER, w->plan, w->plan_unit, w->n_plan, shard, &w->shards, &kept,
		err);
	if (rc)
		return rc;
	cwe_texts_begin(&texts, -1);
	rc = cwe_writer_texts(w, &texts, err);
	size->files = cwe_shards_bytes(w->shards) + texts.bytes;
	size->n_files = cwe_shards_count(w->shards) + CWE_TEXTS_MAX;
	return rc;
}

int cwe_writer_measure(struct cwe_source *source, const struct cwe_writer_options *options,
	const struct cwe_output_module *module, size_t count, struct cwe_writer_size *ret, struct cwb_err *err)
{
	struct cwe_writer *w = calloc(1, sizeof *w);
	struct cwe_writer_size size = {0};
	int rc;

	if (!w)
		return cwb_err_set(err, -ENOMEM, "size of the output: out of memory");
	rc = cwe_writer_begin(w, source, options, err);
	if (!rc)
		rc = cwe_writer_plan(w, module, count, err);
	if (!rc && w->is_gguf)
		cwe_writer_gguf_measure(w, &size);
	if (!rc && !w->is_gguf)
		rc = measure_tensors(w, &size, err);
	if (!rc && !w->is_gguf)
		rc = measure_files(w, options->shard, &size, err);
	cwe_writer_free(w);
	if (!rc)
		*ret = size;
	return rc;
}
