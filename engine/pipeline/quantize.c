/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stages quantize and write: each module's mask from its scores, codes around it, and into the output's shards. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/mask.h"
#include "engine/pipeline/run.h"

struct quantizing {
	struct cwe_run *run;
	const struct cwe_run_module *m;
	float *weight;
	uint8_t *mask, *codes;
	uint64_t stride;
	float *scales;
	int8_t *zeros;
	int *code;
	int masked;
};

int cwe_run_quantize_rows(struct cwe_run *run, const struct cwe_run_module *m, uint64_t row, uint64_t rows,
	const float *weight, const uint8_t *mask, uint64_t stride, uint8_t *codes, float *scales, int8_t *zeros)
{
	const struct cwp_quantizer *q = run->quantizer->interface;
	struct cwp_quantizer_tile tile = {.size = sizeof tile, .row = row, .rows = rows, .cols = m->cols, .weight = weight,
		.mask = mask, .mask_stride = stride};
	struct cwp_quantizer_result result = {.size = sizeof result, .codes = codes, .scales = scales,
		.zeros = m->grid.symmetric ? NULL : zeros};
	return q->quantize(run->quantizer_settings, &m->grid, &tile, &result);
}

int cwe_run_quantize_error(struct cwe_run *run, const struct cwe_run_module *m, uint64_t row, uint64_t rows,
	const float *weight, float *error)
{
	uint64_t n = rows * m->cols, s = rows * cwe_grid_scales(&m->grid, m->cols);
	uint8_t *codes = malloc(n);
	float *scales = malloc(s * sizeof *scales);
	int8_t *zeros = calloc(s, 1);
	int r = codes != NULL && scales != NULL && zeros != NULL ? 0 : -ENOMEM;
	if (r == 0) {
		r = cwe_run_quantize_rows(run, m, row, rows, weight, NULL, 0, codes, scales, zeros);
	}
	if (r == 0) {
		cwe_dequantize(&m->grid, rows, m->cols, codes, scales, m->grid.symmetric ? NULL : zeros, error);
		for (uint64_t i = 0; i < n; i++) {
			error[i] -= weight[i];
		}
	}
	free(codes);
	free(scales);
	free(zeros);
	return r;
}

static void quantize_tile(void *arg, size_t i)
{
	struct quantizing *q = arg;
	const struct cwe_run_module *m = q->m;
	uint64_t row = i * CWE_ROW_TILE, at = row * m->cols, scale = row * cwe_grid_scales(&m->grid, m->cols);
	uint64_t rows = m->rows - row < CWE_ROW_TILE ? m->rows - row : CWE_ROW_TILE;
	const uint8_t *mask = q->masked ? q->mask + row * q->stride : NULL;
	q->code[i] = cwe_run_quantize_rows(q->run, m, row, rows, q->weight + at, mask, q->stride, q->codes + at,
		q->scales + scale, q->zeros + scale);
}

static int quantize_module(struct quantizing *q, struct cwe_run_module *m, struct cwe_writer *writer, struct cwb_err *err)
{
	struct cwe_run *run = q->run;
	int r = cwe_run_module_read(run, m, 0, m->rows, q->weight, err);
	if (r != 0) {
		return r;
	}
	size_t tiles = (m->rows + CWE_ROW_TILE - 1) / CWE_ROW_TILE;
	q->m = m;
	q->stride = (m->cols + 7) / 8;
	cwe_pool_run(run->p->host->pool, tiles, quantize_tile, q);
	for (size_t i = 0; i < tiles; i++) {
		if (q->code[i] != 0) {
			return cwe_host_error(run->p->host, run->job->quantize.plugin, m->name, q->code[i], err);
		}
	}
	struct cwe_output_module out = {.name = m->name, .rows = m->rows, .cols = m->cols, .grid = m->grid,
		.protected_weights = m->protected_weights + m->super_added};
	return cwe_writer_module(writer, &out, q->codes, q->scales, m->grid.symmetric ? NULL : q->zeros,
		q->masked ? q->mask : NULL, q->stride, err);
}

/* The next module with its mask, unless an earlier attempt wrote it. */
static int take_module(struct quantizing *q, struct cwe_run_module *m, struct cwe_mask_reader *masks,
	struct cwe_writer *writer, struct cwb_err *err)
{
	int there = m->quantized && cwe_writer_has(writer, m->name);
	int r = 0;
	m->protected_weights = there ? cwe_writer_protected(writer, m->name) - m->super_added : 0;
	if (q->masked) {
		r = cwe_mask_reader_next(masks, m, there ? NULL : q->mask, &m->protected_weights, err);
	}
	return r == 0 && m->quantized && !there ? quantize_module(q, m, writer, err) : r;
}

static int all_modules(struct quantizing *q, struct cwe_writer *writer, struct cwb_err *err)
{
	struct cwe_run *run = q->run;
	struct cwe_mask_reader masks = {.tiles.journal = -1, .scores.tile.fd = -1};
	int r = q->masked ? cwe_mask_reader_open(run, &masks, err) : 0;
	for (size_t i = 0; r == 0 && i < run->modules; i++) {
		r = take_module(q, &run->module[i], &masks, writer, err);
		cwe_run_progress(run, CWE_STAGE_QUANTIZE, i + 1, run->modules, "modules");
		r = r == 0 ? cwe_run_cancelled(run, err) : r;
	}
	cwe_mask_reader_close(&masks);
	return r;
}

static int allocate(struct quantizing *q, struct cwb_err *err)
{
	const struct cwe_run *run = q->run;
	uint64_t weights = run->largest, scales = 0, mask = 0;
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		uint64_t b = m->rows * ((m->cols + 7) / 8);
		uint64_t s = m->quantized ? m->rows * cwe_grid_scales(&m->grid, m->cols) : 0;
		scales = s > scales ? s : scales;
		mask = b > mask ? b : mask;
	}
	size_t tiles = run->tallest / CWE_ROW_TILE + 1;
	q->weight = malloc(weights * sizeof *q->weight);
	q->mask = q->masked ? malloc(mask) : NULL;
	q->codes = malloc(weights);
	q->scales = malloc((scales + 1) * sizeof *q->scales);
	q->zeros = calloc(scales + 1, 1);
	q->code = calloc(tiles, sizeof *q->code);
	return q->weight != NULL && (!q->masked || q->mask != NULL) && q->codes != NULL &&
			q->scales != NULL && q->zeros != NULL && q->code != NULL
		? 0 : cwb_err_set(err, -ENOMEM, "no memory for quantizing");
}

struct cwe_output_module *cwe_run_output_modules(const struct cwe_run *run, size_t *ret_count, struct cwb_err *err)
{
	struct cwe_output_module *out = calloc(run->modules + 1, sizeof *out);
	size_t n = 0;
	if (out == NULL) {
		(void)cwb_err_set(err, -ENOMEM, "no memory for the list of modules");
	}
	for (size_t i = 0; out != NULL && i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		if (m->quantized) {
			out[n++] = (struct cwe_output_module){.name = m->name, .rows = m->rows, .cols = m->cols, .grid = m->grid};
		}
	}
	*ret_count = n;
	return out;
}

struct cwe_writer_options cwe_run_writer_options(const struct cwe_run *run, int protecting)
{
	return (struct cwe_writer_options){.directory = run->job->output, .format = (int)run->job->format,
		.carrier = (int)(protecting ? run->job->carrier : CWJ_CARRIER_NONE), .shard = run->job->shard};
}

static int is_quantized(const struct cwe_output_module *m, size_t n, const char *tensor)
{
	for (size_t i = 0; i < n; i++) {
		size_t k = strlen(m[i].name);
		if (strncmp(m[i].name, tensor, k) == 0 && strcmp(tensor + k, ".weight") == 0) {
			return 1;
		}
	}
	return 0;
}

static int copy_rest(struct cwe_run *run, struct cwe_writer *writer, const struct cwe_output_module *m, size_t n,
	struct cwb_err *err)
{
	const struct cwe_weights *w = run->source->weights;
	int r = 0;
	for (size_t i = 0; r == 0 && i < w->count; i++) {
		if (!is_quantized(m, n, w->tensors[i].name) && !cwe_writer_has(writer, w->tensors[i].name)) {
			r = cwe_writer_copy(writer, w->tensors[i].name, err);
			r = r == 0 ? cwe_run_cancelled(run, err) : r;
		}
		cwe_run_progress(run, CWE_STAGE_WRITE, i + 1, w->count, "tensors");
	}
	return r;
}

int cwe_run_quantize(struct cwe_run *run, struct cwb_err *err)
{
	struct quantizing q = {.run = run, .masked = run->protecting && run->job->carrier != CWJ_CARRIER_NONE};
	struct cwe_writer_options options = cwe_run_writer_options(run, q.masked);
	struct cwe_writer *writer = NULL;
	size_t n = 0;
	cwe_run_stage(run, CWE_STAGE_QUANTIZE);
	struct cwe_output_module *module = cwe_run_output_modules(run, &n, err);
	int r = module != NULL ? allocate(&q, err) : -ENOMEM;
	r = r == 0 ? cwe_writer_new(run->source, &options, module, n, &writer, err) : r;
	r = r == 0 ? all_modules(&q, writer, err) : r;
	if (r == 0) {
		cwe_run_stage(run, CWE_STAGE_WRITE);
		r = copy_rest(run, writer, module, n, err);
		r = r == 0 ? cwe_writer_finish(writer, err) : r;
	}
	cwe_writer_free(writer);
	free(module);
	free(q.weight);
	free(q.mask);
	free(q.codes);
	free(q.scales);
	free(q.zeros);
	free(q.code);
	return r;
}
