/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reads config.json files, one path a line of standard input, and prints for each one line of JSON: what cwe_arch_read
 * makes of it, with the inverse frequencies, or {"error": message}. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/arch.h"

static json_t *numbers(const float *x, uint32_t n)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < n; i++) {
		(void)json_array_append_new(list, json_real((double)x[i]));
	}
	return list;
}

static json_t *print_rope(const struct cwe_rope *r)
{
	static const char *const kind[] = {"default", "linear", "llama3", "yarn", "longrope"};
	float usual[CWE_ROTARY_MAX / 2], extended[CWE_ROTARY_MAX / 2];
	cwe_rope_frequencies(r, 0, usual);
	cwe_rope_frequencies(r, 1, extended);
	return json_pack("{s:s, s:i, s:f, s:f, s:f, s:o, s:o}", "kind", kind[r->kind], "rotary", (int)r->rotary, "theta",
		r->theta, "attention_factor", r->attention_factor, "original_context", r->original_context, "inverse",
		numbers(usual, r->rotary / 2), "extended", numbers(extended, r->rotary / 2));
}

static json_t *print_moe(const struct cwe_moe *m)
{
	return json_pack("{s:i, s:i, s:i, s:i, s:b, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?}", "experts", (int)m->experts,
		"top_k", (int)m->top_k, "intermediate", (int)m->intermediate, "shared", (int)m->shared, "normalize", m->normalize,
		"prefix", m->prefix, "gate", m->gate, "up", m->up, "down", m->down, "router", m->router, "shared_prefix",
		m->shared_prefix, "shared_gate", m->shared_gate);
}

static json_t *print_layers(const struct cwe_arch *a, json_t *arch)
{
	static const char *const norm[CWE_NORMS] = {"attention", "attention_out", "mlp", "mlp_out", "q", "k"};
	json_t *sliding = json_array(), *moe = json_array(), *norms = json_object();
	for (uint32_t i = 0; i < a->layers; i++) {
		(void)json_array_append_new(sliding, json_boolean(cwe_arch_layer_is(a, i, CWE_LAYER_SLIDING)));
		(void)json_array_append_new(moe, json_boolean(cwe_arch_layer_is(a, i, CWE_LAYER_MOE)));
	}
	for (int i = 0; i < CWE_NORMS; i++) {
		(void)json_object_set_new(norms, norm[i], a->norm[i] != NULL ? json_string(a->norm[i]) : json_null());
	}
	(void)json_object_set_new(arch, "sliding", sliding);
	(void)json_object_set_new(arch, "sparse", moe);
	(void)json_object_set_new(arch, "norm", norms);
	(void)json_object_set_new(arch, "moe", print_moe(&a->moe));
	(void)json_object_set_new(arch, "rope", json_pack("[o, o]", print_rope(&a->rope[0]), print_rope(&a->rope[1])));
	return arch;
}

static json_t *print_arch(const struct cwe_arch *a)
{
	json_t *arch = json_pack("{s:s, s:b, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s}", "family", a->family, "wrapped",
		a->wrapped, "layers", (int)a->layers, "hidden", (int)a->hidden, "heads", (int)a->heads, "kv_heads", (int)a->kv_heads,
		"head_dim", (int)a->head_dim, "intermediate", (int)a->intermediate, "vocabulary", (int)a->vocabulary, "context",
		(int)a->context, "window", (int)a->window, "activation", a->glu == CWP_GLU_SILU ? "silu" : "gelu_pytorch_tanh");
	json_t *rest = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:b, s:b, s:b, s:b, s:b, s:b}", "norm_eps",
		(double)a->norm_eps, "norm_offset", (double)a->norm_offset, "embedding_scale", (double)a->embedding_scale,
		"attention_scale", (double)a->attention_scale, "attention_softcap", (double)a->attention_softcap, "logit_softcap",
		(double)a->logit_softcap, "tied", a->tied, "bias_qkv", a->bias_qkv, "bias_o", a->bias_o, "bias_mlp", a->bias_mlp,
		"fused", a->fused, "norm_heads", a->norm_heads);
	(void)json_object_update(arch, rest);
	json_decref(rest);
	return print_layers(a, arch);
}

int main(void)
{
	char path[4096];
	while (fgets(path, sizeof path, stdin) != NULL) {
		struct cwb_err err = {0};
		struct cwe_arch arch;
		path[strcspn(path, "\n")] = 0;
		json_t *config = json_load_file(path, 0, NULL);
		int r = config == NULL ? cwb_err_set(&err, CWP_EFORMAT, "%s: no JSON", path) : cwe_arch_read(config, &arch, &err);
		json_t *out = r == 0 ? print_arch(&arch) : json_pack("{s:s, s:i}", "error", err.message, "code", r);
		if (out == NULL || json_dumpf(out, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17)) != 0) {
			return 1;
		}
		putchar('\n');
		json_decref(out);
		json_decref(config);
	}
	return 0;
}
