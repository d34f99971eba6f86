/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantizes rows on the fly, or decodes what was. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/quantized_view.h"

struct view {
	struct cwe_weights base;
	struct cwe_tensor *tensor; /* base.tensors: the source's, those of modules as f32 */
	struct cwe_run *run;
	const struct cwe_plain *plain;
	const struct cwe_weights *inputs;
	const struct cwe_run_module **module; /* [tensors] the module that a tensor is the weight of, or NULL */
};

struct rows {
	struct cwe_run *run;
	const struct cwe_run_module *m;
	uint64_t first, count, each; /* each: rows of a tile */
	float *x;  /* [count, cols] in and out */
	int *code; /* [tiles] */
};

static const struct cwe_run_module *module_of(const struct view *v, const struct cwe_tensor *t)
{
	return v->module[t - v->base.tensors];
}

/* The source's own tensor. */
static const struct cwe_tensor *behind(const struct view *v, const struct cwe_tensor *t)
{
	return &v->run->source->weights->tensors[t - v->base.tensors];
}

static void quantize_tile(void *arg, size_t i)
{
	struct rows *q = arg;
	uint64_t row = i * q->each, n = q->count - row < q->each ? q->count - row : q->each;
	float *x = q->x + row * q->m->cols;
	q->code[i] = cwe_run_requantize(q->run, q->m, q->first + row, n, x, NULL, 0, 1, x);
}

/* What is not quantized, in the plain form's own scaling. */
static struct cwe_weights *source_of(const struct view *v)
{
	return v->plain != NULL && v->plain->smoothing != NULL ? v->plain->smoothing->scaled : v->run->source->weights;
}

/* Rows that share no scale with others. */
static int read_whole(struct view *v, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst, struct cwb_err *err)
{
	struct rows q = {.run = v->run, .m = module_of(v, t), .first = row, .count = rows, .x = dst};
	if (q.m != NULL && v->plain != NULL) {
		return cwe_plain_read(v->plain, v->run, q.m, row, rows, dst, err);
	}
	int r = cwe_weights_read_f32(source_of(v), behind(v, t), row, rows, dst, err);
	if (r != 0 || q.m == NULL) {
		return r;
	}
	q.each = cwe_run_tile_rows(q.m);
	size_t tiles = (rows + q.each - 1) / q.each;
	q.code = calloc(tiles + 1, sizeof *q.code);
	if (q.code == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %s", t->name);
	}
	cwe_pool_run(v->run->p->host->pool, tiles, quantize_tile, &q);
	for (size_t i = 0; r == 0 && i < tiles; i++) {
		r = q.code[i] == 0 ? 0 : cwe_host_error(v->run->p->host, v->run->job->quantize.plugin, t->name, q.code[i], err);
	}
	free(q.code);
	return r;
}

static int read_f32(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst,
	struct cwb_err *err)
{
	struct view *v = (struct view *)w;
	const struct cwe_run_module *m = module_of(v, t);
	int shared = m != NULL && (m->grid.granularity == CWP_PER_TENSOR || m->grid.granularity == CWP_PER_BLOCK);
	uint64_t each = shared ? cwe_run_tile_rows(m) : 1, first = row / each * each, end = (row + rows + each - 1) / each * each;
	if (m != NULL && end > m->rows) {
		end = m->rows;
	}
	if (!shared || (first == row && end == row + rows)) {
		return read_whole(v, t, row, rows, dst, err);
	}
	float *all = malloc((end - first) * m->cols * sizeof *all + 1);
	int r = all != NULL ? read_whole(v, t, first, end - first, all, err) : cwb_err_set(err, -ENOMEM, "no memory for %s", t->name);
	if (r == 0) {
		memcpy(dst, all + (row - first) * m->cols, rows * m->cols * sizeof *dst);
	}
	free(all);
	return r;
}

static int read_raw(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, void *dst,
	struct cwb_err *err)
{
	struct view *v = (struct view *)w;
	return module_of(v, t) != NULL ? read_f32(w, t, row, rows, dst, err)
				       : cwe_weights_read_raw(source_of(v), behind(v, t), row, rows, dst, err);
}

/* As the output has it; nothing is protected here, so that all of a weight meets one input. */
static void view_input(const struct cwe_weights *w, const struct cwe_tensor *t, struct cwe_linear_input *ret)
{
	const struct view *v = (const struct view *)w;
	const struct cwe_tensor *there = v->inputs != NULL && module_of(v, t) != NULL ? cwe_weights_find(v->inputs, t->name) : NULL;
	if (there != NULL) {
		cwe_weights_input(v->inputs, there, ret);
		ret->split = 0;
	}
}

static void close_view(struct cwe_weights *w)
{
	struct view *v = (struct view *)w;
	free(v->module);
	free(v->tensor);
	free(v);
}

int cwe_quantized_view_open(struct cwe_run *run, const struct cwe_weights *inputs, const struct cwe_plain *plain,
	struct cwe_weights **ret, struct cwb_err *err)
{
	static const struct cwe_weights_ops ops = {.read_f32 = read_f32, .read_raw = read_raw, .close = close_view, .input = view_input};
	struct view *v = calloc(1, sizeof *v);
	const struct cwe_weights *source = run->source->weights;
	if (v == NULL || (v->module = calloc(source->count + 1, sizeof *v->module)) == NULL ||
		(v->tensor = calloc(source->count + 1, sizeof *v->tensor)) == NULL) {
		if (v != NULL) {
			free(v->module);
		}
		free(v);
		return cwb_err_set(err, -ENOMEM, "no memory for a view of the weights");
	}
	memcpy(v->tensor, source->tensors, source->count * sizeof *v->tensor);
	v->base = (struct cwe_weights){.ops = &ops, .count = source->count, .tensors = v->tensor};
	v->run = run;
	v->plain = plain;
	v->inputs = inputs;
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_tensor *t = run->module[i].quantized ? cwe_run_module_tensor(run, &run->module[i]) : NULL;
		if (t != NULL) {
			size_t at = (size_t)(t - source->tensors);
			v->module[at] = &run->module[i];
			v->tensor[at].dtype = CWP_F32;
			v->tensor[at].whole = run->module[i].grid.granularity == CWP_PER_TENSOR;
		}
	}
	*ret = &v->base;
	return 0;
}
