/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* protected.safetensors: positions and exact values of the protected weights beside a quantized checkpoint.
 * doc/overlay.md describes every byte. A module is stored row-sparse (column gaps) or as a bitmap, whichever is less. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/format/safetensors.h"

#define CWE_OVERLAY_FILE "protected.safetensors"
#define CWE_MASK_FILE "protected.mask" /* positions alone, beside a dense checkpoint: values have the shape [n, 0] */
#define CWE_OVERLAY_KEY "cwp.overlay" /* in __metadata__ */
#define CWE_OVERLAY_VERSION "1"
#define CWE_OVERLAY_ESCAPE 255 /* a gap byte: 255 columns without a protected one */

enum cwe_overlay_kind { CWE_OVERLAY_ROWS, CWE_OVERLAY_BITMAP };

/* How one module's protected weights are stored. */
struct cwe_overlay_plan {
	enum cwe_overlay_kind kind;
	uint64_t rows, cols;
	uint64_t values;  /* protected weights */
	uint64_t gaps;    /* bytes of column gaps, escapes included */
	uint64_t escapes; /* of those */
	uint64_t bytes;   /* all tensors of this module */
};

/* Measures a mask (as in struct cwp_quantizer_tile) and chooses. value_size: bytes of one value. CWP_ELIMIT when the
 * counts do not fit 32 bits. [any-thread] */
int cwe_overlay_measure(const uint8_t *mask, uint64_t stride, uint64_t rows, uint64_t cols, unsigned value_size,
	struct cwe_overlay_plan *ret, struct cwb_err *err);

/* Bytes of all its tensors, from kind and counts. */
uint64_t cwe_overlay_plan_bytes(const struct cwe_overlay_plan *p, unsigned value_size);

/* The tensors of one module in the file, in the order in which a writer makes them; 3 or 4 of them, none when nothing is
 * protected. */
#define CWE_OVERLAY_TENSORS_MAX 4
struct cwe_overlay_tensor {
	const char *kind; /* what follows the module's name and a dot */
	enum cwe_dtype dtype;
	uint32_t rank;
	uint64_t shape[2];
	uint64_t bytes;
};
size_t cwe_overlay_tensors(const struct cwe_overlay_plan *p, enum cwe_dtype values,
	struct cwe_overlay_tensor ret[CWE_OVERLAY_TENSORS_MAX]);
/* The same of a mask alone: as many values of no size. */
size_t cwe_overlay_mask_tensors(const struct cwe_overlay_plan *p, struct cwe_overlay_tensor ret[CWE_OVERLAY_TENSORS_MAX]);

/* Bytes of protected.safetensors, header included; 0 when nothing is protected: then there is no such file. name, dtype
 * (of the values): [count], as plan. */
int cwe_overlay_file_bytes(const struct cwe_overlay_plan *plan, const char *const *name, const enum cwe_dtype *dtype,
	size_t count, uint64_t *ret_bytes, struct cwb_err *err);

/* From counts alone: fills in gaps, kind and bytes of a plan that has rows, cols, values and escapes. */
void cwe_overlay_choose(struct cwe_overlay_plan *p, unsigned value_size);

/* Protected columns in one row of a mask; the gap bytes of one row -> dst (at most cols bytes); returns the bytes
 * written, *ret_escapes of them escapes. [any-thread] */
uint64_t cwe_overlay_count_row(const uint8_t *mask, uint64_t cols);
uint64_t cwe_overlay_gaps_row(const uint8_t *mask, uint64_t cols, uint8_t *dst, uint64_t *ret_escapes);

/* The tensors of one module in an opened file. */
struct cwe_overlay_module {
	const char *name;
	const struct cwe_safetensors *file;
	const struct cwe_safetensors_entry *start;
	const struct cwe_safetensors_entry *escapes; /* NULL when there is no escape, and with a bitmap */
	const struct cwe_safetensors_entry *gaps;    /* NULL with a bitmap */
	const struct cwe_safetensors_entry *bitmap;  /* NULL when row-sparse */
	const struct cwe_safetensors_entry *values;
};

struct cwe_overlay;

/* Opens directory/protected.safetensors and checks version, names, dtypes and shapes. -ENOENT when there is none.
 * *ret is closed with cwe_overlay_close. */
int cwe_overlay_open(const char *directory, struct cwe_overlay **ret, struct cwb_err *err);
/* The same of directory/protected.mask, which has no values: not for cwe_overlay_apply. */
int cwe_overlay_open_mask(const char *directory, struct cwe_overlay **ret, struct cwb_err *err);
void cwe_overlay_close(struct cwe_overlay *o); /* NULL is allowed */

size_t cwe_overlay_count(const struct cwe_overlay *o);
const struct cwe_overlay_module *cwe_overlay_at(const struct cwe_overlay *o, size_t i);
/* By module name (no ".weight"), or NULL. [any-thread] */
const struct cwe_overlay_module *cwe_overlay_find(const struct cwe_overlay *o, const char *module);
/* Protected weights and bytes of a module. */
uint64_t cwe_overlay_values(const struct cwe_overlay_module *m);
uint64_t cwe_overlay_bytes(const struct cwe_overlay_module *m);

/* Writes the protected values of the rows [row, row + rows) into dst [rows, cols], the rest stays. The module must be
 * [total, cols]. CWP_EFORMAT when offsets, gaps or counts do not fit. [any-thread] */
int cwe_overlay_apply(const struct cwe_overlay_module *m, uint64_t total, uint64_t cols, uint64_t row, uint64_t rows,
	float *dst, struct cwb_err *err);

/* Which of the rows' weights are protected: bits [rows, (cols + 7) / 8 bytes], as in struct cwp_quantizer_tile. */
int cwe_overlay_mask(const struct cwe_overlay_module *m, uint64_t total, uint64_t cols, uint64_t row, uint64_t rows,
	uint8_t *bits, struct cwb_err *err);

/* Decodes the whole module without keeping it: every offset, gap and count. */
int cwe_overlay_check(const struct cwe_overlay_module *m, uint64_t total, uint64_t cols, struct cwb_err *err);
