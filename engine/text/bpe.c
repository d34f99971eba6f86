/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Byte pair encoding: a linked list of symbols and a heap of the merges that their neighbours
 * allow. */
#include "engine/text/bpe.h"

#include <stdio.h>
#include <string.h>

#include "engine/text/component.h"
#include "engine/text/utf8.h"

#define NONE UINT32_MAX

struct merge {
	uint32_t left, right; /* left == NONE: empty */
	uint32_t rank;
	uint32_t id; /* of the merged token */
};

struct cwe_bpe {
	struct cwe_vocabulary *vocabulary;
	struct merge *merge; /* hash table with open addressing, a power of two many */
	size_t slots;
	uint32_t unknown; /* id or NONE */
	int fuse_unknown, byte_fallback, ignore_merges;
	uint32_t byte_id[256]; /* of "<0x00>" to "<0xFF>", or NONE */
	uint32_t low[0x200];   /* ids of the single characters below U+0200, or NONE */
};

struct cwe_bpe_symbol {
	uint32_t id;
	uint32_t previous, next; /* NONE at the ends */
	int gone;
};

struct cwe_bpe_candidate {
	uint32_t rank, position, id;
};

static size_t slot_of(const struct cwe_bpe *b, uint32_t left, uint32_t right)
{
	uint64_t h = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
	h ^= h >> 32;
	size_t i = (size_t)h & (b->slots - 1);
	while (b->merge[i].left != NONE && (b->merge[i].left != left || b->merge[i].right != right))
		i = (i + 1) & (b->slots - 1);
	return i;
}

static const struct merge *find_merge(const struct cwe_bpe *b, uint32_t left, uint32_t right)
{
	const struct merge *m = &b->merge[slot_of(b, left, right)];
	return m->left == NONE ? NULL : m;
}

/* The two halves of a merge, written "a b" or ["a", "b"]. */
static int read_merge(const json_t *item, const char *place, const char *half[2], size_t length[2],
	struct cwb_err *err)
{
	if (json_is_string(item)) {
		const char *text = json_string_value(item);
		size_t n = json_string_length(item);
		const char *space = memchr(text, ' ', n);
		if (!space || memchr(space + 1, ' ', n - (size_t)(space + 1 - text)))
			return cwe_component_refuse(err, CWP_EVALUE, place,
				"\"%.60s\" is not two tokens with a space between", text);
		half[0] = text;
		length[0] = (size_t)(space - text);
		half[1] = space + 1;
		length[1] = n - length[0] - 1;
		return 0;
	}
	if (json_array_size(item) != 2 || !json_is_string(json_array_get(item, 0)) ||
		!json_is_string(json_array_get(item, 1)))
		return cwe_component_refuse(
			err, CWP_EVALUE, place, "neither a string nor a pair of strings");
	for (size_t i = 0; i < 2; i++) {
		half[i] = json_string_value(json_array_get(item, i));
		length[i] = json_string_length(json_array_get(item, i));
	}
	return 0;
}

static int token_id(const struct cwe_bpe *b, const char *text, size_t length, const char *place,
	uint32_t *ret, struct cwb_err *err)
{
	int64_t id = cwe_vocabulary_id(b->vocabulary, text, length);
	if (id < 0)
		return cwe_component_refuse(err, CWP_EVALUE, place,
			"token \"%.*s\" is not in the vocabulary", length > 60 ? 60 : (int)length,
			text);
	*ret = (uint32_t)id;
	return 0;
}

static int add_merge(struct cwe_bpe *b, const json_t *item, size_t rank, struct cwb_err *err)
{
	char place[CWE_PLACE_SIZE];
	char joined[1024];
	const char *half[2] = {NULL, NULL};
	size_t length[2] = {0, 0};
	uint32_t id[3] = {0};
	cwe_place_item(place, "model", "merges", rank);
	int rc = read_merge(item, place, half, length, err);
	if (rc != 0 || !half[0] || !half[1])
		return rc;
	if (length[0] > sizeof(joined) || length[1] > sizeof(joined) - length[0])
		return cwe_component_refuse(
			err, CWP_ELIMIT, place, "a token longer than %zu bytes", sizeof(joined));
	memcpy(joined, half[0], length[0]);
	memcpy(joined + length[0], half[1], length[1]);
	rc = token_id(b, half[0], length[0], place, &id[0], err);
	if (rc == 0)
		rc = token_id(b, half[1], length[1], place, &id[1], err);
	if (rc == 0)
		rc = token_id(b, joined, length[0] + length[1], place, &id[2], err);
	if (rc < 0)
		return rc;
	/* A pair that is there twice has its later rank. */
	b->merge[slot_of(b, id[0], id[1])] = (struct merge){id[0], id[1], (uint32_t)rank, id[2]};
	return 0;
}

static int read_merges(struct cwe_bpe *b, const json_t *model, struct cwb_err *err)
{
	const json_t *merges;
	int rc = cwe_component_array(model, "model", "merges", 1, &merges, err);
	if (rc < 0)
		return rc;
	size_t n = json_array_size(merges);
	if (n >= CWE_ID_LIMIT)
		return cwe_component_refuse(
			err, CWP_ELIMIT, "model.merges", "more than %u", CWE_ID_LIMIT - 1);
	b->slots = 16;
	while (b->slots < 2 * n)
		b->slots *= 2;
	b->merge = malloc(b->slots * sizeof(*b->merge));
	if (!b->merge)
		return cwb_err_set(err, -ENOMEM, "model.merges: out of memory");
	for (size_t i = 0; i < b->slots; i++)
		b->merge[i].left = NONE;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = add_merge(b, json_array_get(merges, i), i, err);
	return rc;
}

static int read_vocabulary(struct cwe_bpe *b, const json_t *model, struct cwb_err *err)
{
	const json_t *vocab = json_object_get(model, "vocab");
	if (!vocab)
		return cwe_component_refuse(err, CWP_EMISSING, "model", "has no \"vocab\"");
	if (!json_is_object(vocab))
		return cwe_component_refuse(err, CWP_EVALUE, "model.vocab", "not an object");
	int rc = cwe_vocabulary_new(&b->vocabulary, err);
	if (rc < 0)
		return rc;
	const char *token;
	json_t *value;
	json_object_foreach((json_t *)vocab, token, value)
	{
		char place[CWE_PLACE_SIZE];
		unsigned id;
		rc = cwe_component_id(value, "model.vocab", &id, NULL);
		if (rc < 0) {
			snprintf(place, sizeof(place), "model.vocab[\"%.60s\"]", token);
			return cwe_component_id(value, place, &id, err);
		}
		rc = cwe_vocabulary_add(
			b->vocabulary, token, strlen(token), id, "model.vocab", err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The parts that would change the result and are not known here. */
static int refuse_options(const json_t *model, struct cwb_err *err)
{
	static const char *const texts[] = {"continuing_subword_prefix", "end_of_word_suffix"};
	const json_t *dropout = json_object_get(model, "dropout");
	if (dropout && !json_is_null(dropout) &&
		!(json_is_number(dropout) && json_number_value(dropout) == 0))
		return cwe_component_refuse(
			err, CWP_EUNKNOWN, "model.dropout", "only null and 0 are supported");
	for (size_t i = 0; i < 2; i++) {
		const json_t *value = json_object_get(model, texts[i]);
		char place[CWE_PLACE_SIZE];
		cwe_place(place, "model", texts[i]);
		if (value && !json_is_null(value) &&
			!(json_is_string(value) && json_string_length(value) == 0))
			return cwe_component_refuse(
				err, CWP_EUNKNOWN, place, "only null and \"\" are supported");
	}
	return 0;
}

static int read_options(struct cwe_bpe *b, const json_t *model, struct cwb_err *err)
{
	int rc = refuse_options(model, err);
	if (rc == 0)
		rc = cwe_component_flag(model, "model", "fuse_unk", 0, &b->fuse_unknown, err);
	if (rc == 0)
		rc = cwe_component_flag(model, "model", "byte_fallback", 0, &b->byte_fallback, err);
	if (rc == 0)
		rc = cwe_component_flag(model, "model", "ignore_merges", 0, &b->ignore_merges, err);
	if (rc < 0)
		return rc;
	const json_t *unknown = json_object_get(model, "unk_token");
	b->unknown = NONE;
	if (unknown && !json_is_null(unknown)) {
		if (!json_is_string(unknown))
			return cwe_component_refuse(
				err, CWP_EVALUE, "model.unk_token", "not a string");
		rc = token_id(b, json_string_value(unknown), json_string_length(unknown),
			"model.unk_token", &b->unknown, err);
	}
	return rc;
}

static void fill_tables(struct cwe_bpe *b)
{
	for (uint32_t point = 0; point < 0x200; point++) {
		char text[4] = "";
		int64_t id = cwe_vocabulary_id(b->vocabulary, text, cwe_utf8_put(point, text));
		b->low[point] = id < 0 ? NONE : (uint32_t)id;
	}
	for (unsigned byte = 0; byte < 256; byte++) {
		char text[8];
		snprintf(text, sizeof(text), "<0x%02X>", byte);
		int64_t id = cwe_vocabulary_id(b->vocabulary, text, 6);
		b->byte_id[byte] = id < 0 ? NONE : (uint32_t)id;
	}
}

int cwe_bpe_new(const json_t *model, struct cwe_bpe **ret, struct cwb_err *err)
{
	struct cwe_bpe *b = calloc(1, sizeof(*b));
	if (!b)
		return cwb_err_set(err, -ENOMEM, "out of memory");
	int rc = read_vocabulary(b, model, err);
	if (rc == 0)
		rc = read_options(b, model, err);
	if (rc == 0)
		rc = read_merges(b, model, err);
	if (rc < 0) {
		cwe_bpe_free(b);
		return rc;
	}
	fill_tables(b);
	*ret = b;
	return 0;
}

void cwe_bpe_free(struct cwe_bpe *b)
{
	if (!b)
		return;
	cwe_vocabulary_free(b->vocabulary);
	free(b->merge);
	free(b);
}

const struct cwe_vocabulary *cwe_bpe_vocabulary(const struct cwe_bpe *b)
{
	return b->vocabulary;
}

void cwe_bpe_work_free(struct cwe_bpe_work *w)
{
	free(w->symbol);
	free(w->candidate);
	*w = (struct cwe_bpe_work){0};
}

/* Room for n symbols, and for the candidates that they can give: n - 1 at first and two for each of
 * n - 1 merges. */
static int reserve(struct cwe_bpe_work *w, size_t n)
{
	if (n > w->symbols) {
		struct cwe_bpe_symbol *symbol = realloc(w->symbol, n * sizeof(*symbol));
		if (!symbol)
			return -ENOMEM;
		w->symbol = symbol;
		w->symbols = n;
	}
	if (3 * n > w->candidates) {
		struct cwe_bpe_candidate *candidate =
			realloc(w->candidate, 3 * n * sizeof(*candidate));
		if (!candidate)
			return -ENOMEM;
		w->candidate = candidate;
		w->candidates = 3 * n;
	}
	return 0;
}

/* Splits the piece into symbols; returns their count. Order and joining of unknown ones are the
 * reference's: an unknown character is held back while bytes that stand for later characters pass
 * it. */
static size_t split(
	const struct cwe_bpe *b, const char *text, size_t length, struct cwe_bpe_symbol *symbol)
{
	size_t n = 0;
	int held = 0;
	for (size_t i = 0, step; i < length; i += step) {
		uint32_t point = 0;
		step = cwe_utf8_next(text + i, length - i, &point);
		if (step == 0)
			step = 1;
		int64_t id = point < 0x200 ? (b->low[point] == NONE ? -1 : (int64_t)b->low[point])
					   : cwe_vocabulary_id(b->vocabulary, text + i, step);
		if (id >= 0) {
			if (held)
				symbol[n++].id = b->unknown;
			held = 0;
			symbol[n++].id = (uint32_t)id;
			continue;
		}
		int all = b->byte_fallback;
		for (size_t j = 0; j < step && all; j++)
			all = b->byte_id[(unsigned char)text[i + j]] != NONE;
		for (size_t j = 0; j < step && all; j++)
			symbol[n++].id = b->byte_id[(unsigned char)text[i + j]];
		if (all || b->unknown == NONE)
			continue;
		if (held && !b->fuse_unknown)
			symbol[n++].id = b->unknown;
		held = 1;
	}
	if (held)
		symbol[n++].id = b->unknown;
	for (size_t i = 0; i < n; i++) {
		symbol[i].previous = i > 0 ? (uint32_t)i - 1 : NONE;
		symbol[i].next = i + 1 < n ? (uint32_t)i + 1 : NONE;
		symbol[i].gone = 0;
	}
	return n;
}

static int before(const struct cwe_bpe_candidate *a, const struct cwe_bpe_candidate *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->position < b->position;
}

static void push(struct cwe_bpe_candidate *heap, size_t *count, struct cwe_bpe_candidate c)
{
	size_t i = (*count)++;
	while (i > 0 && before(&c, &heap[(i - 1) / 2])) {
		heap[i] = heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	heap[i] = c;
}

static struct cwe_bpe_candidate pop(struct cwe_bpe_candidate *heap, size_t *count)
{
	struct cwe_bpe_candidate top = heap[0];
	struct cwe_bpe_candidate last = heap[--*count];
	size_t i = 0;
	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= *count)
			break;
		if (child + 1 < *count && before(&heap[child + 1], &heap[child]))
			child++;
		if (!before(&heap[child], &last))
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = last;
	return top;
}

static void offer(const struct cwe_bpe *b, struct cwe_bpe_work *w, size_t *count, uint32_t position)
{
	const struct cwe_bpe_symbol *s = &w->symbol[position];
	if (s->next == NONE)
		return;
	const struct merge *m = find_merge(b, s->id, w->symbol[s->next].id);
	if (m)
		push(w->candidate, count, (struct cwe_bpe_candidate){m->rank, position, m->id});
}

static void merge_all(const struct cwe_bpe *b, struct cwe_bpe_work *w, size_t n)
{
	size_t count = 0;
	for (size_t i = 0; i < n; i++)
		offer(b, w, &count, (uint32_t)i);
	while (count > 0) {
		struct cwe_bpe_candidate top = pop(w->candidate, &count);
		struct cwe_bpe_symbol *s = &w->symbol[top.position];
		if (s->gone || s->next == NONE)
			continue;
		struct cwe_bpe_symbol *right = &w->symbol[s->next];
		const struct merge *m = find_merge(b, s->id, right->id);
		/* The pair may have changed since; as in the reference, one that gives the same
		 * token still counts. */
		if (!m || m->id != top.id)
			continue;
		s->id = top.id;
		right->gone = 1;
		s->next = right->next;
		if (s->next != NONE)
			w->symbol[s->next].previous = top.position;
		if (s->previous != NONE)
			offer(b, w, &count, s->previous);
		offer(b, w, &count, top.position);
	}
}

int cwe_bpe_encode(const struct cwe_bpe *b, const char *text, size_t length,
	struct cwe_bpe_work *work, struct cwe_idlist *list, struct cwb_err *err)
{
	if (b->ignore_merges) {
		int64_t id = cwe_vocabulary_id(b->vocabulary, text, length);
		if (id >= 0)
			return cwe_idlist_add(list, (uint32_t)id) < 0
				       ? cwb_err_set(err, -ENOMEM, "out of memory")
				       : 0;
	}
	if (reserve(work, length + 1) < 0)
		return cwb_err_set(err, -ENOMEM, "out of memory for a word of %zu bytes", length);
	size_t n = split(b, text, length, work->symbol);
	merge_all(b, work, n);
	for (size_t i = 0; i < n; i++) {
		if (!work->symbol[i].gone && cwe_idlist_add(list, work->symbol[i].id) < 0)
			return cwb_err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}
