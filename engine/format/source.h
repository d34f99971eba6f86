/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An opened model: its weights, and the texts beside them (config.json, tokenizer.json and so on), whichever kind of
 * source they come from. For a GGUF source the texts are made from its metadata. */
#pragma once

#include <jansson.h>

#include "engine/format/weights.h"

enum cwe_source_kind { CWE_SOURCE_DIRECTORY, CWE_SOURCE_GGUF, CWE_SOURCE_OUTPUT };

struct cwe_source {
	enum cwe_source_kind kind;
	char *path;
	struct cwe_weights *weights; /* NULL when opened with CWE_SOURCE_NO_WEIGHTS */
	json_t *config;              /* config.json as an object; owned */
	uint64_t merge_memory;       /* bytes that a read of adapted weights needs at most, beside what it fills; else 0 */
};

enum cwe_source_flags { CWE_SOURCE_NO_WEIGHTS = 1 << 0 /* a folder with a tokenizer.json is enough */ };

/* Opens a Hugging Face directory, a .gguf file, or an output of ours (a directory whose config.json has a
 * quantization_config or that has protected.safetensors, or one with model.gguf and no config.json: then the weights are the
 * quantized, protected ones). */
int cwe_source_open(const char *path, unsigned flags, struct cwe_source **ret, struct cwb_err *err);
/* Merges the PEFT adapters of n folders into the weights, in this order, as they are read from now on (adapter.h);
 * pointers to tensors that were found before are no longer those of s->weights. Refuses quantized outputs. On failure s
 * is as before. */
int cwe_source_adapt(struct cwe_source *s, char *const *directories, size_t n, struct cwb_err *err);
void cwe_source_close(struct cwe_source *s); /* NULL is allowed */

/* The text of tokenizer.json, tokenizer_config.json, generation_config.json, special_tokens_map.json or
 * chat_template.jinja; *ret_text is freed with free(). CWP_EMISSING when the source has none. */
int cwe_source_text(struct cwe_source *s, const char *name, char **ret_text, size_t *ret_length, struct cwb_err *err);

/* Whether a file is below a directory; what cannot be looked at counts as there, so that opening it says why. */
int cwe_source_is_there(const char *directory, const char *name);

struct cwe_gguf;
/* The file of a GGUF source; NULL of others. Lives as long as s. */
const struct cwe_gguf *cwe_source_gguf(const struct cwe_source *s);
