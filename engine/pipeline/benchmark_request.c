/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An evaluator's requests, checked and turned into tokens. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/benchmark.h"
#include "engine/text/beside.h"
#include "engine/text/utf8.h"

#define TEXT_LIMIT (1u << 30)
#define WINDOW 2048    /* tokens of a window unless the evaluator says otherwise */
#define NAMED 20       /* items that are too long, by name in the report */
#define NAME_LENGTH 96 /* bytes of such a name */

static int fault(const struct cwe_benchmark *b, uint64_t i, struct cwb_err *err, const char *what, uint64_t value)
{
	return cwb_err_set(err, CWP_EPLUGIN, "plugin '%s': request %" PRIu64 " has %s %" PRIu64 "; report it to the plugin's vendor",
		b->job->benchmark, i, what, value);
}

static int check(const struct cwe_benchmark *b, uint64_t i, const struct cwp_request *q, struct cwb_err *err)
{
	if ((q->context == NULL && q->context_length > 0) || (q->continuation == NULL && q->continuation_length > 0) ||
		q->context_length > TEXT_LIMIT || q->continuation_length > TEXT_LIMIT) {
		return cwb_err_set(err, CWP_EPLUGIN, "plugin '%s': request %" PRIu64 " has a length without a text, or one that is too "
			"long; report it to the plugin's vendor", b->job->benchmark, i);
	}
	if (q->kind < CWP_REQUEST_LOGLIK || q->kind > CWP_REQUEST_WINDOWS) {
		return fault(b, i, err, "the unknown kind", q->kind);
	}
	if ((q->flags & ~(uint32_t)(CWP_REQUEST_CHAT | CWP_REQUEST_JUDGE)) != 0) {
		return fault(b, i, err, "the unknown flags", q->flags);
	}
	if ((q->flags & CWP_REQUEST_JUDGE) != 0 && q->kind != CWP_REQUEST_GENERATE && q->kind != CWP_REQUEST_LOGLIK) {
		return fault(b, i, err, "CWP_REQUEST_JUDGE, but a judge is not asked for the kind", q->kind);
	}
	if ((q->flags & CWP_REQUEST_JUDGE) != 0 && b->job->judge == NULL) {
		return cwb_err_set(err, CWP_EMISSING, "evaluate %s: %s lets a judge decide and there is none: add judge: {model: ...}, or "
			"choose options that need none", b->job->name, b->job->benchmark);
	}
	if ((q->flags & CWP_REQUEST_CHAT) != 0 && (q->kind == CWP_REQUEST_ROLLING || q->kind == CWP_REQUEST_WINDOWS)) {
		return fault(b, i, err, "CWP_REQUEST_CHAT, but no context since its kind is", q->kind);
	}
	for (size_t k = 0; k < q->stops; k++) {
		if (q->stops > CWE_STOP_STRINGS || q->stop == NULL || q->stop[k] == NULL) {
			return cwb_err_set(err, CWP_EPLUGIN, "plugin '%s': request %" PRIu64 " has %zu stop strings, which are more than %d or "
				"not all there; report it to the plugin's vendor", b->job->benchmark, i, q->stops, CWE_STOP_STRINGS);
		}
	}
	return 0;
}

int cwe_benchmark_request(struct cwe_run *run, const struct cwe_benchmark *b, uint64_t i, struct cwp_request *ret,
	struct cwb_err *err)
{
	const struct cwp_evaluator *e = b->plugin->interface;
	struct cwp_request q = {.size = sizeof q};
	int r = e->request(b->state, i, &q);
	if (r != 0) {
		return cwe_host_error(run->p->host, b->job->benchmark, "request", r, err);
	}
	if ((r = check(b, i, &q, err)) != 0) {
		return r;
	}
	q.context = q.context != NULL ? q.context : "";
	q.continuation = q.continuation != NULL ? q.continuation : "";
	*ret = q;
	return 0;
}

/* The model's chat format, looked for when the first request wants it. */
static int find_chat(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwe_chat_question question = {.asked = run->job->chat.format, .tokenizer = run->tokenizer,
		.warnings = run->chat_looked ? NULL : run->warnings};
	if (run->chat_evaluated) {
		return 0;
	}
	run->chat_evaluated = 1;
	int r = run->chat == NULL ? cwe_chat_beside(run->source, &question, &run->chat, err) : 0;
	if (r == 0 && run->chat == NULL && (question.asked == NULL || strcmp(question.asked, "none") != 0)) {
		r = cwe_run_warn(run, err, "the model has no chat format: evaluations give it their prompts as plain text; chat: none says "
			"that this is right");
	}
	return cwe_run_place(err, r, run->job->chat.line, run->job->chat.column, "chat", "");
}

int cwe_benchmark_prompt(struct cwe_run *run, const struct cwp_request *q, char **ret_text, size_t *ret_length,
	struct cwb_err *err)
{
	const struct cwe_message said = {"user", q->context, q->context_length};
	int r = (q->flags & CWP_REQUEST_CHAT) != 0 ? find_chat(run, err) : 0;
	*ret_text = NULL;
	*ret_length = 0;
	if (r != 0 || (q->flags & CWP_REQUEST_CHAT) == 0 || run->chat == NULL) {
		return r;
	}
	return cwe_chat_render(run->chat, &said, 1, 1, ret_text, ret_length, err);
}

/* A prompt that generates text is made anew for each model; here it is only measured. */
static int add_generation(struct cwe_run *run, struct cwe_benchmark *b, const struct cwp_request *q, struct cwb_err *err)
{
	struct cwe_ids ids = {0};
	int fits = 0, r = cwe_benchmark_prompt_ids(run, q, &ids, &fits, err);
	free(ids.id);
	if (r == 0 && fits) {
		b->generations++;
		b->generated_tokens += q->max_new_tokens;
		b->longest_prompt = ids.count > b->longest_prompt ? ids.count : b->longest_prompt;
		b->longest_answer = q->max_new_tokens > b->longest_answer ? q->max_new_tokens : b->longest_answer;
		b->generation_tokens += ids.count + q->max_new_tokens;
	}
	return r != 0 || fits ? r : cwb_err_set(err, CWP_ELIMIT, "the prompt and its new tokens do not fit");
}

static int add(struct cwe_run *run, struct cwe_benchmark *b, uint64_t owner, const struct cwp_request *q, struct cwb_err *err)
{
	struct cwe_request_list *list = &b->list;
	const struct cwe_tokenizer *t = run->tokenizer;
	uint32_t context = run->model.arch.context, usual = context < WINDOW ? context : WINDOW;
	uint32_t window = q->window > 0 ? q->window : usual;
	char *chat = NULL;
	size_t length = 0;
	if (q->kind == CWP_REQUEST_GENERATE) {
		return add_generation(run, b, q, err);
	}
	b->windowed[owner] = q->kind == CWP_REQUEST_ROLLING || q->kind == CWP_REQUEST_WINDOWS;
	if (q->kind == CWP_REQUEST_ROLLING) {
		return cwe_request_rolling(list, owner, t, q->continuation, q->continuation_length, window < context ? window : context, err);
	}
	if (q->kind == CWP_REQUEST_WINDOWS) {
		return window <= context ? cwe_request_windows(list, owner, t, q->continuation, q->continuation_length, window, err)
					 : cwb_err_set(err, CWP_ELIMIT, "a window of %" PRIu32 " tokens does not fit", window);
	}
	int r = cwe_benchmark_prompt(run, q, &chat, &length, err);
	if (r == 0 && q->kind == CWP_REQUEST_LOGLIK) {
		r = chat != NULL ? cwe_request_chat(list, owner, t, chat, length, q->continuation, q->continuation_length, context, err)
			: cwe_request_loglik(list, owner, t, q->context, q->context_length, q->continuation, q->continuation_length, context, err);
	} else if (r == 0) {
		r = chat != NULL ? cwe_request_next(list, owner, t, chat, length, context, err)
				 : cwe_request_next(list, owner, t, q->context, q->context_length, context, err);
		b->drifts += r == 0;
	}
	free(chat);
	return r;
}

/* Its item is left out, by name. */
static int mark_long(struct cwe_benchmark *b, uint64_t i, const char *item, struct cwb_err *err)
{
	char name[NAME_LENGTH + 1] = "";
	size_t n = item != NULL ? strnlen(item, NAME_LENGTH) : 0;
	size_t whole = n > 0 ? cwe_utf8_check(item, n) : 0;
	if (whole > 0) {
		memcpy(name, item, whole);
		name[whole] = '\0';
	} else {
		(void)snprintf(name, sizeof name, "%" PRIu64, i);
	}
	b->too_long[i] = 1;
	return json_object_set_new(b->long_items, name, json_null()) == 0 ? 0
		: cwb_err_set(err, -ENOMEM, "no memory for the names of items");
}

static void digest_text(struct cwb_digest *d, const char *text, uint64_t length)
{
	cwb_digest_update(d, &length, sizeof length);
	cwb_digest_update(d, text, length);
}

/* All that answers depend on. What a judge is asked follows from them. */
static void digest_request(struct cwb_digest *d, const struct cwp_request *q)
{
	const uint32_t shape[] = {q->kind, q->flags, q->window, q->max_new_tokens};
	cwb_digest_update(d, shape, sizeof shape);
	if ((q->flags & CWP_REQUEST_JUDGE) == 0) {
		digest_text(d, q->context, q->context_length);
		digest_text(d, q->continuation, q->continuation_length);
	}
	for (size_t i = 0; i < q->stops; i++) {
		digest_text(d, q->stop[i], strlen(q->stop[i]));
	}
}

int cwe_benchmark_add(struct cwe_run *run, struct cwe_benchmark *b, uint64_t i, struct cwb_err *err)
{
	struct cwp_request q = {0};
	struct cwb_err local = {0};
	struct cwe_stop *stop = NULL;
	int r = cwe_benchmark_request(run, b, i, &q, err);
	if (r != 0) {
		return r;
	}
	if (!b->judging) {
		digest_request(&b->digest, &q);
	}
	b->items += q.item != NULL && (b->last_item == NULL || strcmp(q.item, b->last_item) != 0);
	b->last_item = (q.flags & CWP_REQUEST_JUDGE) == 0 ? q.item : NULL; /* a judge's strings do not last */
	if ((q.flags & CWP_REQUEST_JUDGE) != 0 && !b->judging) {
		b->judged[i] = 1;
		b->judges++;
		return 0;
	}
	/* What is wrong there is found before any work. */
	if (q.kind == CWP_REQUEST_GENERATE && cwe_benchmark_stop(run->tokenizer, &q, &stop, err) != 0) {
		return cwb_err_prefix(err, "request %" PRIu64, i);
	}
	cwe_stop_free(stop);
	r = add(run, b, i, &q, &local);
	if (r == CWP_ELIMIT) {
		return mark_long(b, i, q.item, err);
	}
	if (r == 0) {
		return 0;
	}
	if (err != NULL) {
		*err = local;
	}
	return q.item != NULL ? cwb_err_prefix(err, "request %" PRIu64 " (%.96s)", i, q.item) : cwb_err_prefix(err, "request %" PRIu64, i);
}

json_t *cwe_benchmark_too_long(const struct cwe_benchmark *b)
{
	json_t *items = json_array();
	const char *name;
	json_t *value;
	json_object_foreach(b->long_items, name, value) {
		if (json_array_size(items) < NAMED) {
			(void)json_array_append_new(items, json_string(name));
		}
	}
	return json_pack("{s:I,s:o}", "count", (json_int_t)json_object_size(b->long_items), "items", items);
}
