/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which tensors of a model an adapter's modules are. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/adapter.h"

#define LAYERS "layers."
#define EXPERTS ".experts."
#define WEIGHT ".weight"
#define HEAD "lm_head"

/* Where a model for several media has its text part and its output projection: transformers has
 * changed it. A text model has them in "model." and HEAD. */
static const struct {
	const char *body, *head;
} places[] = {{"model.language_model.", HEAD}, {"language_model.model.", "language_model." HEAD}};

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

int cwe_adapter_is_head(const char *module)
{
	return !strcmp(module, places[0].head) || !strcmp(module, places[1].head);
}

const struct cwe_tensor *cwe_adapter_tensor(const struct cwe_weights *w, const char *module)
{
	const struct cwe_tensor *t = find_spelled(w, "", module);

	for (size_t i = 0; !t && i < 2; i++) {
		size_t n = strlen(places[i].body);

		if (cwe_adapter_is_head(module))
			t = find_spelled(w, "", places[i].head);
		if (strncmp(module, places[i].body, n) != 0)
			continue;
		t = find_spelled(w, places[1 - i].body, module + n);
		if (!t)
			t = find_spelled(w, "model.", module + n);
	}
	return t;
}

static int check_tensor(const struct cwe_adapter *a, const struct cwe_adapter_module *m,
	const struct cwe_tensor *t, struct cwb_err *err)
{
	if (!t && cwe_adapter_is_head(m->name))
		return cwb_err_set(err, CWP_EUNKNOWN,
			"%s: module \"%s\" has no weight of its own in the model: it is the "
			"embedding, which cannot be adapted with it",
			a->directory, m->name);
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

/* What follows the text part's place in a name; NULL when it lies elsewhere. *ret_text: whether
 * that place is a text model's. */
static const char *in_body(const char *name, int *ret_text)
{
	for (size_t i = 0; i < 2; i++)
		if (!strncmp(name, places[i].body, strlen(places[i].body))) {
			*ret_text = 0;
			return name + strlen(places[i].body);
		}
	*ret_text = 1;
	return !strncmp(name, "model.", 6) ? name + 6 : NULL;
}

/* The module's name of a matrix in the decoder layers; freed with free(). NULL for other tensors;
 * for experts, as transformers has kept them as Linears and as parameters, which no list names; and
 * where an expression may be about another spelling of the name. */
static int layer_module(const struct cwe_adapter *a, const struct cwe_tensor *t, char **ret)
{
	size_t n = strlen(t->name), k = strlen(WEIGHT);
	int text;
	const char *part = in_body(t->name, &text);

	*ret = NULL;
	if (t->rank != 2 || !part || strncmp(part, LAYERS, strlen(LAYERS)) != 0 || n < k ||
		strcmp(t->name + n - k, WEIGHT) != 0 || strstr(part, EXPERTS) ||
		(!text && a->config->target.pattern))
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

		if (!adapted[i] && (rc = layer_module(a, &w->tensors[i], &module)))
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

int cwe_adapter_find(const struct cwe_adapter *a, const struct cwe_weights *w, size_t *ret_tensor,
	struct cwb_err *err)
{
	unsigned char *adapted = calloc(w->count + 1, 1);
	int rc = adapted ? 0 : cwb_err_set(err, -ENOMEM, "%s: out of memory", a->directory);

	for (size_t i = 0; i < a->count && !rc; i++) {
		const struct cwe_tensor *t = cwe_adapter_tensor(w, a->module[i].name);

		rc = check_tensor(a, &a->module[i], t, err);
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
