/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Bringing a model's numbers to a device: threads read steps that stay in the cache, look at them and send them on. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/model_p.h"
#include "engine/model/ops.h"
#include "engine/model/reading.h"

/* load() may not explain a failure. */
int cwe_model_load(struct cwe_model *m, float *d, const void *src, uint32_t dtype, uint64_t n, struct cwb_err *err)
{
	int r = m->device->ops->load(m->device->b, d, src, dtype, n);
	return r == 0 ? 0 : cwb_err_set(err, r, "%s: weights cannot be brought to the device (code %d)",
		m->device->plugin->descriptor->id, r);
}

/* Rows of a tensor from `first` on, and where they go to: f32, or words of four bytes as they are stored. */
struct brought {
	struct cwe_model *m;
	const struct cwe_tensor *t;
	uint64_t first;
	char *d;
	int stored;
};

static uint64_t row_bytes(const struct cwe_tensor *t)
{
	return cwe_tensor_row(t) * (t->dtype == CWP_F32 ? sizeof(float) : sizeof(uint16_t));
}

/* Any thread. */
static int bring(void *arg, uint64_t row, uint64_t rows, void *raw, struct cwb_err *err)
{
	const struct brought *b = arg;
	uint64_t n = rows * cwe_tensor_row(b->t), at = (row - b->first) * cwe_tensor_row(b->t), bytes = row_bytes(b->t);
	int r = cwe_weights_read_raw(b->m->weights, b->t, row, rows, raw, err);
	r = r == 0 ? cwe_model_check_finite(b->m, b->t, row, raw, b->t->dtype, n, err) : r;
	if (r != 0) {
		return r;
	}
	if (b->stored) {
		void *d = b->d + (row - b->first) * bytes;
		return cwe_model_load(b->m, d, raw, CWP_F32, rows * bytes / sizeof(float), err);
	}
	return cwe_model_load(b->m, (float *)(void *)b->d + at, raw, b->t->dtype, n, err);
}

static struct cwe_reading_part part_of(struct brought *b, uint64_t rows)
{
	uint64_t bytes = row_bytes(b->t);
	return (struct cwe_reading_part){b->first, rows, cwe_model_step_rows(b->t, rows, bytes), bytes, b};
}

static int run(struct cwe_model *m, const struct cwe_reading_part *part, size_t parts, struct cwb_err *err)
{
	const struct cwe_reading r = {.part = part, .parts = parts, .threads = m->device->host->table.threads, .run = bring};
	return cwe_reading_run(&r, err);
}

static int by_place(const void *a, const void *b)
{
	const struct cwe_model_load *x = a, *y = b;
	return x->d < y->d ? -1 : x->d > y->d;
}

/* What is decoded at once takes memory for all of a tensor: one after the other. */
int cwe_model_load_all(struct cwe_model *m, struct cwe_model_load *list, size_t n, struct cwb_err *err)
{
	struct brought *b = calloc(n + 1, sizeof *b);
	struct cwe_reading_part *part = calloc(n + 1, sizeof *part);
	size_t parts = 0; /* that are read together */
	int r = b != NULL && part != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for a list of %zu tensors", n);
	if (r == 0) {
		qsort(list, n, sizeof *list, by_place);
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct cwe_tensor *t = list[i].t;
		b[i] = (struct brought){.m = m, .t = t, .d = (char *)list[i].d};
		if (t->whole) {
			const struct cwe_reading_part alone = part_of(&b[i], t->shape[0]);
			r = run(m, &alone, 1, err);
		} else {
			part[parts++] = part_of(&b[i], t->shape[0]);
		}
	}
	r = r == 0 ? run(m, part, parts, err) : r;
	free(part);
	free(b);
	return r;
}

int cwe_model_load_rows(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *d, struct cwb_err *err)
{
	struct brought b = {m, t, row, (char *)d, 0};
	const struct cwe_reading_part part = part_of(&b, rows);
	return cwe_device_remote(m->device) ? run(m, &part, 1, err) : cwe_model_read_host(m, t, row, rows, d, err);
}

int cwe_model_load_stored(struct cwe_model *m, const struct cwe_tensor *t, uint64_t rows, void *d, struct cwb_err *err)
{
	struct brought b = {m, t, 0, d, 1};
	const struct cwe_reading_part part = part_of(&b, rows);
	int r = cwe_device_load_begin(m->device, err);
	if (r == 0) {
		r = run(m, &part, 1, err);
		int waited = cwe_device_load_wait(m->device, r == 0 ? err : NULL);
		r = r == 0 ? waited : r;
	}
	return r;
}

/* The two summands of a weight, some rows at a time. */
static int load_split(struct cwe_model *m, const struct cwe_tensor *t, float *d_quantized, float *d_exact, struct cwb_err *err)
{
	uint64_t cols = cwe_tensor_row(t), step = cwe_model_step_rows(t, t->shape[0], cols * sizeof(float));
	float *x = malloc(2 * step * cols * sizeof *x + 1);
	int r = x != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory to read %s", t->name);
	for (uint64_t row = 0; r == 0 && row < t->shape[0]; row += step) {
		uint64_t n = t->shape[0] - row < step ? t->shape[0] - row : step;
		float *exact = x + n * cols;
		if ((r = cwe_weights_read_split(m->weights, t, row, n, x, exact, err)) == 0 &&
			(r = cwe_model_check_finite(m, t, row, x, CWP_F32, n * cols, err)) == 0 &&
			(r = cwe_model_check_finite(m, t, row, exact, CWP_F32, n * cols, err)) == 0 &&
			(r = cwe_model_load(m, d_quantized + row * cols, x, CWP_F32, n * cols, err)) == 0) {
			r = cwe_model_load(m, d_exact + row * cols, exact, CWP_F32, n * cols, err);
		}
	}
	free(x);
	return r;
}

int cwe_model_load_split(struct cwe_model *m, const struct cwe_tensor *t, float *d_quantized, float *d_exact, struct cwb_err *err)
{
	uint64_t n = t->shape[0] * t->shape[1];
	if (cwe_device_remote(m->device)) {
		return load_split(m, t, d_quantized, d_exact, err);
	}
	int r = cwe_weights_read_split(m->weights, t, 0, t->shape[0], d_quantized, d_exact, err);
	r = r == 0 ? cwe_model_check_finite(m, t, 0, d_quantized, CWP_F32, n, err) : r;
	return r == 0 ? cwe_model_check_finite(m, t, 0, d_exact, CWP_F32, n, err) : r;
}

int cwe_model_read_rows(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *d, struct cwb_err *err)
{
	int r = cwe_device_load_begin(m->device, err);
	if (r == 0) {
		r = cwe_model_load_rows(m, t, row, rows, d, err);
		int waited = cwe_device_load_wait(m->device, r == 0 ? err : NULL);
		r = r == 0 ? waited : r;
	}
	return r;
}
