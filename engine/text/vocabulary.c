/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tokens and their ids: texts in one block, a table of their places by id, and a hash table of ids
 * with open addressing. About 12 bytes a token beside its text. */
#include "engine/text/vocabulary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/component.h"
#include "engine/text/hash.h"

#define EMPTY UINT32_MAX
#define LENGTH_BYTES 5 /* that a length takes at most */

struct cwe_vocabulary {
	/* Of each text its length, seven bits a byte and the lowest first, and the text. */
	char *texts;
	size_t texts_length, texts_room;
	uint32_t *by_id; /* place in texts + 1, or 0 */
	size_t ids;      /* length of by_id in use: largest id + 1 */
	size_t ids_room;
	/* The id of a text, which has 24 bits, and in the highest byte some bits of its hash, below
	 * 255. Lookups of texts that are not there then hardly ever have to look at another one. */
	uint32_t *slot; /* NULL: forgotten */
	size_t slots;   /* at least four thirds of the texts */
	size_t count;
};

static const char *text_at(const struct cwe_vocabulary *v, uint32_t place, size_t *ret_length)
{
	const unsigned char *p = (const unsigned char *)v->texts + place - 1;
	size_t length = *p & 0x7F;
	for (unsigned shift = 7; *p++ & 0x80; shift += 7)
		length |= (size_t)(*p & 0x7F) << shift;
	*ret_length = length;
	return (const char *)p;
}

/* The slot of a text: where it is, or the empty one where it would go. */
static size_t find(const struct cwe_vocabulary *v, const char *text, size_t length, uint64_t h)
{
	size_t i = cwe_hash_place(h, v->slots);
	uint32_t bits = cwe_hash_tag(h);
	for (; v->slot[i] != EMPTY; i = i + 1 < v->slots ? i + 1 : 0) {
		size_t n;
		if ((v->slot[i] & 0xFF000000u) != bits)
			continue;
		const char *other = text_at(v, v->by_id[v->slot[i] & 0xFFFFFFu], &n);
		if (n == length && memcmp(other, text, length) == 0)
			break;
	}
	return i;
}

static int set_slots(struct cwe_vocabulary *v, size_t slots)
{
	uint32_t *slot = malloc(slots * sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	memset(slot, 0xFF, slots * sizeof(*slot));
	free(v->slot);
	v->slot = slot;
	v->slots = slots;
	for (size_t id = 0; id < v->ids; id++) {
		size_t length;
		if (v->by_id[id] == 0)
			continue;
		const char *text = text_at(v, v->by_id[id], &length);
		uint64_t h = cwe_hash_text(text, length);
		v->slot[find(v, text, length, h)] = cwe_hash_tag(h) | (uint32_t)id;
	}
	return 0;
}

static int set_ids(struct cwe_vocabulary *v, size_t room)
{
	uint32_t *by_id = realloc(v->by_id, room * sizeof(*by_id));
	if (!by_id)
		return -ENOMEM;
	memset(by_id + v->ids_room, 0, (room - v->ids_room) * sizeof(*by_id));
	v->by_id = by_id;
	v->ids_room = room;
	return 0;
}

static int set_texts(struct cwe_vocabulary *v, size_t room)
{
	if (room > UINT32_MAX)
		return -ENOMEM;
	char *texts = realloc(v->texts, room);
	if (!texts)
		return -ENOMEM;
	v->texts = texts;
	v->texts_room = room;
	return 0;
}

int cwe_vocabulary_new(struct cwe_vocabulary **ret, struct cwb_err *err)
{
	struct cwe_vocabulary *v = calloc(1, sizeof(*v));
	if (!v || set_slots(v, 32) < 0) {
		free(v);
		return cwb_err_set(err, -ENOMEM, "out of memory");
	}
	*ret = v;
	return 0;
}

void cwe_vocabulary_free(struct cwe_vocabulary *v)
{
	if (!v)
		return;
	free(v->texts);
	free(v->slot);
	free(v->by_id);
	free(v);
}

int cwe_vocabulary_reserve(struct cwe_vocabulary *v, size_t count, size_t bytes, const char *place,
	struct cwb_err *err)
{
	if (count > CWE_ID_LIMIT)
		return cwe_component_refuse(
			err, CWP_ELIMIT, place, "more than %u tokens", CWE_ID_LIMIT);
	/* A length takes one byte of most texts, since few have more than 127 bytes. */
	size_t texts = bytes + bytes / 128 * LENGTH_BYTES + count + LENGTH_BYTES;
	if (set_texts(v, texts) < 0 || set_ids(v, count + 1) < 0 ||
		set_slots(v, count + count / 3 + 16) < 0)
		return cwe_component_refuse(err, -ENOMEM, place, "out of memory");
	return 0;
}

static int grow(struct cwe_vocabulary *v, size_t length, uint32_t id)
{
	if (length > UINT32_MAX)
		return -ENOMEM;
	if (v->texts_room - v->texts_length < length + LENGTH_BYTES &&
		set_texts(v, 2 * v->texts_room + length + 4096) < 0)
		return -ENOMEM;
	if (id >= v->ids_room &&
		set_ids(v, 2 * v->ids_room > id ? 2 * v->ids_room : (size_t)id + 256) < 0)
		return -ENOMEM;
	if (!v->slot)
		return set_slots(v, 2 * v->count + 32);
	return 4 * (v->count + 1) > 3 * v->slots ? set_slots(v, 2 * v->slots) : 0;
}

static int shown(size_t length)
{
	return length > 60 ? 60 : (int)length;
}

int cwe_vocabulary_add(struct cwe_vocabulary *v, const char *text, size_t length, uint32_t id,
	const char *place, struct cwb_err *err)
{
	size_t other_length;
	const char *other = cwe_vocabulary_text(v, id, &other_length);
	if (other)
		return cwe_component_refuse(err, CWP_EVALUE, place,
			"id %u of token \"%.*s\" is also that of \"%.*s\"", (unsigned)id,
			shown(length), text, shown(other_length), other);
	if (grow(v, length, id) < 0)
		return cwe_component_refuse(err, -ENOMEM, place, "out of memory");
	uint64_t h = cwe_hash_text(text, length);
	size_t slot = find(v, text, length, h);
	if (v->slot[slot] != EMPTY)
		return cwe_component_refuse(err, CWP_EVALUE, place, "token \"%.*s\" is there twice",
			shown(length), text);
	v->slot[slot] = cwe_hash_tag(h) | id;
	v->by_id[id] = (uint32_t)v->texts_length + 1;
	size_t rest = length;
	for (; rest > 0x7F; rest >>= 7)
		v->texts[v->texts_length++] = (char)(0x80 | (rest & 0x7F));
	v->texts[v->texts_length++] = (char)rest;
	if (length > 0)
		memcpy(v->texts + v->texts_length, text, length);
	v->texts_length += length;
	v->count++;
	if (id >= v->ids)
		v->ids = (size_t)id + 1;
	return 0;
}

void cwe_vocabulary_forget(struct cwe_vocabulary *v)
{
	free(v->slot);
	v->slot = NULL;
}

/* One text after another, then the id of its place. */
static int64_t scan(const struct cwe_vocabulary *v, const char *text, size_t length)
{
	size_t n;
	for (size_t at = 0, end; at < v->texts_length; at = end) {
		const char *other = text_at(v, (uint32_t)at + 1, &n);
		end = (size_t)(other - v->texts) + n;
		if (n != length || memcmp(other, text, length) != 0)
			continue;
		for (size_t id = 0; id < v->ids; id++) {
			if (v->by_id[id] == at + 1)
				return (int64_t)id;
		}
	}
	return -1;
}

int64_t cwe_vocabulary_id(const struct cwe_vocabulary *v, const char *text, size_t length)
{
	if (!v->slot)
		return scan(v, text, length);
	uint32_t found = v->slot[find(v, text, length, cwe_hash_text(text, length))];
	return found != EMPTY ? (int64_t)(found & 0xFFFFFFu) : -1;
}

const char *cwe_vocabulary_text(const struct cwe_vocabulary *v, uint32_t id, size_t *ret_length)
{
	return id < v->ids && v->by_id[id] != 0 ? text_at(v, v->by_id[id], ret_length) : NULL;
}

size_t cwe_vocabulary_count(const struct cwe_vocabulary *v)
{
	return v->count;
}

size_t cwe_vocabulary_size(const struct cwe_vocabulary *v)
{
	return v->ids;
}
