/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A trie over bytes; edges of all nodes share one hash table, those of the root have a table of
 * their own. */
#include "engine/text/trie.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

struct edge {
	uint32_t from, to; /* to == 0: empty (nothing leads to the root) */
	unsigned char byte;
};

struct cwe_trie {
	uint32_t root[256]; /* 0: none */
	size_t begins;      /* how many of them are some */
	unsigned char last; /* of these, the byte that came last */
	struct edge *edge;
	size_t slots, edges; /* slots is a power of two */
	uint32_t *value;     /* of each node, or NONE */
	size_t nodes, room;
};

static size_t find(const struct cwe_trie *t, uint32_t from, unsigned char byte)
{
	uint64_t h = ((uint64_t)from << 8 | byte) * 0x9E3779B97F4A7C15u;
	size_t i = (size_t)(h >> 32) & (t->slots - 1);
	while (t->edge[i].to != 0 && (t->edge[i].from != from || t->edge[i].byte != byte))
		i = (i + 1) & (t->slots - 1);
	return i;
}

struct cwe_trie *cwe_trie_new(void)
{
	struct cwe_trie *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->slots = 64;
	t->room = 64;
	t->nodes = 1;
	t->edge = calloc(t->slots, sizeof(*t->edge));
	t->value = malloc(t->room * sizeof(*t->value));
	if (!t->edge || !t->value) {
		cwe_trie_free(t);
		return NULL;
	}
	t->value[0] = NONE;
	return t;
}

void cwe_trie_free(struct cwe_trie *t)
{
	if (!t)
		return;
	free(t->edge);
	free(t->value);
	free(t);
}

static int grow_edges(struct cwe_trie *t)
{
	struct edge *old = t->edge;
	size_t slots = t->slots;
	t->edge = calloc(2 * slots, sizeof(*t->edge));
	if (!t->edge) {
		t->edge = old;
		return -ENOMEM;
	}
	t->slots = 2 * slots;
	for (size_t i = 0; i < slots; i++) {
		if (old[i].to != 0)
			t->edge[find(t, old[i].from, old[i].byte)] = old[i];
	}
	free(old);
	return 0;
}

/* A new node; 0 when memory ran out. */
static uint32_t add_node(struct cwe_trie *t)
{
	if (t->nodes == t->room) {
		uint32_t *value = realloc(t->value, 2 * t->room * sizeof(*value));
		if (!value)
			return 0;
		t->value = value;
		t->room *= 2;
	}
	t->value[t->nodes] = NONE;
	return (uint32_t)t->nodes++;
}

static int step(struct cwe_trie *t, uint32_t *node, unsigned char byte)
{
	if (*node == 0) {
		if (t->root[byte] == 0) {
			t->root[byte] = add_node(t);
			t->begins += t->root[byte] != 0;
			t->last = byte;
		}
		*node = t->root[byte];
		return *node == 0 ? -ENOMEM : 0;
	}
	if (2 * (t->edges + 1) > t->slots && grow_edges(t) < 0)
		return -ENOMEM;
	struct edge *e = &t->edge[find(t, *node, byte)];
	if (e->to == 0) {
		uint32_t to = add_node(t);
		if (to == 0)
			return -ENOMEM;
		*e = (struct edge){*node, to, byte};
		t->edges++;
	}
	*node = e->to;
	return 0;
}

int cwe_trie_add(struct cwe_trie *t, const char *word, size_t length, uint32_t value)
{
	uint32_t node = 0;
	for (size_t i = 0; i < length; i++) {
		if (step(t, &node, (unsigned char)word[i]) < 0)
			return -ENOMEM;
	}
	if (length > 0 && t->value[node] == NONE)
		t->value[node] = value;
	return 0;
}

size_t cwe_trie_begin(const struct cwe_trie *t, const char *text, size_t at, size_t length)
{
	if (t->begins == 0 || at >= length)
		return length;
	if (t->begins == 1) {
		const char *found = memchr(text + at, t->last, length - at);
		return found ? (size_t)(found - text) : length;
	}
	while (at < length && t->root[(unsigned char)text[at]] == 0)
		at++;
	return at;
}

size_t cwe_trie_match(
	const struct cwe_trie *t, const char *text, size_t length, uint32_t *ret_value)
{
	size_t longest = 0;
	if (length == 0)
		return 0;
	uint32_t node = t->root[(unsigned char)text[0]];
	for (size_t i = 1; node != 0; i++) {
		if (t->value[node] != NONE) {
			longest = i;
			*ret_value = t->value[node];
		}
		if (i == length)
			break;
		node = t->edge[find(t, node, (unsigned char)text[i])].to;
	}
	return longest;
}

uint32_t cwe_trie_step(const struct cwe_trie *t, uint32_t node, unsigned char byte, uint32_t *ret_value)
{
	uint32_t to = node == 0 ? t->root[byte] : t->edge[find(t, node, byte)].to;
	*ret_value = to == 0 ? NONE : t->value[to];
	return to;
}
