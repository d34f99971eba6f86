/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Finding a model's weights by layer. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/quantizer.h>

#include "engine/model/model_p.h"

/* Where the text model's tensors may be: multimodal models have it below a part of theirs, by the old and the new
 * convention. */
static const struct {
	const char *body, *head;
} places[] = {{"model.", "lm_head.weight"}, {"language_model.model.", "language_model.lm_head.weight"},
	{"model.language_model.", "lm_head.weight"}};

char *cwe_module_name(const struct cwe_model *m, uint32_t layer, uint32_t index, char *buffer, size_t size)
{
	struct cwe_linear l;
	cwe_linear_at(&m->arch, layer, index, &l);
	(void)snprintf(buffer, size, "%slayers.%" PRIu32 ".%s", m->body, layer, l.name);
	return buffer;
}

char *cwe_norm_name(const struct cwe_model *m, uint32_t layer, enum cwe_norm norm, char *buffer, size_t size)
{
	(void)snprintf(buffer, size, "%slayers.%" PRIu32 ".%s", m->body, layer, m->arch.norm[norm]);
	return buffer;
}

uint64_t cwe_norm_width(const struct cwe_arch *a, enum cwe_norm norm)
{
	if (a->norm[norm] == NULL) {
		return 0;
	}
	if (norm != CWE_NORM_Q && norm != CWE_NORM_K) {
		return a->hidden;
	}
	return (a->norm_heads ? 1 : norm == CWE_NORM_Q ? (uint64_t)a->heads : a->kv_heads) * a->head_dim;
}

static int find(struct cwe_model *m, const char *name, uint64_t rows, uint64_t cols, const struct cwe_tensor **ret,
	struct cwb_err *err)
{
	const struct cwe_tensor *t = cwe_weights_find(m->weights, name);
	if (t == NULL) {
		return cwb_err_set(err, CWP_EMISSING, "%s: tensor %s is missing", m->source->path, name);
	}
	uint32_t rank = cols > 0 ? 2 : 1;
	if (t->rank != rank || t->shape[0] != rows || (rank == 2 && t->shape[1] != cols)) {
		return cwb_err_set(err, CWP_ESHAPE,
			"%s: tensor %s has shape [%" PRIu64 ", %" PRIu64 "], config.json says [%" PRIu64 ", %" PRIu64 "]",
			m->source->path, name, t->shape[0], t->rank > 1 ? t->shape[1] : 0, rows, cols);
	}
	if (ret != NULL) {
		*ret = t;
	}
	return 0;
}

static int each_norm(struct cwe_model *m, uint32_t index, struct cwe_layer *layer, cwe_visitor visit, struct cwb_err *err)
{
	const struct cwe_tensor *t;
	char module[CWE_MODULE_NAME_MAX], name[CWE_MODULE_NAME_MAX + 8];
	for (int i = 0; i < CWE_NORMS; i++) {
		uint64_t width = cwe_norm_width(&m->arch, i);
		if (width == 0) {
			continue;
		}
		(void)snprintf(name, sizeof name, "%s.weight", cwe_norm_name(m, index, i, module, sizeof module));
		int r = find(m, name, width, 0, &t, err);
		if (r != 0 || (r = visit(m, t, layer, -1, layer != NULL ? layer->d_norm[i] : NULL, err)) != 0) {
			return r;
		}
	}
	return 0;
}

int cwe_model_each_tensor(struct cwe_model *m, uint32_t index, struct cwe_layer *layer, cwe_visitor visit, struct cwb_err *err)
{
	const struct cwe_tensor *t;
	char module[CWE_MODULE_NAME_MAX], name[CWE_MODULE_NAME_MAX + 8];
	int r = each_norm(m, index, layer, visit, err);
	uint32_t n = cwe_linears(&m->arch, index);
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		struct cwe_linear l;
		cwe_linear_at(&m->arch, index, i, &l);
		(void)cwe_module_name(m, index, i, module, sizeof module);
		(void)snprintf(name, sizeof name, "%s.weight", module);
		r = find(m, name, l.rows, l.cols, &t, err);
		r = r == 0 ? visit(m, t, layer, (int32_t)i, layer != NULL ? layer->d_weight[i] : NULL, err) : r;
		if (r == 0 && l.bias) {
			(void)snprintf(name, sizeof name, "%s.bias", module);
			r = find(m, name, l.rows, 0, &t, err);
			r = r == 0 ? visit(m, t, layer, -1, layer != NULL ? layer->d_bias[i] : NULL, err) : r;
		}
	}
	return r;
}

/* What happens to the inputs of a matrix. */
static int visit_input(struct cwe_model *m, const struct cwe_tensor *t, struct cwe_layer *layer, int32_t linear, float *d,
	struct cwb_err *err)
{
	struct cwe_linear_input input;
	(void)layer, (void)d, (void)err;
	if (linear >= 0) {
		cwe_weights_input(m->weights, t, &input);
		m->quantizes |= input.how.kind != 0;
		m->splits |= input.how.kind != 0 && input.split;
		m->by_sequence |= input.how.kind == CWP_ACT_INT8_OUTLIER;
	}
	return 0;
}

/* The names of a text model's tensors; the first convention when none fits, for the message about what is missing. */
static void choose_place(struct cwe_model *m)
{
	char name[64];
	size_t n = m->arch.wrapped ? sizeof places / sizeof *places : 1, i = n;
	do {
		i--;
		(void)snprintf(name, sizeof name, "%sembed_tokens.weight", places[i].body);
	} while (i > 0 && cwe_weights_find(m->weights, name) == NULL);
	m->body = places[i].body;
	m->head = places[i].head;
}

/* A checkpoint may say that its output is tied and yet have a projection of its own. transformers ties them only where they
 * are equal; so do we. It takes one pass over both where they are, and a few rows where they are not. */
static int untie(struct cwe_model *m, const struct cwe_tensor *embedding, struct cwb_err *err)
{
	const struct cwe_tensor *head = cwe_weights_find(m->weights, m->head);
	uint64_t v = m->arch.vocabulary, d = m->arch.hidden, step = (1u << 20) / d + 1;
	if (!m->arch.tied || head == NULL) {
		return 0;
	}
	/* Sums of an adapter differ from the embedding always, and say nothing of what they were before. */
	if (head->stored != 0) {
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: an adapter changes %s, but config.json says that the output projection is "
			"the embedding (tie_word_embeddings), which cannot be adapted with it", m->source->path, m->head);
	}
	float *x = malloc(2 * step * d * sizeof *x);
	int r = x != NULL ? find(m, m->head, v, d, NULL, err) : cwb_err_set(err, -ENOMEM, "no memory to compare %s", m->head);
	for (uint64_t row = 0; r == 0 && m->arch.tied && row < v; row += step) {
		uint64_t n = v - row < step ? v - row : step;
		r = cwe_weights_read_f32(m->weights, embedding, row, n, x, err);
		r = r == 0 ? cwe_weights_read_f32(m->weights, head, row, n, x + n * d, err) : r;
		m->arch.tied = r != 0 || memcmp(x, x + n * d, n * d * sizeof *x) == 0;
	}
	free(x);
	return r;
}

static int open_outside(struct cwe_model *m, struct cwb_err *err)
{
	char name[64];
	uint64_t v = m->arch.vocabulary, d = m->arch.hidden;
	const struct cwe_tensor *embedding = NULL;
	(void)snprintf(name, sizeof name, "%sembed_tokens.weight", m->body);
	int r = find(m, name, v, d, &embedding, err);
	r = r == 0 ? untie(m, embedding, err) : r;
	(void)snprintf(name, sizeof name, "%snorm.weight", m->body);
	r = r == 0 ? find(m, name, d, 0, NULL, err) : r;
	return r == 0 && !m->arch.tied ? find(m, m->head, v, d, NULL, err) : r;
}

int cwe_model_open(struct cwe_source *source, struct cwe_weights *weights, struct cwe_device *device,
	struct cwe_model *ret, struct cwb_err *err)
{
	struct cwe_model m = {.source = source, .weights = weights != NULL ? weights : source->weights, .device = device};
	int r = cwe_arch_read(source->config, &m.arch, err);
	if (r != 0) {
		return cwb_err_prefix(err, "%s", source->path);
	}
	choose_place(&m);
	r = open_outside(&m, err);
	for (uint32_t i = 0; r == 0 && i < m.arch.layers; i++) {
		r = cwe_model_each_tensor(&m, i, NULL, visit_input, err);
	}
	if (r == 0) {
		*ret = m;
	}
	return r;
}
