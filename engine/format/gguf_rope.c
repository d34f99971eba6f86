/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rotary embedding of a GGUF file in config.json's old spelling. Scalings that GGUF keeps as a list of factors come back
 * as the parameters that they were made from where these give every one of them, else as the factors themselves. */
#include "engine/format/gguf_describe.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HALF_MAX 4096 /* factors in one list */
#define LLAMA3_CONTEXT 8192

struct rope {
	struct cwe_gguf_making *m;
	const struct cwe_gguf *g; /* m's */
	const struct cwe_gguf_family *f;
	const struct cwe_gguf_sizes *s;
	float base;
	const char *type; /* NULL: the key is absent */
};

static int get_f32(const struct rope *r, const char *part, float *ret, struct cwb_err *err)
{
	struct cwe_gguf_key key = cwe_gguf_key(r->f, part);
	int rc = cwe_gguf_get_f32(r->g, key.text, ret, err);

	if (rc > 0 && !(*ret > 0))
		return cwb_err_set(err, CWP_EVALUE, "%s: %s: %g is not above 0", r->g->input.path, key.text, (double)*ret);
	return rc;
}

static int need_context(const struct rope *r, uint64_t *ret, struct cwb_err *err)
{
	struct cwe_gguf_key key = cwe_gguf_key(r->f, "rope.scaling.original_context_length");

	return cwe_gguf_need_u64(r->g, key.text, CWE_GGUF_SIZE_MAX, ret, err);
}

/* Factors of a head's frequencies; *ret is freed with free(). */
static int read_factors(const struct rope *r, const struct cwe_gguf_tensor *t, float **ret, struct cwb_err *err)
{
	uint64_t n = r->s->rotary / 2;
	float *factor;
	int rc;

	if (t->type != CWE_GGUF_TYPE_F32 || t->rank != 1 || t->dims[0] != n || n > HALF_MAX)
		return cwb_err_set(err, CWP_ESHAPE, "%s: tensor \"%s\" is no list of %" PRIu64 " F32 factors (at most %d)",
			r->g->input.path, t->name, n, HALF_MAX);
	factor = calloc(n + 1, sizeof *factor);
	if (!factor)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", r->g->input.path);
	rc = cwe_input_read(&r->g->input, t->offset, factor, n * sizeof *factor, err);
	for (uint64_t i = 0; i < n && !rc; i++)
		if (!isfinite(factor[i]) || !(factor[i] > 0))
			rc = cwb_err_set(err, CWP_EVALUE, "%s: tensor \"%s\": factor %" PRIu64 " is %g", r->g->input.path, t->name, i,
				(double)factor[i]);
	if (rc)
		free(factor);
	else
		*ret = factor;
	return rc;
}

static json_t *list_of(const float *factor, uint64_t n)
{
	json_t *list = json_array();

	for (uint64_t i = 0; i < n; i++)
		if (json_array_append_new(list, cwe_gguf_decimal(factor[i]))) {
			json_decref(list);
			return NULL;
		}
	return list;
}

/* As llama.cpp's converter makes rope_freqs.weight of the llama3 scaling, with the low and high factors that all models
 * have. */
static int is_llama3(const struct rope *r, const float *factor, double largest, double context)
{
	struct cwe_rope llama3 = {.rotary = (uint32_t)r->s->rotary, .theta = (double)r->base, .factor = largest, .low_freq_factor = 1,
		.high_freq_factor = 4, .original_context = context};

	for (uint64_t i = 0; i < r->s->rotary / 2; i++) {
		double want = cwe_gguf_llama3_factor(&llama3, i);

		if (!(fabs((double)factor[i] - want) <= 5e-5 * want)) /* the converter computes in f32 */
			return 0;
	}
	return 1;
}

/* Factors of rope_freqs.weight: the llama3 scaling from the usual context or from another power of two, or else the same
 * factors at every length, which Hugging Face calls longrope. */
static int from_freqs(const struct rope *r, const struct cwe_gguf_tensor *t, json_t **ret, struct cwb_err *err)
{
	uint64_t n = r->s->rotary / 2, context = LLAMA3_CONTEXT;
	float *factor = NULL, largest = 1;
	int rc = read_factors(r, t, &factor, err), found;

	if (rc)
		return rc;
	for (uint64_t i = 0; i < n; i++)
		largest = factor[i] > largest ? factor[i] : largest;
	found = is_llama3(r, factor, (double)largest, (double)context);
	for (uint64_t c = 1; c <= CWE_GGUF_SIZE_MAX && !found; c *= 2) {
		context = c;
		found = is_llama3(r, factor, (double)largest, (double)context);
	}
	if (found && largest == 1)
		*ret = json_null();
	else if (found)
		*ret = json_pack("{s:s, s:o, s:f, s:f, s:I}", "rope_type", "llama3", "factor", cwe_gguf_decimal(largest),
			"low_freq_factor", 1.0, "high_freq_factor", 4.0, "original_max_position_embeddings", (json_int_t)context);
	else
		*ret = json_pack("{s:s, s:f, s:f, s:I, s:o, s:o}", "rope_type", "longrope", "factor", 1.0, "attention_factor", 1.0,
			"original_max_position_embeddings", (json_int_t)r->s->context, "short_factor", list_of(factor, n),
			"long_factor", list_of(factor, n));
	free(factor);
	return 0;
}

static int near(double a, double b)
{
	return fabs(a - b) <= 1e-6 * fabs(b);
}

/* Phi-3's own place for the context of the first training is beside rope_scaling, and its scaling has three keys. */
static int from_long_and_short(const struct rope *r, const struct cwe_gguf_tensor *l, const struct cwe_gguf_tensor *s,
	json_t **ret, struct cwb_err *err)
{
	float *longs = NULL, *shorts = NULL, attention = 1; /* what llama.cpp takes when the key is absent */
	uint64_t context = 0, n = r->s->rotary / 2;
	int is_phi3 = r->f->bit == CWE_GGUF_PHI3, rc = need_context(r, &context, err);
	double ratio = context ? (double)r->s->context / (double)context : 1;
	double usual = ratio > 1 ? sqrt(1 + log(ratio) / log((double)context)) : 1;

	if (!rc)
		rc = get_f32(r, "rope.scaling.attn_factor", &attention, err);
	if (rc >= 0)
		rc = read_factors(r, l, &longs, err);
	if (!rc)
		rc = read_factors(r, s, &shorts, err);
	if (!rc) {
		*ret = json_pack("{s:s, s:o, s:o}", is_phi3 ? "type" : "rope_type", "longrope", "long_factor", list_of(longs, n),
			"short_factor", list_of(shorts, n));
		if (!is_phi3) {
			cwe_gguf_put(r->m, *ret, "factor", json_real(ratio));
			cwe_gguf_put(r->m, *ret, "original_max_position_embeddings", json_integer((json_int_t)context));
		}
		if (!near((double)attention, usual))
			cwe_gguf_put(r->m, *ret, "attention_factor", cwe_gguf_decimal(attention));
	}
	free(longs);
	free(shorts);
	return rc;
}

static int from_yarn(const struct rope *r, json_t **ret, struct cwb_err *err)
{
	static const struct {
		const char *part, *hugging_face;
	} more[] = {
		{"rope.scaling.yarn_attn_factor", "attention_factor"},
		{"rope.scaling.yarn_beta_fast", "beta_fast"},
		{"rope.scaling.yarn_beta_slow", "beta_slow"},
	};
	float factor = 1, x = 1;
	uint64_t context = 0;
	int rc = get_f32(r, "rope.scaling.factor", &factor, err);

	if (rc == 0)
		return cwb_err_set(err, CWP_EMISSING, "%s: key %s is absent", r->g->input.path,
			cwe_gguf_key(r->f, "rope.scaling.factor").text);
	if (rc > 0)
		rc = need_context(r, &context, err);
	if (!rc)
		rc = get_f32(r, "rope.scaling.attn_factor", &x, err);
	if (rc < 0)
		return rc;
	*ret = json_pack("{s:s, s:o, s:I}", "rope_type", "yarn", "factor", cwe_gguf_decimal(factor),
		"original_max_position_embeddings", (json_int_t)context);
	if (x != 1) /* llama.cpp multiplies the usual factor with it */
		cwe_gguf_put(r->m, *ret, "attention_factor", json_real((double)x * (0.1 * log((double)factor) + 1)));
	for (size_t i = 0; i < sizeof more / sizeof *more && rc >= 0; i++) {
		rc = get_f32(r, more[i].part, &x, err);
		if (rc > 0)
			cwe_gguf_put(r->m, *ret, more[i].hugging_face, cwe_gguf_decimal(x));
	}
	return rc < 0 ? rc : 0;
}

static int from_keys(const struct rope *r, json_t **ret, struct cwb_err *err)
{
	float factor = 1, attention = 1;
	int rc;

	if (r->type && !strcmp(r->type, "yarn"))
		return from_yarn(r, ret, err);
	if (r->type && strcmp(r->type, "linear") != 0 && strcmp(r->type, "none") != 0)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: %s: \"%.100s\" is not read from GGUF files%s; take the model's safetensors",
			r->g->input.path, cwe_gguf_key(r->f, "rope.scaling.type").text, r->type,
			strcmp(r->type, "longrope") ? "" : " without rope_factors_long.weight and rope_factors_short.weight");
	rc = get_f32(r, r->type ? "rope.scaling.factor" : "rope.scale_linear", &factor, err);
	if (rc >= 0)
		rc = get_f32(r, "rope.scaling.attn_factor", &attention, err);
	if (rc < 0)
		return rc;
	if (attention != 1)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: %s: %g is read for yarn and longrope only", r->g->input.path,
			cwe_gguf_key(r->f, "rope.scaling.attn_factor").text, (double)attention);
	if (factor == 1 || (r->type && !strcmp(r->type, "none")))
		*ret = json_null();
	else
		*ret = json_pack("{s:s, s:o}", "rope_type", "linear", "factor", cwe_gguf_decimal(factor));
	return 0;
}

/* *ret is NULL where memory is short. */
static int scaling_of(const struct rope *r, json_t **ret, struct cwb_err *err)
{
	const struct cwe_gguf_tensor *freqs = cwe_gguf_find(r->g, "rope_freqs.weight");
	const struct cwe_gguf_tensor *l = cwe_gguf_find(r->g, "rope_factors_long.weight");
	const struct cwe_gguf_tensor *s = cwe_gguf_find(r->g, "rope_factors_short.weight");
	const char *path = r->g->input.path;

	if (!freqs && !l && !s)
		return from_keys(r, ret, err);
	if ((freqs && (l || s)) || (r->type && strcmp(r->type, "none") != 0 && strcmp(r->type, freqs ? "llama3" : "longrope") != 0))
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: tensor \"%s\" beside another scaling of the rotary embedding is not read",
			path, (freqs ? freqs : l ? l : s)->name);
	if (freqs)
		return from_freqs(r, freqs, ret, err);
	if (!l || !s)
		return cwb_err_set(err, CWP_EMISSING, "%s: no tensor \"%s\" beside \"%s\"", path,
			l ? "rope_factors_short.weight" : "rope_factors_long.weight", (l ? l : s)->name);
	return from_long_and_short(r, l, s, ret, err);
}

/* The base of layers with a window: Gemma 3 has one of its own, 10000 in llama.cpp when the key is absent. */
static int add_local_base(const struct rope *r, struct cwb_err *err)
{
	int is_gemma3 = r->f->bit == CWE_GGUF_GEMMA3, rc;
	float local = is_gemma3 ? 10000 : r->base;

	rc = get_f32(r, "rope.freq_base_swa", &local, err);
	if (rc < 0)
		return rc;
	if (is_gemma3)
		cwe_gguf_put(r->m, r->m->config, "rope_local_base_freq", cwe_gguf_decimal(local));
	else if (local != r->base)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: %s: %g, another one than that of all layers, is not read in a %s model",
			r->g->input.path, cwe_gguf_key(r->f, "rope.freq_base_swa").text, (double)local, r->f->model_type);
	return 0;
}

/* The share of a head that Hugging Face multiplies with its dimension and rounds down to `rotary`. */
static double partial_factor(const struct cwe_gguf_sizes *s)
{
	double share = (double)s->rotary / (double)s->head_dim;

	while ((uint64_t)(share * (double)s->head_dim) < s->rotary)
		share = nextafter(share, 2);
	return share;
}

static int add_phi3(const struct rope *r, struct cwb_err *err)
{
	struct cwe_gguf_key key = cwe_gguf_key(r->f, "rope.scaling.original_context_length");
	uint64_t context = 0;
	int rc = cwe_gguf_get_u64(r->g, key.text, 1, CWE_GGUF_SIZE_MAX, &context, err);

	if (rc > 0)
		cwe_gguf_put(r->m, r->m->config, "original_max_position_embeddings", json_integer((json_int_t)context));
	if (r->s->rotary != r->s->head_dim)
		cwe_gguf_put(r->m, r->m->config, "partial_rotary_factor", json_real(partial_factor(r->s)));
	return rc < 0 ? rc : 0;
}

int cwe_gguf_rope(struct cwe_gguf_making *m, struct cwb_err *err)
{
	struct rope r = {m, m->g, m->f, &m->s, 10000, NULL}; /* the base that llama.cpp takes when the key is absent */
	json_t *scaling = NULL;
	int rc = get_f32(&r, "rope.freq_base", &r.base, err);

	if (rc >= 0)
		rc = cwe_gguf_get_string(m->g, cwe_gguf_key(m->f, "rope.scaling.type").text, &r.type, err);
	if (rc >= 0)
		rc = scaling_of(&r, &scaling, err);
	if (rc >= 0)
		rc = add_local_base(&r, err);
	if (rc >= 0 && m->f->bit == CWE_GGUF_PHI3)
		rc = add_phi3(&r, err);
	if (rc < 0) {
		json_decref(scaling);
		return rc;
	}
	cwe_gguf_put(m, m->config, "rope_scaling", scaling);
	cwe_gguf_put(m, m->config, "rope_theta",
		floorf(r.base) == r.base && r.base < 9e15f ? json_integer((json_int_t)r.base) : cwe_gguf_decimal(r.base));
	return 0;
}
