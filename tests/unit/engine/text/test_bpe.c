/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Byte pair encoding in every way that it is done (words remembered, few symbols, many symbols,
 * pieces cut where no merge can join) against the definition: of all pairs the one of the lowest
 * rank, leftmost, until there is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/text/bytelevel.h"
#include "engine/text/utf8.h"
#include "tests/unit/engine/text/mini.h"

#define TOKENS 400
#define MERGES 400
#define SYMBOLS 4096

static const char *const letters[] = {"a", "b", "c", "d", "e", "\xC3\xA9", "\xE2\x96\x81",
	"\xE6\xBC\xA2", "\xF0\x9F\x98\x80", "x", "y", "z", "q", "\xD7\x90", "\xED\x95\x9C", "0"};

/* A model as the definition has it. */
static struct model {
	char token[TOKENS][64];
	int tokens;
	struct {
		int left, right, to;
	} merge[MERGES];
	int merges;
	int alphabet; /* letters that are tokens; there is one more in texts */
	int bytes, unknown, fuse, fallback, ignore, split;
} m;

static uint32_t seed;

static int below(int n)
{
	seed = seed * 1664525u + 1013904223u;
	return (int)((uint64_t)(seed >> 8) * (uint64_t)n >> 24);
}

static int find_token(const char *text, size_t length)
{
	for (int i = 0; i < m.tokens; i++) {
		if (strlen(m.token[i]) == length && memcmp(m.token[i], text, length) == 0)
			return i;
	}
	return -1;
}

static int add_token(const char *text)
{
	int known = find_token(text, strlen(text));
	if (known >= 0)
		return known;
	assert_true(m.tokens < TOKENS);
	strcpy(m.token[m.tokens], text);
	return m.tokens++;
}

static void make_model(int round)
{
	memset(&m, 0, sizeof(m));
	seed = (uint32_t)round * 7919u + 1;
	m.alphabet = 2 + below(12);
	m.bytes = round % 3 == 1;
	m.ignore = below(2);
	m.split = below(2);
	m.fallback = !m.bytes && below(2);
	m.fuse = below(2);
	m.unknown = -1;
	for (int i = 0; i < 256 && m.bytes; i++) {
		char text[5] = "";
		cwe_utf8_put(cwe_bytelevel_point((unsigned char)i), text);
		add_token(text);
	}
	for (int i = 0; i < m.alphabet && !m.bytes; i++)
		add_token(letters[i]);
	for (int i = 0; i < 256 && m.fallback; i += 1 + below(2)) {
		char text[8];
		snprintf(text, sizeof(text), "<0x%02X>", (unsigned)i);
		if (m.tokens < 150)
			add_token(text);
	}
	if (below(2))
		m.unknown = add_token("<?>");
	int first = m.tokens;
	for (int n = 10 + below(100); n > 0 && m.tokens < TOKENS - 1; n--) {
		char text[128];
		int left = below(3) ? below(first) : below(m.tokens);
		int right = below(3) ? below(first) : below(m.tokens);
		snprintf(text, sizeof(text), "%s%s", m.token[left], m.token[right]);
		if (strlen(text) > 60)
			continue;
		m.merge[m.merges].left = left;
		m.merge[m.merges].right = right;
		m.merge[m.merges++].to = add_token(text);
	}
	/* Tokens that no merge makes. */
	for (int n = 0; n < 10 && m.tokens < TOKENS - 1; n++) {
		char text[128];
		snprintf(text, sizeof(text), "%s%s%s", m.token[below(first)],
			m.token[below(m.tokens)], m.token[below(first)]);
		if (strlen(text) <= 60)
			add_token(text);
	}
}

static json_t *model_json(void)
{
	json_t *vocab = json_object();
	json_t *merges = json_array();
	for (int i = 0; i < m.tokens; i++)
		json_object_set_new(vocab, m.token[i], json_integer(i));
	for (int i = 0; i < m.merges; i++) {
		const char *left = m.token[m.merge[i].left];
		const char *right = m.token[m.merge[i].right];
		json_array_append_new(merges, i % 2 ? json_pack("[s,s]", left, right)
						    : json_sprintf("%s %s", left, right));
	}
	json_t *pre = m.split ? json_pack("[{s:s,s:{s:s},s:s}]", "type", "Split", "pattern",
					"String", " ", "behavior", "Removed")
			      : json_array();
	if (m.bytes)
		json_array_append_new(pre, json_pack("{s:s,s:b,s:b}", "type", "ByteLevel",
						   "add_prefix_space", 0, "use_regex", 0));
	json_t *model = json_pack("{s:s,s:o,s:o,s:b,s:b,s:b}", "type", "BPE", "vocab", vocab,
		"merges", merges, "fuse_unk", m.fuse, "byte_fallback", m.fallback, "ignore_merges",
		m.ignore);
	if (m.unknown >= 0)
		json_object_set_new(model, "unk_token", json_string(m.token[m.unknown]));
	return json_pack("{s:o,s:{s:s,s:o}}", "model", model, "pre_tokenizer", "type", "Sequence",
		"pretokenizers", pre);
}

/* One character without merges: its token, its bytes, or nothing yet (the unknown one is held
 * back). */
static int split_character(const char *text, size_t length, int *id)
{
	int n = 0;
	int token = find_token(text, length);
	if (token >= 0) {
		id[n++] = token;
		return n;
	}
	for (size_t i = 0; i < length && m.fallback; i++) {
		char byte[8];
		snprintf(byte, sizeof(byte), "<0x%02X>", (unsigned)(unsigned char)text[i]);
		token = find_token(byte, strlen(byte));
		if (token < 0)
			return 0;
		id[n++] = token;
	}
	return n;
}

static int split_piece(const char *text, size_t length, int *id)
{
	int n = 0;
	int held = 0;
	for (size_t i = 0, step; i < length; i += step) {
		int found[4];
		step = cwe_utf8_next(text + i, length - i, NULL);
		int count = split_character(text + i, step, found);
		int known = count == 1 && find_token(text + i, step) >= 0;
		if (count == 0 && m.unknown < 0)
			continue;
		if (held && (known || (count == 0 && !m.fuse))) {
			id[n++] = m.unknown;
			held = 0;
		}
		held |= count == 0;
		for (int j = 0; j < count; j++)
			id[n++] = found[j];
	}
	if (held)
		id[n++] = m.unknown;
	return n;
}

static int rank_of(int left, int right)
{
	for (int i = m.merges; i-- > 0;) {
		if (m.merge[i].left == left && m.merge[i].right == right)
			return i;
	}
	return m.merges;
}

static int encode_piece(const char *text, size_t length, int *id)
{
	char written[8192];
	size_t at = 0;
	for (size_t i = 0; i < length && m.bytes; i++)
		at += cwe_utf8_put(cwe_bytelevel_point((unsigned char)text[i]), written + at);
	if (m.bytes) {
		text = written;
		length = at;
	}
	if (m.ignore && find_token(text, length) >= 0) {
		id[0] = find_token(text, length);
		return 1;
	}
	int n = split_piece(text, length, id);
	for (;;) {
		int best = m.merges;
		int place = 0;
		for (int i = 0; i + 1 < n; i++) {
			int rank = rank_of(id[i], id[i + 1]);
			if (rank < best) {
				best = rank;
				place = i;
			}
		}
		if (best == m.merges)
			return n;
		id[place] = m.merge[best].to;
		memmove(id + place + 1, id + place + 2, (size_t)(n - place - 2) * sizeof(*id));
		n--;
	}
}

static int encode(const char *text, int *id)
{
	int n = 0;
	while (*text) {
		size_t length = m.split ? strcspn(text, " ") : strlen(text);
		if (length > 0)
			n += encode_piece(text, length, id + n);
		text += length + (m.split && text[length] == ' ');
	}
	return n;
}

static void make_text(char *text, int length)
{
	*text = '\0';
	/* Few different letters, or runs of words with spaces. */
	int kinds = 1 + below(m.alphabet + 1);
	int spaces = below(3) * 4;
	for (int i = 0; i < length; i++) {
		const char *next = spaces && below(spaces) == 0 ? " " : letters[below(kinds)];
		text += strlen(strcpy(text, next));
	}
}

static void check(const struct cwe_tokenizer *t, int round, const char *text)
{
	static int expected[SYMBOLS];
	struct cwe_ids ids;
	struct cwb_err err = {0};
	int n = encode(text, expected);
	if (cwe_tokenizer_encode(t, text, strlen(text), 0, &ids, &err) < 0)
		fail_msg("round %d: %s", round, err.message);
	for (int i = 0; i < n && (size_t)i < ids.count; i++) {
		if (ids.id[i] != (uint32_t)expected[i])
			fail_msg("round %d: \"%s\": token %d is %u, expected %d", round, text, i,
				(unsigned)ids.id[i], expected[i]);
	}
	if (ids.count != (size_t)n)
		fail_msg("round %d: \"%s\": %zu tokens, expected %d", round, text, ids.count, n);
	free(ids.id);
}

static void test_definition(void **state)
{
	(void)state;
	for (int round = 0; round < 150; round++) {
		static char text[SYMBOLS];
		struct cwe_tokenizer *t = NULL;
		struct cwb_err err = {0};
		make_model(round);
		if (mini_new(model_json(), &t, &err) < 0)
			fail_msg("round %d: %s", round, err.message);
		for (int i = 0; i < 40; i++) {
			make_text(text, i % 8 == 7 ? 150 + below(100) : below(30));
			check(t, round, text);
			check(t, round, text); /* remembered now */
		}
		cwe_tokenizer_free(t);
	}
}

/* A word that is known as a whole piece is not taken for one inside another piece, nor the other
 * way round. */
static void test_roles(void **state)
{
	(void)state;
	json_t *json = mini_json();
	struct cwe_tokenizer *t = NULL;
	struct cwb_err err = {0};
	mini_set(json, "model.vocab.cab", "261");
	mini_set(json, "model.vocab.ca", "262");
	mini_set(json, "model.merges", "[\"a b\", \"c a\"]");
	mini_set(json, "model.ignore_merges", "true");
	mini_set(json, "pre_tokenizer",
		"{\"type\": \"Split\", \"pattern\": {\"String\": \"|\"}, \"behavior\": "
		"\"Removed\"}");
	assert_int_equal(mini_new(json, &t, &err), 0);
	/* Behind q nothing ever joins, so that cab, within which something may, becomes a part of
	 * its own in the long piece. */
	char text[128];
	memset(text, 'q', 60);
	strcpy(text + 60, "cab");
	for (int i = 0; i < 2; i++) {
		const char *long_ids = mini_ids(t, text, 0);
		assert_string_equal(
			long_ids + strlen(long_ids) - strlen(" 113 99 256"), " 113 99 256");
		assert_string_equal(mini_ids(t, "cab", 0), "261");
		assert_string_equal(mini_ids(t, "ab|cab|ab", 0), "256 261 256");
	}
	cwe_tokenizer_free(t);
}

/* Memory that a very long piece needed is not kept, and the next ones do not miss it. */
static void test_long_and_short(void **state)
{
	(void)state;
	size_t n = 300000;
	char *text = malloc(n + 1);
	struct cwe_tokenizer *t = NULL;
	struct cwb_err err = {0};
	struct cwe_ids ids;
	assert_non_null(text);
	assert_int_equal(mini_new(mini_json(), &t, &err), 0);
	memset(text, 'a', n);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(cwe_tokenizer_encode(t, text, n, 0, &ids, &err), 0);
		assert_int_equal(ids.count, n);
		free(ids.id);
		assert_string_equal(mini_ids(t, "abc abc aab", 0), "257 32 257 258 256");
	}
	cwe_tokenizer_free(t);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_definition),
		cmocka_unit_test(test_roles),
		cmocka_unit_test(test_long_and_short),
	};
	return cmocka_run_group_tests_name("bpe", tests, NULL, NULL);
}
