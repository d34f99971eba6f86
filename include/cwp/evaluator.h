/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluator plugins: text in, numbers out. An evaluator turns its data file into requests, gets the answers of
 * one model after another, and turns each model's answers into metrics and the outcomes of items. It never sees a
 * tensor. What compares models (intervals, flips, tests, recovery) is the host's: it follows from the items. */
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
	CWP_REQUEST_GENERATE = 3, /* greedy continuation of `context` of at most max_new_tokens; it ends with one of the
				   * model's end tokens, or when its text has one of the strings of `stop` */
	CWP_REQUEST_DRIFT = 4,   /* the distribution of the first token after `context`, beside the original model's */
	CWP_REQUEST_WINDOWS = 5  /* log-likelihood of the whole `continuation` in windows of `window` tokens that do not
				  * overlap and have no beginning-of-text token: in each, all tokens but the first are
				  * scored; tokens behind the last whole window are left out */
};

enum cwp_request_flag {
	CWP_REQUEST_CHAT = 1,  /* `context` is what a user says: it is put into the model's chat format, up to where the
				* model answers. The text as it is where the model has no such format (the report says so) */
	CWP_REQUEST_JUDGE = 2  /* for the judge that the job names; asked after all other requests were answered, so that
				* `context` may hold answers of the model under test. GENERATE and LOGLIK only. */
};

/* Strings belong to the evaluator and live until close() (those of a judge's request: until the next request()). The host
 * has set size, and all else to 0; an evaluator writes no member beyond that size. */
struct cwp_request {
	uint32_t size;
	uint32_t kind; /* enum cwp_request_kind */
	const char *context;
	size_t context_length; /* bytes */
	const char *continuation;
	size_t continuation_length; /* bytes */
	uint32_t window;            /* ROLLING, WINDOWS: tokens; 0: the model's own context length, at most 2048 */
	uint32_t max_new_tokens;    /* GENERATE */
	/* GENERATE: UTF-8, none of them empty, each with a NUL at its end. At most 64 of at most 1024 bytes. */
	const char *const *stop; /* [stops] */
	size_t stops;
	uint32_t flags;   /* enum cwp_request_flag */
	const char *item; /* what messages and the report call the item that the request belongs to; NULL: its number */
};

enum cwp_answer_flag {
	CWP_ANSWER_TOO_LONG = 1, /* the request does not fit the model's context and was not asked: leave its item out. The
				  * host counts and names such items. They are the same for every model that is compared. */
	CWP_ANSWER_ENDED = 2     /* GENERATE: the model ended the text itself, or a stop string did */
};

/* One window of a text. */
struct cwp_window {
	double loglik;
	uint64_t tokens; /* scored ones */
};

/* The host owns it; it lives until answer() returns. */
struct cwp_answer {
	uint32_t size;
	uint32_t greedy; /* LOGLIK: 1 when every token of the continuation was the most likely one; DRIFT: 1 when the most
			  * likely token is the original's */
	double loglik;   /* natural logarithm, summed over tokens */
	uint64_t tokens; /* tokens scored; GENERATE: new ones, what ended the text included */
	const char *text; /* GENERATE: without special tokens, cut before the first string of `stop`, then before the second
			   * in what is left, and so on */
	size_t text_length;
	uint32_t flags;  /* enum cwp_answer_flag */
	double kl;       /* DRIFT: sum over the vocabulary of p log(p / q), p the original's, q this model's; nats */
	const struct cwp_window *window; /* ROLLING, WINDOWS: [windows] in the text's order, what loglik and tokens are sums of */
	size_t windows;
};

enum cwp_direction { CWP_LOWER_IS_BETTER = -1, CWP_IDEAL_IS_BEST = 0, CWP_HIGHER_IS_BETTER = 1 };

/* How a metric's value follows from its items, so that the host can resample them. */
enum cwp_form {
	CWP_FORM_OTHER = 0,   /* it does not: the evaluator gives low and high itself */
	CWP_FORM_MEAN = 1,    /* sum(weight * value) / sum(weight) */
	CWP_FORM_EXP_MEAN = 2 /* exp of that */
};

/* One metric of one model. Strings are static, or live until finish() returns. */
struct cwp_metric {
	uint32_t size;
	int32_t direction; /* enum cwp_direction */
	const char *name;  /* as the field calls it: pct_stereotype, word_perplexity */
	uint64_t n;        /* items */
	double value;
	double standard_error; /* NaN with low and high: the host makes them from the items */
	double low;            /* 95 % confidence interval */
	double high;
	double ideal; /* NaN where there is none */
	uint32_t form;     /* enum cwp_form */
	const char *group; /* a part of the items: a category, a language; NULL: all. The host makes the groups of MEAN and
			    * EXP_MEAN itself, from those of the items. */
};

enum cwp_item_flag { CWP_ITEM_HARMFUL = 1 /* its texts are to be shown folded, with a warning */ };

/* One item's outcome under the metric that was named last. All strings are copied. */
struct cwp_item {
	uint32_t size;
	uint32_t flags;   /* enum cwp_item_flag */
	const char *id;   /* the same for every model, unique under the metric */
	double value;
	double weight;    /* 0: it does not count in the metric, but may in flips */
	int64_t choice;   /* which answer the model gave, from 0: a flip is a choice that differs from the original model's;
			   * -1: there are no choices */
	const char *group; /* a category, a language; NULL: none */
	/* What the report shows of items that flipped. NULL: nothing. Once for each item and model is enough, under any
	 * metric. */
	const char *prompt; /* what was asked */
	size_t prompt_length;
	const char *answer; /* what this model answered, in words */
	size_t answer_length;
};

/* Where finish() puts its results. */
struct cwp_metric_sink {
	uint32_t size;
	uint32_t flags;
	void *ctx;
	void (*metric)(void *ctx, const struct cwp_metric *metric);
	void (*item)(void *ctx, const struct cwp_item *item);
};

struct cwp_evaluator {
	uint32_t size; /* sizeof(struct cwp_evaluator) */
	/* Reads the data file into requests: its bytes (as they are in the file; owned by the host, copied where needed), or
	 * its records through host->records_open(). `limit`: at most this many items, 0 for all; the choice follows from
	 * the host's random stream. Errors are explained through host->fail(). [worker] */
	int (*open)(const struct cwp_host *host, const struct cwp_setting *settings, const char *path,
		const char *data, size_t length, uint64_t limit, void **ret_state);
	/* Number of requests. [worker] */
	uint64_t (*count)(void *state);
	/* The i-th request. Those for the judge are asked for once more after answer() was called for all others; before, only
	 * their kind and flags count, and `context` may be empty. [worker] */
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
