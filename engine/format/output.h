/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs of ours: written tensor by tensor in a job, read back as weights. */
#pragma once

#include <jansson.h>

#include <cwp/quantizer.h>

#include "base/known.h"
#include "engine/format/source.h"

/* How one module ended up. */
struct cwe_output_module {
	const char *name;     /* Hugging Face name without ".weight" */
	uint64_t rows, cols;
	struct cwp_grid grid; /* grid.code 0: not quantized, kept in the source's dtype */
	uint64_t protected_weights;
	float input_scale; /* for cwe_writer_module: of inputs that have one scale, found in calibration; a value of BF16 */
	int8_t input_zero; /* and their zero point, where the grid has one */
	/* For cwe_writer_module: [rows, cols], whose values at protected positions are stored, rounded to the source's dtype,
	 * in place of the source's own; NULL: those. Borrowed until the call returns. */
	const float *exact;
	uint64_t whole_rows; /* where these are some rows of a module: how many it has; else 0 */
	uint64_t first_row;  /* the number of the first of them */
};

struct cwe_writer;

struct cwe_pool;

struct cwe_writer_options {
	const char *directory;  /* the unfinished output folder, exists; unfinished files of the same plan are gone on with */
	int format;             /* enum cwj_format */
	int carrier;            /* enum cwj_carrier; MODULES: modules that are kept are not listed */
	uint64_t shard;         /* bytes a shard at most */
};

/* Lays out all files from shapes alone: every tensor of the source, quantized modules as the format wants them. modules
 * [count] must name every Linear that is quantized; the rest is copied in its own dtype. Headers are written at once. */
int cwe_writer_new(struct cwe_source *source, const struct cwe_writer_options *options,
	const struct cwe_output_module *module, size_t count, struct cwe_writer **ret, struct cwb_err *err);

/* What an output with the overlay will take, without writing it. */
struct cwe_writer_size {
	uint64_t quantized_bytes; /* codes, scales, zero points, shapes: as cwe_output_measure will find them */
	uint64_t files;           /* all files but protected.safetensors, the manifest and the reports */
	size_t n_files;
};
int cwe_writer_measure(struct cwe_source *source, const struct cwe_writer_options *options,
	const struct cwe_output_module *module, size_t count, struct cwe_writer_size *ret, struct cwb_err *err);

/* What is copied and protected from now on: other values of the source's tensors, such as scaled ones (scaled.h). Borrowed
 * until cwe_writer_free. A tensor that an earlier attempt wrote must have the same values still. */
void cwe_writer_values(struct cwe_writer *w, struct cwe_weights *values);

/* Whose threads encode a module's rows from now on; without it the caller does it alone. Borrowed until cwe_writer_free. */
void cwe_writer_threads(struct cwe_writer *w, struct cwe_pool *pool);

/* Copies a tensor that is not quantized, by name, piece by piece. */
int cwe_writer_copy(struct cwe_writer *w, const char *tensor, struct cwb_err *err);

/* One quantized module: codes, scales, zeros of the whole matrix (as quantizer.h lays them out), mask and, for protected
 * positions, the weights in the source's dtype, read by the writer itself or given as module->exact: CWP_ENUMBER where
 * the dtype cannot hold such a value. mask NULL: none protected.
 * For DENSE: dequantized values rounded to the source's dtype with protected values exact. */
int cwe_writer_module(struct cwe_writer *w, const struct cwe_output_module *module, const uint8_t *codes,
	const float *scales, const int8_t *zeros, const uint8_t *mask, uint64_t mask_stride, struct cwb_err *err);

/* The same row by row, where nothing is protected and the format allows it (cwe_writer_takes_rows): rows [row, row + rows),
 * codes, scales and zeros of these; row is a multiple of 64 and of a block's rows, as is rows but for the last ones. All
 * must have come before cwe_writer_rows_end. */
int cwe_writer_takes_rows(const struct cwe_writer_options *options, const struct cwp_grid *grid);
int cwe_writer_rows(struct cwe_writer *w, const char *module, uint64_t row, uint64_t rows, const uint8_t *codes,
	const float *scales, const int8_t *zeros, struct cwb_err *err); /* [any-thread] for different rows */
/* All rows of a module have come: its bytes may be hashed before cwe_writer_rows_end, while others are written. One thread at
 * a time. */
void cwe_writer_rows_whole(struct cwe_writer *w, const char *module);
int cwe_writer_rows_end(struct cwe_writer *w, const char *module, struct cwb_err *err);

/* All modules that were written so far are whole on the disk, also for a later attempt. Without it they are within seconds, or
 * when the writer is freed. */
int cwe_writer_sync(struct cwe_writer *w, struct cwb_err *err);

/* CWP_ESTATE when the output folder does not lie any more where it is to be: moved, replaced or removed. */
int cwe_writer_place(const struct cwe_writer *w, struct cwb_err *err);

/* Finishes: every tensor must be there, and the folder in its place; protected.safetensors, index, config.json with quantization_config, tokenizer and
 * generation files; all fsynced. The manifest comes later (manifest.h). Idempotent for resume: modules already written
 * (cwe_writer_has) need not come again. */
int cwe_writer_finish(struct cwe_writer *w, struct cwb_err *err);
/* The adapter of what is whole so far. */
struct cwe_writer_adapter {
	uint64_t modules; /* that have factors */
	uint64_t exact;   /* of those: residuals in BF16, without rounding */
	uint64_t rank;    /* the largest */
	uint64_t weights; /* protected ones */
	double largest, rms; /* |base + adapter - exact weight|, over the protected weights, merged in f32 */
};
void cwe_writer_adapter(const struct cwe_writer *w, struct cwe_writer_adapter *ret);
/* Whether a mask [rows, stride bytes] is made of whole columns (0) or whole rows (1), and how many; -1: of neither. All of a
 * matrix counts as what is fewer. [any-thread] */
int cwe_mask_shape(const uint8_t *mask, uint64_t stride, uint64_t rows, uint64_t cols, uint64_t *ret_rank);
/* Adds the digests of tensor files, which were computed while they were written, for cwe_manifest_write_known. After
 * cwe_writer_finish; none when an earlier attempt finished. */
int cwe_writer_digests(const struct cwe_writer *w, struct cwb_known *list, struct cwb_err *err);
void cwe_writer_free(struct cwe_writer *w); /* an unfinished output stays, so that a later cwe_writer_new goes on */
/* Whether a tensor was copied, or a module (name without ".weight") is whole on the disk from this or an earlier
 * attempt. */
int cwe_writer_has(const struct cwe_writer *w, const char *name);
/* Protected weights of a module that is whole, as its mask had them; 0 otherwise. */
uint64_t cwe_writer_protected(const struct cwe_writer *w, const char *module);

/* Decodes one module: dst [rows, cols] = (code - zero) * scale in f32. */
void cwe_dequantize(const struct cwp_grid *grid, uint64_t rows, uint64_t cols, const uint8_t *codes, const float *scales,
	const int8_t *zeros, float *dst);
/* Scales of a row under this grid: 1, or ceil(cols / group). */
uint64_t cwe_grid_scales(const struct cwp_grid *grid, uint64_t cols);

/* Whether a directory with this config.json is an output of ours or a quantized checkpoint in a format that we can run. */
int cwe_output_is(const char *directory, const json_t *config);
/* The quantized, protected weights as cwe_weights: read_f32 gives exactly what the engine computes with. Quantized modules
 * have dtype CWP_F32, so that read_raw is exact too. */
int cwe_output_weights_open(const char *directory, const json_t *config, struct cwe_weights **ret, struct cwb_err *err);

/* cwp-inspect dense: a dense checkpoint (dtype CWP_F32: exactly the values that the engine computes with, or CWP_BF16). */
int cwe_output_dense(const char *directory, const char *out, uint32_t dtype, uint64_t shard, struct cwb_err *err);
/* The same of any model, with the adapters of n folders merged in. */
int cwe_source_dense(const char *model, char *const *adapters, size_t n, const char *out, uint32_t dtype, uint64_t shard,
	struct cwb_err *err);

/* What an output's files hold, for reports. Bytes of tensor data, headers not counted. */
struct cwe_output_size {
	uint64_t modules;           /* quantized ones */
	uint64_t quantized_weights; /* weights in them */
	uint64_t quantized_bytes;   /* codes, scales, zero points, shapes */
	uint64_t protected_weights;
	uint64_t protected_bytes;   /* overlay */
	uint64_t other_weights;     /* elements of all other tensors */
	uint64_t other_bytes;
};

/* Measures the files; a dense output counts as other. Bits a quantized weight, as stored: cwe_output_bits. */
int cwe_output_measure(const char *directory, struct cwe_output_size *ret, struct cwb_err *err);
double cwe_output_bits(const struct cwe_output_size *size); /* 0 when nothing is quantized */

/* Checks a folder's tensor files without reading codes: config, headers, index, companions and scales of each module, and
 * every offset and gap of the overlay. For cwe_manifest_verify. */
int cwe_output_check(const char *directory, const json_t *config, struct cwb_err *err);
