/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tokens and their ids: texts in one block, a hash table with open addressing over them, and a
 * table by id. */
#include "engine/text/vocabulary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/component.h"

struct entry {
	uint32_t offset; /* into texts */
	uint32_t length;
	uint32_t id;
};

struct cwe_vocabulary {
	char *texts;
	size_t texts_length, texts_room;
	struct entry *entry;
	size_t count, room;
	uint32_t *slot; /* index of an entry + 1, or 0; a power of two many, at least twice the
			   entries */
	size_t slots;
	uint32_t *by_id; /* index of an entry + 1, or 0 */
	size_t ids;      /* length of by_id in use: largest id + 1 */
	size_t ids_room;
};

static uint64_t hash(const char *text, size_t length)
{
	uint64_t h = 0x9E3779B97F4A7C15u ^ length;
	while (length > 0) {
		uint64_t word = 0;
		size_t n = length < 8 ? length : 8;
		memcpy(&word, text, n);
		h = (h ^ word) * 0xD6E8FEB86659FD93u;
		h ^= h >> 32;
		text += n;
		length -= n;
	}
	h *= 0xD6E8FEB86659FD93u;
	return h ^ h >> 29;
}

/* The slot of a text: where it is, or the empty one where it would go. */
static size_t find(const struct cwe_vocabulary *v, const char *text, size_t length)
{
	size_t i = (size_t)hash(text, length) & (v->slots - 1);
	while (v->slot[i] > 0) {
		const struct entry *e = &v->entry[v->slot[i] - 1];
		if (e->length == length && memcmp(v->texts + e->offset, text, length) == 0)
			break;
		i = (i + 1) & (v->slots - 1);
	}
	return i;
}

static int grow_slots(struct cwe_vocabulary *v)
{
	size_t slots = 2 * v->slots;
	uint32_t *slot = calloc(slots, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	free(v->slot);
	v->slot = slot;
	v->slots = slots;
	for (size_t i = 0; i < v->count; i++)
		v->slot[find(v, v->texts + v->entry[i].offset, v->entry[i].length)] =
			(uint32_t)i + 1;
	return 0;
}

static int grow(struct cwe_vocabulary *v, size_t length, uint32_t id)
{
	if (v->count == v->room) {
		size_t room = v->room ? 2 * v->room : 256;
		struct entry *entry = realloc(v->entry, room * sizeof(*entry));
		if (!entry)
			return -ENOMEM;
		v->entry = entry;
		v->room = room;
	}
	if (!v->texts || v->texts_room - v->texts_length < length + 1) {
		size_t room = 2 * v->texts_room + length + 4096;
		if (room > UINT32_MAX)
			return -ENOMEM;
		char *texts = realloc(v->texts, room);
		if (!texts)
			return -ENOMEM;
		v->texts = texts;
		v->texts_room = room;
	}
	if (id >= v->ids_room) {
		size_t room = 2 * v->ids_room > id ? 2 * v->ids_room : (size_t)id + 256;
		uint32_t *by_id = realloc(v->by_id, room * sizeof(*by_id));
		if (!by_id)
			return -ENOMEM;
		memset(by_id + v->ids_room, 0, (room - v->ids_room) * sizeof(*by_id));
		v->by_id = by_id;
		v->ids_room = room;
	}
	return 2 * (v->count + 1) > v->slots ? grow_slots(v) : 0;
}

int cwe_vocabulary_new(struct cwe_vocabulary **ret, struct cwb_err *err)
{
	struct cwe_vocabulary *v = calloc(1, sizeof(*v));
	if (v) {
		v->slots = 1024;
		v->slot = calloc(v->slots, sizeof(*v->slot));
	}
	if (!v || !v->slot) {
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
	free(v->entry);
	free(v->slot);
	free(v->by_id);
	free(v);
}

int cwe_vocabulary_add(struct cwe_vocabulary *v, const char *text, size_t length, uint32_t id,
	const char *place, struct cwb_err *err)
{
	size_t other_length;
	const char *other = cwe_vocabulary_text(v, id, &other_length);
	if (other)
		return cwe_component_refuse(err, CWP_EVALUE, place,
			"id %u of token \"%.60s\" is also that of \"%.60s\"", (unsigned)id, text,
			other);
	if (v->slot[find(v, text, length)] > 0)
		return cwe_component_refuse(
			err, CWP_EVALUE, place, "token \"%.60s\" is there twice", text);
	if (grow(v, length, id) < 0)
		return cwe_component_refuse(err, -ENOMEM, place, "out of memory");
	size_t slot = find(v, text, length);
	v->entry[v->count] = (struct entry){(uint32_t)v->texts_length, (uint32_t)length, id};
	if (length > 0)
		memcpy(v->texts + v->texts_length, text, length);
	v->texts[v->texts_length + length] = '\0';
	v->texts_length += length + 1;
	v->slot[slot] = (uint32_t)++v->count;
	v->by_id[id] = (uint32_t)v->count;
	if (id >= v->ids)
		v->ids = (size_t)id + 1;
	return 0;
}

int64_t cwe_vocabulary_id(const struct cwe_vocabulary *v, const char *text, size_t length)
{
	uint32_t found = v->slot[find(v, text, length)];
	return found > 0 ? (int64_t)v->entry[found - 1].id : -1;
}

const char *cwe_vocabulary_text(const struct cwe_vocabulary *v, uint32_t id, size_t *ret_length)
{
	if (id >= v->ids || v->by_id[id] == 0)
		return NULL;
	const struct entry *e = &v->entry[v->by_id[id] - 1];
	*ret_length = e->length;
	return v->texts + e->offset;
}

size_t cwe_vocabulary_count(const struct cwe_vocabulary *v)
{
	return v->count;
}

size_t cwe_vocabulary_size(const struct cwe_vocabulary *v)
{
	return v->ids;
}
