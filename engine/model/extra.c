/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tensors of a checkpoint that its architecture does not have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/model.h"

/* Whether a tensor belongs to the text model, by its name's beginning. */
static int in_text(const struct cwe_model *m, const char *name)
{
	return !m->arch.wrapped || strncmp(name, m->body, strlen(m->body)) == 0 || strcmp(name, m->head) == 0;
}

/* The number behind "layers.", and what follows it; NULL when the name has another form. */
static const char *layer_part(const char *name, uint32_t *ret_layer)
{
	unsigned long n;
	char *end;
	if (strncmp(name, "layers.", 7) != 0 || name[7] < '0' || name[7] > '9') {
		return NULL;
	}
	n = strtoul(name + 7, &end, 10);
	*ret_layer = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
	return *end == '.' ? end + 1 : NULL;
}

/* Whether matrix `index` has this name of n bytes; 2 when it has a bias too. */
static int linear_is(const struct cwe_arch *a, uint32_t layer, uint32_t index, const char *name, size_t n)
{
	struct cwe_linear l;
	cwe_linear_at(a, layer, index, &l);
	return strlen(l.name) != n || strncmp(name, l.name, n) != 0 ? 0 : l.bias ? 2 : 1;
}

/* The same for any matrix of the layer. A layer of experts has too many to try: the name says which it may be. */
static int find_linear(const struct cwe_arch *a, uint32_t layer, const char *name, size_t n)
{
	int moe = cwe_arch_layer_is(a, layer, CWE_LAYER_MOE), found = 0;
	size_t prefix = moe ? strlen(a->moe.prefix) : 0;
	uint64_t row;
	uint32_t first = moe ? cwe_linear_of(a, layer, CWE_GATE, 0, &row) : 0, count = cwe_linears(a, layer);
	if (moe && strncmp(name, a->moe.prefix, prefix) == 0 && name[prefix] == '.') {
		unsigned long e = strtoul(name + prefix + 1, NULL, 10);
		for (uint32_t i = 0; !found && e < a->moe.experts && i < 3; i++) {
			found = linear_is(a, layer, first + 3 * (uint32_t)e + i, name, n);
		}
		return found;
	}
	for (uint32_t i = 0; !found && i < count; i++) {
		if (moe && i == first) {
			i += 3 * a->moe.experts;
		}
		found = linear_is(a, layer, i, name, n);
	}
	return found;
}

/* Whether `part`, a name below a layer, is that of one of its tensors. */
static int layer_has(const struct cwe_arch *a, uint32_t layer, const char *part)
{
	const char *dot = strrchr(part, '.');
	size_t n = dot != NULL ? (size_t)(dot - part) : 0;
	int weight = dot != NULL && strcmp(dot, ".weight") == 0, bias = dot != NULL && strcmp(dot, ".bias") == 0;
	for (int i = 0; weight && i < CWE_NORMS; i++) {
		if (a->norm[i] != NULL && strlen(a->norm[i]) == n && strncmp(part, a->norm[i], n) == 0) {
			return 1;
		}
	}
	if (weight || bias) {
		return find_linear(a, layer, part, n) > bias;
	}
	/* Old checkpoints store the frequencies, which config.json gives. */
	return strcmp(part, "self_attn.rotary_emb.inv_freq") == 0;
}

int cwe_model_extra(const struct cwe_model *m, int (*visit)(void *arg, const char *name), void *arg)
{
	size_t body = strlen(m->body);
	int r = 0;
	for (size_t i = 0; r == 0 && i < m->weights->count; i++) {
		const char *name = m->weights->tensors[i].name, *rest = name + body, *part;
		uint32_t layer = 0;
		int known = strcmp(name, m->head) == 0;
		if (!known && strncmp(name, m->body, body) == 0) {
			part = layer_part(rest, &layer);
			known = part != NULL ? layer < m->arch.layers && layer_has(&m->arch, layer, part)
					     : strcmp(rest, "embed_tokens.weight") == 0 || strcmp(rest, "norm.weight") == 0;
		}
		r = known || !in_text(m, name) ? 0 : visit(arg, name);
	}
	return r;
}

struct listing {
	char *text;
	size_t size, used, count;
};

#define NAMED 6 /* a whole list would hide everything else */

static int add_name(void *arg, const char *name)
{
	struct listing *l = arg;
	if (l->count++ < NAMED && l->used < l->size) {
		int n = snprintf(l->text + l->used, l->size - l->used, "%s%.100s", l->count > 1 ? ", " : "", name);
		l->used += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

size_t cwe_model_extra_text(const struct cwe_model *m, char *text, size_t size)
{
	char names[768] = "";
	struct listing l = {.text = names, .size = sizeof names};
	text[0] = '\0';
	(void)cwe_model_extra(m, add_name, &l);
	if (l.count > 0) {
		(void)snprintf(text, size, "%zu tensor%s of the checkpoint belong%s to no part of a %s model and are not used: %s%s",
			l.count, l.count > 1 ? "s" : "", l.count > 1 ? "" : "s", m->arch.family, names, l.count > NAMED ? ", ..." : "");
	}
	return l.count;
}
