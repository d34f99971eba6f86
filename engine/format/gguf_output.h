/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A model as one GGUF file: where each tensor of a source comes to lie there and as what, and the rows themselves. */
#pragma once

#include <cwp/quantizer.h>

#include "base/digest.h"
#include "engine/format/gguf_writer.h"
#include "engine/format/source.h"

#define CWE_GGUF_FILE "model.gguf"
#define CWE_GGUF_OWN_TYPE UINT32_MAX /* a tensor that is not quantized */

/* One tensor of the source in the file. */
struct cwe_gguf_place {
	size_t tensor;  /* number in the layout */
	uint64_t start; /* its first byte there: experts lie on top of each other */
	uint32_t type;  /* enum cwe_gguf_type */
	uint64_t rows, cols; /* elements of a vector are rows */
	uint64_t head;  /* rows of a head, whose rotary halves lie in turns; 0: rows stay in their order */
	int offset;     /* written as 1 + w */
};

/* A tensor that no checkpoint has, whole. */
struct cwe_gguf_extra {
	size_t tensor;
	void *data;
	uint64_t bytes;
};

struct cwe_gguf_output {
	struct cwe_gguf_layout layout; /* a writer takes it over */
	struct cwe_gguf_place *place;  /* [tensors of the source's weights] */
	size_t n_extra;
	struct cwe_gguf_extra *extra;
	uint64_t bytes; /* of the file */
	char header[CWB_DIGEST_HEX]; /* SHA-256 of all before the data */
};

/* Lays a source out. order [tensors]: numbers of its tensors as they are to lie in the file.
 * type [tensors]: what each becomes, CWE_GGUF_OWN_TYPE for its own dtype (vectors, routers and norms that are
 * stored as 1 + w become F32). CWP_EVALUE for what GGUF has no word for, CWP_ESHAPE; *ret is freed with cwe_gguf_output_free. */
int cwe_gguf_output_make(struct cwe_source *source, const size_t *order, const uint32_t *type, struct cwe_gguf_output *ret, struct cwb_err *err);
void cwe_gguf_output_free(struct cwe_gguf_output *o);

/* gguf_metadata.c: all keys, and tensors that a checkpoint does not have (data is the caller's): of a GGUF source its own, else made
 * of config.json and tokenizer.json. type [count]: the types of the file's tensors. */
struct cwe_gguf_more {
	struct cwe_gguf_plan plan;
	void *data;
	uint64_t bytes;
};
int cwe_gguf_metadata(struct cwe_source *source, const struct cwe_gguf_plan *plan, size_t count, struct cwe_gguf_keys *k,
	struct cwe_gguf_more **ret, size_t *ret_count, struct cwb_err *err);
void cwe_gguf_more_free(struct cwe_gguf_more *more, size_t count);
/* Reads header and extra tensors of a layout back and compares what they mean with the source. */
int cwe_gguf_metadata_check(struct cwe_source *source, const struct cwe_gguf_output *o, struct cwb_err *err);

/* Bytes of one tensor of the source there. */
uint64_t cwe_gguf_place_bytes(const struct cwe_gguf_place *p);
/* Rows that are worked on at a time: about 4 MiB of f32, whole heads. */
uint64_t cwe_gguf_step(const struct cwe_gguf_place *p);
/* Rows [row, row + rows), row a multiple of cwe_gguf_step, of row_bytes each, in the source's order. */
int cwe_gguf_put_rows(const struct cwe_gguf_writer *file, const struct cwe_gguf_place *p, uint64_t row, uint64_t rows,
	uint64_t row_bytes, const void *src, struct cwb_err *err);
/* A tensor of the source as it is. */
int cwe_gguf_put_tensor(const struct cwe_gguf_writer *file, const struct cwe_gguf_place *p, struct cwe_weights *w,
	const struct cwe_tensor *t, struct cwb_err *err);
/* All codes of a module, settled (gguf_encode.h). */
int cwe_gguf_put_codes(const struct cwe_gguf_writer *file, const struct cwe_gguf_place *p, const char *module,
	const struct cwp_grid *grid, const uint8_t *codes, const float *scales, struct cwb_err *err);
