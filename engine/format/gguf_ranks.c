/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Merges of a BPE in words of scores: which tokens come before which, however many merges make each. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/gguf_tokens.h"

char *cwe_gguf_merge_text(const json_t *merge)
{
	const char *whole = json_string_value(merge), *left = json_string_value(json_array_get(merge, 0));
	const char *right = json_string_value(json_array_get(merge, 1));
	char *ret;

	if (whole)
		return strdup(whole);
	if (!left || !right || strchr(left, ' ') || strchr(right, ' ') || asprintf(&ret, "%s %s", left, right) < 0)
		return NULL;
	return ret;
}

/* The number of the token that a merge makes, or -1. */
static json_int_t made_by(const json_t *vocabulary, const json_t *merge)
{
	char *text = cwe_gguf_merge_text(merge), *space = text ? strchr(text, ' ') : NULL;
	const json_t *id = NULL;

	if (space) {
		memmove(space, space + 1, strlen(space));
		id = json_object_get(vocabulary, text);
	}
	free(text);
	return json_is_integer(id) ? json_integer_value(id) : -1;
}

static int list_made(const json_t *vocabulary, const json_t *merges, uint64_t size, uint32_t *made, struct cwb_err *err)
{
	const json_t *merge;
	size_t i;

	json_array_foreach (merges, i, merge) {
		json_int_t id = made_by(vocabulary, merge);

		if (id < 0 || (uint64_t)id >= size)
			return cwb_err_set(err, CWP_EFORMAT, "tokenizer.json: merge %zu makes no token", i);
		made[i] = (uint32_t)id;
	}
	return 0;
}

/* Groups in the order of merges: between the first and the last merge of a token, all others are of its group. */
static void group(struct cwe_gguf_ranks *r)
{
	const uint32_t *made = r->made;
	size_t start = 0, end = 0;

	for (size_t i = 0; i < r->merges; i++)
		r->rank[made[i]].last = i;
	for (size_t i = 0; i < r->merges; i++) {
		struct cwe_gguf_rank *t = &r->rank[made[i]];

		if (i == 0 || i > end) {
			r->groups++;
			start = i;
			end = i;
		}
		end = t->last > end ? t->last : end;
		t->group = r->groups;
		t->shared |= made[i] != made[start];
		r->rank[made[start]].shared |= t->shared;
	}
}

int cwe_gguf_ranks_make(const json_t *model, uint64_t size, struct cwe_gguf_ranks *ret, struct cwb_err *err)
{
	const json_t *merges = json_object_get(model, "merges");
	size_t count = json_array_size(merges);
	struct cwe_gguf_ranks r = {.rank = calloc(size + 1, sizeof *r.rank), .made = calloc(count + 1, sizeof *r.made), .merges = count};
	int rc = r.rank && r.made ? list_made(json_object_get(model, "vocab"), merges, size, r.made, err) :
				    cwb_err_set(err, -ENOMEM, "tokenizer.json: out of memory");

	if (rc) {
		cwe_gguf_ranks_free(&r);
		return rc;
	}
	group(&r);
	*ret = r;
	return 0;
}

void cwe_gguf_ranks_free(struct cwe_gguf_ranks *r)
{
	free(r->rank);
	free(r->made);
	*r = (struct cwe_gguf_ranks){NULL};
}

/* ---- comparing ---- */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_texts(char **text, size_t count)
{
	for (size_t i = 0; text && i < count; i++)
		free(text[i]);
	free(text);
}

static char **texts_of(const json_t *merges)
{
	size_t n = json_array_size(merges), i;
	char **text = calloc(n + 1, sizeof *text);

	for (i = 0; text && i < n; i++) {
		text[i] = cwe_gguf_merge_text(json_array_get(merges, i));
		if (!text[i]) {
			free_texts(text, i);
			return NULL;
		}
	}
	return text;
}

/* Whether each group has the same merges, in any order; *ret_at: the first group that has not. */
static int same_groups(const struct cwe_gguf_ranks *r, char **wanted, char **found, size_t *ret_at)
{
	for (size_t at = 0, end; at < r->merges; at = end) {
		uint32_t g = r->rank[r->made[at]].group;

		for (end = at + 1; end < r->merges && r->rank[r->made[end]].group == g; end++)
			;
		qsort(wanted + at, end - at, sizeof *wanted, by_text);
		qsort(found + at, end - at, sizeof *found, by_text);
		*ret_at = at;
		for (size_t i = at; i < end; i++)
			if (strcmp(wanted[i], found[i]) != 0)
				return 0;
	}
	return 1;
}

int cwe_gguf_same_merges(const json_t *wanted, const json_t *found, uint64_t size, struct cwb_err *err)
{
	const json_t *a = json_object_get(wanted, "merges"), *b = json_object_get(found, "merges");
	struct cwe_gguf_ranks r = {NULL};
	char **x = texts_of(a), **y = texts_of(b);
	size_t at = 0;
	int rc = x && y ? cwe_gguf_ranks_make(wanted, size, &r, err) :
			  cwb_err_set(err, -ENOMEM, "tokenizer.json: out of memory");

	if (!rc && (json_array_size(a) != json_array_size(b) || !same_groups(&r, x, y, &at)))
		rc = cwb_err_set(err, CWP_EVALUE, "write.format: gguf keeps scores of tokens, and no scores give the merges of "
			"tokenizer.json (near merge %zu): choose compressed-tensors or dense", at);
	free_texts(x, json_array_size(a));
	free_texts(y, json_array_size(b));
	cwe_gguf_ranks_free(&r);
	return rc;
}
