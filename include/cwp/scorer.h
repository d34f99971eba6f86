/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scorer plugins: statistics of one tile of weights -> importance of each weight.
 * A scorer never sees a backend, a file or a model; it is about 100 lines. */
#ifndef CWP_SCORER_H
#define CWP_SCORER_H

#include <stddef.h>
#include <stdint.h>

#include <cwp/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CWP_SCORER_INTERFACE "cwp.scorer/1.draft"

/* Statistics that a scorer may ask for (a quantizer: those of x alone, quantizer.h). g is the gradient of one sample's loss with respect to
 * the weight; x is the module's input, one value a token and channel. */
enum cwp_statistic {
	CWP_STAT_GRAD_SUM = 1 << 0,   /* [rows, cols] sum over samples of g */
	CWP_STAT_GRAD_ABS = 1 << 1,   /* [rows, cols] sum over samples of |g| */
	CWP_STAT_GRAD_SQ = 1 << 2,    /* [rows, cols] sum over samples of g^2 */
	CWP_STAT_ACT_SUM = 1 << 3,    /* [cols] sum over tokens of x */
	CWP_STAT_ACT_SQ = 1 << 4,     /* [cols] sum over tokens of x^2 */
	CWP_STAT_ACT_ABSMAX = 1 << 5, /* [cols] maximum over tokens of |x| */
	CWP_STAT_GRAM = 1 << 6,       /* [cols, cols] sum over tokens of x x^T: for quantizers only */
	CWP_STAT_QUANT_ERROR = 1 << 7, /* [rows, cols] Q(W) - W, Q being the job's quantizer, nothing protected */
	CWP_STAT_ACT_HISTOGRAM = 1 << 8, /* [CWP_HISTOGRAM_BINS] how many x have which magnitude: for quantizers only */
	CWP_STAT_ACT_ABS = 1 << 9,    /* [cols] sum over tokens of |x|: for quantizers only */
	CWP_STAT_ACT_RANGE = 1 << 10  /* [cols] least and greatest x, 0 being among them: for quantizers only */
};

/* Bins of magnitudes, 64 to an octave: bin i from 1 on holds those from the f32 number whose bits are
 * (i - 1 + CWP_HISTOGRAM_FIRST) << 17 up to the next bin's, the last one all above; bin 0 what is less than 2^-24. */
#define CWP_HISTOGRAM_FIRST ((127 - 24) << 6)
#define CWP_HISTOGRAM_BINS (48 * 64 + 1)

/* A tile: `rows` whole rows of one weight matrix [out, in], all arrays row-major without padding. Pointers
 * of statistics that were not asked for are NULL. The host owns all arrays; they live until the call returns. */
struct cwp_scorer_tile {
	uint32_t size;
	uint32_t flags;   /* 0; an unknown bit is an error */
	uint64_t rows;    /* output channels in this tile */
	uint64_t cols;    /* input channels */
	uint64_t samples; /* samples behind the statistics */
	uint64_t tokens;  /* tokens behind the activation statistics */
	const float *weight; /* [rows, cols] */
	const float *grad_sum;
	const float *grad_abs;
	const float *grad_sq;
	const float *act_sum;
	const float *act_sq;
	const float *act_absmax;
	/* Which rows these are: */
	uint64_t row;       /* number of the first one in its matrix */
	const char *module; /* the matrix's name, such as model.layers.0.mlp.up_proj */
};

struct cwp_scorer {
	uint32_t size; /* sizeof(struct cwp_scorer) */
	/* enum cwp_statistic bits that score() and finish() need under these settings. `combine` is the job's
	 * `score.combine`: "mean", "reference" or "rank". settings are in the order of the option table. [scan] */
	uint32_t (*needs)(const struct cwp_setting *settings, const char *combine);
	/* One set's statistics -> importance [rows, cols] of that set. 0, or a negative code. [any-thread] */
	int (*score)(const struct cwp_setting *settings, const struct cwp_scorer_tile *tile, float *importance);
	/* After the sets were combined: may weigh the combined score [rows, cols] in place by what does not
	 * belong to a set. quant_error is as CWP_STAT_QUANT_ERROR, or NULL when not asked for. NULL: the combined
	 * score is final. [any-thread] */
	int (*finish)(const struct cwp_setting *settings, uint64_t rows, uint64_t cols, const float *weight,
		const float *quant_error, float *score);
};

#ifdef __cplusplus
}
#endif
#endif
