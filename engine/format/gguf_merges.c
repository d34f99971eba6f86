/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Merges of a SentencePiece vocabulary, which has scores instead. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/gguf_vocabulary.h"

#define TOKEN_MAX 1024 /* bytes of a token that takes part; the longest seen has 93 */

struct piece {
	const char *text;
	size_t length;
	uint32_t id;
	float score;
};

struct pieces {
	struct piece *piece;
	size_t count;
	uint32_t *slot; /* of a hash table: index + 1, or 0 */
	size_t slots;   /* a power of two */
};

/* A cut of one token. */
struct cut {
	size_t at;
	uint32_t left, right;
};

static size_t hash(const char *text, size_t length)
{
	uint64_t h = 0xCBF29CE484222325u;

	for (size_t i = 0; i < length; i++)
		h = (h ^ (unsigned char)text[i]) * 0x100000001B3u;
	return (size_t)(h ^ h >> 32);
}

/* The slot of a text, or the empty one where it would be. */
static size_t slot_of(const struct pieces *p, const char *text, size_t length)
{
	size_t i = hash(text, length) & (p->slots - 1);

	while (p->slot[i]) {
		const struct piece *x = &p->piece[p->slot[i] - 1];
		if (x->length == length && !memcmp(x->text, text, length))
			break;
		i = (i + 1) & (p->slots - 1);
	}
	return i;
}

static const struct piece *find(const struct pieces *p, const char *text, size_t length)
{
	uint32_t found = p->slot[slot_of(p, text, length)];

	return found ? &p->piece[found - 1] : NULL;
}

static int by_score(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int by_halves(const void *a, const void *b)
{
	const struct cut *x = a, *y = b;

	if (x->left != y->left)
		return x->left < y->left ? -1 : 1;
	return x->right < y->right ? -1 : x->right > y->right;
}

/* The tokens that take part, best scores first, in a hash table. */
static int collect(const struct cwe_gguf *g, const json_t *ids, const struct cwe_gguf_value *scores, struct pieces *p,
	struct cwb_err *err)
{
	const char *text;
	json_t *id;

	for (p->slots = 16; p->slots < 2 * json_object_size(ids); p->slots *= 2)
		;
	p->piece = calloc(json_object_size(ids) + 1, sizeof *p->piece);
	p->slot = calloc(p->slots, sizeof *p->slot);
	if (!p->piece || !p->slot)
		return -ENOMEM;
	json_object_foreach((json_t *)ids, text, id) {
		struct piece x = {.text = text, .length = strlen(text), .id = (uint32_t)json_integer_value(id)};
		memcpy(&x.score, scores->data + 4 * (size_t)x.id, 4);
		if (x.score != x.score)
			return cwb_err_set(err, CWP_EVALUE, "%s: %s: entry %" PRIu32 " is not a number", g->input.path, scores->key, x.id);
		if (x.length > 0 && x.length <= TOKEN_MAX && !strchr(text, ' '))
			p->piece[p->count++] = x;
	}
	qsort(p->piece, p->count, sizeof *p->piece, by_score);
	for (size_t i = 0; i < p->count; i++)
		p->slot[slot_of(p, p->piece[i].text, p->piece[i].length)] = (uint32_t)i + 1;
	return 0;
}

/* Appends the cuts of one token. */
static int cut(const struct pieces *p, const struct piece *whole, json_t *to)
{
	struct cut cuts[TOKEN_MAX] = {{0}};
	char line[TOKEN_MAX + 2];
	size_t count = 0;

	for (size_t at = 1; at < whole->length; at++) {
		const struct piece *left, *right;
		if (((unsigned char)whole->text[at] & 0xC0) == 0x80) /* inside a character */
			continue;
		left = find(p, whole->text, at);
		right = left ? find(p, whole->text + at, whole->length - at) : NULL;
		if (right)
			cuts[count++] = (struct cut){at, left->id, right->id};
	}
	if (count > 1)
		qsort(cuts, count, sizeof *cuts, by_halves);
	for (size_t i = 0; i < count; i++) {
		memcpy(line, whole->text, cuts[i].at);
		line[cuts[i].at] = ' ';
		memcpy(line + cuts[i].at + 1, whole->text + cuts[i].at, whole->length - cuts[i].at);
		if (json_array_append_new(to, json_stringn(line, whole->length + 1)))
			return -ENOMEM;
	}
	return 0;
}

int cwe_gguf_merges(const struct cwe_gguf *g, const json_t *ids, const struct cwe_gguf_value *scores, json_t *to,
	struct cwb_err *err)
{
	struct pieces p = {0};
	int rc = collect(g, ids, scores, &p, err);

	for (size_t i = 0; i < p.count && !rc; i++)
		rc = cut(&p, &p.piece[i], to);
	free(p.piece);
	free(p.slot);
	return rc ? cwb_err_set(err, rc, "%s: out of memory for its tokenizer", g->input.path) : 0;
}
