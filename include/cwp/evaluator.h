/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluator plugins: text in, numbers out. An evaluator turns its data file into requests, gets the answers of
 * one model after another, and turns each model's answers into metrics. It never sees a tensor. */
#ifndef CWP_EVALUATOR_H
#define CWP_EVALUATOR_H

#include <stddef.h>
#include <stdint.h>

#include <cwp/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CWP_EVALUATOR_INTERFACE "cwp.evaluator/1.draft"

enum cwp_request_kind {
	CWP_REQUEST_LOGLIK = 1,  /* log-likelihood of `continuation` after `context` (both UTF-8; context may be empty) */
	CWP_REQUEST_ROLLING = 2, /* log-likelihood of the whole `continuation`, in windows of at most `window` tokens,
				  * every token scored once, the first after the beginning-of-text token */
	CWP_REQUEST_GENERATE = 3 /* greedy continuation of `context` of at most max_new_tokens; it ends with one of the
				  * model's end tokens, or when its text has one of the strings of `stop` */
};

/* Strings belong to the evaluator and live until close(). The host has set size, and all else to 0; an evaluator writes no
 * member beyond that size. */
struct cwp_request {
	uint32_t size;
	uint32_t kind; /* enum cwp_request_kind */
	const char *context;
	size_t context_length; /* bytes */
	const char *continuation;
	size_t continuation_length; /* bytes */
	uint32_t window;            /* ROLLING: tokens; 0: the model's own context length, at most 2048 */
	uint32_t max_new_tokens;    /* GENERATE */
	/* GENERATE: UTF-8, none of them empty, each with a NUL at its end. At most 64 of at most 1024 bytes. */
	const char *const *stop; /* [stops] */
	size_t stops;
};

/* The host owns it; it lives until answer() returns. */
struct cwp_answer {
	uint32_t size;
	uint32_t greedy; /* LOGLIK: 1 when every token of the continuation was the most likely one */
	double loglik;   /* natural logarithm, summed over tokens */
	uint64_t tokens; /* tokens scored; GENERATE: new ones, what ended the text included */
	const char *text; /* GENERATE: without special tokens, cut before the first string of `stop`, then before the second
			   * in what is left, and so on */
	size_t text_length;
};

enum cwp_direction { CWP_LOWER_IS_BETTER = -1, CWP_IDEAL_IS_BEST = 0, CWP_HIGHER_IS_BETTER = 1 };

/* One metric of one model. Strings are static. */
struct cwp_metric {
	uint32_t size;
	int32_t direction; /* enum cwp_direction */
	const char *name;  /* as the field calls it: pct_stereotype, word_perplexity */
	uint64_t n;        /* items */
	double value;
	double standard_error;
	double low; /* 95 % confidence interval */
	double high;
	double ideal; /* NaN where there is none */
};

/* Where finish() puts its results. */
struct cwp_metric_sink {
	uint32_t size;
	uint32_t flags;
	void *ctx;
	void (*metric)(void *ctx, const struct cwp_metric *metric);
	/* Outcome of one item under the metric named last, for paired comparisons: 0/1, or a number. id is copied. */
	void (*item)(void *ctx, const char *id, double outcome);
};

struct cwp_evaluator {
	uint32_t size; /* sizeof(struct cwp_evaluator) */
	/* Reads the data file's bytes (UTF-8 as they are in the file; owned by the host, copied where needed) into
	 * requests. `limit`: at most this many items, 0 for all; the choice follows from the host's random stream.
	 * Errors are explained through host->fail(). [worker] */
	int (*open)(const struct cwp_host *host, const struct cwp_setting *settings, const char *path,
		const char *data, size_t length, uint64_t limit, void **ret_state);
	/* Number of requests. [worker] */
	uint64_t (*count)(void *state);
	/* The i-th request. [worker] */
	int (*request)(void *state, uint64_t i, struct cwp_request *ret_request);
	/* The answer to the i-th request from the model under test. [worker] */
	int (*answer)(void *state, uint64_t i, const struct cwp_answer *answer);
	/* All answers are in: metrics and item outcomes of this model; afterwards answers may come anew for the
	 * next model. [worker] */
	int (*finish)(void *state, const struct cwp_metric_sink *sink);
	/* Frees the state; NULL is allowed. [worker] */
	void (*close)(void *state);
};

#ifdef __cplusplus
}
#endif
#endif
