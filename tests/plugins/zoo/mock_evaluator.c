/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An evaluator that asks for every kind of request; its option spoils one thing. Each line of the data file is a text. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cwp/error.h>
#include <cwp/evaluator.h>
#include <cwp/plugin.h>

enum fault { NONE, MANY, UNKNOWN_KIND, NULL_TEXT, NULL_NAME, CONTROL_NAME, SAME_NAME, EARLY_ITEM, NULL_ITEM, SILENT_ERROR,
	POSITIVE_ERROR, LARGER_COUNT, OLD_METRIC, STOP_MISSING, STOP_EMPTY, STOP_MANY,
	UNKNOWN_FLAGS, CHAT_ROLLING, ALL_LONG, SMALL_WINDOW, ONLY_TEXT, JUDGE, JUDGE_DRIFT, DIE };

static const struct cwp_option options[] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, "fault", "none",
		"none|many|unknown-kind|null-text|null-name|control-name|same-name|early-item|null-item|silent-error|"
		"positive-error|larger-count|old-metric|stop-missing|stop-empty|stop-many|unknown-flags|chat-rolling|all-long|small-window|only-text|judge|judge-drift|die", NULL, "what is wrong"},
	{sizeof(struct cwp_option), CWP_OPTION_STRING, "stop", "", NULL, NULL, "what ends the second generated text"}};

#define REQUESTS 10
#define LONG 400 /* bytes that are more tokens than the model sees */

struct mock {
	enum fault fault;
	char text[256];
	char long_text[LONG];
	size_t length;
	unsigned counted;
	char said[64];      /* what the model answered to the last request for text */
	size_t said_length;
	char judged_text[64];
	char mark[512];     /* a file that says that this process died once */
	unsigned finished;
	double judged, verdict_tokens, verdict_sum;
	double chat, kl, same, windows, window_tokens, window_count, window_rest, too_long, ended;
	double loglik, rolling, tokens, bytes, sum, stopped_tokens, stopped_bytes;
	const char *stop[2];
};

static int open_mock(const struct cwp_host *host, const struct cwp_setting *settings, const char *path, const char *data,
	size_t length, uint64_t limit, void **ret_state)
{
	struct mock *m = calloc(1, sizeof *m);
	(void)host, (void)limit;
	if (m == NULL) {
		return -12;
	}
	m->fault = (enum fault)settings[0].integer;
	m->stop[0] = "what is not there";
	m->stop[1] = m->fault == STOP_EMPTY ? "" : settings[1].string;
	m->length = length < sizeof m->text ? length : sizeof m->text;
	memcpy(m->text, data, m->length);
	memset(m->long_text, 'x', LONG);
	(void)snprintf(m->mark, sizeof m->mark, "%s.died", path);
	*ret_state = m;
	return 0;
}

static uint64_t count(void *state)
{
	struct mock *m = state;
	if (m->fault == MANY) {
		return UINT64_MAX;
	}
	if (m->fault == JUDGE || m->fault == JUDGE_DRIFT) {
		return REQUESTS + 2;
	}
	return m->fault == LARGER_COUNT ? REQUESTS + 1000u * m->counted++ : REQUESTS;
}

/* What asks for the text's own tokens, in the chat format or not. */
static void request_prompt(const struct mock *m, uint64_t i, struct cwp_request *q)
{
	q->kind = i == 4 ? CWP_REQUEST_LOGLIK : i == 5 ? CWP_REQUEST_DRIFT : CWP_REQUEST_GENERATE;
	q->kind = m->fault == ONLY_TEXT ? CWP_REQUEST_GENERATE : q->kind;
	q->flags = i > 3 ? CWP_REQUEST_CHAT : 0;
	q->context = m->text;
	q->context_length = m->length;
	q->continuation = i == 4 ? " ok" : NULL;
	q->continuation_length = i == 4 ? 3 : 0;
	q->max_new_tokens = 6;
}

/* What no model with a context of 128 tokens can take: a log-likelihood, and a generation that needs too much room. */
static void request_long(const struct mock *m, uint64_t i, struct cwp_request *q)
{
	q->kind = i == 7 ? CWP_REQUEST_LOGLIK : i == 8 ? CWP_REQUEST_GENERATE : CWP_REQUEST_DRIFT;
	q->item = i == 9 ? NULL : "the long one";
	q->context = i == 8 ? m->text : m->long_text;
	q->context_length = i == 8 ? m->length : LONG;
	q->continuation = m->text;
	q->continuation_length = m->length;
	q->max_new_tokens = 120;
}

/* A log-likelihood after what the model said, and a text about it in the judge's chat format. The string is spoiled by the next
 * request. */
static void request_judge(struct mock *m, uint64_t i, struct cwp_request *q)
{
	memset(m->judged_text, '?', sizeof m->judged_text);
	memcpy(m->judged_text, m->said, m->said_length);
	q->kind = m->fault == JUDGE_DRIFT ? CWP_REQUEST_DRIFT : i == REQUESTS ? CWP_REQUEST_LOGLIK : CWP_REQUEST_GENERATE;
	q->flags = CWP_REQUEST_JUDGE | (i == REQUESTS ? 0 : CWP_REQUEST_CHAT);
	q->context = m->judged_text;
	q->context_length = m->said_length;
	q->continuation = "yes";
	q->continuation_length = 3;
	q->max_new_tokens = 5;
}

/* Request 0: log-likelihood, 1: rolling, 2: generation, 3: another that ends at a string, 4: log-likelihood in a chat, 5: drift
 * in a chat, 6: windows, 7 to 9: too long. */
static int request(void *state, uint64_t i, struct cwp_request *q)
{
	struct mock *m = state;
	if (i >= REQUESTS) {
		request_judge(m, i, q);
		return 0;
	}
	if (m->fault == SILENT_ERROR) {
		return CWP_EVALUE;
	}
	if (m->fault == POSITIVE_ERROR) {
		return 7;
	}
	if (i >= 7 || m->fault == ALL_LONG) {
		request_long(m, i >= 7 ? i : 7, q);
		return 0;
	}
	if (m->fault != ONLY_TEXT && (i == 0 || i == 1 || i == 6)) {
		/* Strings that are not needed stay NULL. */
		q->kind = i == 0 ? CWP_REQUEST_LOGLIK : i == 1 ? CWP_REQUEST_ROLLING : CWP_REQUEST_WINDOWS;
		q->continuation = m->fault == NULL_TEXT ? NULL : m->text;
		q->continuation_length = m->length;
		q->window = i < 6 ? 0 : m->fault == SMALL_WINDOW ? 1 : 4;
	} else {
		request_prompt(m, i, q);
	}
	q->kind = m->fault == UNKNOWN_KIND ? 99 : q->kind;
	q->flags = m->fault == UNKNOWN_FLAGS ? 8 : m->fault == CHAT_ROLLING && i == 1 ? CWP_REQUEST_CHAT : q->flags;
	if (i == 3) {
		q->stop = m->fault == STOP_MISSING ? NULL : m->stop;
		q->stops = m->fault == STOP_MANY ? 65 : 2;
	}
	return 0;
}

static int answer(void *state, uint64_t i, const struct cwp_answer *a)
{
	struct mock *m = state;
	m->too_long = i == 0 ? 0 : m->too_long + (a->flags & CWP_ANSWER_TOO_LONG ? 1 : 0);
	m->ended = i == 0 ? 0 : m->ended + (a->flags & CWP_ANSWER_ENDED ? (double)(1u << i) : 0);
	if (i == 0) {
		m->loglik = a->loglik;
	} else if (i == 1) {
		m->rolling = a->loglik;
	} else if (i == 2) {
		m->said_length = a->text_length < sizeof m->said ? a->text_length : sizeof m->said;
		memcpy(m->said, a->text != NULL ? a->text : "", m->said_length);
		m->tokens = (double)a->tokens;
		m->bytes = (double)a->text_length;
		m->sum = 0;
		for (size_t k = 0; k < a->text_length; k++) {
			m->sum += (double)(k + 1) * (double)(unsigned char)a->text[k];
		}
	} else if (i == 3) {
		m->stopped_tokens = (double)a->tokens;
		m->stopped_bytes = (double)a->text_length;
	} else if (i == 4) {
		m->chat = a->loglik;
	} else if (i == 5) {
		m->kl = a->kl;
		m->same = a->greedy;
	} else if (i == 6) {
		m->windows = a->loglik;
		m->window_tokens = (double)a->tokens;
		m->window_count = (double)a->windows;
		m->window_rest = a->loglik;
		for (size_t k = 0; k < a->windows; k++) {
			m->window_rest -= a->window[k].tokens == 3 ? a->window[k].loglik : NAN;
		}
	} else if (i == REQUESTS) {
		m->judged = a->loglik;
	} else if (i == REQUESTS + 1) {
		m->verdict_tokens = (double)a->tokens;
		m->verdict_sum = 0;
		for (size_t k = 0; k < a->text_length; k++) {
			m->verdict_sum += (double)(k + 1) * (double)(unsigned char)a->text[k];
		}
	} else if (i > REQUESTS || a->flags != CWP_ANSWER_TOO_LONG || a->tokens != 0) {
		return CWP_EPLUGIN;
	}
	return 0;
}

static void give(const struct cwp_metric_sink *sink, const char *name, double value)
{
	struct cwp_metric metric = {.size = sizeof metric, .name = name, .n = 1, .value = value, .standard_error = 0, .low = value,
		.high = value, .ideal = NAN, .direction = CWP_HIGHER_IS_BETTER};
	sink->metric(sink->ctx, &metric);
}

/* Behind the second model's answers, once. */
static void die(struct mock *m)
{
	FILE *f = m->fault == DIE && m->finished++ == 1 && access(m->mark, F_OK) != 0 ? fopen(m->mark, "w") : NULL;
	if (f != NULL) {
		(void)fclose(f);
		(void)raise(SIGKILL);
	}
}

static int finish(void *state, const struct cwp_metric_sink *sink)
{
	struct mock *m = state;
	die(m);
	if (m->fault == EARLY_ITEM) {
		struct cwp_item early = {.size = sizeof early, .id = "early", .value = 1, .weight = 1};
		sink->item(sink->ctx, &early);
	}
	if (m->fault == OLD_METRIC) {
		struct cwp_metric metric = {.size = 8, .name = "old"};
		sink->metric(sink->ctx, &metric);
	}
	give(sink, m->fault == NULL_NAME ? NULL : m->fault == CONTROL_NAME ? "a\x1b[31m" : "loglik", m->loglik);
	struct cwp_item one = {.size = sizeof one, .id = m->fault == NULL_ITEM ? NULL : "one", .value = 1, .weight = 1, .choice = 1};
	sink->item(sink->ctx, &one);
	give(sink, m->fault == SAME_NAME ? "loglik" : "rolling", m->rolling);
	give(sink, "tokens", m->tokens);
	give(sink, "bytes", m->bytes);
	give(sink, "sum", m->sum);
	give(sink, "stopped_tokens", m->stopped_tokens);
	give(sink, "stopped_bytes", m->stopped_bytes);
	give(sink, "chat", m->chat);
	give(sink, "kl", m->kl);
	give(sink, "same", m->same);
	give(sink, "windows", m->windows);
	give(sink, "window_tokens", m->window_tokens);
	give(sink, "window_count", m->window_count);
	give(sink, "window_rest", m->window_rest);
	give(sink, "too_long", m->too_long);
	give(sink, "ended", m->ended);
	if (m->fault == JUDGE) {
		give(sink, "judged", m->judged);
		give(sink, "verdict_tokens", m->verdict_tokens);
		give(sink, "verdict_sum", m->verdict_sum);
	}
	return 0;
}

static const struct cwp_evaluator evaluator = {sizeof(struct cwp_evaluator), open_mock, count, request, answer, finish, free};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_EVALUATOR_INTERFACE) == 0 ? &evaluator : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_EVALUATOR)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR,
	CWP_KIND_EVALUATOR, sizeof options / sizeof *options, "mock-evaluator", "1.0", "zoo keepers", "Apache-2.0",
	"asks for everything", options, get_interface};
