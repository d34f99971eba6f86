/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Within the GGUF reader and writer: the parts of a tokenizer that take more than a look at the metadata. */
#pragma once

#include "engine/format/gguf.h"

/* tokenizer.ggml.token_type */
enum cwe_gguf_token {
	CWE_GGUF_TOKEN_NORMAL = 1,
	CWE_GGUF_TOKEN_UNKNOWN,
	CWE_GGUF_TOKEN_CONTROL,
	CWE_GGUF_TOKEN_USER,
	CWE_GGUF_TOKEN_UNUSED,
	CWE_GGUF_TOKEN_BYTE
};

/* How texts are split before the merges, of a "gpt2" vocabulary: what tokenizer.ggml.pre stands for. */
struct cwe_gguf_pre {
	const char *name;
	const char *split[5];   /* patterns, one after the other, up to a NULL */
	int digits;             /* each digit alone, before them */
	int words;              /* GPT-2's own pattern, after them */
	const char *normalizer; /* or NULL */
	int ignore_merges;
	int adds_bos; /* what llama.cpp does when add_bos_token is absent */
};

/* NULL when the name is not known. */
const struct cwe_gguf_pre *cwe_gguf_pre_find(const char *name);
/* tokenizer.json's pre_tokenizer; NULL when memory was short. */
json_t *cwe_gguf_pre_json(const struct cwe_gguf_pre *pre);

/* Appends "a b" for every way to cut a token in two tokens, those of the highest score first; of one score, in the order of ids: of
 * the token, of its first and of its second half. So does the reference with a SentencePiece model: merges of the best score come
 * first there too. Tokens with a space take no part, for no text has one once spaces are replaced. ids: token text -> id, as
 * tokenizer.json's vocabulary. CWP_EVALUE: a score that is no number. */
int cwe_gguf_merges(const struct cwe_gguf *g, const json_t *ids, const struct cwe_gguf_value *scores, json_t *to,
	struct cwb_err *err);
