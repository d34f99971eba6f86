/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tensors of the base model in an adapter's file: PEFT saves the embedding and the output
 * projection beside the factors where one of them is adapted or the vocabulary was resized. Those
 * that are as the model has them say nothing; all others would replace the model's. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/adapter.h"

/* The tensor that a copy is of: the embedding's, where the output projection has none of its own.
 */
static const struct cwe_tensor *find_original(const struct cwe_weights *w, const char *module)
{
	const struct cwe_tensor *t = cwe_adapter_tensor(w, module);

	if (!t && cwe_adapter_is_head(module)) {
		t = cwe_adapter_tensor(w, "model.embed_tokens");
		if (!t)
			t = cwe_adapter_tensor(w, "model.language_model.embed_tokens");
	}
	return t;
}

static int differs(
	const struct cwe_adapter *a, const struct cwe_adapter_copy *c, struct cwb_err *err)
{
	return cwb_err_set(err, CWP_EUNKNOWN,
		"%s: \"%.200s\" was saved whole and is not as the model has it: a resized "
		"vocabulary or a "
		"trained embedding is not supported; merge the adapter with PEFT first",
		a->file->input.path, c->module);
}

static int compare_rows(const struct cwe_adapter *a, const struct cwe_adapter_copy *c,
	struct cwe_weights *w, const struct cwe_tensor *t, struct cwb_err *err)
{
	uint64_t cols = t->shape[1];
	float *mine = malloc(cols * sizeof *mine + 1), *theirs = malloc(cols * sizeof *theirs + 1);
	int rc = mine && theirs
			 ? 0
			 : cwb_err_set(err, -ENOMEM, "%s: out of memory for comparing \"%.200s\"",
				   a->directory, c->module);

	for (uint64_t row = 0; row < t->shape[0] && !rc; row++) {
		rc = cwe_weights_read_f32(w, t, row, 1, theirs, err);
		if (!rc)
			rc = cwe_adapter_read(a, c->entry, row * cols, cols, mine, err);
		if (!rc && memcmp(mine, theirs, cols * sizeof *mine) != 0)
			rc = differs(a, c, err);
	}
	free(mine);
	free(theirs);
	return rc;
}

int cwe_adapter_check_copies(
	const struct cwe_adapter *a, struct cwe_weights *w, struct cwb_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < a->n_copies && !rc; i++) {
		const struct cwe_adapter_copy *c = &a->copy[i];
		const struct cwe_safetensors_entry *e = c->entry;
		const struct cwe_tensor *t = find_original(w, c->module);

		if (!t || !cwe_dtype_to_cwp(e->dtype) || e->rank != 2 || t->rank != 2 ||
			e->shape[0] != t->shape[0] || e->shape[1] != t->shape[1])
			return differs(a, c, err);
		rc = compare_rows(a, c, w, t, err);
	}
	return rc;
}
