/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One GGUF file (version 3, little endian), read: metadata whole and bounded, tensor data piece by piece. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "engine/format/input.h"
#include "engine/format/weights.h"

#define CWE_GGUF_METADATA_MAX (512u << 20) /* bytes of memory for all keys and values */

enum cwe_gguf_kind {
	CWE_GGUF_U8,
	CWE_GGUF_I8,
	CWE_GGUF_U16,
	CWE_GGUF_I16,
	CWE_GGUF_U32,
	CWE_GGUF_I32,
	CWE_GGUF_F32,
	CWE_GGUF_BOOL,
	CWE_GGUF_STRING,
	CWE_GGUF_ARRAY,
	CWE_GGUF_U64,
	CWE_GGUF_I64,
	CWE_GGUF_F64,
	CWE_GGUF_KINDS
};

/* One key of the metadata. */
struct cwe_gguf_value {
	char *key;
	uint32_t kind;    /* enum cwe_gguf_kind; of the elements when it is an array */
	uint32_t is_array;
	uint64_t count;   /* 1 unless it is an array */
	uint8_t *data;    /* numbers: count of them, little endian; strings: each followed by a NUL byte */
	uint64_t *starts; /* strings: [count + 1] where each begins in data; else NULL */
};

/* ggml's tensor types that are decoded; others are known by name and size, and refused as weights. */
enum cwe_gguf_type {
	CWE_GGUF_TYPE_F32 = 0,
	CWE_GGUF_TYPE_F16 = 1,
	CWE_GGUF_TYPE_Q4_0 = 2,
	CWE_GGUF_TYPE_Q4_1 = 3,
	CWE_GGUF_TYPE_Q5_0 = 6,
	CWE_GGUF_TYPE_Q5_1 = 7,
	CWE_GGUF_TYPE_Q8_0 = 8,
	CWE_GGUF_TYPE_Q2_K = 10,
	CWE_GGUF_TYPE_Q3_K = 11,
	CWE_GGUF_TYPE_Q4_K = 12,
	CWE_GGUF_TYPE_Q5_K = 13,
	CWE_GGUF_TYPE_Q6_K = 14,
	CWE_GGUF_TYPE_Q8_K = 15,
	CWE_GGUF_TYPE_BF16 = 30
};

struct cwe_gguf_tensor {
	char *name;
	uint32_t type; /* ggml's number */
	uint32_t rank;
	uint64_t dims[CWE_RANK_MAX]; /* the innermost first: columns, rows */
	uint64_t offset;             /* from the start of the file */
	uint64_t bytes;
};

struct cwe_gguf {
	struct cwe_input input;
	size_t values_count;
	struct cwe_gguf_value *values; /* sorted by key */
	size_t count;
	struct cwe_gguf_tensor *tensors; /* sorted by name */
};

/* Opens a file and checks magic, version, counts and lengths against the file's size, kinds, keys and names that come twice,
 * types, alignment, overlaps and the end of the data. CWP_EFORMAT, CWP_EUNKNOWN, CWP_ELIMIT, -errno. *ret is closed with
 * cwe_gguf_close. */
int cwe_gguf_open(const char *path, struct cwe_gguf **ret, struct cwb_err *err);
/* The same of an open descriptor, which is taken over, also on failure; path is for messages. */
int cwe_gguf_adopt(int fd, const char *path, struct cwe_gguf **ret, struct cwb_err *err);
void cwe_gguf_close(struct cwe_gguf *g); /* NULL is allowed */

/* NULL when there is none. Live as long as g. */
const struct cwe_gguf_tensor *cwe_gguf_find(const struct cwe_gguf *g, const char *name);
const struct cwe_gguf_value *cwe_gguf_value(const struct cwe_gguf *g, const char *key);

/* Typed getters: 1 and the value, 0 when the key is absent, CWP_EVALUE for another type or range. Integers of any width,
 * low <= value <= high; numbers are integers or floats, finite. A string is refused when it holds a NUL byte. */
int cwe_gguf_get_u64(const struct cwe_gguf *g, const char *key, uint64_t low, uint64_t high, uint64_t *ret,
	struct cwb_err *err);
/* The same from 1 on, 0 as the result: CWP_EMISSING when it is absent. */
int cwe_gguf_need_u64(const struct cwe_gguf *g, const char *key, uint64_t high, uint64_t *ret, struct cwb_err *err);
int cwe_gguf_get_f32(const struct cwe_gguf *g, const char *key, float *ret, struct cwb_err *err);
/* A number of any kind; truth values are 0 and 1. */
int cwe_gguf_get_number(const struct cwe_gguf *g, const char *key, double *ret, struct cwb_err *err);
int cwe_gguf_get_bool(const struct cwe_gguf *g, const char *key, int *ret, struct cwb_err *err);
int cwe_gguf_get_string(const struct cwe_gguf *g, const char *key, const char **ret, struct cwb_err *err);
/* An array whose elements are of this kind. */
int cwe_gguf_get_array(const struct cwe_gguf *g, const char *key, enum cwe_gguf_kind kind,
	const struct cwe_gguf_value **ret, struct cwb_err *err);

/* Tensor types: ggml's name, elements and bytes of a block. 0, or -1 when the type is not known. */
struct cwe_gguf_block {
	const char *name;
	uint32_t elements;
	uint32_t bytes;
};
int cwe_gguf_block(uint32_t type, struct cwe_gguf_block *ret);

/* n elements (whole blocks) of a decodable type -> f32 as ggml computes them, d * q (+ m), before any rounding to bf16. */
void cwe_gguf_decode(uint32_t type, const void *src, float *dst, size_t n);
int cwe_gguf_decodable(uint32_t type);

/* The model's weights under their Hugging Face names, as a Hugging Face checkpoint has them: q and k rows in its order, one
 * matrix for each expert, norms without an offset, quantized types rounded to bf16. Parts of other modalities are left
 * out. CWP_EUNKNOWN for other architectures, tensors and types, by name. */
enum cwe_gguf_weights_flags {
	CWE_GGUF_WEIGHTS_OWN = 1 << 0,  /* g is closed with the weights (and at once on failure) */
	CWE_GGUF_WEIGHTS_EXACT = 1 << 1 /* quantized types are CWP_F32 and not rounded: outputs of ours */
};
int cwe_gguf_weights_new(struct cwe_gguf *g, unsigned flags, struct cwe_weights **ret, struct cwb_err *err);

/* The texts of a Hugging Face directory, made from the metadata; new references. config.json is in the spelling of old
 * (rope_theta, rope_scaling). */
int cwe_gguf_config(const struct cwe_gguf *g, json_t **ret, struct cwb_err *err);
int cwe_gguf_generation_config(const struct cwe_gguf *g, json_t **ret, struct cwb_err *err);
/* Byte-level BPE ("gpt2") with the pre-tokenizers of the families, and SentencePiece's BPE ("llama"), whose merges are made of its
 * scores; others are refused by name. */
int cwe_gguf_tokenizer(const struct cwe_gguf *g, json_t **ret, struct cwb_err *err);
int cwe_gguf_tokenizer_config(const struct cwe_gguf *g, json_t **ret, struct cwb_err *err);
