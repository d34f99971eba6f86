/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* write_gguf MODEL OUTPUT copy|q8_0|q4_0|mixed [none|dense]: a small model as one GGUF file, every projection quantized in a
 * made-up way, and beside it (but for copy) OUTPUT-dense, the f32 values that an engine must compute with. mixed: attention Q8_0,
 * layer 1 not quantized, the rest Q4_0. A refusal is printed and ends with 2.
 * write_gguf codes BITS: rows of 32 int8 codes and an f32 scale on standard input -> blocks on standard output. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/format/gguf_encode.h"
#include "engine/format/manifest.h"
#include "tests/unit/engine/output/toy.h"

static int ends_with(const char *name, const char *tail)
{
	size_t n = strlen(name), t = strlen(tail);

	return n > t && !strcmp(name + n - t, tail);
}

/* Code 0: it is kept. */
static struct cwp_grid choose(const char *scheme, const char *tensor)
{
	struct cwp_grid none = {0}, eight = toy_grid(CWP_CODE_INT, 8, 1, 32, CWP_ACT_NONE), four = eight;

	four.bits = 4;
	if (!(ends_with(tensor, "_proj.weight") || strstr(tensor, ".experts.")) || !strcmp(scheme, "copy"))
		return none;
	if (strcmp(scheme, "mixed") != 0)
		return !strcmp(scheme, "q8_0") ? eight : four;
	return strstr(tensor, "layers.1.") ? none : strstr(tensor, "self_attn") ? eight : four;
}

static int write_model(const char *model, const char *scheme, const struct cwe_writer_options *o, struct cwb_err *err)
{
	struct cwe_source *s = NULL;
	struct cwe_output_module *module;
	struct cwe_writer_size size;
	struct toy_result *r;
	size_t n = 0;
	int rc = cwe_source_open(model, 0, &s, err);

	if (rc)
		return rc;
	r = calloc(s->weights->count + 1, sizeof *r);
	module = calloc(s->weights->count + 1, sizeof *module);
	for (size_t i = 0; i < s->weights->count; i++) {
		const char *tensor = s->weights->tensors[i].name;
		struct cwp_grid grid = choose(scheme, tensor);
		char *name = strndup(tensor, strlen(tensor) - strlen(".weight"));

		if (grid.code) {
			toy_quantize(s, name, &grid, o->carrier == CWJ_CARRIER_DENSE ? 0.05 : 0, i, &r[n]);
			module[n] = r[n].module;
			n++;
		}
		free(name);
	}
	rc = cwe_writer_measure(s, o, module, n, &size, err); /* refusals come here, as they do in a job */
	if (!rc)
		toy_write(s, o, r, n);
	for (size_t i = 0; i < n; i++)
		toy_result_free(&r[i]);
	free(r);
	free(module);
	cwe_source_close(s);
	return rc;
}

static int encode(uint32_t bits)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, bits, 1, 32, CWP_ACT_NONE);
	uint8_t codes[32], block[34] = {0};
	float scale;
	uint64_t wrong;

	while (fread(codes, sizeof codes, 1, stdin) == 1 && fread(&scale, sizeof scale, 1, stdin) == 1) {
		if (cwe_gguf_settle(&grid, 1, 32, codes, &scale, &wrong))
			return 2;
		fwrite(block, cwe_gguf_encode_row(cwe_gguf_grid_type(&grid), &grid, 32, codes, &scale, block), 1, stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct cwe_writer_options o = {.format = CWJ_FORMAT_GGUF, .carrier = CWJ_CARRIER_NONE, .shard = 1};
	struct cwb_err err = {0};
	char digest[65], *dense = NULL;
	json_t *facts;
	int rc;

	if (argc == 3 && !strcmp(argv[1], "codes"))
		return encode((uint32_t)atoi(argv[2]));
	if (argc != 4 && argc != 5) {
		fprintf(stderr, "usage: write_gguf MODEL OUTPUT copy|q8_0|q4_0|mixed [none|dense]\n");
		return 64;
	}
	o.directory = argv[2];
	if (argc == 5 && !strcmp(argv[4], "dense"))
		o.carrier = CWJ_CARRIER_DENSE;
	rc = mkdir(argv[2], 0777) && errno != EEXIST ? cwb_err_errno(&err, "%s", argv[2]) : 0;
	if (!rc)
		rc = write_model(argv[1], argv[3], &o, &err);
	facts = json_pack("{s:s}", "scheme", argv[3]);
	if (!rc)
		rc = cwe_manifest_write(argv[2], facts, digest, &err);
	if (!rc)
		rc = cwe_manifest_verify(argv[2], NULL, &err);
	if (!rc && strcmp(argv[3], "copy") != 0 && asprintf(&dense, "%s-dense", argv[2]) > 0)
		rc = cwe_output_dense(argv[2], dense, CWP_F32, 1u << 30, &err);
	json_decref(facts);
	free(dense);
	if (rc)
		fprintf(stderr, "%s\n", err.message);
	return rc ? 2 : 0;
}
