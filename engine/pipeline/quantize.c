/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stages quantize and write: each module's mask from its scores, codes around it, and into the output's shards. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/format/gguf_encode.h"
#include "engine/pipeline/carrier.h"
#include "engine/pipeline/quantize.h"
#include "engine/pipeline/quantize_device.h"
#include "engine/pipeline/sequential.h"
#include "engine/pipeline/strips.h"

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

int cwe_run_requantize(struct cwe_run *run, const struct cwe_run_module *m, uint64_t row, uint64_t rows, const float *weight,
	const uint8_t *mask, uint64_t stride, int as_stored, float *ret)
{
	uint64_t n = rows * m->cols, s = rows * cwe_grid_scales(&m->grid, m->cols), wrong;
	uint8_t *codes = malloc(n + 1);
	float *scales = malloc(s * sizeof *scales + 1);
	int8_t *zeros = calloc(s + 1, 1);
	int r = codes != NULL && scales != NULL && zeros != NULL ? 0 : -ENOMEM;
	r = r == 0 ? cwe_run_quantize_rows(run, m, row, rows, weight, mask, stride, codes, scales, zeros) : r;
	/* The file of a GGUF output has scales of F16. */
	if (r == 0 && as_stored && run->job->format == CWJ_FORMAT_GGUF && !cwe_run_is_dense(run)) {
		r = cwe_gguf_settle(&m->grid, rows, m->cols, codes, scales, &wrong);
	}
	if (r == 0) {
		cwe_dequantize(&m->grid, rows, m->cols, codes, scales, m->grid.symmetric ? NULL : zeros, ret);
	}
	free(codes);
	free(scales);
	free(zeros);
	return r;
}

int cwe_run_quantize_error(struct cwe_run *run, const struct cwe_run_module *m, uint64_t row, uint64_t rows,
	const float *weight, float *error)
{
	int r = cwe_run_requantize(run, m, row, rows, weight, NULL, 0, 0, error);
	for (uint64_t i = 0; r == 0 && i < rows * m->cols; i++) {
		error[i] -= weight[i];
	}
	return r;
}

uint64_t cwe_run_tile_rows(const struct cwe_run_module *m)
{
	uint64_t block = m->grid.granularity == CWP_PER_BLOCK ? m->grid.block_rows : 1;
	uint64_t rows = (CWE_ROW_TILE + block - 1) / block * block;
	return m->grid.granularity == CWP_PER_TENSOR || rows > m->rows ? m->rows : rows;
}

static uint64_t rows_of(const struct cwe_run_module *m, size_t tile, uint64_t each)
{
	uint64_t left = m->rows - tile * each;
	return left < each ? left : each;
}

static void quantize_tile(void *arg, size_t i)
{
	struct cwe_quantizing *q = arg;
	const struct cwe_run_module *m = q->m;
	const struct cwp_quantizer *quantizer = q->run->quantizer->interface;
	uint64_t each = cwe_run_tile_rows(m), row = i * each, at = row * m->cols, scale = row * cwe_grid_scales(&m->grid, m->cols);
	struct cwp_quantizer_tile tile = {.size = sizeof tile, .row = row, .rows = rows_of(m, i, each), .cols = m->cols,
		.weight = q->source + at, .mask = q->masked ? q->mask + row * q->stride : NULL, .mask_stride = q->stride,
		.state = q->state};
	struct cwp_quantizer_result result = {.size = sizeof result, .codes = q->codes + at, .scales = q->scales + scale,
		.zeros = m->grid.symmetric ? NULL : q->zeros + scale, .exact = q->exact != NULL ? q->exact + at : NULL};
	if (q->exact != NULL) {
		memcpy(q->exact + at, q->source + at, tile.rows * m->cols * sizeof *q->exact);
		result.exact = q->state != NULL ? result.exact : NULL;
	}
	q->code[i] = quantizer->quantize(q->run->quantizer_settings, &m->grid, &tile, &result);
}

int cwe_quantizing_bad_weight(const struct cwe_run_module *m, uint64_t row, uint64_t rows, const float *weight, struct cwb_err *err)
{
	for (uint64_t i = 0; i < rows * m->cols; i++) {
		if (weight[i] - weight[i] != 0) {
			return cwb_err_set(err, CWP_ENUMBER, "tensor %s.weight: element [%" PRIu64 ", %" PRIu64 "] is %g: what is not "
				"a finite number cannot be quantized", m->name, row + i / m->cols, i % m->cols, (double)weight[i]);
		}
	}
	return 0;
}

int cwe_quantizing_module(struct cwe_quantizing *q, const struct cwe_run_module *m, const float *weight, const void *state,
	struct cwb_err *err)
{
	struct cwe_run *run = q->run;
	uint64_t each = cwe_run_tile_rows(m);
	size_t tiles = (m->rows + each - 1) / each;
	q->m = m;
	q->source = weight;
	q->state = state;
	q->stride = (m->cols + 7) / 8;
	cwe_pool_run(run->p->host->pool, tiles, quantize_tile, q);
	for (size_t i = 0; i < tiles; i++) {
		int r = q->code[i] == CWP_ENUMBER ? cwe_quantizing_bad_weight(m, 0, m->rows, weight, err) : 0;
		if (r != 0 || q->code[i] != 0) {
			return r != 0 ? r : cwe_host_error(run->p->host, run->job->quantize.plugin, m->name, q->code[i], err);
		}
	}
	return 0;
}

int cwe_quantizing_write(struct cwe_quantizing *q, const struct cwe_run_module *m, struct cwe_writer *writer, struct cwb_err *err)
{
	struct cwe_output_module out = {.name = m->name, .rows = m->rows, .cols = m->cols, .grid = m->grid,
		.protected_weights = m->protected_weights + m->super_added, .exact = q->exact, .input_scale = q->input_scale,
		.input_zero = q->input_zero};
	return cwe_writer_module(writer, &out, q->codes, q->scales, m->grid.symmetric ? NULL : q->zeros,
		q->masked ? q->mask : NULL, q->stride, err);
}

static float rounded(float v, uint32_t dtype)
{
	return dtype == CWP_BF16 ? cwe_f32_from_bf16(cwe_bf16_from_f32(v))
		: dtype == CWP_F16 ? cwe_f32_from_f16(cwe_f16_from_f32(v)) : v;
}

static void decode_tile(void *arg, size_t i)
{
	struct cwe_quantizing *q = arg;
	const struct cwe_run_module *m = q->m;
	uint64_t row = i * CWE_ROW_TILE, rows = rows_of(m, i, CWE_ROW_TILE), at = row * m->cols, scale = row * cwe_grid_scales(&m->grid, m->cols);
	uint32_t dtype = cwe_run_module_tensor(q->run, m)->dtype;
	cwe_dequantize(&m->grid, rows, m->cols, q->codes + at, q->scales + scale, m->grid.symmetric ? NULL : q->zeros + scale,
		q->weight + at);
	for (uint64_t r = row; q->exact != NULL && r < row + rows; r++) {
		const uint8_t *bits = q->mask + r * q->stride;
		for (uint64_t c = 0; c < m->cols; c++) {
			if (bits[c >> 3] >> (c & 7) & 1) {
				q->weight[r * m->cols + c] = rounded(q->exact[r * m->cols + c], dtype);
			}
		}
	}
}

void cwe_quantizing_decode(struct cwe_quantizing *q, const struct cwe_run_module *m)
{
	q->m = m;
	cwe_pool_run(q->run->p->host->pool, (m->rows + CWE_ROW_TILE - 1) / CWE_ROW_TILE, decode_tile, q);
}

static int quantize_module(struct cwe_quantizing *q, const struct cwe_run_module *m, struct cwe_writer *writer, struct cwb_err *err)
{
	int r = cwe_run_module_read_all(q->run, m, q->weight, err);
	r = r == 0 ? cwe_quantizing_module(q, m, q->weight, NULL, err) : r;
	return r == 0 ? cwe_quantizing_write(q, m, writer, err) : r;
}

/* The next module with its mask, unless an earlier attempt wrote it. */
static int take_module(struct cwe_quantizing *q, struct cwe_run_module *m, struct cwe_mask_reader *masks,
	struct cwe_writer *writer, struct cwb_err *err)
{
	int there = m->quantized && cwe_writer_has(writer, m->name);
	int r = 0;
	if (m->kept) {
		return 0; /* copied with the rest */
	}
	m->protected_weights = there ? cwe_writer_protected(writer, m->name) - m->super_added : 0;
	if (q->masked) {
		r = cwe_mask_reader_next(masks, m, there ? NULL : q->mask, &m->protected_weights, err);
	}
	return r == 0 && m->quantized && !there ? quantize_module(q, m, writer, err) : r;
}

static int all_modules(struct cwe_quantizing *q, struct cwe_writer *writer, struct cwb_err *err)
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

/* Most scales of a module. */
static uint64_t most_scales(const struct cwe_run *run)
{
	uint64_t most = 0;
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		uint64_t s = m->quantized ? m->rows * cwe_grid_scales(&m->grid, m->cols) : 0;
		most = s > most ? s : most;
	}
	return most;
}

/* Memory that the device reaches fastest, where modules are quantized there. */
static void *take(const struct cwe_quantizing *q, uint64_t bytes)
{
	const struct cwe_device *d = &q->run->device;
	return q->there.d_block != NULL ? d->ops->host_alloc(d->b, bytes) : malloc(bytes);
}

static void give(const struct cwe_quantizing *q, void *p)
{
	if (q->there.d_block != NULL) {
		q->run->device.ops->host_free(q->run->device.b, p);
	} else {
		free(p);
	}
}

static int allocate(struct cwe_quantizing *q, struct cwb_err *err)
{
	struct cwe_run *run = q->run;
	uint64_t weights = run->largest, scales = most_scales(run);
	int exact = q->masked && run->quantizer_needs != 0;
	q->weight = take(q, weights * sizeof *q->weight);
	q->exact = exact ? take(q, weights * sizeof *q->exact) : NULL;
	q->mask = q->masked ? malloc(cwe_run_mask_bytes(run)) : NULL;
	q->codes = take(q, weights);
	q->scales = take(q, (scales + 1) * sizeof *q->scales);
	q->zeros = take(q, scales + 1);
	q->code = calloc(run->tallest / CWE_ROW_TILE + 1, sizeof *q->code);
	if (q->weight == NULL || (exact && q->exact == NULL) || (q->masked && q->mask == NULL) || q->codes == NULL || q->scales == NULL ||
		q->zeros == NULL || q->code == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for quantizing");
	}
	memset(q->zeros, 0, scales + 1);
	return 0;
}

int cwe_quantizing_new(struct cwe_run *run, int masked, struct cwe_quantizing *ret, struct cwb_err *err)
{
	struct cwe_quantizing q = {.run = run, .masked = masked};
	int r = cwe_quantizing_device_new(&q, err);
	r = r == 0 ? allocate(&q, err) : r;
	r = r == 0 && cwe_smoothing_wanted(run) ? cwe_smoothing_new(run, masked, &q.smoothing, err) : r;
	if (r != 0) {
		cwe_quantizing_free(&q);
		return r;
	}
	*ret = q;
	return 0;
}

void cwe_quantizing_free(struct cwe_quantizing *q)
{
	if (q->there.d_block != NULL) {
		(void)q->run->device.ops->fetch_wait(q->run->device.b);
	}
	cwe_smoothing_free(q->smoothing);
	give(q, q->weight);
	give(q, q->exact);
	free(q->mask);
	give(q, q->codes);
	give(q, q->scales);
	give(q, q->zeros);
	free(q->code);
	cwe_quantizing_device_free(q);
	memset(q, 0, sizeof *q);
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
		if (cwe_run_module_coded(m)) {
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

/* Every tensor that no module's codes stand for. */
static int copy_rest(struct cwe_run *run, struct cwe_writer *writer, struct cwb_err *err)
{
	const struct cwe_weights *w = run->source->weights;
	int r = 0;
	for (size_t i = 0; r == 0 && i < w->count; i++) {
		if (!cwe_writer_has(writer, w->tensors[i].name)) {
			r = cwe_writer_copy(writer, w->tensors[i].name, err);
			r = r == 0 ? cwe_run_cancelled(run, err) : r;
		}
		cwe_run_progress(run, CWE_STAGE_WRITE, i + 1, w->count, "tensors");
	}
	return r;
}

int cwe_run_quantize(struct cwe_run *run, struct cwb_err *err)
{
	struct cwe_quantizing q = {0};
	int masked = run->protecting && run->job->carrier != CWJ_CARRIER_NONE &&
		run->job->carrier != CWJ_CARRIER_MODULES;
	struct cwe_writer_options options = cwe_run_writer_options(run, masked);
	struct cwe_writer *writer = NULL;
	size_t n = 0;
	cwe_run_stage(run, CWE_STAGE_QUANTIZE);
	struct cwe_output_module *module = cwe_run_output_modules(run, &n, err);
	int strips = cwe_run_by_strips(run, masked);
	int r = module != NULL ? 0 : -ENOMEM;
	r = r == 0 && !strips ? cwe_quantizing_new(run, masked, &q, err) : r;
	r = r == 0 ? cwe_writer_new(run->source, &options, module, n, &writer, err) : r;
	if (r == 0) {
		cwe_writer_threads(writer, run->p->host->pool);
	}
	if (r == 0 && q.smoothing != NULL) {
		cwe_writer_values(writer, q.smoothing->scaled);
	}
	if (r == 0) {
		r = strips ? cwe_run_strips(run, writer, err)
			: run->quantizer_needs != 0 ? cwe_run_sequential(&q, writer, err) : all_modules(&q, writer, err);
	}
	if (r == 0) {
		cwe_run_stage(run, CWE_STAGE_WRITE);
		r = copy_rest(run, writer, err);
		r = r == 0 ? cwe_writer_finish(writer, err) : r;
		r = r == 0 ? cwe_writer_digests(writer, &run->written, err) : r;
	}
	if (r == 0) {
		cwe_run_carrier_end(run, writer);
	}
	if (r == -ENOENT && writer != NULL && cwe_writer_place(writer, err) != 0) {
		r = CWP_ESTATE; /* files cannot be made in a folder that is gone */
	}
	cwe_writer_free(writer);
	cwe_quantizing_free(&q);
	free(module);
	return r;
}
