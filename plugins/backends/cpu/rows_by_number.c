/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows gathered, scattered and multiplied: what mixtures of experts need. */
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

enum { PIECE = 1 << 14 }; /* elements of one piece of work, in whole rows */

struct by_number {
	struct cpu *b;
	const float *x;
	const uint32_t *index;
	const float *factor;
	uint64_t rows, cols, step;
	const float *other;
	float *y;
};

static uint64_t end_of(const struct by_number *w, size_t piece)
{
	uint64_t first = piece * w->step;
	return w->rows - first < w->step ? w->rows : first + w->step;
}

static void gather_piece(void *arg, size_t piece)
{
	const struct by_number *w = arg;
	for (uint64_t i = piece * w->step, end = end_of(w, piece); i < end; i++) {
		const float *x = w->x + (w->index ? w->index[i] : i) * w->cols;
		float *y = w->y + i * w->cols;
		if (y != x) {
			memcpy(y, x, w->cols * sizeof(float));
		}
		if (w->factor) {
			w->b->k.scale(y, w->factor[i], (size_t)w->cols);
		}
	}
}

static void scatter_piece(void *arg, size_t piece)
{
	const struct by_number *w = arg;
	for (uint64_t i = piece * w->step, end = end_of(w, piece); i < end; i++) {
		const float *x = w->x + i * w->cols;
		float *y = w->y + (w->index ? w->index[i] : i) * w->cols;
		if (w->factor) {
			w->b->k.axpy(y, w->factor[i], x, (size_t)w->cols);
		} else {
			w->b->k.add(y, x, (size_t)w->cols);
		}
	}
}

static void dot_piece(void *arg, size_t piece)
{
	const struct by_number *w = arg;
	for (uint64_t i = piece * w->step, end = end_of(w, piece); i < end; i++) {
		w->y[i] = w->b->k.dot(
			w->x + i * w->cols, w->other + i * w->cols, (size_t)w->cols);
	}
}

static int run(struct by_number *w, const char *op, void (*body)(void *arg, size_t i))
{
	int rc = cpu_check_matrix(w->b, op, "x", w->x, w->rows, w->cols, w->cols);
	if (!rc) {
		rc = cpu_check_matrix(w->b, op, "the result", w->y, w->rows, w->cols, w->cols);
	}
	if (rc || w->rows == 0 || w->cols == 0) {
		return rc;
	}
	w->step = PIECE / w->cols > 0 ? PIECE / w->cols : 1;
	cpu_run(w->b, (size_t)((w->rows + w->step - 1) / w->step), body, w);
	return 0;
}

int cpu_gather_rows(void *b, const float *d_x, const uint32_t *d_index, const float *d_factor,
	uint64_t rows, uint64_t cols, float *d_y)
{
	struct by_number w = {b, d_x, d_index, d_factor, rows, cols, 0, NULL, d_y};
	return run(&w, "gather_rows", gather_piece);
}

int cpu_scatter_rows(void *b, const float *d_x, const uint32_t *d_index, const float *d_factor,
	uint64_t rows, uint64_t cols, float *d_y)
{
	struct by_number w = {b, d_x, d_index, d_factor, rows, cols, 0, NULL, d_y};
	return run(&w, "scatter_rows", scatter_piece);
}

int cpu_dot_rows(
	void *b, const float *d_x, const float *d_y, uint64_t rows, uint64_t cols, float *d_dot)
{
	struct by_number w = {b, d_x, NULL, NULL, rows, cols, 0, d_y, d_dot};
	int rc = cpu_check_matrix(b, "dot_rows", "y", d_y, rows, cols, cols);
	return rc ? rc : run(&w, "dot_rows", dot_piece);
}
