/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* write_outputs MODEL OUTPUT SCHEME[+KEPT] CARRIER FRACTION: quantizes every projection of a small model in a made-up way,
 * writes the output, its manifest, and beside it OUTPUT-dense, the f32 values that an engine must compute with. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/format/manifest.h"
#include "tests/unit/engine/output/toy.h"

static int ends_with(const char *name, const char *tail)
{
	size_t n = strlen(name), t = strlen(tail);

	return n > t && !strcmp(name + n - t, tail);
}

/* The grid of a module under a scheme. */
static struct cwp_grid choose(const char *scheme, const char *module)
{
	const struct {
		const char *scheme;
		struct cwp_grid grid;
	} known[] = {
		{"w8a8", toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TOKEN)},
		{"w8a8-zero", toy_grid(CWP_CODE_INT, 8, 0, 0, CWP_ACT_INT8_TOKEN)},
		{"w8", toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_NONE)},
		{"w8-zero", toy_grid(CWP_CODE_INT, 8, 0, 0, CWP_ACT_NONE)},
		{"w8-g32", toy_grid(CWP_CODE_INT, 8, 1, 32, CWP_ACT_NONE)},
		{"w4-g32", toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE)},
		{"w4-g16", toy_grid(CWP_CODE_INT, 4, 1, 16, CWP_ACT_NONE)},
		{"w8-g16", toy_grid(CWP_CODE_INT, 8, 1, 16, CWP_ACT_NONE)},
		{"w4", toy_grid(CWP_CODE_INT, 4, 1, 0, CWP_ACT_NONE)},
		{"w4-g32-zero", toy_grid(CWP_CODE_INT, 4, 0, 32, CWP_ACT_NONE)},
		{"fp8", toy_grid(CWP_CODE_E4M3, 8, 1, 0, CWP_ACT_FP8_TOKEN)},
		{"fp8-weights", toy_grid(CWP_CODE_E4M3, 8, 1, 0, CWP_ACT_NONE)},
		{"w8a8-static", toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TENSOR)},
		{"w8a8-tensor", toy_tensor_grid(CWP_CODE_INT, 1, CWP_ACT_INT8_TENSOR)},
		{"w8a8-tensor-zero", toy_tensor_grid(CWP_CODE_INT, 0, CWP_ACT_INT8_TOKEN)},
		{"w8-tensor", toy_tensor_grid(CWP_CODE_INT, 1, CWP_ACT_NONE)},
		{"fp8-static", toy_tensor_grid(CWP_CODE_E4M3, 1, CWP_ACT_FP8_TENSOR)},
		{"fp8-tensor", toy_tensor_grid(CWP_CODE_E4M3, 1, CWP_ACT_FP8_TOKEN)},
		{"fp8-block", toy_block_grid(32, 32, 32)},
		{"fp8-block-ragged", toy_block_grid(48, 40, 0)},
		{"head", toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE)},
		{"bitsandbytes", toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TOKEN)},
		{"gptq-4-g32", toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE)},
		{"gptq-4-g64", toy_grid(CWP_CODE_INT, 4, 1, 64, CWP_ACT_NONE)},
		{"gptq-4", toy_grid(CWP_CODE_INT, 4, 1, 0, CWP_ACT_NONE)},
		{"gptq-8-g32", toy_grid(CWP_CODE_INT, 8, 1, 32, CWP_ACT_NONE)},
		{"fp8-blocks", toy_block_grid(32, 32, 32)},
	};
	struct cwp_grid grid = {0};
	size_t i;

	if (!strcmp(scheme, "w8a8-static-zero")) {
		grid = toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TENSOR);
		grid.input_zero = 1;
		return grid;
	}
	if (!strcmp(scheme, "w4-sizes"))
		return toy_grid(CWP_CODE_INT, 4, 1, ends_with(module, "down_proj") ? 32 : 64, CWP_ACT_NONE);
	if (!strcmp(scheme, "w4-experts")) /* as a group size falls back where it does not divide */
		return toy_grid(CWP_CODE_INT, 4, 1, ends_with(module, "down_proj") ? 16 : 32, CWP_ACT_NONE);
	if (!strcmp(scheme, "mixed")) {
		if (strstr(module, "self_attn"))
			return toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_NONE);
		if (ends_with(module, "down_proj"))
			return toy_grid(CWP_CODE_E4M3, 8, 1, 0, CWP_ACT_NONE);
		return toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	}
	if (!strcmp(scheme, "skip")) /* whole modules are kept */
		return strstr(module, "layers.1.") ? grid : toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	for (i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(scheme, known[i].scheme))
			return known[i].grid;
	return grid;
}

/* Whether a module stays as it is for the word behind the "+" of a scheme. */
static int is_kept(const char *word, const char *module)
{
	int expert = strstr(module, ".experts.") != NULL;

	return (!strcmp(word, "skip") && strstr(module, "layers.1.mlp")) || (!strcmp(word, "experts") && expert) ||
	       (!strcmp(word, "layer") && expert && strstr(module, "layers.1.")) ||
	       (!strcmp(word, "one") && expert && strstr(module, "layers.1.") && strstr(module, ".experts.0."));
}

/* The grid of a module; code 0: it is kept. */
static struct cwp_grid choose_base(const char *scheme, const char *module)
{
	const char *plus = strchr(scheme, '+');
	char *base = plus ? strndup(scheme, (size_t)(plus - scheme)) : strdup(scheme);
	struct cwp_grid grid = {0};

	if (!plus || !is_kept(plus + 1, module))
		grid = choose(base, module);
	free(base);
	return grid;
}

/* The format that a scheme is for. */
static int format_of(const char *scheme)
{
	return !strncmp(scheme, "bitsandbytes", 12) ? CWJ_FORMAT_BITSANDBYTES :
	       !strncmp(scheme, "gptq", 4)	    ? CWJ_FORMAT_GPTQ :
	       !strncmp(scheme, "fp8-blocks", 10)   ? CWJ_FORMAT_FP8 :
						      CWJ_FORMAT_COMPRESSED_TENSORS;
}

static size_t quantize_all(struct cwe_source *s, const char *scheme, double fraction, struct toy_result *r)
{
	size_t n = 0, i;

	for (i = 0; i < s->weights->count; i++) {
		const char *tensor = s->weights->tensors[i].name;
		char *module = strndup(tensor, strlen(tensor) - strlen(".weight"));
		struct cwp_grid grid = choose_base(scheme, module);

		if (grid.code && (ends_with(tensor, "_proj.weight") || (strstr(tensor, ".experts.") && ends_with(tensor, ".weight")) ||
					 (!strcmp(scheme, "head") && !strcmp(module, "lm_head"))))
			toy_quantize(s, module, &grid, fraction, i, &r[n++]);
		free(module);
	}
	return n;
}

int main(int argc, char **argv)
{
	struct cwe_writer_options o = {.shard = 150000};
	struct cwb_err err = {0};
	struct cwe_source *s;
	struct toy_result *r;
	char digest[65], *dense;
	json_t *facts;
	size_t n, i;

	if (argc != 6) {
		fprintf(stderr, "usage: write_outputs MODEL OUTPUT SCHEME overlay|none|dense FRACTION\n");
		return 64;
	}
	o.directory = argv[2];
	o.format = format_of(argv[3]);
	o.carrier = !strcmp(argv[4], "overlay") ? CWJ_CARRIER_OVERLAY :
		    !strcmp(argv[4], "dense")   ? CWJ_CARRIER_DENSE :
						  CWJ_CARRIER_NONE;
	if ((mkdir(argv[2], 0777) && errno != EEXIST) || cwe_source_open(argv[1], 0, &s, &err))
		goto fail;
	r = calloc(s->weights->count + 1, sizeof *r);
	n = quantize_all(s, argv[3], strtod(argv[5], NULL), r);
	if (n)
		toy_write(s, &o, r, n);
	for (i = 0; i < n; i++)
		toy_result_free(&r[i]);
	free(r);
	cwe_source_close(s);
	facts = json_pack("{s:s}", "scheme", argv[3]);
	dense = NULL;
	if (cwe_manifest_write(argv[2], facts, digest, &err) || cwe_manifest_verify(argv[2], NULL, &err) ||
		asprintf(&dense, "%s-dense", argv[2]) < 0 || cwe_output_dense(argv[2], dense, CWP_F32, 1u << 30, &err))
		goto fail;
	json_decref(facts);
	free(dense);
	puts(digest);
	return 0;
fail:
	fprintf(stderr, "write_outputs: %s\n", err.message);
	return 1;
}
