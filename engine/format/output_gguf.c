/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs in one GGUF file, measured and checked from the header. */
#include "engine/format/output_gguf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/format/gguf_output.h"

/* 1: there; 0: not, or its path found no memory. */
static int is_there(const char *directory, const char *name)
{
	char *path;
	int there;

	if (asprintf(&path, "%s/%s", directory, name) < 0)
		return 0;
	there = !access(path, F_OK);
	free(path);
	return there;
}

int cwe_output_gguf_is(const char *directory)
{
	return is_there(directory, CWE_GGUF_FILE) && !is_there(directory, "config.json");
}

static int open_file(const char *directory, struct cwe_gguf **ret, struct cwb_err *err)
{
	char *path;
	int rc;

	if (asprintf(&path, "%s/%s", directory, CWE_GGUF_FILE) < 0)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	rc = cwe_gguf_open(path, ret, err);
	free(path);
	return rc;
}

int cwe_output_gguf_measure(const char *directory, struct cwe_output_size *ret, struct cwb_err *err)
{
	struct cwe_output_size size = {0};
	struct cwe_gguf *g = NULL;
	int rc = open_file(directory, &g, err);

	for (size_t i = 0; !rc && i < g->count; i++) {
		const struct cwe_gguf_tensor *t = &g->tensors[i];
		struct cwe_gguf_block block = {NULL, 1, 4};
		uint64_t weights;

		cwe_gguf_block(t->type, &block);
		weights = t->bytes / block.bytes * block.elements;
		if (block.elements > 1) {
			size.modules += t->rank == 3 ? t->dims[2] : 1; /* the experts of a layer lie in one tensor */
			size.quantized_weights += weights;
			size.quantized_bytes += t->bytes;
		} else {
			size.other_weights += weights;
			size.other_bytes += t->bytes;
		}
	}
	cwe_gguf_close(g);
	if (!rc)
		*ret = size;
	return rc;
}

int cwe_output_gguf_check(const char *directory, struct cwb_err *err)
{
	struct cwe_weights *weights = NULL;
	struct cwe_gguf *g = NULL;
	json_t *config = NULL;
	int rc = open_file(directory, &g, err);

	if (!rc)
		rc = cwe_gguf_config(g, &config, err);
	if (!rc)
		rc = cwe_gguf_weights_new(g, CWE_GGUF_WEIGHTS_EXACT, &weights, err);
	cwe_weights_close(weights);
	cwe_gguf_close(g);
	json_decref(config);
	return rc;
}
