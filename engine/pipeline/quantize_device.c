/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Modules that the quantizer works on where they are, on a GPU: its memory there, and what comes back. */
#include <errno.h>
#include <string.h>

#include "engine/model/ops.h"
#include "engine/pipeline/device.h"
#include "engine/pipeline/quantize_device.h"

enum { LINE = 256 };

/* Bytes of the largest module's arrays. */
struct most {
	uint64_t work, codes, scales, zeros, exact, mask;
};

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t lines(uint64_t bytes)
{
	return (bytes + LINE - 1) / LINE * LINE;
}

static uint64_t work_of(const struct cwe_run *run, const struct cwe_run_module *m)
{
	const struct cwp_quantizer *q = run->quantizer->interface;
	return m->quantized ? q->device_memory(run->quantizer_settings, run->device.ops, run->device.b, m->rows, m->cols) : 0;
}

/* Whether this run's quantizer may be asked. */
static int is_able(const struct cwe_run *run)
{
	const struct cwp_quantizer *q = run->quantizer->interface;
	return cwe_device_remote(&run->device) && q->device_memory != NULL && (run->quantizer_needs & CWP_STAT_GRAM) != 0 &&
		(run->quantizer_needs & CWP_QUANTIZER_SMOOTHS) == 0;
}

static struct most largest(const struct cwe_run *run, int masked)
{
	struct most most = {0};
	for (size_t i = 0; is_able(run) && i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		uint64_t work = work_of(run, m), codes = m->rows * m->cols;
		if (work > 0) {
			uint64_t scales = m->rows * cwe_grid_scales(&m->grid, m->cols);
			most.work = max_u64(most.work, work);
			most.codes = max_u64(most.codes, codes);
			most.scales = max_u64(most.scales, scales * sizeof(float));
			most.zeros = max_u64(most.zeros, m->grid.symmetric ? 0 : scales);
			most.exact = max_u64(most.exact, masked ? codes * sizeof(float) : 0);
			most.mask = max_u64(most.mask, masked ? cwe_run_module_mask_bytes(m) : 0);
		}
	}
	return most;
}

static uint64_t sum(const struct most *m)
{
	return lines(m->work) + lines(m->codes) + lines(m->scales) + lines(m->zeros) + lines(m->exact) + lines(m->mask);
}

uint64_t cwe_quantizing_device_bytes(const struct cwe_run *run, int masked)
{
	const struct most most = largest(run, masked);
	return most.work > 0 ? sum(&most) : 0;
}

int cwe_quantizing_is_there(const struct cwe_quantizing *q, const struct cwe_run_module *m)
{
	return q->there.d_block != NULL && work_of(q->run, m) > 0;
}

int cwe_quantizing_device_new(struct cwe_quantizing *q, struct cwb_err *err)
{
	struct cwe_quantizing_there *there = &q->there;
	const struct most most = largest(q->run, q->masked);
	if (!q->run->quantizes_there || most.work == 0) {
		return 0;
	}
	there->bytes = sum(&most);
	int r = cwe_device_bytes(&q->run->device, there->bytes, &there->d_block, err);
	if (r != 0) {
		return r;
	}
	char *at = there->d_block;
	there->d_work = at;
	at += lines(most.work);
	there->d_codes = (uint8_t *)at;
	at += lines(most.codes);
	there->d_scales = (float *)(void *)at;
	at += lines(most.scales);
	there->d_zeros = most.zeros > 0 ? (int8_t *)at : NULL;
	at += lines(most.zeros);
	there->d_exact = q->masked ? (float *)(void *)at : NULL;
	at += lines(most.exact);
	there->d_mask = q->masked ? (uint8_t *)at : NULL;
	/* Of exact values only some are written, yet all come back. */
	return q->masked ? CWE_OP(&q->run->device, zero, there->d_exact, most.exact) : 0;
}

void cwe_quantizing_device_free(struct cwe_quantizing *q)
{
	if (q->run != NULL) {
		cwe_device_free(&q->run->device, q->there.d_block, q->there.bytes);
	}
	memset(&q->there, 0, sizeof q->there);
}

/* What was made of the module, to where the host's own would be. */
static int fetch(const struct cwe_quantizing *q, const struct cwe_run_module *m, struct cwb_err *err)
{
	const struct cwe_quantizing_there *there = &q->there;
	struct cwe_device *device = &q->run->device;
	uint64_t n = m->rows * m->cols, scales = m->rows * cwe_grid_scales(&m->grid, m->cols);
	int r = CWE_OP(device, fetch, q->codes, there->d_codes, n);
	r = r == 0 ? CWE_OP(device, fetch, q->scales, there->d_scales, scales * sizeof *q->scales) : r;
	if (r == 0 && !m->grid.symmetric) {
		r = CWE_OP(device, fetch, q->zeros, there->d_zeros, scales);
	}
	if (r == 0 && q->masked) {
		r = CWE_OP(device, fetch, q->exact, there->d_exact, n * sizeof *q->exact);
	}
	return r == 0 ? CWE_OP(device, fetch_wait) : r;
}

/* The weight to the host, where rows alone are looked at. */
static int bring(struct cwe_quantizing *q, const struct cwe_run_module *m, const float *d_weight, struct cwb_err *err)
{
	struct cwe_device *device = &q->run->device;
	int r = CWE_OP(device, fetch_wait); /* nothing is sent from there any more */
	return r == 0 ? CWE_OP(device, download, q->weight, d_weight, m->rows * m->cols * sizeof *q->weight) : r;
}

int cwe_quantizing_failed(const struct cwe_run *run, const struct cwe_run_module *m, int code, struct cwb_err *err)
{
	return cwe_host_error(run->p->host, run->job->quantize.plugin, m->name, code == CWP_ESTATE ? -ENODEV : code, err);
}

int cwe_quantizing_module_there(struct cwe_quantizing *q, const struct cwe_run_module *m, const float *d_weight, const void *state,
	struct cwb_err *err)
{
	const struct cwe_run *run = q->run;
	const struct cwp_quantizer *quantizer = run->quantizer->interface;
	const struct cwe_quantizing_there *there = &q->there;
	q->stride = (m->cols + 7) / 8;
	int r = q->masked ? CWE_OP(&q->run->device, upload, there->d_mask, q->mask, m->rows * q->stride) : 0;
	if (r != 0) {
		return r;
	}
	const struct cwp_quantizer_matrix matrix = {.size = sizeof matrix, .rows = m->rows, .cols = m->cols, .backend = run->device.ops,
		.b = run->device.b, .d_weight = d_weight, .d_mask = there->d_mask, .mask_stride = q->stride, .state = state,
		.d_work = there->d_work, .d_codes = there->d_codes, .d_scales = there->d_scales,
		.d_zeros = m->grid.symmetric ? NULL : there->d_zeros, .d_exact = there->d_exact};
	int code = quantizer->quantize_module(run->quantizer_settings, &m->grid, &matrix);
	if (code == 0) {
		return fetch(q, m, err);
	}
	if (code != 1 && code != CWP_ENUMBER) {
		return cwe_quantizing_failed(run, m, code, err);
	}
	r = bring(q, m, d_weight, err);
	if (r == 0 && code == 1) {
		return cwe_quantizing_module(q, m, q->weight, state, err);
	}
	r = r == 0 ? cwe_quantizing_bad_weight(m, 0, m->rows, q->weight, err) : r;
	return r != 0 ? r : cwe_host_error(run->p->host, run->job->quantize.plugin, m->name, code, err);
}

int cwe_quantizing_send(struct cwe_quantizing *q, const struct cwe_run_module *m, float *d_weight, struct cwb_err *err)
{
	struct cwe_device *device = &q->run->device;
	uint64_t bytes = m->rows * m->cols * sizeof *q->weight;
	if (q->there.d_block == NULL) {
		return CWE_OP(device, upload, d_weight, q->weight, bytes);
	}
	int r = CWE_OP(device, send, d_weight, q->weight, bytes);
	return r == 0 ? CWE_OP(device, send_wait) : r;
}
