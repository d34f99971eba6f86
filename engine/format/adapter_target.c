/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What an adapter's configuration says of one module. */
#include <math.h>
#include <string.h>

#include "engine/format/adapter_config.h"

/* The value of the first rule that matches; *value stays where none does. */
static int find_rule(const struct cwe_adapter_rule *rule, size_t n, const char *module,
	double *value, struct cwb_err *err)
{
	for (size_t i = 0; i < n; i++) {
		int rc = cwe_adapter_pattern_match(rule[i].pattern, module, NULL, err);

		if (rc > 0)
			*value = rule[i].value;
		if (rc)
			return rc < 0 ? rc : 0;
	}
	return 0;
}

int cwe_adapter_config_scale(const struct cwe_adapter_config *c, const char *module,
	uint64_t *ret_rank, double *ret_scale, struct cwb_err *err)
{
	double rank = (double)c->rank, alpha = c->alpha;
	int rc = find_rule(c->ranks, c->n_ranks, module, &rank, err);

	if (!rc)
		rc = find_rule(c->alphas, c->n_alphas, module, &alpha, err);
	if (rc)
		return rc;
	*ret_rank = (uint64_t)rank;
	*ret_scale = alpha / (c->rslora ? sqrt(rank) : rank);
	return 0;
}

static int ends_with_name(const char *module, const char *name)
{
	size_t n = strlen(module), k = strlen(name);

	return n > k && module[n - k - 1] == '.' && !strcmp(module + n - k, name);
}

/* Whether a list holds the module's whole name (2), its end behind a dot (1), or neither. */
static int find_name(const json_t *list, const char *module)
{
	int found = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));

		if (!strcmp(module, name))
			return 2;
		found |= ends_with_name(module, name);
	}
	return found;
}

/* Whether layers_to_transform holds the module's layer. */
static int is_in_layers(const struct cwe_adapter_config *c, const char *module, struct cwb_err *err)
{
	uint64_t layer = 0;
	int found = 0;

	for (size_t i = 0; i < c->n_layer_patterns && !found; i++)
		found = cwe_adapter_pattern_match(c->layer_patterns[i], module, &layer, err);
	if (found <= 0)
		return found;
	for (size_t i = 0; i < c->n_layers; i++)
		if (c->layers[i] == layer)
			return 1;
	return 0;
}

int cwe_adapter_config_targets(
	const struct cwe_adapter_config *c, const char *module, struct cwb_err *err)
{
	int found = 0;

	if (c->exclude.pattern)
		found = cwe_adapter_pattern_match(c->exclude.pattern, module, NULL, err);
	else if (c->exclude.list)
		found = find_name(c->exclude.list, module);
	if (found)
		return found < 0 ? found : 0;
	if (c->target.pattern)
		return cwe_adapter_pattern_match(c->target.pattern, module, NULL, err);
	/* A whole name counts whatever its layer. */
	found = c->target.list ? find_name(c->target.list, module) : 1;
	return found == 1 && c->n_layers ? is_in_layers(c, module, err) : found != 0;
}

int cwe_adapter_config_is_complete(const struct cwe_adapter_config *c)
{
	return c->target.list || c->target.pattern;
}
