/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* read_gguf decode TYPE: blocks of this type of ggml on standard input -> f32 on standard output.
 * read_gguf model FILE FOLDER: config.json and model.safetensors of a GGUF file as they are read, in an empty folder. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "engine/format/gguf.h"
#include "engine/format/safetensors_writer.h"

static int decode(uint32_t type)
{
	struct cwe_gguf_block block;
	unsigned char *src;
	float *dst;
	int rc = 1;

	if (!cwe_gguf_decodable(type) || cwe_gguf_block(type, &block))
		return 3;
	src = malloc(block.bytes);
	dst = malloc(block.elements * sizeof *dst);
	while (src && dst && fread(src, block.bytes, 1, stdin) == 1) {
		cwe_gguf_decode(type, src, dst, block.elements);
		rc = fwrite(dst, sizeof *dst, block.elements, stdout) != block.elements;
		if (rc)
			break;
	}
	free(src);
	free(dst);
	return rc;
}

static enum cwe_dtype dtype_of(uint32_t dtype)
{
	return dtype == CWP_F32 ? CWE_DTYPE_F32 : dtype == CWP_F16 ? CWE_DTYPE_F16 : CWE_DTYPE_BF16;
}

static int copy(struct cwe_weights *w, struct cwe_safetensors_writer *out, struct cwb_err *err)
{
	for (size_t i = 0; i < w->count; i++) {
		const struct cwe_tensor *t = &w->tensors[i];
		uint64_t bytes = t->shape[0] * (t->rank == 2 ? t->shape[1] : 1) * cwe_cwp_dtype_size(t->dtype);
		void *data = malloc(bytes);
		int rc = !data;

		if (!rc)
			rc = cwe_weights_read_raw(w, t, 0, t->shape[0], data, err);
		if (!rc)
			rc = cwe_safetensors_writer_write(out, i, 0, data, bytes, err);
		free(data);
		if (rc)
			return rc;
	}
	return cwe_safetensors_writer_publish(out, err);
}

static int write_weights(struct cwe_weights *w, int folder, struct cwb_err *err)
{
	struct cwe_safetensors_plan *plan = calloc(w->count, sizeof *plan);
	struct cwe_safetensors_writer *out = NULL;
	int rc = !plan;

	for (size_t i = 0; i < w->count && !rc; i++) {
		plan[i] = (struct cwe_safetensors_plan){.name = w->tensors[i].name, .dtype = dtype_of(w->tensors[i].dtype),
			.rank = w->tensors[i].rank};
		memcpy(plan[i].shape, w->tensors[i].shape, sizeof w->tensors[i].shape);
	}
	if (!rc)
		rc = cwe_safetensors_writer_new(folder, "model.safetensors", 0, plan, w->count, NULL, 0, &out, NULL, err);
	if (!rc)
		rc = copy(w, out, err);
	cwe_safetensors_writer_free(out);
	free(plan);
	return rc;
}

static int write_config(const struct cwe_gguf *g, const char *folder, struct cwb_err *err)
{
	json_t *config = NULL;
	char *path = NULL;
	int rc = cwe_gguf_config(g, &config, err);

	if (!rc)
		rc = asprintf(&path, "%s/config.json", folder) < 0 || json_dump_file(config, path, JSON_INDENT(1));
	free(path);
	json_decref(config);
	return rc;
}

static int model(const char *file, const char *path)
{
	struct cwe_weights *w = NULL;
	struct cwe_gguf *g = NULL;
	struct cwb_err err = {0};
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = folder < 0;

	if (!rc)
		rc = cwe_gguf_open(file, &g, &err);
	if (!rc)
		rc = write_config(g, path, &err);
	if (!rc)
		rc = cwe_gguf_weights_new(g, 0, &w, &err);
	if (!rc)
		rc = write_weights(w, folder, &err);
	if (rc)
		fprintf(stderr, "%s\n", err.message);
	cwe_weights_close(w);
	cwe_gguf_close(g);
	if (folder >= 0)
		close(folder);
	return rc ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "decode"))
		return decode((uint32_t)strtoul(argv[2], NULL, 10));
	if (argc == 4 && !strcmp(argv[1], "model"))
		return model(argv[2], argv[3]);
	fprintf(stderr, "usage: read_gguf decode TYPE | model FILE FOLDER\n");
	return 2;
}
