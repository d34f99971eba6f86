/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rotary position embeddings: reads their parameters, and makes the tables. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "engine/model/config.h"
#include "engine/model/rope.h"

/* Where the parameters of one kind of layer are read from. */
struct scope {
	const json_t *config;  /* for keys beside the parameters, NULL when those do not count */
	const json_t *common;  /* what holds the parameters of all kinds, or NULL */
	const json_t *dict;    /* the parameters, or NULL */
	const struct cwe_rope_rules *rules;
	double theta;
	uint32_t head_dim, context;
};

static int read_kind(const struct scope *s, enum cwe_rope_kind *ret, struct cwb_err *err)
{
	static const struct {
		const char *name;
		enum cwe_rope_kind kind, phi;
	} kinds[] = {{"default", CWE_ROPE_DEFAULT, CWE_ROPE_DEFAULT}, {"linear", CWE_ROPE_LINEAR, CWE_ROPE_DEFAULT},
		{"llama3", CWE_ROPE_LLAMA3, CWE_ROPE_DEFAULT}, {"yarn", CWE_ROPE_YARN, CWE_ROPE_LONGROPE},
		{"longrope", CWE_ROPE_LONGROPE, CWE_ROPE_LONGROPE}, {"su", CWE_ROPE_DEFAULT, CWE_ROPE_LONGROPE}};
	char text[CWE_CONFIG_TEXT];
	const json_t *v = cwe_config_get(s->dict, "rope_type");
	v = v != NULL ? v : cwe_config_get(s->dict, "type");
	const char *name = v == NULL ? "default" : json_string_value(v);
	for (size_t i = 0; name != NULL && i < sizeof kinds / sizeof *kinds; i++) {
		*ret = s->rules->phi ? kinds[i].phi : kinds[i].kind;
		if (strcmp(name, kinds[i].name) == 0 && (*ret != CWE_ROPE_DEFAULT || i == 0)) {
			return 0;
		}
	}
	return cwb_err_set(err, CWP_EVALUE, "rope type %s is not supported; supported are %s", cwe_config_text(v, text),
		s->rules->phi ? "default, longrope" : "default, linear, llama3, yarn, longrope");
}

static int read_rotary(const struct scope *s, struct cwe_rope *rope, struct cwb_err *err)
{
	double part = 1;
	int r = cwe_config_number(s->config, "partial_rotary_factor", part, &part, err);
	r = r == 0 ? cwe_config_number(s->dict, "partial_rotary_factor", part, &part, err) : r;
	if (r != 0) {
		return r;
	}
	if (part > 1 || (part < 1 && !s->rules->phi)) {
		return cwb_err_set(err, CWP_EVALUE, "\"partial_rotary_factor\" %g is not supported; it must be %s", part,
			s->rules->phi ? "above 0 and at most 1" : "1 for this model_type");
	}
	rope->rotary = (uint32_t)(s->head_dim * part);
	if (rope->rotary == 0 || rope->rotary % 2 != 0 || rope->rotary > CWE_ROTARY_MAX) {
		return cwb_err_set(err, CWP_ESHAPE, "%u rotated channels (head_dim %u, partial_rotary_factor %g) must be an even "
			"number from 2 to %d", rope->rotary, s->head_dim, part, CWE_ROTARY_MAX);
	}
	return 0;
}

/* A key beside the parameters wins over one among them. */
static int read_original(const struct scope *s, struct cwe_rope *rope, struct cwb_err *err)
{
	static const char key[] = "original_max_position_embeddings";
	uint32_t n = 0;
	const json_t *from = cwe_config_get(s->config, key) != NULL ? s->config : s->dict;
	if (from == s->dict && s->rules->original > 0) {
		from = NULL; /* the class's default beats what is among the parameters */
	}
	int r = cwe_config_size(from, key, s->rules->original, &n, err);
	rope->original_context = n;
	return r;
}

static int read_llama3(const struct scope *s, struct cwe_rope *rope, struct cwb_err *err)
{
	int r;
	if ((r = cwe_config_number(s->dict, "factor", NAN, &rope->factor, err)) != 0 ||
		(r = cwe_config_number(s->dict, "low_freq_factor", NAN, &rope->low_freq_factor, err)) != 0 ||
		(r = cwe_config_number(s->dict, "high_freq_factor", NAN, &rope->high_freq_factor, err)) != 0) {
		return r;
	}
	if (rope->high_freq_factor <= rope->low_freq_factor) {
		return cwb_err_set(err, CWP_EVALUE, "\"high_freq_factor\" %g must be above \"low_freq_factor\" %g",
			rope->high_freq_factor, rope->low_freq_factor);
	}
	return read_original(s, rope, err);
}

/* As cwe_config_number, but 0 means absent. */
static int read_optional(const json_t *dict, const char *key, double standard, double *ret, struct cwb_err *err)
{
	const json_t *v = cwe_config_get(dict, key);
	if (json_is_number(v) && json_number_value(v) == 0) {
		*ret = standard;
		return 0;
	}
	return cwe_config_number(dict, key, standard, ret, err);
}

static double yarn_scale(double factor, double weight)
{
	return factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1;
}

static int read_yarn(const struct scope *s, struct cwe_rope *rope, struct cwb_err *err)
{
	double scale = 0, scale_all = 0;
	int r = read_original(s, rope, err);
	if (r != 0) {
		return r;
	}
	/* A factor of null is the ratio of the contexts; one that is absent is a mistake. */
	double ratio = json_object_get(s->dict, "factor") != NULL ? s->context / rope->original_context : NAN;
	if ((r = cwe_config_number(s->dict, "factor", ratio, &rope->factor, err)) != 0 ||
		(r = read_optional(s->dict, "beta_fast", 32, &rope->beta_fast, err)) != 0 ||
		(r = read_optional(s->dict, "beta_slow", 1, &rope->beta_slow, err)) != 0 ||
		(r = read_optional(s->dict, "mscale", 0, &scale, err)) != 0 ||
		(r = read_optional(s->dict, "mscale_all_dim", 0, &scale_all, err)) != 0 ||
		(r = cwe_config_flag(s->common, "truncate", 1, &rope->truncate, err)) != 0) {
		return r;
	}
	if (rope->beta_fast < rope->beta_slow) {
		return cwb_err_set(err, CWP_EVALUE, "\"beta_fast\" %g must not be below \"beta_slow\" %g", rope->beta_fast,
			rope->beta_slow);
	}
	double standard = scale > 0 && scale_all > 0 ?
		yarn_scale(rope->factor, scale) / yarn_scale(rope->factor, scale_all) : yarn_scale(rope->factor, 1);
	return cwe_config_number(s->dict, "attention_factor", standard, &rope->attention_factor, err);
}

static int read_factors(const json_t *dict, const char *key, uint32_t count, float *ret, struct cwb_err *err)
{
	char text[CWE_CONFIG_TEXT];
	const json_t *list = cwe_config_get(dict, key);
	if (list == NULL) {
		return cwb_err_set(err, CWP_EMISSING, "key \"%s\" is missing; longrope needs %u factors there", key, count);
	}
	if (!json_is_array(list) || json_array_size(list) != count) {
		return cwb_err_set(err, CWP_ESHAPE, "\"%s\" has %zu elements and must have %u, one for two rotated channels", key,
			json_array_size(list), count);
	}
	for (uint32_t i = 0; i < count; i++) {
		const json_t *v = json_array_get(list, i);
		if (!cwe_config_in_range(v)) {
			return cwb_err_set(err, CWP_EVALUE, "\"%s\"[%u] is %s, and must be a number above 0 (1e-30 to 1e30)", key, i,
				cwe_config_text(v, text));
		}
		ret[i] = (float)json_number_value(v);
	}
	return 0;
}

static int read_longrope(const struct scope *s, struct cwe_rope *rope, struct cwb_err *err)
{
	int r;
	if ((r = read_factors(s->dict, "short_factor", rope->rotary / 2, rope->short_factor, err)) != 0 ||
		(r = read_factors(s->dict, "long_factor", rope->rotary / 2, rope->long_factor, err)) != 0 ||
		(r = read_original(s, rope, err)) != 0 ||
		(r = cwe_config_number(s->dict, "factor", s->context / rope->original_context, &rope->factor, err)) != 0) {
		return r;
	}
	if (rope->original_context < 2) {
		return cwb_err_set(err, CWP_EVALUE, "\"original_max_position_embeddings\" is 1, and must be at least 2");
	}
	double standard = rope->factor <= 1 ? 1 : sqrt(1 + log(rope->factor) / log(rope->original_context));
	return cwe_config_number(s->dict, "attention_factor", standard, &rope->attention_factor, err);
}

static int read_one(const struct scope *s, struct cwe_rope *rope, struct cwb_err *err)
{
	static const char *const refused[] = {"mrope_section", "mrope_interleaved", "llama_4_scaling_beta", "short_mscale",
		"long_mscale"};
	char text[CWE_CONFIG_TEXT];
	int r;
	memset(rope, 0, sizeof *rope);
	rope->attention_factor = 1;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		const json_t *v = cwe_config_get(s->dict, refused[i]);
		if (v != NULL) {
			return cwb_err_set(err, CWP_EVALUE, "\"%s\" %s of the rotary embedding is not supported", refused[i],
				cwe_config_text(v, text));
		}
	}
	if ((r = cwe_config_number(s->dict, "rope_theta", s->theta, &rope->theta, err)) != 0 ||
		(r = read_kind(s, &rope->kind, err)) != 0 || (r = read_rotary(s, rope, err)) != 0) {
		return r;
	}
	if (rope->theta <= 1) {
		return cwb_err_set(err, CWP_EVALUE, "\"rope_theta\" %g must be above 1", rope->theta);
	}
	switch (rope->kind) {
	case CWE_ROPE_LINEAR:
		return cwe_config_number(s->dict, "factor", NAN, &rope->factor, err);
	case CWE_ROPE_LLAMA3:
		return read_llama3(s, rope, err);
	case CWE_ROPE_YARN:
		return read_yarn(s, rope, err);
	case CWE_ROPE_LONGROPE:
		return read_longrope(s, rope, err);
	case CWE_ROPE_DEFAULT:
		break;
	}
	return 0;
}

static int has_nested(const json_t *parameters)
{
	return cwe_config_get(parameters, "full_attention") != NULL || cwe_config_get(parameters, "sliding_attention") != NULL;
}

/* Two kinds of layers: rope_parameters holds an object for each, and rope_scaling is of those that see everything. */
static int read_two(struct scope *s, const json_t *parameters, const json_t *scaling, struct cwe_rope ret[2],
	struct cwb_err *err)
{
	const json_t *config = s->config, *given = NULL, *sliding = NULL;
	int r;
	if (json_object_size(parameters) > 0 && !has_nested(parameters)) {
		return cwb_err_set(err, CWP_EVALUE, "\"rope_parameters\" of this model_type must hold \"full_attention\" and "
			"\"sliding_attention\"");
	}
	if (cwe_config_get(scaling, "type") != NULL && cwe_config_get(scaling, "rope_type") == NULL) {
		return cwb_err_set(err, CWP_EVALUE, "\"rope_scaling\" of this model_type has its type in \"type\"; write \"rope_type\"");
	}
	if ((r = cwe_config_object(parameters, "full_attention", &given, err)) != 0 ||
		(r = cwe_config_object(parameters, "sliding_attention", &sliding, err)) != 0) {
		return r;
	}
	json_t *full = given != NULL ? json_copy((json_t *)(uintptr_t)given) : json_object();
	if (full == NULL || (scaling != NULL && json_object_update(full, (json_t *)(uintptr_t)scaling) != 0)) {
		json_decref(full);
		return cwb_err_set(err, -ENOMEM, "no memory for the rotary embedding's parameters");
	}
	struct scope local = *s;
	s->config = local.config = NULL;
	s->dict = full;
	local.dict = sliding;
	if ((r = cwe_config_number(config, "rope_theta", s->rules->theta, &s->theta, err)) == 0 &&
		(r = cwe_config_number(config, "rope_local_base_freq", s->rules->local_theta, &local.theta, err)) == 0 &&
		(r = read_one(s, &ret[0], err)) == 0) {
		r = read_one(&local, &ret[1], err);
	}
	json_decref(full);
	return r;
}

int cwe_rope_read(const json_t *config, const struct cwe_rope_rules *rules, uint32_t head_dim, uint32_t context,
	struct cwe_rope ret[2], struct cwb_err *err)
{
	const json_t *parameters = NULL, *scaling = NULL;
	int r = cwe_config_object(config, "rope_parameters", &parameters, err);
	r = r == 0 ? cwe_config_object(config, "rope_scaling", &scaling, err) : r;
	if (r != 0) {
		return r;
	}
	struct scope s = {.config = config, .common = parameters, .rules = rules, .head_dim = head_dim, .context = context};
	if (rules->local_theta > 0) {
		return read_two(&s, parameters, scaling, ret, err);
	}
	/* The old key replaces the new one where it says anything. */
	s.dict = s.common = json_object_size(scaling) > 0 ? scaling : parameters;
	if (has_nested(s.dict)) {
		return cwb_err_set(err, CWP_EVALUE, "rotary embeddings that differ between layers (\"full_attention\" and "
			"\"sliding_attention\") are not supported for this model_type");
	}
	r = cwe_config_number(config, "rope_theta", rules->theta, &s.theta, err);
	r = r == 0 ? read_one(&s, &ret[0], err) : r;
	if (r == 0) {
		ret[1] = ret[0];
	}
	return r;
}

/* Waves longer than the first training saw are stretched, short ones kept, those between blended: Llama 3.1. */
static float llama3_frequency(const struct cwe_rope *rope, float f)
{
	float wave = (float)(2 * M_PI) / f, factor = (float)rope->factor;
	if (wave > (float)(rope->original_context / rope->low_freq_factor)) {
		return f / factor;
	}
	if (wave < (float)(rope->original_context / rope->high_freq_factor)) {
		return f;
	}
	float smooth = ((float)rope->original_context / wave - (float)rope->low_freq_factor) /
		(float)(rope->high_freq_factor - rope->low_freq_factor);
	return (1 - smooth) * f / factor + smooth * f;
}

/* YaRN (arXiv 2309.00071): channel (a real number) whose wave turns `turns` times in the context of the first training. */
static double yarn_channel(const struct cwe_rope *rope, double turns)
{
	return rope->rotary * log(rope->original_context / (turns * 2 * M_PI)) / (2 * log(rope->theta));
}

/* Channels up to low keep their frequency, those from high on are stretched by the factor, with a ramp between. */
static void yarn_range(const struct cwe_rope *rope, float *ret_low, float *ret_high)
{
	double low = yarn_channel(rope, rope->beta_fast), high = yarn_channel(rope, rope->beta_slow);
	if (rope->truncate) {
		low = floor(low);
		high = ceil(high);
	}
	low = fmax(low, 0);
	high = fmin(high, rope->rotary - 1);
	*ret_low = (float)low;
	*ret_high = (float)(low == high ? high + 0.001 : high);
}

void cwe_rope_frequencies(const struct cwe_rope *rope, int extended, float *inverse)
{
	float low = 0, high = 1, factor = (float)rope->factor;
	if (rope->kind == CWE_ROPE_YARN) {
		yarn_range(rope, &low, &high);
	}
	for (uint32_t i = 0; i < rope->rotary / 2; i++) {
		/* In single precision at the places where the reference is: the exponent's rounding counts. */
		float power = (float)pow(rope->theta, (double)((float)(2 * i) / (float)rope->rotary));
		float f = 1 / power;
		if (rope->kind == CWE_ROPE_LINEAR) {
			f /= factor;
		} else if (rope->kind == CWE_ROPE_LLAMA3) {
			f = llama3_frequency(rope, f);
		} else if (rope->kind == CWE_ROPE_YARN) {
			float ramp = fminf(fmaxf(((float)i - low) / (high - low), 0), 1), keep = 1 - ramp;
			f = 1 / (factor * power) * (1 - keep) + f * keep;
		} else if (rope->kind == CWE_ROPE_LONGROPE) {
			f = 1 / ((extended ? rope->long_factor[i] : rope->short_factor[i]) * power);
		}
		inverse[i] = f;
	}
}

void cwe_rope_tables(const struct cwe_rope *rope, int extended, uint64_t positions, float *cosine, float *sine)
{
	uint32_t half = rope->rotary / 2;
	float inverse[CWE_ROTARY_MAX / 2], scale = (float)rope->attention_factor;
	cwe_rope_frequencies(rope, extended, inverse);
	for (uint64_t p = 0; p < positions; p++) {
		for (uint32_t i = 0; i < half; i++) {
			float angle = (float)p * inverse[i];
			cosine[p * half + i] = cosf(angle) * scale;
			sine[p * half + i] = sinf(angle) * scale;
		}
	}
}
