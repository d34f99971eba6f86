/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
#include "plugins/quantizers/static/gptq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/error.h>

#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/static/gptq_p.h"

enum { BLOCK = GPTQ_BLOCK, VECTOR = 4, WIDE = 8 * VECTOR, PIECE = 16 };

typedef float vector __attribute__((vector_size(VECTOR * sizeof(float))));

struct work {
	const struct gptq *g;
	const struct gptq_options *options;
	const struct scale_rule *rule;
	uint64_t group, scales; /* columns of a scale, scales of a row */
	const struct cwp_quantizer_tile *tile;
	const struct cwp_quantizer_result *result;
	float *w;     /* [rows, cols] in the order of the columns: what is left to be rounded */
	float *error; /* [rows, BLOCK] of the block at hand, over U's diagonal */
	float *u;     /* [BLOCK, BLOCK] the block's part of U, zero left of the diagonal and on it */
	uint64_t first, width; /* the block at hand */
};

static inline vector load(const float *p)
{
	vector v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void store(float *p, vector v)
{
	memcpy(p, &v, sizeof(v));
}

/* w [WIDE] -= sum over p of e[p] u[p][WIDE], p ascending. */
static inline void subtract_wide(float *w, const float *e, const float *u, uint64_t ld, uint64_t depth)
{
	vector v[8];

	for (int i = 0; i < 8; i++) {
		v[i] = load(w + i * VECTOR);
	}
	for (uint64_t p = 0; p < depth; p++, u += ld) {
		v[0] -= e[p] * load(u);
		v[1] -= e[p] * load(u + 1 * VECTOR);
		v[2] -= e[p] * load(u + 2 * VECTOR);
		v[3] -= e[p] * load(u + 3 * VECTOR);
		v[4] -= e[p] * load(u + 4 * VECTOR);
		v[5] -= e[p] * load(u + 5 * VECTOR);
		v[6] -= e[p] * load(u + 6 * VECTOR);
		v[7] -= e[p] * load(u + 7 * VECTOR);
	}
	for (int i = 0; i < 8; i++) {
		store(w + i * VECTOR, v[i]);
	}
}

/* The block's errors to all columns behind it. U is gone through by columns, so that a part of it serves all rows. */
static void spread(const struct work *k)
{
	const uint64_t cols = k->g->cols, end = k->first + k->width;

	for (uint64_t c = end; c < cols; c += WIDE) {
		const float *u = k->g->u + k->first * cols + c;
		for (uint64_t r = 0; r < k->tile->rows; r++) {
			float *w = k->w + r * cols + c;
			const float *e = k->error + r * BLOCK;
			if (cols - c >= WIDE) {
				subtract_wide(w, e, u, cols, k->width);
				continue;
			}
			for (uint64_t i = 0; i < cols - c; i++) {
				float sum = w[i];
				for (uint64_t p = 0; p < k->width; p++) {
					sum -= e[p] * u[p * cols + i];
				}
				w[i] = sum;
			}
		}
	}
}

static const uint8_t *mask_of(const struct work *k, uint64_t r)
{
	return mask_row(k->tile->mask, k->tile->mask_stride, r);
}

static void find_scale(const struct work *k, uint64_t r, const float *row, uint64_t i)
{
	const uint64_t cols = k->g->cols, first = i * k->group;
	int8_t zero;

	scale_find(k->rule, row, mask_of(k, r), first, cols - first < k->group ? cols - first : k->group, k->result->scales + r * k->scales + i,
		&zero);
	if (k->result->zeros != NULL) {
		k->result->zeros[r * k->scales + i] = zero;
	}
}

/* One column of a row -> its code, and what the engine will compute with. value: what is left to be rounded. */
static float round_one(const struct work *k, uint64_t r, uint64_t column, float value)
{
	const uint64_t at = r * k->g->cols + column, i = r * k->scales + column / k->group;
	const float least = -(float)(1 << (k->rule->bits - 1)), scale = k->result->scales[i];
	const float zero = k->result->zeros != NULL ? (float)k->result->zeros[i] : 0;
	const uint8_t *mask = mask_of(k, r);
	const int kept = mask != NULL && is_protected(mask, column);

	value = kept && !k->options->compensated ? k->tile->weight[at] : value;
	const int8_t code = code_int(value, scale, zero, least, -least - 1);
	k->result->codes[at] = (uint8_t)code;
	if (kept && k->result->exact != NULL) {
		k->result->exact[at] = value;
	}
	return kept ? value : ((float)code - zero) * scale;
}

/* A row's part of the block; its later columns there make good at once. */
static int round_row(const struct work *k, uint64_t r)
{
	const uint64_t cols = k->g->cols;
	float *w = k->w + r * cols + k->first, *error = k->error + r * BLOCK, local[BLOCK] = {0};

	memcpy(local, w, k->width * sizeof(*local));
	for (uint64_t j = 0; j < k->width; j++) {
		const uint64_t at = k->first + j, column = gptq_column(k->g, at);
		if (k->g->order == NULL && column % k->group == 0) {
			memcpy(w, local, k->width * sizeof(*w));
			find_scale(k, r, k->w + r * cols, column / k->group);
		}
		if (!(local[j] - local[j] == 0)) {
			return CWP_ENUMBER;
		}
		const float e = (local[j] - round_one(k, r, column, local[j])) / k->g->u[at * cols + at];
		const float *u = k->u + j * BLOCK;
		error[j] = e;
		for (uint64_t c = (j + 1) / PIECE * PIECE; c < BLOCK; c += PIECE) {
			for (uint64_t i = c; i < c + PIECE; i++) {
				local[i] -= e * u[i];
			}
		}
	}
	return 0;
}

/* Blocks end with groups: then all of a group's columns are up to date when its scale is found. */
static uint64_t width_at(const struct work *k, uint64_t first)
{
	const uint64_t left = k->g->cols - first;
	uint64_t width = BLOCK;

	if (k->g->order == NULL && k->group < BLOCK) {
		width = BLOCK / k->group * k->group;
	} else if (k->g->order == NULL && k->group - first % k->group < BLOCK) {
		width = k->group - first % k->group;
	}
	return width < left ? width : left;
}

static int round_blocks(struct work *k)
{
	const uint64_t cols = k->g->cols;

	for (k->first = 0; k->first < cols; k->first += k->width) {
		k->width = width_at(k, k->first);
		memset(k->u, 0, BLOCK * BLOCK * sizeof(*k->u));
		for (uint64_t p = 0; p < k->width; p++) {
			for (uint64_t c = p + 1; c < k->width; c++) {
				k->u[p * BLOCK + c] = k->g->u[(k->first + p) * cols + k->first + c];
			}
		}
		for (uint64_t r = 0; r < k->tile->rows; r++) {
			const int rc = round_row(k, r);
			if (rc != 0) {
				return rc;
			}
		}
		spread(k);
	}
	return 0;
}

int gptq_rows(const struct gptq *g, const struct gptq_options *options, const struct scale_rule *rule, uint64_t group,
	const struct cwp_quantizer_tile *tile, const struct cwp_quantizer_result *result)
{
	const uint64_t cols = g->cols, n = tile->rows * cols;
	struct work k = {.g = g, .options = options, .rule = rule, .group = group, .scales = (cols - 1) / group + 1, .tile = tile,
		.result = result};
	int rc;

	k.w = malloc((n + tile->rows * BLOCK + BLOCK * BLOCK) * sizeof(*k.w));
	if (k.w == NULL) {
		return -ENOMEM;
	}
	k.error = k.w + n;
	k.u = k.error + tile->rows * BLOCK;
	for (uint64_t r = 0; r < tile->rows; r++) {
		for (uint64_t i = 0; i < cols; i++) {
			k.w[r * cols + i] = tile->weight[r * cols + gptq_column(g, i)];
		}
		for (uint64_t i = 0; g->order != NULL && i < k.scales; i++) {
			find_scale(&k, r, tile->weight + r * cols, i);
		}
	}
	rc = round_blocks(&k);
	free(k.w);
	return rc;
}
