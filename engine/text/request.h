/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Texts to be scored -> token sequences with the predictions that count, by the common rules of lm-eval: continuations
 * after a context, rolling windows over a whole text, windows that do not overlap; and prompts whose next token is asked
 * for. Nothing is cut: what does not fit the model's context is refused with CWP_ELIMIT. */
#pragma once

#include "engine/text/samples.h"
#include "engine/text/tokenizer.h"

/* Sequences of all requests; each is a sample of its own whose scored tokens have weight 1. One without scored tokens is
 * there for what follows it (cwe_request_next). */
struct cwe_request_list {
	struct cwe_sample_set set;
	size_t *owner;    /* [set.count] the request that a sequence belongs to */
	size_t capacity;
};

/* The token that stands for the beginning of a text: BOS, else EOS. CWP_EMISSING when the tokenizer has neither. */
int cwe_request_prefix(const struct cwe_tokenizer *t, uint32_t *ret, struct cwb_err *err);

/* log p(continuation | context). Empty context: the prefix token; white space at the end of the context moves to the
 * continuation; both are encoded together, without special tokens. limit: tokens a model can see; the last of the
 * continuation is only predicted. */
int cwe_request_loglik(struct cwe_request_list *list, size_t owner, const struct cwe_tokenizer *t, const char *context,
	size_t context_length, const char *continuation, size_t length, size_t limit, struct cwb_err *err);
/* The same from token ids. */
int cwe_request_ids(struct cwe_request_list *list, size_t owner, const uint32_t *context, size_t context_count,
	const uint32_t *continuation, size_t count, size_t limit, struct cwb_err *err);
/* Every token of a text once: the first window begins with the prefix token, later ones with earlier context; `window`
 * predictions at most a window. */
int cwe_request_rolling(struct cwe_request_list *list, size_t owner, const struct cwe_tokenizer *t, const char *text,
	size_t length, size_t window, struct cwb_err *err);
/* log p(continuation | prompt) where the prompt is a rendered chat: each is encoded alone, since an answer begins a new
 * part of the text. */
int cwe_request_chat(struct cwe_request_list *list, size_t owner, const struct cwe_tokenizer *t, const char *prompt,
	size_t prompt_length, const char *continuation, size_t length, size_t limit, struct cwb_err *err);
/* Windows of `window` tokens one after another, without a prefix token; all tokens but the first of each are scored. What is
 * left behind the last whole window is left out. CWP_EVALUE: window below 2. */
int cwe_request_windows(struct cwe_request_list *list, size_t owner, const struct cwe_tokenizer *t, const char *text,
	size_t length, size_t window, struct cwb_err *err);
/* A prompt's tokens, or the prefix token for an empty one; ret->id is freed with free(). */
int cwe_request_prompt_ids(const struct cwe_tokenizer *t, const char *text, size_t length, struct cwe_ids *ret,
	struct cwb_err *err);
/* The same as a sequence of which no token is scored. */
int cwe_request_next(struct cwe_request_list *list, size_t owner, const struct cwe_tokenizer *t, const char *text,
	size_t length, size_t limit, struct cwb_err *err);
void cwe_request_free(struct cwe_request_list *list);
