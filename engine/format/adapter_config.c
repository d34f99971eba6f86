/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reading adapter_config.json. */
#include "engine/format/adapter_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"

#define FILE_NAME "adapter_config.json"
#define FILE_MAX (16u << 20)
#define RANK_MAX 65536
#define RULES_MAX 65536
#define SLOW_MAX 256 /* expressions that need the matcher, in one mapping or list */

/* Keys that say nothing about the weights, or that are read below. */
static const char *const known[] = {"alpha_pattern", "auto_mapping", "base_model_name_or_path",
	"bias", "corda_config", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode",
	"init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha",
	"lora_dropout", "lora_ga_config", "megatron_core", "peft_type", "peft_version",
	"qalora_group_size", "r", "rank_pattern", "revision", "runtime_config", "target_modules",
	"task_type", "use_rslora"};

/* Keys that change what is merged, where they are set. */
static const struct {
	const char *key, *what;
} refused[] = {
	{"alora_invocation_tokens", "an activated LoRA (aLoRA) holds for some tokens only"},
	{"arrow_config", "Arrow routing chooses between adapters while it runs"},
	{"ensure_weight_tying", "tied embeddings are adapted"},
	{"kasa_config", "KaSA changes the base weights"},
	{"layer_replication", "layers are repeated"},
	{"lora_bias", "biases are adapted"},
	{"megatron_config", "modules are named as Megatron does"},
	{"modules_to_save", "whole modules are replaced"},
	{"monteclora_config", "MonteCLoRA samples its weights"},
	{"target_parameters", "parameters outside of Linears are adapted"},
	{"trainable_token_indices", "tokens of the embedding are replaced"},
	{"use_bdlora", "factors are block-diagonal (BD-LoRA)"},
	{"use_dora", "DoRA scales the merged weights"},
	{"use_qalora", "QALoRA pools its inputs"},
	{"velora_config", "VeLoRA stores more than two factors"},
};

/* Initializations that leave the base weights as they are; the others move a part of them into the
 * adapter, which then fits a changed base model. */
static const char *const initializations[] = {"gaussian", "eva", "orthogonal", "mica"};

static int bad(const struct cwe_adapter_config *c, int code, const char *what, struct cwb_err *err)
{
	return cwb_err_set(err, code, "%s: %s", c->path, what);
}

static int out_of_memory(const struct cwe_adapter_config *c, struct cwb_err *err)
{
	return bad(c, -ENOMEM, "out of memory", err);
}

/* Anything but null, false, 0 and emptiness. */
static int is_set(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_NULL:
	case JSON_FALSE:
		return 0;
	case JSON_OBJECT:
		return json_object_size(value) > 0;
	case JSON_ARRAY:
		return json_array_size(value) > 0;
	case JSON_STRING:
		return json_string_length(value) > 0;
	case JSON_INTEGER:
	case JSON_REAL:
		return json_number_value(value) != 0;
	default:
		return 1;
	}
}

static int is_among(const char *text, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(text, list[i]))
			return 1;
	return 0;
}

static int check_key(const struct cwe_adapter_config *c, const char *key, const json_t *value,
	struct cwb_err *err)
{
	if (!is_set(value) || is_among(key, known, sizeof known / sizeof *known))
		return 0;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		if (!strcmp(key, refused[i].key))
			return cwb_err_set(err, CWP_EUNKNOWN,
				"%s: %s: %s, which is not supported; merge the adapter with PEFT "
				"first",
				c->path, key, refused[i].what);
	return cwb_err_set(err, CWP_EUNKNOWN,
		"%s: \"%.100s\" is not a known key and may change how the adapter is merged; "
		"remove it if it "
		"does not, else merge the adapter with PEFT first",
		c->path, key);
}

static int check_kind(const struct cwe_adapter_config *c, struct cwb_err *err)
{
	const char *kind = NULL;
	int rc = cwb_json_get_string(c->json, "peft_type", CWB_JSON_REQUIRED, &kind, err);

	if (rc)
		return cwb_err_prefix(err, "%s", c->path), rc;
	return !strcmp(kind, "LORA")
		       ? 0
		       : cwb_err_set(err, CWP_EUNKNOWN,
				 "%s: peft_type: \"%.100s\" is not supported; LORA is", c->path,
				 kind);
}

static int check_bias(const struct cwe_adapter_config *c, struct cwb_err *err)
{
	const char *bias = "none";
	int rc = cwb_json_get_string(c->json, "bias", CWB_JSON_OPTIONAL, &bias, err);

	if (rc)
		return cwb_err_prefix(err, "%s", c->path), rc;
	return !strcmp(bias, "none") ? 0
				     : cwb_err_set(err, CWP_EUNKNOWN,
					       "%s: bias: \"%.100s\" adapts biases, which is not "
					       "supported; merge the "
					       "adapter with PEFT first",
					       c->path, bias);
}

static int check_initialization(const struct cwe_adapter_config *c, struct cwb_err *err)
{
	const json_t *value = json_object_get(c->json, "init_lora_weights");
	const char *text = json_string_value(value);

	if (!value || json_is_boolean(value) || json_is_null(value))
		return 0;
	if (text &&
		is_among(text, initializations, sizeof initializations / sizeof *initializations))
		return 0;
	return cwb_err_set(err, CWP_EUNKNOWN,
		"%s: init_lora_weights: \"%.100s\" changes the base weights as well; convert the "
		"adapter to a plain one "
		"(PEFT: save_pretrained with path_initial_model_for_weight_conversion)",
		c->path, text ? text : cwb_json_type_name(value));
}

static int read_numbers(struct cwe_adapter_config *c, struct cwb_err *err)
{
	int ignored = 0, rc;

	c->rank = 8; /* as PEFT has them */
	c->alpha = 8;
	rc = cwb_json_get_u64(c->json, "r", CWB_JSON_OPTIONAL, 1, RANK_MAX, &c->rank, err);
	if (!rc)
		rc = cwb_json_get_number(c->json, "lora_alpha", CWB_JSON_OPTIONAL, &c->alpha, err);
	if (!rc)
		rc = cwb_json_get_bool(c->json, "use_rslora", CWB_JSON_OPTIONAL, &c->rslora, err);
	/* Layers that store their weights [in, out]: no Linear does, whatever this says. */
	if (!rc)
		rc = cwb_json_get_bool(c->json, "fan_in_fan_out", CWB_JSON_OPTIONAL, &ignored, err);
	return rc ? cwb_err_prefix(err, "%s", c->path), rc : 0;
}

static int read_rule(struct cwe_adapter_config *c, const char *key, const char *name,
	const json_t *value, struct cwe_adapter_rule *ret, struct cwb_err *err)
{
	char place[512];

	snprintf(place, sizeof place, "%.400s: %s", c->path, key);
	if (!json_is_number(value) ||
		(!strcmp(key, "rank_pattern") &&
			(!json_is_integer(value) || json_integer_value(value) < 1 ||
				json_integer_value(value) > RANK_MAX)))
		return cwb_err_set(err, CWP_EVALUE, "%s: \"%.100s\": %s", place, name,
			key[0] == 'r' ? "a rank is a whole number from 1 to 65536"
				      : "alpha is a number");
	ret->value = json_number_value(value);
	return cwe_adapter_pattern_new(name, CWE_ADAPTER_SUFFIX, place, &ret->pattern, err);
}

/* rank_pattern or alpha_pattern, in the order of the file. */
static int read_rules(struct cwe_adapter_config *c, const char *key, struct cwe_adapter_rule **ret,
	size_t *ret_count, struct cwb_err *err)
{
	json_t *map = NULL, *value;
	size_t slow = 0;
	const char *name;
	int rc = cwb_json_get_object(c->json, key, CWB_JSON_OPTIONAL, &map, err);

	if (rc)
		return cwb_err_prefix(err, "%s", c->path), rc;
	if (json_object_size(map) > RULES_MAX)
		return cwb_err_set(err, CWP_ELIMIT, "%s: %s: %zu entries, at most %d are allowed",
			c->path, key, json_object_size(map), RULES_MAX);
	*ret = calloc(json_object_size(map) + 1, sizeof **ret);
	if (!*ret)
		return out_of_memory(c, err);
	json_object_foreach(map, name, value)
	{
		rc = read_rule(c, key, name, value, &(*ret)[*ret_count], err);
		if (rc)
			return rc;
		slow += (size_t)cwe_adapter_pattern_is_slow((*ret)[(*ret_count)++].pattern);
	}
	return slow <= SLOW_MAX ? 0
				: cwb_err_set(err, CWP_ELIMIT,
					  "%s: %s: %zu regular expressions, at most %d are allowed "
					  "(names do not count)",
					  c->path, key, slow, SLOW_MAX);
}

/* target_modules or exclude_modules: a list of texts, or one text. */
static int read_names(struct cwe_adapter_config *c, const char *key, struct cwe_adapter_names *ret,
	struct cwb_err *err)
{
	const json_t *value = json_object_get(c->json, key);
	char place[512];

	if (!value || json_is_null(value))
		return 0;
	snprintf(place, sizeof place, "%.400s: %s", c->path, key);
	if (json_is_string(value))
		return cwe_adapter_pattern_new(
			json_string_value(value), CWE_ADAPTER_WHOLE, place, &ret->pattern, err);
	if (!json_is_array(value))
		return cwb_err_set(
			err, CWP_EVALUE, "%s: must be a list of names or one text", place);
	for (size_t i = 0; i < json_array_size(value); i++)
		if (!json_is_string(json_array_get(value, i)))
			return cwb_err_set(err, CWP_EVALUE, "%s: element %zu is no text", place, i);
	ret->list = value;
	return 0;
}

static int read_targets(struct cwe_adapter_config *c, struct cwb_err *err)
{
	const char *all = json_string_value(json_object_get(c->json, "target_modules"));
	int rc = all && !strcmp(all, "all-linear")
			 ? 0
			 : read_names(c, "target_modules", &c->target, err);

	if (!rc)
		rc = read_names(c, "exclude_modules", &c->exclude, err);
	if (!rc && c->exclude.list && !json_array_size(c->exclude.list))
		c->exclude.list = NULL;
	return rc;
}

static int read_layers(struct cwe_adapter_config *c, struct cwb_err *err)
{
	const json_t *value = json_object_get(c->json, "layers_to_transform");
	size_t n = json_is_array(value) ? json_array_size(value) : 1;

	if (!value || json_is_null(value) || n == 0)
		return 0;
	c->layers = calloc(n, sizeof *c->layers);
	if (!c->layers)
		return out_of_memory(c, err);
	for (size_t i = 0; i < n; i++) {
		const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;

		if (!json_is_integer(one) || json_integer_value(one) < 0)
			return bad(c, CWP_EVALUE,
				"layers_to_transform: must be a layer's number or a list of them",
				err);
		c->layers[i] = (uint64_t)json_integer_value(one);
	}
	c->n_layers = n;
	if (c->target.pattern)
		return bad(c, CWP_EVALUE,
			"layers_to_transform: cannot be used where target_modules is an "
			"expression; write the layers into it",
			err);
	return 0;
}

static int read_layer_patterns(struct cwe_adapter_config *c, struct cwb_err *err)
{
	const json_t *value = json_object_get(c->json, "layers_pattern");
	size_t n = json_is_array(value) ? json_array_size(value) : 1;
	char place[512];
	int rc = 0;

	if (!c->n_layers)
		return 0;
	if (n > SLOW_MAX)
		return bad(c, CWP_ELIMIT, "layers_pattern: too many patterns", err);
	snprintf(place, sizeof place, "%.400s: layers_pattern", c->path);
	c->layer_patterns = calloc(n + 1, sizeof(struct cwe_adapter_pattern *));
	if (!c->layer_patterns)
		return out_of_memory(c, err);
	/* Nothing, or an empty text or list: any list of layers. */
	if (!value || !is_set(value))
		value = NULL, n = 1;
	for (size_t i = 0; i < n && !rc; i++) {
		const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;

		if (one && !json_is_string(one))
			return bad(c, CWP_EVALUE,
				"layers_pattern: must be a text or a list of texts", err);
		rc = cwe_adapter_pattern_new(one ? json_string_value(one) : NULL, CWE_ADAPTER_LAYER,
			place, &c->layer_patterns[i], err);
		c->n_layer_patterns += !rc;
	}
	return rc;
}

static int check_keys(const struct cwe_adapter_config *c, struct cwb_err *err)
{
	const char *key;
	json_t *value;
	int rc = check_kind(c, err);

	if (rc)
		return rc;
	json_object_foreach(c->json, key, value)
	{
		rc = check_key(c, key, value, err);
		if (rc)
			return rc;
	}
	rc = check_bias(c, err);
	return rc ? rc : check_initialization(c, err);
}

static int load(const char *directory, struct cwe_adapter_config *c, struct cwb_err *err)
{
	int rc;

	if (asprintf(&c->path, "%s/" FILE_NAME, directory) < 0) {
		c->path = NULL;
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	}
	if (access(c->path, F_OK) && (errno == ENOENT || errno == ENOTDIR))
		return cwb_err_set(err, CWP_EMISSING,
			"%s: no " FILE_NAME
			"; an adapter is a folder that PEFT's save_pretrained wrote",
			directory);
	rc = cwb_json_load_file(c->path, FILE_MAX, CWB_JSON_DEPTH, &c->json, err);
	return rc || json_is_object(c->json) ? rc : bad(c, CWP_EFORMAT, "no object", err);
}

int cwe_adapter_config_read(
	const char *directory, struct cwe_adapter_config **ret, struct cwb_err *err)
{
	struct cwe_adapter_config *c = calloc(1, sizeof *c);
	int rc;

	if (!c)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	if ((rc = load(directory, c, err)) || (rc = check_keys(c, err)) ||
		(rc = read_numbers(c, err)) ||
		(rc = read_rules(c, "rank_pattern", &c->ranks, &c->n_ranks, err)) ||
		(rc = read_rules(c, "alpha_pattern", &c->alphas, &c->n_alphas, err)) ||
		(rc = read_targets(c, err)) || (rc = read_layers(c, err)) ||
		(rc = read_layer_patterns(c, err))) {
		cwe_adapter_config_free(c);
		return rc;
	}
	*ret = c;
	return 0;
}

static void free_rules(struct cwe_adapter_rule *rule, size_t n)
{
	for (size_t i = 0; i < n; i++)
		cwe_adapter_pattern_free(rule[i].pattern);
	free(rule);
}

void cwe_adapter_config_free(struct cwe_adapter_config *c)
{
	if (!c)
		return;
	free_rules(c->ranks, c->n_ranks);
	free_rules(c->alphas, c->n_alphas);
	cwe_adapter_pattern_free(c->target.pattern);
	cwe_adapter_pattern_free(c->exclude.pattern);
	for (size_t i = 0; i < c->n_layer_patterns; i++)
		cwe_adapter_pattern_free(c->layer_patterns[i]);
	free(c->layer_patterns);
	free(c->layers);
	json_decref(c->json);
	free(c->path);
	free(c);
}
