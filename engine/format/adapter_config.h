/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* adapter_config.json of a PEFT adapter: what has to be known to merge a plain LoRA adapter. All
 * that would change the result and is not done here is refused by name. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/format/adapter_pattern.h"

/* One entry of rank_pattern or alpha_pattern. */
struct cwe_adapter_rule {
	struct cwe_adapter_pattern *pattern;
	double value;
};

/* Modules by name: a list of names or ends of names, an expression, or neither. */
struct cwe_adapter_names {
	const json_t *list; /* array of texts, borrowed from the configuration; NULL */
	struct cwe_adapter_pattern *pattern;
};

struct cwe_adapter_config {
	char *path;
	json_t *json;
	uint64_t rank;
	double alpha;
	int rslora;
	size_t n_ranks, n_alphas;
	struct cwe_adapter_rule *ranks, *alphas; /* the first that matches counts */
	struct cwe_adapter_names target, exclude;
	size_t n_layers;
	uint64_t *layers; /* layers_to_transform */
	size_t n_layer_patterns;
	struct cwe_adapter_pattern **layer_patterns;
};

/* Reads directory/adapter_config.json. CWP_EMISSING, CWP_EFORMAT, CWP_EVALUE, CWP_ELIMIT;
 * CWP_EUNKNOWN for another kind of adapter than LoRA and for what cannot be merged. *ret is freed
 * with cwe_adapter_config_free. */
int cwe_adapter_config_read(
	const char *directory, struct cwe_adapter_config **ret, struct cwb_err *err);
void cwe_adapter_config_free(struct cwe_adapter_config *c); /* NULL is allowed */

/* Rank of a module's factors, and what their product is multiplied by: alpha / rank, with rsLoRA
 * alpha / sqrt(rank). module: as PEFT names it, model.layers.0.self_attn.q_proj. [any-thread] */
int cwe_adapter_config_scale(const struct cwe_adapter_config *c, const char *module,
	uint64_t *ret_rank, double *ret_scale, struct cwb_err *err);
/* 1 or 0: whether target_modules, exclude_modules and layers_to_transform name the module; 1 where
 * the configuration does not say. Negative on errors. [any-thread] */
int cwe_adapter_config_targets(
	const struct cwe_adapter_config *c, const char *module, struct cwb_err *err);
/* Whether target_modules lists them, so that those without factors are a mistake. */
int cwe_adapter_config_is_complete(const struct cwe_adapter_config *c);
