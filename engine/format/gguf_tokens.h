/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer.json as metadata of GGUF: the reverse of cwe_gguf_tokenizer. */
#pragma once

#include "engine/format/gguf_keys.h"
#include "engine/format/source.h"

struct cwe_gguf_pre;

/* What tokenizer.json says beside its vocabulary, in GGUF's words. */
struct cwe_gguf_steps {
	const struct cwe_gguf_pre *pre; /* byte-level BPE; NULL: SentencePiece's */
	int space_prefix;               /* of SentencePiece's: a space in front of each text */
	const char *bos, *eos;          /* texts of the tokens that the template adds, or NULL; borrowed */
};

/* CWP_EVALUE for a step that GGUF cannot say: names it. */
int cwe_gguf_steps_read(const json_t *tokenizer, struct cwe_gguf_steps *ret, struct cwb_err *err);

/* The pre-tokenizer of these steps (tokenizer.ggml.pre), or NULL: split [count] patterns. */
const struct cwe_gguf_pre *cwe_gguf_pre_match(int digits, const char *const *split, size_t count, int words, const char *normalizer,
	int ignore_merges);

/* gguf_ranks.c: merges in words of scores. */
struct cwe_gguf_rank {
	uint32_t group; /* from 1, in the order of merges; 0: no merge makes this token */
	int shared;     /* other tokens are in the group, as their merges are among this one's */
	size_t last;    /* merge that makes it */
};
struct cwe_gguf_ranks {
	struct cwe_gguf_rank *rank; /* [size], by a token's number */
	uint32_t *made;             /* [merges] the token that each makes */
	size_t merges;
	uint32_t groups;
};
/* Ranks of the tokens of tokenizer.json's model; CWP_EFORMAT for a merge that makes none below `size`. */
int cwe_gguf_ranks_make(const json_t *model, uint64_t size, struct cwe_gguf_ranks *ret, struct cwb_err *err);
void cwe_gguf_ranks_free(struct cwe_gguf_ranks *r);
/* A merge, "a b" or ["a", "b"], as the first; freed with free(). NULL: it is neither, or memory was short. */
char *cwe_gguf_merge_text(const json_t *merge);
/* Whether the merges of two models of `size` tokens are the same up to their order within a group of the first. CWP_EVALUE: they
 * are not. */
int cwe_gguf_same_merges(const json_t *wanted, const json_t *found, uint64_t size, struct cwb_err *err);

/* Adds the keys of the tokenizer beside a source for a model of `size` token embeddings; of a source without a tokenizer.json only
 * that there is none. Scores of SentencePiece's are made of the order of merges. CWP_EVALUE for what GGUF cannot say,
 * CWP_EFORMAT for a broken tokenizer.json. */
int cwe_gguf_tokens_add(struct cwe_source *source, uint64_t size, struct cwe_gguf_keys *k, struct cwb_err *err);

/* Whether the merges that a reader of g makes of its scores are those of tokenizer.json; CWP_EVALUE where they are not. */
int cwe_gguf_tokens_check(struct cwe_source *source, const struct cwe_gguf *g, struct cwb_err *err);
