/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GPTQ of the checking backend: the published loop, without blocks. The factor in f64 by way of the inverse, so that it has nothing
 * in common with how the host comes to it. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/quantizers/rounding.h"
#include "tests/plugins/fake/fake.h"

#define F sizeof(float)

static uint64_t factor_work(uint64_t n)
{
	return 2 * n * n * sizeof(double);
}

static uint64_t fake_gptq_work(void *vb, uint64_t rows, uint64_t cols)
{
	(void)vb;
	uint64_t factor = factor_work(cols), round = rows * cols * F;
	return factor > round ? factor : round;
}

static uint64_t column(const uint32_t *order, uint64_t i)
{
	return order != NULL ? order[i] : i;
}

/* Whether each number below n comes once. */
static int is_order(const uint32_t *order, uint64_t n)
{
	char *seen = calloc(n, 1);
	int fine = seen != NULL;
	for (uint64_t i = 0; fine && order != NULL && i < n; i++) {
		fine = order[i] < n && !seen[order[i]];
		if (fine) {
			seen[order[i]] = 1;
		}
	}
	free(seen);
	return fine;
}

/* a [n, n] = L L^T into its lower triangle. 1: a pivot is not positive. */
static int cholesky(double *a, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		for (uint64_t k = 0; k <= i; k++) {
			double sum = a[i * n + k];
			for (uint64_t p = 0; p < k; p++) {
				sum -= a[i * n + p] * a[k * n + p];
			}
			if (k < i) {
				a[i * n + k] = sum / a[k * n + k];
			} else if (sum > 1e-14 * a[i * n + i]) {
				a[i * n + i] = sqrt(sum);
			} else {
				return 1;
			}
		}
	}
	return 0;
}

/* h := its inverse, by L^-1 in l; h is symmetric, of which the lower triangle is read. */
static int invert(double *h, double *l, uint64_t n)
{
	if (cholesky(h, n) != 0) {
		return 1;
	}
	memset(l, 0, n * n * sizeof *l);
	for (uint64_t c = 0; c < n; c++) {
		for (uint64_t i = c; i < n; i++) {
			double sum = i == c;
			for (uint64_t p = c; p < i; p++) {
				sum -= h[i * n + p] * l[c * n + p];
			}
			l[c * n + i] = sum / h[i * n + i]; /* transposed: row c has column c */
		}
	}
	for (uint64_t i = 0; i < n; i++) {
		for (uint64_t k = 0; k <= i; k++) {
			double sum = 0;
			for (uint64_t p = i; p < n; p++) {
				sum += l[i * n + p] * l[k * n + p];
			}
			h[i * n + k] = sum;
		}
	}
	return 0;
}

static int fake_gptq_factor(void *vb, const struct cwp_gptq_factor *f)
{
	struct fake_access a = fake_begin(vb, "gptq_factor");
	uint64_t n = f->n;
	const float *gram = fake_read(&a, f->d_gram, n * n * F);
	const uint32_t *order = fake_read(&a, f->d_order, n * sizeof *order);
	float *u = fake_write(&a, f->d_u, n * n * F);
	double *h = fake_write(&a, f->d_work, factor_work(n)), *l = h + n * n;
	a.b->factors++;
	if (a.code != 0) {
		return a.code;
	}
	if (f->size != sizeof *f || f->flags != 0 || !is_order(order, n) || !(f->damping >= 0)) {
		return fake_refuse(a.b, a.op, "its size, flags, order or damping of %g are no sense", f->damping);
	}
	for (uint64_t i = 0; i < n; i++) {
		for (uint64_t k = 0; k <= i; k++) {
			uint64_t x = column(order, i), y = column(order, k);
			h[i * n + k] = (double)gram[x < y ? x * n + y : y * n + x];
		}
		h[i * n + i] = h[i * n + i] > 0 ? h[i * n + i] + f->damping : 1;
	}
	memset(u, 0, n * n * F);
	if (invert(h, l, n) != 0 || cholesky(h, n) != 0) {
		return 1;
	}
	for (uint64_t i = 0; i < n; i++) {
		for (uint64_t k = i; k < n; k++) {
			u[i * n + k] = (float)h[k * n + i];
		}
	}
	return 0;
}

/* What one row is rounded with, all in the host's memory. */
struct row {
	const struct cwp_gptq_round *r;
	const uint32_t *order;
	const float *u, *weight;
	const uint8_t *mask;
	float *w; /* what is left, in the order of columns of the weight */
	uint8_t *codes;
	float *scales, *exact;
	int8_t *zeros;
};

static void find_scale(const struct row *row, const float *from, uint64_t group)
{
	const struct cwp_gptq_round *r = row->r;
	uint64_t first = group * r->group, n = r->cols - first < r->group ? r->cols - first : r->group;
	float low = 0, high = 0, greatest = (float)((1 << (r->bits - 1)) - 1), exact;
	for (uint64_t c = first; c < first + n; c++) {
		if (row->mask == NULL || !is_protected(row->mask, c)) {
			low = from[c] < low ? from[c] : low;
			high = from[c] > high ? from[c] : high;
		}
	}
	high = r->symmetric && -low > high ? -low : high;
	exact = r->symmetric ? high / greatest : (float)(((double)high - (double)low) / (double)(2 * greatest + 1));
	row->scales[group] = r->exact_scales ? (exact >= FLT_MIN ? exact : 1) : usable_scale(exact);
	if (!r->symmetric) {
		row->zeros[group] = code_int(-low, row->scales[group], -greatest - 1, -greatest - 1, greatest);
	}
}

static int round_row(const struct row *row)
{
	const struct cwp_gptq_round *r = row->r;
	const float greatest = (float)((1 << (r->bits - 1)) - 1);
	for (uint64_t i = 0; row->order != NULL && i * r->group < r->cols; i++) {
		find_scale(row, row->weight, i);
	}
	for (uint64_t i = 0; i < r->cols; i++) {
		uint64_t c = column(row->order, i), g = c / r->group;
		int kept = row->mask != NULL && is_protected(row->mask, c);
		if (row->order == NULL && c % r->group == 0) {
			find_scale(row, row->w, g);
		}
		if (!isfinite(row->w[c])) {
			return CWP_ENUMBER;
		}
		float zero = r->symmetric ? 0 : (float)row->zeros[g], value = kept && !r->compensated ? row->weight[c] : row->w[c];
		int8_t code = code_int(value, row->scales[g], zero, -greatest - 1, greatest);
		row->codes[c] = (uint8_t)code;
		if (kept && row->exact != NULL) {
			row->exact[c] = value;
		}
		float e = (row->w[c] - (kept ? value : ((float)code - zero) * row->scales[g])) / row->u[i * r->cols + i];
		for (uint64_t k = i + 1; k < r->cols; k++) {
			row->w[column(row->order, k)] -= e * row->u[i * r->cols + k];
		}
	}
	return 0;
}

static int check_round(struct fake *b, const struct cwp_gptq_round *r, const uint32_t *order)
{
	if (r->size != sizeof *r || r->flags != 0 || r->bits < 2 || r->bits > 8 || r->group == 0 || r->group > r->cols ||
		!is_order(order, r->cols) || (r->d_zeros == NULL) != (r->symmetric != 0) || (r->d_exact != NULL && r->d_mask == NULL) ||
		(r->d_mask != NULL && r->mask_stride < (r->cols + 7) / 8)) {
		return fake_refuse(b, "gptq_round", "its size, flags, bits %u, group, order or arrays are no sense", r->bits);
	}
	return 0;
}

static int fake_gptq_round(void *vb, const struct cwp_gptq_round *r)
{
	struct fake_access a = fake_begin(vb, "gptq_round");
	uint64_t n = r->rows * r->cols, scales = r->group > 0 && r->cols > 0 ? (r->cols - 1) / r->group + 1 : 0;
	const uint32_t *order = fake_read(&a, r->d_order, r->cols * sizeof *order);
	const float *u = fake_read(&a, r->d_u, r->cols * r->cols * F), *weight = fake_read(&a, r->d_weight, n * F);
	const uint8_t *mask = fake_read(&a, r->d_mask, r->rows * r->mask_stride);
	uint8_t *codes = fake_write(&a, r->d_codes, n);
	float *scale = fake_write(&a, r->d_scales, r->rows * scales * F), *exact = fake_write(&a, r->d_exact, n * F);
	int8_t *zeros = fake_write(&a, r->d_zeros, r->rows * scales);
	float *w = fake_write(&a, r->d_work, n * F);
	a.b->rounds++;
	int rc = a.code != 0 ? a.code : check_round(a.b, r, order);
	if (rc != 0) {
		return rc;
	}
	memcpy(w, weight, n * F);
	for (uint64_t i = 0; rc == 0 && i < r->rows; i++) {
		const struct row row = {.r = r, .order = order, .u = u, .weight = weight + i * r->cols,
			.mask = mask_row(mask, r->mask_stride, i), .w = w + i * r->cols, .codes = codes + i * r->cols, .scales = scale + i * scales,
			.exact = exact != NULL ? exact + i * r->cols : NULL, .zeros = zeros != NULL ? zeros + i * scales : NULL};
		rc = round_row(&row);
	}
	return rc;
}

void fake_fill_gptq(struct cwp_backend *table)
{
	table->gptq_factor = fake_gptq_factor;
	table->gptq_round = fake_gptq_round;
	table->gptq_work = fake_gptq_work;
}

void fake_tell_gptq(const struct fake *b)
{
	const char *path = getenv("CWP_FAKE_TELL");
	FILE *f = path != NULL ? fopen(path, "a") : NULL;
	if (f != NULL) {
		(void)fprintf(f, "gptq_factor %llu gptq_round %llu operations %llu\n", (unsigned long long)b->factors,
			(unsigned long long)b->rounds, (unsigned long long)b->operations);
		(void)fclose(f);
	}
}
