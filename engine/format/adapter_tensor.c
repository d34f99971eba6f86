/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which tensors of a model an adapter's modules are. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/adapter.h"

#define LAYERS "model.layers."
#define EXPERTS ".experts."
#define WEIGHT ".weight"

/* Where the text part of a model for several media stands: transformers has changed it. */
static const char *const text_parts[] = {"model.language_model.", "language_model.model."};

static const struct cwe_tensor *find_spelled(
	const struct cwe_weights *w, const char *prefix, const char *module)
{
	const struct cwe_tensor *t;
	char *name;

	if (asprintf(&name, "%s%s" WEIGHT, prefix, module) < 0)
		return NULL;
	t = cwe_weights_find(w, name);
	free(name);
	return t;
}

static const struct cwe_tensor *find_tensor(const struct cwe_weights *w, const char *module)
{
	const struct cwe_tensor *t = find_spelled(w, "", module);

	for (size_t i = 0; !t && i < 2; i++) {
		size_t n = strlen(text_parts[i]);

		if (strncmp(module, text_parts[i], n) != 0)
			continue;
		t = find_spelled(w, text_parts[1 - i], module + n);
		if (!t)
			t = find_spelled(w, "model.", module + n);
	}
	return t;
}

/* Whether the output projection is the embedding. Gemma's configurations need not say so. */
static int is_tied(const json_t *config)
{
	const json_t *text = json_object_get(config, "text_config"),
		     *tied = json_object_get(config, "tie_word_embeddings");
	const char *kind = json_string_value(json_object_get(config, "model_type"));

	if (!tied)
		tied = json_object_get(text, "tie_word_embeddings");
	return tied ? json_is_true(tied) : kind && !strncmp(kind, "gemma", 5);
}

static int check_tensor(const struct cwe_adapter *a, const struct cwe_adapter_module *m,
	const struct cwe_tensor *t, const json_t *config, struct cwb_err *err)
{
	int is_head = !strcmp(m->name, "lm_head");

	if (is_head && (!t || is_tied(config)))
		return cwb_err_set(err, CWP_EUNKNOWN,
			"%s: module \"lm_head\" shares its weight with the embedding, which cannot "
			"be adapted with it",
			a->directory);
	if (!t)
		return cwb_err_set(err, CWP_EUNKNOWN,
			"%s: module \"%.200s\" is no module of the model; take the model that the "
			"adapter was "
			"trained on",
			a->directory, m->name);
	if (t->rank != 2 || t->shape[0] != m->b->shape[0] || t->shape[1] != m->a->shape[1])
		return cwb_err_set(err, CWP_ESHAPE,
			"%s: module \"%.200s\" is adapted as [%" PRIu64 ", %" PRIu64
			"], but the model's weight has "
			"shape [%" PRIu64 ", %" PRIu64
			"]; take the model that the adapter was trained on",
			a->directory, m->name, m->b->shape[0], m->a->shape[1],
			t->rank ? t->shape[0] : 0, t->rank > 1 ? t->shape[1] : 0);
	return 0;
}

/* The module's name of a matrix in the decoder layers; freed with free(). NULL for other tensors,
 * and for experts: transformers has kept them as Linears and as parameters, which no list names. */
static int layer_module(const struct cwe_tensor *t, char **ret)
{
	size_t n = strlen(t->name), k = strlen(WEIGHT);

	*ret = NULL;
	if (t->rank != 2 || strncmp(t->name, LAYERS, strlen(LAYERS)) != 0 || n < k ||
		strcmp(t->name + n - k, WEIGHT) != 0 || strstr(t->name, EXPERTS))
		return 0;
	*ret = strndup(t->name, n - k);
	return *ret ? 0 : -ENOMEM;
}

/* An adapter of fewer layers than the model has was not trained on it: what target_modules names
 * must be there. */
static int check_complete(const struct cwe_adapter *a, const struct cwe_weights *w,
	const unsigned char *adapted, struct cwb_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < w->count && !rc && cwe_adapter_config_is_complete(a->config); i++) {
		char *module = NULL;

		if (!adapted[i] && (rc = layer_module(&w->tensors[i], &module)))
			return cwb_err_set(err, rc, "%s: out of memory", a->directory);
		rc = module ? cwe_adapter_config_targets(a->config, module, err) : 0;
		if (rc > 0)
			rc = cwb_err_set(err, CWP_EMISSING,
				"%s: target_modules names \"%.200s\" of the model, but the file "
				"has no factors "
				"for it; take the model that the adapter was trained on",
				a->directory, module);
		free(module);
	}
	return rc;
}

int cwe_adapter_find(const struct cwe_adapter *a, const struct cwe_weights *w, const json_t *config,
	size_t *ret_tensor, struct cwb_err *err)
{
	unsigned char *adapted = calloc(w->count + 1, 1);
	int rc = adapted ? 0 : cwb_err_set(err, -ENOMEM, "%s: out of memory", a->directory);

	for (size_t i = 0; i < a->count && !rc; i++) {
		const struct cwe_tensor *t = find_tensor(w, a->module[i].name);

		rc = check_tensor(a, &a->module[i], t, config, err);
		if (rc)
			break;
		ret_tensor[i] = (size_t)(t - w->tensors);
		if (adapted[ret_tensor[i]]++)
			rc = cwb_err_set(err, CWP_EVALUE,
				"%s: tensor \"%.200s\" is adapted twice, under two names",
				a->directory, t->name);
	}
	if (!rc)
		rc = check_complete(a, w, adapted, err);
	free(adapted);
	return rc;
}
