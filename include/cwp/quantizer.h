/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantizer plugins: a weight matrix and the mask of protected weights -> codes, scales, zero points.
 * A quantizer never sees a file; names and packing are the business of the host's format writers.
 *
 * A quantized value is (code - zero) * scale. Scales are values that BF16 can hold, unless the grid has exact_scales,
 * and codes come from the rounded scale, so that engines that keep scales in BF16 compute the same weight. */
#ifndef CWP_QUANTIZER_H
#define CWP_QUANTIZER_H

#include <stddef.h>
#include <stdint.h>

#include <cwp/backend.h>
#include <cwp/host.h>
#include <cwp/plugin.h>
#include <cwp/scorer.h> /* enum cwp_statistic */

#ifdef __cplusplus
extern "C" {
#endif

#define CWP_QUANTIZER_INTERFACE "cwp.quantizer/1.draft"

/* A bit of needs() beside enum cwp_statistic: smooth() is to be called. */
#define CWP_QUANTIZER_SMOOTHS (1u << 31)

enum cwp_code_kind {
	CWP_CODE_INT = 1, /* int8 holding a `bits` wide signed integer, -2^(bits-1) .. 2^(bits-1)-1 */
	CWP_CODE_E4M3 = 2 /* uint8 holding an FP8 E4M3FN bit pattern; no zero point */
};

enum cwp_granularity {
	CWP_PER_TENSOR = 1,
	CWP_PER_CHANNEL = 2, /* one scale an output row */
	CWP_PER_GROUP = 3,   /* one scale for `group` neighbouring input channels of a row */
	CWP_PER_BLOCK = 4    /* one scale for block_rows x group */
};

enum cwp_activation_kind {
	CWP_ACT_NONE = 0,
	CWP_ACT_INT8_TOKEN = 1,  /* at run time, symmetric, one scale a token: absmax / 127.5, codes -128 .. 127 */
	CWP_ACT_FP8_TOKEN = 2,   /* at run time, one scale a token: absmax / 448 */
	CWP_ACT_INT8_TENSOR = 3, /* one scale, found in calibration, for all inputs of a module */
	CWP_ACT_FP8_TENSOR = 4,  /* likewise */
	CWP_ACT_FP8_GROUP = 5,   /* at run time, one scale for so many neighbouring channels of a token: absmax / 448 */
	CWP_ACT_INT8_OUTLIER = 6 /* LLM.int8(): at run time, one scale a token, channels that reach the threshold left out */
};

/* How one module is quantized; what decoding and the format writers need to know. */
struct cwp_grid {
	uint32_t size;
	uint32_t code;        /* enum cwp_code_kind */
	uint32_t bits;        /* 8, 4, 3 or 2 */
	uint32_t symmetric;   /* 1: zero points are all 0 and not stored */
	uint32_t granularity; /* enum cwp_granularity */
	uint32_t group;       /* input channels a scale, 0 unless PER_GROUP or PER_BLOCK */
	uint32_t block_rows;  /* 0 unless PER_BLOCK */
	uint32_t activation;  /* enum cwp_activation_kind */
	uint32_t activation_group; /* channels of a token that share a scale with FP8_GROUP, else 0 */
	uint32_t fallback;    /* 1 when the asked granularity did not fit this shape and another was taken */
	float threshold;      /* int8: run-time outlier threshold, else 0 */
	/* The host's, after grid(): 1 where the output keeps scales in f32 as they are. A quantizer may then give others
	 * than values of BF16, where what it imitates does. */
	uint32_t exact_scales;
	/* 1: inputs have a zero point beside their scale; with CWP_ACT_INT8_TENSOR only. */
	uint32_t input_zero;
};

/* Rows [row, row + rows) of one weight matrix [*, cols]. The host owns all input arrays. */
struct cwp_quantizer_tile {
	uint32_t size;
	uint32_t flags; /* 0 */
	uint64_t row;
	uint64_t rows;
	uint64_t cols;
	const float *weight; /* [rows, cols] */
	/* Protected weights, one bit each: row r begins at mask[r * mask_stride], column c is bit c & 7 of byte
	 * c >> 3. They take no part in scales; their codes are whatever the grid gives, since the exact value is
	 * stored beside. NULL: nothing is protected. */
	const uint8_t *mask;
	uint64_t mask_stride; /* bytes */
	/* What prepare() made of this module. NULL: nothing, since there is no prepare(), or since these rows are only to
	 * show an error to be expected or a plain form to compare with: quantize as well as rows alone allow. */
	const void *state;
};

/* What quantize() fills; the host allocates and owns the arrays. n_scales of a row: 1, or ceil(cols / group). */
struct cwp_quantizer_result {
	uint32_t size;
	uint32_t flags;
	uint8_t *codes; /* [rows, cols] one byte each: int8 or E4M3 */
	float *scales;  /* [rows, n_scales] values that BF16 can hold, unless the grid has exact_scales */
	int8_t *zeros;  /* [rows, n_scales]; NULL when the grid is symmetric */
	/* [rows, cols] the weights, which protected ones keep unless another value is put in their place; it is rounded
	 * to the model's own type. What stands at other places does not count. NULL where nothing is protected, or
	 * without a state. */
	float *exact;
};

enum cwp_module_flags {
	CWP_MODULE_SCORES = 1 << 0 /* its output is made into attention scores: queries and keys */
};

/* A module as a whole: what prepare() gets. All arrays are the host's and live until it returns. A statistic that was
 * not asked for is NULL. It is that of the inputs of this module, over all tokens of all calibration sets, each counted
 * once, in a model whose earlier layers are quantized and protected already. */
struct cwp_quantizer_module {
	uint32_t size;
	uint32_t flags; /* enum cwp_module_flags; an unknown bit says nothing that must be known */
	const char *name; /* such as model.layers.0.mlp.up_proj */
	uint64_t rows, cols;
	uint64_t tokens;     /* that came to it: none may have come to an expert, then all statistics are 0 */
	const float *weight; /* [rows, cols] */
	const uint8_t *mask; /* as in a tile, of all rows */
	uint64_t mask_stride;
	const double *act_sum, *act_sq, *act_abs; /* [cols] */
	const float *act_absmax;        /* [cols] */
	const float *gram;              /* [cols, cols] symmetric */
	const uint64_t *act_histogram;  /* [CWP_HISTOGRAM_BINS] over all channels */
	/* Where the grid's activation is INT8_TENSOR or FP8_TENSOR: the scale of the inputs goes here, a positive value
	 * of BF16, the same for modules that have the very same input. */
	float *input_scale;
	/* The state of the module that was prepared before, when it has the very same input, so that all statistics are
	 * the same; else NULL. It will be released after this call. */
	void *before;
	const float *act_least, *act_greatest; /* [cols] ACT_RANGE: at most and at least 0 */
	/* Where the grid has input_zero: the zero point of the inputs goes here, likewise the same for modules that have
	 * the very same input. A code c stands for (c - zero) * scale. */
	int8_t *input_zero;
	/* Where device_memory() is not 0 and the host has that much for it: the device, whose memory the weight and x x^T are in,
	 * while weight and gram are NULL; else all NULL. Of x x^T only [i][k] for k >= i is there. d_work is device_memory() bytes
	 * that nobody else writes to before the next prepare(), the state's to use: with `before` it is as that state left it, the
	 * same memory, and in every other case of no use any more to states of earlier modules. */
	const struct cwp_backend *backend;
	void *b;
	const float *d_weight;
	const float *d_gram;
	void *d_work;
};

/* A module as a whole on the device where prepare() had it: what quantize_module() gets. Arrays with d_ are there, all rows of
 * them, and as in struct cwp_quantizer_tile and cwp_quantizer_result; of d_exact only the places of protected weights count. */
struct cwp_quantizer_matrix {
	uint32_t size;
	uint32_t flags; /* 0 */
	uint64_t rows;
	uint64_t cols;
	const struct cwp_backend *backend;
	void *b;
	const float *d_weight;
	const uint8_t *d_mask; /* NULL: nothing is protected */
	uint64_t mask_stride;
	const void *state;
	void *d_work; /* as prepare() left it */
	uint8_t *d_codes;
	float *d_scales;
	int8_t *d_zeros; /* NULL when the grid is symmetric */
	float *d_exact;  /* NULL where nothing is protected */
};

/* Channels of an input that one or several modules read, whose scales can be moved: the host multiplies columns of the
 * weights by them and divides what makes the input, so that the model computes the same. Statistics are as in struct
 * cwp_quantizer_module, NULL ones none: where several columns share a scale, of all of them. */
struct cwp_quantizer_input {
	uint32_t size;
	uint32_t flags;   /* 0 */
	const char *name; /* of the first module that reads it */
	uint64_t channels;
	uint64_t tokens;  /* behind the sums of a channel, not 0 */
	const double *act_sum, *act_sq, *act_abs; /* [channels] */
	const float *act_absmax;    /* [channels] */
	const float *weight_absmax; /* [channels] largest weight of all modules, protected ones left out unless all are */
	void *ctx;
	/* The sum of squared errors at the outputs of all these modules when quantize() gets their weights times scale
	 * [channels], without a state, the scales rounded as they would be in the model; protected weights have none. 0
	 * without GRAM among the needs, infinite where the model's dtype could not hold what is scaled. May give a code
	 * that smooth() is to return. [worker] */
	int (*error)(void *ctx, const float *scale, double *ret_error);
};

struct cwp_quantizer {
	uint32_t size; /* sizeof(struct cwp_quantizer) */
	/* enum cwp_statistic bits that prepare() and smooth() need under these settings: ACT_SUM, ACT_SQ, ACT_ABS,
	 * ACT_ABSMAX, ACT_RANGE, ACT_HISTOGRAM and GRAM can be had; and CWP_QUANTIZER_SMOOTHS. Where it is 0, no calibration takes
	 * place, and prepare() is not called. [scan] */
	uint32_t (*needs)(const struct cwp_setting *settings);
	/* The grid for a module of this shape. CWP_EVALUE, with a text in err, when the settings contradict each
	 * other. [scan] */
	int (*grid)(const struct cwp_setting *settings, uint64_t rows, uint64_t cols, struct cwp_grid *ret_grid,
		char *err, size_t err_size);
	/* Quantizes whole rows: PER_BLOCK those of whole blocks, PER_TENSOR all, where the result is to be stored. It may
	 * depend on the rows and the state alone, otherwise never on which rows come together. Rows that share a scale all
	 * get it. CWP_ENUMBER when a weight is NaN or infinite. [any-thread] */
	int (*quantize)(const struct cwp_setting *settings, const struct cwp_grid *grid,
		const struct cwp_quantizer_tile *tile, const struct cwp_quantizer_result *result);

	/* The rest may be NULL, all together: for quantizers that are calibrated. smooth() may be NULL alone. */

	/* Looks at a module and its statistics, before its rows are quantized. *ret_state goes to all of them and to
	 * release() in the end; it may be NULL. In note goes a line of text about what was done in another way than the
	 * settings say, for the report; it comes empty. Modules come in the order of the model, one at a time. [worker] */
	int (*prepare)(const struct cwp_host *host, const struct cwp_setting *settings, const struct cwp_grid *grid,
		const struct cwp_quantizer_module *module, void **ret_state, char *note, size_t note_size);
	/* Frees a state, or takes NULL. [worker] */
	void (*release)(void *state);
	/* Bytes that prepare(), two states, and quantize() of 64 rows on so many threads take at most, on the host. [scan] */
	uint64_t (*memory)(const struct cwp_setting *settings, uint64_t rows, uint64_t cols, uint32_t threads);
	/* With CWP_QUANTIZER_SMOOTHS: chooses the scales of an input, each positive and finite, before the modules of its
	 * layer are prepared; they then have scaled weights and the statistics of the divided input. The host may round a
	 * scale, to a power of two too, where what stays as it is could not be scaled without a loss. [worker] */
	int (*smooth)(const struct cwp_host *host, const struct cwp_setting *settings, const struct cwp_quantizer_input *input,
		float *ret_scale);

	/* These two may be NULL, both together: for quantizers that can work on the device that the job runs on. */

	/* Bytes of device memory that prepare() and quantize_module() want for a module of this shape, and of less rows. 0: modules
	 * of these settings and this shape are quantized on the host, by this backend in any case. Not asked with
	 * CWP_QUANTIZER_SMOOTHS. [scan] */
	uint64_t (*device_memory)(const struct cwp_setting *settings, const struct cwp_backend *backend, void *b, uint64_t rows,
		uint64_t cols);
	/* Instead of quantize(), where prepare() had device memory: all rows at once. What it calls may still run when it returns. 1:
	 * quantize() is to do it, from this state. CWP_ENUMBER when a weight is NaN or infinite. [worker] */
	int (*quantize_module)(const struct cwp_setting *settings, const struct cwp_grid *grid, const struct cwp_quantizer_matrix *matrix);
};

#ifdef __cplusplus
}
#endif
#endif
