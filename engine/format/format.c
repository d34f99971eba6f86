/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The list of output formats, and whether one can carry a module. */
#include "engine/format/format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ALL_GRANULARITIES \
	(CWE_SET(CWP_PER_TENSOR) | CWE_SET(CWP_PER_CHANNEL) | CWE_SET(CWP_PER_GROUP) | CWE_SET(CWP_PER_BLOCK))
#define EITHER (CWE_SET(0) | CWE_SET(1))

/* Dequantized values hold anything; what activations the job asked for is simulated, no engine does it. */
static const struct cwe_format_grid dense_grids[] = {
	{"dense", CWP_CODE_INT, CWE_SET(2) | CWE_SET(3) | CWE_SET(4) | CWE_SET(8), ALL_GRANULARITIES, EITHER, UINT32_MAX},
	{"dense", CWP_CODE_E4M3, CWE_SET(8), ALL_GRANULARITIES, CWE_SET(1), UINT32_MAX},
};

static const struct cwe_format dense = {.id = CWJ_FORMAT_DENSE, .name = "dense", .flags = CWE_FORMAT_SAFETENSORS,
	.carriers = CWE_SET(CWJ_CARRIER_NONE) | CWE_SET(CWJ_CARRIER_DENSE) | CWE_SET(CWJ_CARRIER_OVERLAY) |
		CWE_SET(CWJ_CARRIER_MODULES),
	.grid = dense_grids, .n_grids = sizeof dense_grids / sizeof *dense_grids};

static const struct cwe_format *const formats[] = {&cwe_format_compressed_tensors, &cwe_format_bitsandbytes,
	&cwe_format_gptq, &cwe_format_fp8, &cwe_format_gguf, &dense};

const struct cwe_format *cwe_format_at(size_t i)
{
	return i < sizeof formats / sizeof *formats ? formats[i] : NULL;
}

const struct cwe_format *cwe_format_find(int id)
{
	const struct cwe_format *f;
	size_t i;

	for (i = 0; (f = cwe_format_at(i)); i++)
		if (f->id == id)
			return f;
	return NULL;
}

/* ---- words ---- */

int cwe_activation_is_fixed(uint32_t activation)
{
	return activation == CWP_ACT_INT8_TENSOR || activation == CWP_ACT_FP8_TENSOR;
}

const char *cwe_activation_text(uint32_t activation)
{
	switch (activation) {
	case CWP_ACT_NONE:
		return "none";
	case CWP_ACT_INT8_TOKEN:
		return "int8 by token";
	case CWP_ACT_FP8_TOKEN:
		return "fp8 by token";
	case CWP_ACT_INT8_TENSOR:
		return "int8 static";
	case CWP_ACT_FP8_TENSOR:
		return "fp8 static";
	case CWP_ACT_FP8_GROUP:
		return "fp8 by group";
	case CWP_ACT_INT8_OUTLIER:
		return "LLM.int8()";
	default:
		return "of another kind";
	}
}

void cwe_grid_text(const struct cwp_grid *g, char *ret, size_t size)
{
	char code[40], share[48];

	snprintf(code, sizeof code,
		g->code == CWP_CODE_E4M3 ? "fp%" PRIu32 :
		g->code == CWP_CODE_INT	 ? "int%" PRIu32 :
					   "unknown codes of %" PRIu32 " bits",
		g->bits);
	if (g->granularity == CWP_PER_GROUP)
		snprintf(share, sizeof share, "groups of %" PRIu32, g->group);
	else if (g->granularity == CWP_PER_BLOCK)
		snprintf(share, sizeof share, "blocks of %" PRIu32 " x %" PRIu32, g->block_rows, g->group);
	else
		snprintf(share, sizeof share, "by %s", g->granularity == CWP_PER_TENSOR ? "tensor" : "channel");
	snprintf(ret, size, "%s, %s, %ssymmetric, activations %s%s", code, share, g->symmetric ? "" : "a",
		cwe_activation_text(g->activation), g->input_zero ? ", asymmetric" : "");
}

/* Appends with a separator between entries; what does not fit is cut. */
static void append(char *to, size_t size, const char *separator, const char *text)
{
	size_t n = strlen(to);

	snprintf(to + n, size - n, "%s%s", n ? separator : "", text);
}

static void bits_text(const struct cwe_format_grid *g, char *ret, size_t size)
{
	char one[16];
	unsigned b;

	*ret = 0;
	for (b = 1; b <= 8; b++)
		if (g->bits & CWE_SET(b)) {
			snprintf(one, sizeof one, "%s%u", g->code == CWP_CODE_E4M3 ? "fp" : "int", b);
			append(ret, size, " or ", one);
		}
}

/* "int8 by channel, symmetric, activations int8 by token" */
static void family_text(const struct cwe_format_grid *g, char *ret, size_t size)
{
	static const char *const share[] = {[CWP_PER_TENSOR] = "tensor", [CWP_PER_CHANNEL] = "channel", [CWP_PER_GROUP] = "group",
		[CWP_PER_BLOCK] = "block"};
	char shares[64] = "", acts[128] = "";
	uint32_t i;

	bits_text(g, ret, size);
	for (i = CWP_PER_TENSOR; i <= CWP_PER_BLOCK; i++)
		if (g->granularities & CWE_SET(i))
			append(shares, sizeof shares, " or ", share[i]);
	for (i = 0; i <= CWP_ACT_INT8_OUTLIER; i++)
		if (g->activations & CWE_SET(i))
			append(acts, sizeof acts, " or ", cwe_activation_text(i));
	append(ret, size, " by ", shares);
	if (!(g->symmetric & CWE_SET(0)))
		append(ret, size, ", ", "symmetric");
	append(ret, size, ", activations ", acts);
}

uint64_t cwe_format_step(uint64_t cols)
{
	uint64_t step = cols ? (1u << 20) / cols : 1;

	return step ? step : 1;
}

int cwe_module_is_expert(const char *module)
{
	const char *at = strstr(module, ".experts.");

	return at && at[9] >= '0' && at[9] <= '9';
}

/* ---- the check ---- */

static int holds(const struct cwe_format_grid *f, const struct cwp_grid *g)
{
	return f->code == g->code && g->bits < 32 && f->bits & CWE_SET(g->bits) && g->granularity < 32 &&
	       f->granularities & CWE_SET(g->granularity) && f->symmetric & CWE_SET(g->symmetric != 0) && g->activation < 32 &&
	       f->activations & CWE_SET(g->activation) && (!g->input_zero || g->activation == CWP_ACT_INT8_TENSOR);
}

const struct cwe_format_grid *cwe_format_family(const struct cwe_format *f, const struct cwp_grid *grid)
{
	size_t i;

	for (i = 0; i < f->n_grids; i++)
		if (holds(&f->grid[i], grid))
			return &f->grid[i];
	return NULL;
}

static int carries(const struct cwe_format *f, const struct cwp_grid *g)
{
	return cwe_format_family(f, g) != NULL;
}

static int refuse(const struct cwe_format *f, const struct cwe_output_module *m, struct cwb_err *err)
{
	char asked[160], has[768] = "", others[160] = "", one[256];
	const struct cwe_format *other;
	size_t i;

	cwe_grid_text(&m->grid, asked, sizeof asked);
	for (i = 0; i < f->n_grids; i++) {
		family_text(&f->grid[i], one, sizeof one);
		append(has, sizeof has, "; ", one);
	}
	for (i = 0; (other = cwe_format_at(i)); i++)
		if (other != f && carries(other, &m->grid) && (!other->check || !other->check(m, NULL)))
			append(others, sizeof others, " or ", other->name);
	return cwb_err_set(err, CWP_EVALUE,
		"write.format: %s cannot carry module \"%s\" (%s): it holds %s; %s%s", f->name, m->name, asked, has,
		*others ? "for this choose " : "no format holds this", others);
}

int cwe_format_check(const struct cwe_format *f, const struct cwe_output_module *m, struct cwb_err *err)
{
	if (!carries(f, &m->grid))
		return refuse(f, m, err);
	return f->check ? f->check(m, err) : 0;
}

int cwe_format_check_all(const struct cwe_format *f, const struct cwe_output_module *m, size_t count,
	const char *const *ignore, size_t n_ignore, struct cwb_err *err)
{
	json_t *config = NULL;
	size_t i;
	int rc = 0;

	for (i = 0; i < count && !rc; i++)
		rc = cwe_format_check(f, &m[i], err);
	if (!rc && count && f->config)
		rc = f->config(m, count, ignore, n_ignore, &config, err);
	json_decref(config);
	return rc;
}
