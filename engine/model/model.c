/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Finding and reading a model's weights by layer. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/quantizer.h>

#include "engine/model/model_p.h"
#include "engine/model/ops.h"

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

/* Whether no number is NaN or infinite: those have all bits of the exponent set. */
static int all_finite(const float *x, uint64_t n)
{
	uint32_t bad = 0;
	for (uint64_t i = 0; i < n; i++) {
		uint32_t u;
		memcpy(&u, &x[i], sizeof u);
		bad |= (u & 0x7f800000u) == 0x7f800000u;
	}
	return !bad;
}

static int check_finite(const struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, const float *x, uint64_t n,
	struct cwb_err *err)
{
	if (all_finite(x, n)) {
		return 0;
	}
	for (uint64_t i = 0; i < n; i++) {
		if (!isfinite(x[i])) {
			uint64_t cols = t->rank > 1 ? t->shape[1] : 1;
			return cwb_err_set(err, CWP_ENUMBER, "%s: tensor %s holds %f at element %" PRIu64
				"; repair the checkpoint", m->source->path, t->name, (double)x[i], row * cols + i);
		}
	}
	return 0;
}

int cwe_model_read_rows(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *d,
	struct cwb_err *err)
{
	uint64_t n = rows * (t->rank > 1 ? t->shape[1] : 1);
	int host_memory = (m->device->ops->flags & CWP_BACKEND_HOST_MEMORY) != 0;
	float *host = host_memory ? d : malloc(n * sizeof *host + 1);
	if (host == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory to read %s", t->name);
	}
	int r = cwe_weights_read_f32(m->weights, t, row, rows, host, err);
	r = r == 0 ? check_finite(m, t, row, host, n, err) : r;
	if (!host_memory) {
		r = r == 0 ? CWE_OP(m->device, upload, d, host, n * sizeof *host) : r;
		free(host);
	}
	return r;
}

int cwe_model_read_split(struct cwe_model *m, const struct cwe_tensor *t, float *d_quantized, float *d_exact,
	struct cwb_err *err)
{
	uint64_t rows = t->shape[0], n = rows * t->shape[1];
	int host_memory = (m->device->ops->flags & CWP_BACKEND_HOST_MEMORY) != 0;
	float *host = host_memory ? NULL : malloc(2 * n * sizeof *host + 1);
	float *quantized = host_memory ? d_quantized : host, *exact = d_exact;
	if (!host_memory && host == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory to read %s", t->name);
	}
	if (!host_memory) {
		exact = host + n;
	}
	int r = cwe_weights_read_split(m->weights, t, 0, rows, quantized, exact, err);
	r = r == 0 ? check_finite(m, t, 0, quantized, n, err) : r;
	r = r == 0 ? check_finite(m, t, 0, exact, n, err) : r;
	if (!host_memory) {
		r = r == 0 ? CWE_OP(m->device, upload, d_quantized, quantized, n * sizeof *host) : r;
		r = r == 0 ? CWE_OP(m->device, upload, d_exact, exact, n * sizeof *host) : r;
		free(host);
	}
	return r;
}

static int by_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* Tokens in the order of their ids, so that each row is read once: (id << 32 | place). */
static uint64_t *sort_tokens(const struct cwe_model *m, const uint32_t *id, uint64_t count, struct cwb_err *err)
{
	for (uint64_t i = 0; i < count; i++) {
		if (id[i] >= m->arch.vocabulary) {
			(void)cwb_err_set(err, CWP_EVALUE, "token id %" PRIu32 " is not in the model's vocabulary of %" PRIu32, id[i],
				m->arch.vocabulary);
			return NULL;
		}
	}
	uint64_t *order = count <= UINT32_MAX ? malloc(count * sizeof *order + 1) : NULL;
	if (order == NULL) {
		(void)cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " tokens", count);
		return NULL;
	}
	for (uint64_t i = 0; i < count; i++) {
		order[i] = (uint64_t)id[i] << 32 | i;
	}
	qsort(order, count, sizeof *order, by_id);
	return order;
}

/* One row, times the family's factor. */
static int embed_row(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, float *host, float *d, struct cwb_err *err)
{
	float scale = m->arch.embedding_scale;
	if (scale == 1) {
		return cwe_model_read_rows(m, t, row, 1, d, err);
	}
	uint64_t n = m->arch.hidden;
	int r = cwe_weights_read_f32(m->weights, t, row, 1, host, err);
	r = r == 0 ? check_finite(m, t, row, host, n, err) : r;
	for (uint64_t i = 0; i < n; i++) {
		host[i] *= scale;
	}
	return r == 0 ? CWE_OP(m->device, upload, d, host, n * sizeof *host) : r;
}

int cwe_model_embed(struct cwe_model *m, const uint32_t *id, uint64_t count, float *d_x, struct cwb_err *err)
{
	char name[64];
	(void)snprintf(name, sizeof name, "%sembed_tokens.weight", m->body);
	const struct cwe_tensor *t = cwe_weights_find(m->weights, name);
	struct cwb_err local = {0};
	uint64_t d = m->arch.hidden, *order = sort_tokens(m, id, count, &local);
	float *host = calloc(d, sizeof *host);
	if (order == NULL || host == NULL) {
		free(order);
		free(host);
		return local.code != 0 ? cwb_err_set(err, local.code, "%s", local.message)
				       : cwb_err_set(err, -ENOMEM, "no memory for an embedding");
	}
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < count; i++) {
		float *to = d_x + (order[i] & UINT32_MAX) * d;
		if (i > 0 && order[i] >> 32 == order[i - 1] >> 32) {
			r = cwe_device_copy(m->device, to, d_x + (order[i - 1] & UINT32_MAX) * d, d, err);
		} else {
			r = embed_row(m, t, order[i] >> 32, host, to, err);
		}
	}
	free(order);
	free(host);
	return r;
}

int cwe_model_head_rows(struct cwe_model *m, uint64_t first, uint64_t rows, float *d_w, struct cwb_err *err)
{
	char name[64];
	(void)snprintf(name, sizeof name, "%sembed_tokens.weight", m->body);
	return cwe_model_read_rows(m, cwe_weights_find(m->weights, m->arch.tied ? name : m->head), first, rows, d_w, err);
}

int cwe_model_final_norm(struct cwe_model *m, float *d_w, struct cwb_err *err)
{
	char name[64];
	(void)snprintf(name, sizeof name, "%snorm.weight", m->body);
	return cwe_model_read_rows(m, cwe_weights_find(m->weights, name), 0, m->arch.hidden, d_w, err);
}
