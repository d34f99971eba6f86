/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Protected weights by layer and kind of module, experts summed: what the report's map is drawn from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/report.h"
#include "engine/pipeline/run.h"

/* The part of a module's name behind its layer, "*" for the number of an expert. 0: it lies in no layer. */
static int kind_of(const char *name, uint32_t *ret_layer, char *kind, size_t size)
{
	int at = 0, expert = 0;
	unsigned layer;
	if (sscanf(name, "model.layers.%u.%n", &layer, &at) != 1 || at == 0) {
		return 0;
	}
	const char *rest = name + at, *experts = strstr(rest, "experts.");
	unsigned which;
	*ret_layer = layer;
	if (experts != NULL && sscanf(experts, "experts.%u.%n", &which, &expert) == 1 && expert > 0) {
		(void)snprintf(kind, size, "%.*sexperts.*.%s", (int)(experts - rest), rest, experts + expert);
	} else {
		(void)snprintf(kind, size, "%s", rest);
	}
	return 1;
}

static json_t *new_kind(const char *name, uint32_t layers)
{
	json_t *weights = json_array(), *kept = json_array();
	for (uint32_t l = 0; l < layers; l++) {
		(void)json_array_append_new(weights, json_integer(0));
		(void)json_array_append_new(kept, json_integer(0));
	}
	return json_pack("{s:s,s:o,s:o}", "kind", name, "weights", weights, "protected", kept);
}

static json_t *find_kind(json_t *kinds, const char *name, uint32_t layers)
{
	size_t i;
	json_t *kind;
	json_array_foreach (kinds, i, kind) {
		if (strcmp(json_string_value(json_object_get(kind, "kind")), name) == 0) {
			return kind;
		}
	}
	kind = new_kind(name, layers);
	return json_array_append_new(kinds, kind) == 0 ? kind : NULL;
}

static void add(json_t *numbers, uint32_t layer, uint64_t x)
{
	json_t *n = json_array_get(numbers, layer);
	(void)json_integer_set(n, json_integer_value(n) + (json_int_t)x);
}

json_t *cwe_report_map(const struct cwe_run *run)
{
	uint32_t layers = run->model.arch.layers, layer;
	json_t *kinds = json_array();
	char name[256];
	if (!run->protecting) {
		json_decref(kinds);
		return json_null();
	}
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		if (!m->quantized || !kind_of(m->name, &layer, name, sizeof name) || layer >= layers) {
			continue;
		}
		json_t *kind = find_kind(kinds, name, layers);
		if (kind != NULL) {
			add(json_object_get(kind, "weights"), layer, m->rows * m->cols);
			add(json_object_get(kind, "protected"), layer, m->protected_weights);
		}
	}
	return json_pack("{s:I,s:o}", "layers", (json_int_t)layers, "kinds", kinds);
}
