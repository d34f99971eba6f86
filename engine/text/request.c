/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Requests of evaluators as sequences. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/request.h"
#include "engine/text/sequence.h"

/* Appends tokens whose last `scored` count. */
static int add(struct cwe_request_list *list, size_t owner, const uint32_t *id, size_t count, size_t scored,
	struct cwb_err *err)
{
	if (list->set.count == list->capacity) {
		size_t capacity = list->capacity > 0 ? 2 * list->capacity : 64;
		struct cwe_sample *sample = realloc(list->set.sample, capacity * sizeof *sample);
		if (sample != NULL) {
			list->set.sample = sample;
		}
		size_t *owners = realloc(list->owner, capacity * sizeof *owners);
		if (owners != NULL) {
			list->owner = owners;
		}
		if (sample == NULL || owners == NULL) {
			return cwb_err_set(err, -ENOMEM, "no memory for %zu requests", capacity);
		}
		list->capacity = capacity;
	}
	struct cwe_sequence *s = calloc(1, sizeof *s);
	if (s != NULL) {
		s->id = malloc(count * sizeof *s->id);
		s->weight = calloc(count, sizeof *s->weight);
		s->count = count;
	}
	if (s == NULL || s->id == NULL || s->weight == NULL) {
		if (s != NULL) {
			free(s->id);
			free(s->weight);
		}
		free(s);
		return cwb_err_set(err, -ENOMEM, "no memory for a request of %zu tokens", count);
	}
	memcpy(s->id, id, count * sizeof *id);
	for (size_t i = count - scored; i < count; i++) {
		s->weight[i] = 1.0f;
	}
	list->owner[list->set.count] = owner;
	list->set.sample[list->set.count++] = (struct cwe_sample){.sequence = s, .count = 1};
	list->set.tokens += count;
	return 0;
}

int cwe_request_prefix(const struct cwe_tokenizer *t, uint32_t *ret, struct cwb_err *err)
{
	int64_t id = cwe_tokenizer_bos(t);
	id = id >= 0 ? id : cwe_tokenizer_eos(t);
	if (id < 0) {
		return cwb_err_set(err, CWP_EMISSING, "tokenizer_config.json names neither bos_token nor eos_token: a text needs a "
			"token to begin with");
	}
	*ret = (uint32_t)id;
	return 0;
}

int cwe_request_ids(struct cwe_request_list *list, size_t owner, const uint32_t *context, size_t context_count,
	const uint32_t *continuation, size_t count, size_t limit, struct cwb_err *err)
{
	if (context_count == 0 || count == 0) {
		return cwb_err_set(err, CWP_EVALUE, "a request needs at least one token of context and one of continuation");
	}
	/* The last token is only predicted, so one more than the context fits. */
	if (count > limit || context_count > limit + 1 - count) {
		return cwb_err_set(err, CWP_ELIMIT, "%zu tokens of context and %zu of continuation are more than the model's context of %zu "
			"takes: shorten the context", context_count, count, limit);
	}
	uint32_t *id = malloc((context_count + count) * sizeof *id);
	if (id == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for a request");
	}
	memcpy(id, context, context_count * sizeof *id);
	memcpy(id + context_count, continuation, count * sizeof *id);
	int r = add(list, owner, id, context_count + count, count, err);
	free(id);
	return r;
}

/* Without context: the prefix token, unless the continuation begins with it. */
static int without_context(struct cwe_request_list *list, size_t owner, const struct cwe_tokenizer *t,
	const char *text, size_t length, size_t limit, struct cwb_err *err)
{
	struct cwe_ids ids = {0};
	uint32_t prefix;
	int r = cwe_request_prefix(t, &prefix, err);
	r = r == 0 ? cwe_tokenizer_encode(t, text, length, 0, &ids, err) : r;
	if (r == 0 && ids.count > 1 && ids.id[0] == prefix) {
		r = cwe_request_ids(list, owner, ids.id, 1, ids.id + 1, ids.count - 1, limit, err);
	} else if (r == 0) {
		r = cwe_request_ids(list, owner, &prefix, 1, ids.id, ids.count, limit, err);
	}
	free(ids.id);
	return r;
}

int cwe_request_loglik(struct cwe_request_list *list, size_t owner, const struct cwe_tokenizer *t, const char *context,
	size_t context_length, const char *continuation, size_t length, size_t limit, struct cwb_err *err)
{
	if (context_length == 0) {
		return without_context(list, owner, t, continuation, length, limit, err);
	}
	size_t kept = cwe_text_without_spaces(context, context_length);
	struct cwe_ids whole = {0}, before = {0};
	char *text = malloc(context_length + length + 1);
	if (text == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for a request");
	}
	memcpy(text, context, context_length);
	memcpy(text + context_length, continuation, length);
	int r = cwe_tokenizer_encode(t, text, context_length + length, 0, &whole, err);
	r = r == 0 ? cwe_tokenizer_encode(t, text, kept, 0, &before, err) : r;
	if (r == 0 && (before.count == 0 || before.count >= whole.count)) {
		r = cwb_err_set(err, CWP_EVALUE, "a request's context and continuation need at least one token each");
	}
	r = r == 0 ? cwe_request_ids(list, owner, whole.id, before.count, whole.id + before.count,
			     whole.count - before.count, limit, err)
		   : r;
	free(whole.id);
	free(before.id);
	free(text);
	return r;
}

int cwe_request_rolling(struct cwe_request_list *list, size_t owner, const struct cwe_tokenizer *t, const char *text,
	size_t length, size_t window, struct cwb_err *err)
{
	struct cwe_ids ids = {0};
	uint32_t prefix;
	int r = cwe_request_prefix(t, &prefix, err);
	r = r == 0 ? cwe_tokenizer_encode(t, text, length, 0, &ids, err) : r;
	uint32_t *first = r == 0 ? malloc((ids.count + 1) * sizeof *first) : NULL;
	if (r == 0 && first == NULL) {
		r = cwb_err_set(err, -ENOMEM, "no memory for %zu tokens", ids.count);
	}
	if (r == 0) {
		first[0] = prefix;
		if (ids.count > 0) {
			memcpy(first + 1, ids.id, ids.count * sizeof *first);
		}
	}
	/* first[i + 1] is token i of the text. */
	for (size_t done = 0; r == 0 && done < ids.count;) {
		size_t n = ids.count - done < window ? ids.count - done : window;
		size_t end = done + n, from = end > window ? end - window : 0;
		r = add(list, owner, first + from, end + 1 - from, n, err);
		done = end;
	}
	free(first);
	free(ids.id);
	return r;
}

int cwe_request_chat(struct cwe_request_list *list, size_t owner, const struct cwe_tokenizer *t, const char *prompt,
	size_t prompt_length, const char *continuation, size_t length, size_t limit, struct cwb_err *err)
{
	struct cwe_ids before = {0}, after = {0};
	int r = cwe_tokenizer_encode(t, prompt, prompt_length, 0, &before, err);
	r = r == 0 ? cwe_tokenizer_encode(t, continuation, length, 0, &after, err) : r;
	r = r == 0 ? cwe_request_ids(list, owner, before.id, before.count, after.id, after.count, limit, err) : r;
	free(before.id);
	free(after.id);
	return r;
}

int cwe_request_windows(struct cwe_request_list *list, size_t owner, const struct cwe_tokenizer *t, const char *text,
	size_t length, size_t window, struct cwb_err *err)
{
	struct cwe_ids ids = {0};
	if (window < 2) {
		return cwb_err_set(err, CWP_EVALUE, "a window of %zu tokens predicts none: it needs 2 at least", window);
	}
	int r = cwe_tokenizer_encode(t, text, length, 0, &ids, err);
	for (size_t at = 0; r == 0 && ids.count - at >= window; at += window) {
		r = add(list, owner, ids.id + at, window, window - 1, err);
	}
	free(ids.id);
	return r;
}

int cwe_request_prompt_ids(const struct cwe_tokenizer *t, const char *text, size_t length, struct cwe_ids *ret,
	struct cwb_err *err)
{
	struct cwe_ids ids = {0};
	uint32_t prefix;
	int r = cwe_tokenizer_encode(t, text, length, 0, &ids, err);
	if (r == 0 && ids.count == 0 && (r = cwe_request_prefix(t, &prefix, err)) == 0) {
		free(ids.id);
		ids = (struct cwe_ids){.id = malloc(sizeof *ids.id), .count = 1};
		if (ids.id != NULL) {
			ids.id[0] = prefix;
		} else {
			r = cwb_err_set(err, -ENOMEM, "no memory for a prompt");
		}
	}
	if (r != 0) {
		free(ids.id);
		return r;
	}
	*ret = ids;
	return 0;
}

int cwe_request_next(struct cwe_request_list *list, size_t owner, const struct cwe_tokenizer *t, const char *text,
	size_t length, size_t limit, struct cwb_err *err)
{
	struct cwe_ids ids = {0};
	int r = cwe_request_prompt_ids(t, text, length, &ids, err);
	if (r == 0 && ids.count > limit) {
		r = cwb_err_set(err, CWP_ELIMIT, "%zu tokens of context are more than the model's context of %zu", ids.count, limit);
	}
	r = r == 0 ? add(list, owner, ids.id, ids.count, 0, err) : r;
	free(ids.id);
	return r;
}

void cwe_request_free(struct cwe_request_list *list)
{
	for (size_t i = 0; i < list->set.count; i++) {
		free(list->set.sample[i].sequence->id);
		free(list->set.sample[i].sequence->weight);
		free(list->set.sample[i].sequence);
	}
	free(list->set.sample);
	free(list->owner);
	memset(list, 0, sizeof *list);
}
