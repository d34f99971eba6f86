/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Inside of struct cwe_writer, shared by the files writer*.c only. */
#pragma once

#include <time.h>

#include "engine/format/follow.h"
#include "engine/format/format.h"
#include "engine/format/gguf_output.h"
#include "engine/format/output.h"
#include "engine/format/overlay.h"
#include "engine/format/shards.h"

#define CWE_WRITER_JOURNAL ".cwp-writer.tmp-partial"
#define CWE_WRITER_PIECES ".protected.tmp-partial"

/* A module's protected columns or rows as factors of an adapter. */
struct cwe_writer_pair {
	int by_row;             /* rows are protected, else columns */
	uint64_t rank;          /* their number; 0: none */
	enum cwe_dtype dtype;   /* of the residual: BF16 where that is exact, else F32 */
	double largest, squares; /* what base and adapter together lack to the exact weights */
};

/* One tensor of the source and what it becomes. */
struct cwe_writer_unit {
	const struct cwe_tensor *source;
	char *module;            /* name without ".weight" when it is quantized, else NULL */
	struct cwp_grid grid;
	size_t first, count;     /* tensors in the plan */
	int done;
	int waiting;             /* for its line in the journal */
	uint64_t protected_weights;
	int has_overlay;
	struct cwe_overlay_plan overlay;
	struct cwe_writer_pair pair;
	uint64_t piece;          /* where its overlay, or its pair, begins in the file of pieces */
	const float *exact;      /* protected values in place of the source's while the module is written, or NULL */
};

struct cwe_writer {
	struct cwe_source *source;
	struct cwe_pool *pool;      /* NULL: the caller alone */
	struct cwe_weights *values; /* what is copied and protected: the source's weights, or other values of the same tensors */
	int folder;
	char *directory;
	const struct cwe_format *format;
	int dense;    /* dequantized values in the source's dtype */
	int overlay;  /* protected values beside */
	int mask;     /* their positions alone beside, as the values are in their places */
	int adapter;  /* protected columns or rows beside */
	int exact;    /* masks are honoured */
	size_t count;
	struct cwe_writer_unit *unit; /* in the order of the source's tensors */
	size_t n_plan;
	struct cwe_safetensors_plan *plan;
	size_t *plan_unit;
	char **plan_name;
	struct cwe_shards *shards;
	int is_gguf;  /* one file, without shards and texts */
	struct cwe_gguf_output gguf;
	struct cwe_gguf_writer *gguf_file;
	struct cwe_follow *gguf_digest;
	size_t *gguf_left;      /* [gguf_tensors] of each tensor there, units that are still to come */
	size_t gguf_tensors, gguf_whole; /* so many from the first one on have all */
	int journal; /* descriptor */
	int pieces;  /* descriptor, -1 without overlay and adapter */
	uint64_t pieces_size;
	int finished;
	size_t waiting;         /* units that do */
	struct timespec synced; /* when the journal was */
};

/* writer_journal.c: which modules are whole on the disk. */
int cwe_writer_journal_open(struct cwe_writer *w, int *ret_resume, struct cwb_err *err);
int cwe_writer_journal_begin(struct cwe_writer *w, int resume, struct cwb_err *err);
/* A module whose bytes are written: its line follows within seconds, when all of them are on the disk. */
int cwe_writer_journal_module(struct cwe_writer *w, struct cwe_writer_unit *u, struct cwb_err *err);
int cwe_writer_journal_end(struct cwe_writer *w, struct cwb_err *err);

/* writer_shared.c: a module in the format's own tensors: by rows where the format allows it. */
int cwe_writer_encode_all(struct cwe_writer *w, const struct cwe_writer_unit *u, const struct cwe_format_values *values, struct cwb_err *err);

/* writer_positions.c: measures a mask into u->overlay and, where it protects anything, writes the module's piece at u->piece. */
int cwe_writer_put_piece(struct cwe_writer *w, struct cwe_writer_unit *u, const uint8_t *mask, uint64_t stride, struct cwb_err *err);

/* writer_overlay.c: overlay pieces, and protected.safetensors made of them. */
int cwe_writer_overlay_module(struct cwe_writer *w, struct cwe_writer_unit *u, const uint8_t *mask, uint64_t stride,
	struct cwb_err *err);
/* The name of the file, and bytes of a value in it. */
const char *cwe_writer_overlay_name(const struct cwe_writer *w);
unsigned cwe_writer_overlay_size(const struct cwe_writer *w, const struct cwe_writer_unit *u);
/* *ret stays NULL when nothing is protected. */
int cwe_writer_overlay_finish(struct cwe_writer *w, struct cwe_safetensors_writer **ret, struct cwb_err *err);
/* Replaces protected positions of the rows [row, row + rows) of dst, in the source's dtype, by their exact values. */
int cwe_writer_restore(struct cwe_writer *w, const struct cwe_writer_unit *u, const uint8_t *mask, uint64_t stride,
	uint64_t row, uint64_t rows, uint8_t *dst, struct cwb_err *err);

/* Exact values of the rows [row, row + rows) in the source's dtype; those that are not protected do not count. */
int cwe_writer_exact(struct cwe_writer *w, const struct cwe_writer_unit *u, const uint8_t *mask, uint64_t stride, uint64_t row,
	uint64_t rows, uint8_t *dst, struct cwb_err *err);
/* writer_gguf.c: a GGUF file in place of shards and texts. */
/* module [count]: in the order in which they will come. */
int cwe_writer_gguf_plan(struct cwe_writer *w, const struct cwe_output_module *module, size_t count, struct cwb_err *err);
int cwe_writer_gguf_open(struct cwe_writer *w, int resume, int *ret_kept, struct cwb_err *err);
const struct cwe_gguf_place *cwe_writer_gguf_place(const struct cwe_writer *w, const struct cwe_writer_unit *u);
int cwe_writer_gguf_copy(struct cwe_writer *w, const struct cwe_writer_unit *u, struct cwb_err *err);
int cwe_writer_gguf_codes(struct cwe_writer *w, const struct cwe_writer_unit *u, const uint8_t *codes, const float *scales,
	struct cwb_err *err);
/* All rows of a unit are there, or will be written again. */
void cwe_writer_gguf_done(struct cwe_writer *w, const struct cwe_writer_unit *u);
void cwe_writer_gguf_again(struct cwe_writer *w, const struct cwe_writer_unit *u);
int cwe_writer_gguf_finish(struct cwe_writer *w, struct cwb_err *err);
void cwe_writer_gguf_measure(const struct cwe_writer *w, struct cwe_writer_size *size);
int cwe_writer_gguf_digest(const struct cwe_writer *w, struct cwb_known *list, struct cwb_err *err);
void cwe_writer_gguf_free(struct cwe_writer *w);

/* A quantized unit as formats see it, and the dtype of the model (enum cwp_dtype) for what follows it. */
struct cwe_output_module cwe_writer_unit_module(const struct cwe_writer_unit *u);
uint32_t cwe_writer_unit_dtype(const struct cwe_writer_unit *u);

/* writer_rows.c: the rows [row, row + rows) of a unit in the format's own tensors. */
int cwe_writer_encode(struct cwe_writer *w, const struct cwe_writer_unit *u, uint64_t row, uint64_t rows,
	const struct cwe_format_values *values, struct cwb_err *err);

/* What a module's residuals are made of. */
struct cwe_writer_values {
	const uint8_t *codes;
	const float *scales;
	const int8_t *zeros;
	const uint8_t *mask;
	uint64_t stride;
};

/* writer_adapter.c: the factors of one module as a piece. CWP_EVALUE where the mask is not made of whole columns or rows. */
int cwe_writer_adapter_module(struct cwe_writer *w, struct cwe_writer_unit *u, const struct cwe_writer_values *q,
	struct cwb_err *err);
/* Bytes of a unit's piece. */
uint64_t cwe_writer_pair_bytes(const struct cwe_writer_unit *u);

/* writer_adapter_files.c: the folder adapter/. */
#define CWE_ADAPTER_KEY "cwp.adapter" /* in __metadata__ */
#define CWE_ADAPTER_VERSION "1"
struct cwe_adapter_files {
	int folder; /* -1: nothing is protected; set it so before the first call */
	struct cwe_safetensors_writer *file;
	struct cwe_texts texts;
};
int cwe_writer_adapter_begin(struct cwe_writer *w, struct cwe_adapter_files *f, struct cwb_err *err);
int cwe_writer_adapter_publish(struct cwe_adapter_files *f, struct cwb_err *err);
void cwe_writer_adapter_end(struct cwe_adapter_files *f);
/* Removes the whole folder, if there is one. */
int cwe_writer_adapter_remove(const struct cwe_writer *w, struct cwb_err *err);
/* Whether the folder is whole, or not needed. */
int cwe_writer_adapter_there(const struct cwe_writer *w);

/* A tensor's unit, a quantized module's unit, or NULL. */
struct cwe_writer_unit *cwe_writer_find_tensor(struct cwe_writer *w, const char *tensor);
struct cwe_writer_unit *cwe_writer_find_module(struct cwe_writer *w, const char *module);

/* writer_module.c: what the plugin gave for so many rows must be what the format can hold. */
int cwe_writer_check_values(const struct cwe_writer_unit *u, uint64_t rows, const struct cwe_format_values *v, struct cwb_err *err);

/* All tensors of a unit have their bytes. */
void cwe_writer_unit_done(struct cwe_writer *w, struct cwe_writer_unit *u);

/* writer.c: takes the options over; then what becomes of every tensor of the source. */
int cwe_writer_begin(struct cwe_writer *w, struct cwe_source *source, const struct cwe_writer_options *options, struct cwb_err *err);
int cwe_writer_plan(struct cwe_writer *w, const struct cwe_output_module *module, size_t count, struct cwb_err *err);

/* writer_finish.c: config.json, index, tokenizer and generation files. */
int cwe_writer_texts(const struct cwe_writer *w, struct cwe_texts *t, struct cwb_err *err);
/* writer_finish.c: quantization_config of the planned modules. */
int cwe_writer_config(const struct cwe_writer *w, json_t **ret, struct cwb_err *err);
