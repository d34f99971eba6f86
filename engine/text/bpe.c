/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Byte pair encoding. A piece is cut where no merge can ever join, which does not change what it
 * becomes; the words that this gives are looked for among those met before, and merged when they
 * are not there. */
#include <stdlib.h>
#include <string.h>

#include "engine/text/bpe_p.h"
#include "engine/text/bytelevel.h"
#include "engine/text/utf8.h"

#define NONE CWE_BPE_NONE
#define WORDS 4096             /* that are remembered, each in the one place that its hash says */
#define WORD_BYTES 45          /* of a word that is remembered */
#define WORD_IDS 20            /* tokens of such a word */
#define KEEP ((size_t)1 << 16) /* entries of a work's lists that outlive a call */

/* What a word's text is: the same text may give other tokens in another role. */
enum role {
	ROLE_NONE,
	ROLE_PIECE, /* a whole piece */
	ROLE_BYTES, /* a whole piece whose bytes stand for characters */
	ROLE_PART   /* a part of a piece, where that matters: it is never looked for as a whole */
};

struct cwe_bpe_word {
	unsigned char role, length, count;
	char text[WORD_BYTES];
	uint32_t id[WORD_IDS];
};

void cwe_bpe_work_trim(struct cwe_bpe_work *w)
{
	if (w->ids > KEEP) {
		free(w->id);
		w->id = NULL;
		w->ids = 0;
	}
	if (w->symbols > KEEP) {
		free(w->symbol);
		free(w->candidate);
		w->symbol = NULL;
		w->candidate = NULL;
		w->symbols = 0;
	}
	if (w->texts > KEEP) {
		free(w->text);
		w->text = NULL;
		w->texts = 0;
	}
}

void cwe_bpe_work_free(struct cwe_bpe_work *w)
{
	free(w->word);
	free(w->id);
	free(w->symbol);
	free(w->candidate);
	free(w->text);
	*w = (struct cwe_bpe_work){0};
}

static int no_memory(size_t length, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "out of memory for a word of %zu bytes", length);
}

/* Room for n ids, and for n bytes of text. */
static int reserve_ids(struct cwe_bpe_work *w, size_t n)
{
	if (n > w->ids) {
		uint32_t *id = realloc(w->id, n * sizeof(*id));
		if (!id)
			return -ENOMEM;
		w->id = id;
		w->ids = n;
	}
	return 0;
}

static int reserve_text(struct cwe_bpe_work *w, size_t n)
{
	if (n > w->texts) {
		char *text = realloc(w->text, n);
		if (!text)
			return -ENOMEM;
		w->text = text;
		w->texts = n;
	}
	return 0;
}

/* Splits a text into symbols, at most one a byte; returns their count. Order and joining of unknown
 * ones are the reference's: an unknown character is held back while bytes that stand for later
 * characters pass it. */
static size_t split(const struct cwe_bpe *b, const char *text, size_t length, uint32_t *id)
{
	size_t n = 0;
	int held = 0;
	for (size_t i = 0, step; i < length; i += step) {
		uint32_t point = 0;
		step = cwe_utf8_next(text + i, length - i, &point);
		if (step == 0)
			step = 1;
		uint32_t known = cwe_bpe_character(b, point);
		if (known != NONE) {
			if (held)
				id[n++] = b->unknown;
			held = 0;
			id[n++] = known;
			continue;
		}
		int all = b->byte_fallback;
		for (size_t j = 0; j < step && all; j++)
			all = b->byte_id[(unsigned char)text[i + j]] != NONE;
		for (size_t j = 0; j < step && all; j++)
			id[n++] = b->byte_id[(unsigned char)text[i + j]];
		if (all || b->unknown == NONE)
			continue;
		if (held && !b->fuse_unknown)
			id[n++] = b->unknown;
		held = 1;
	}
	if (held)
		id[n++] = b->unknown;
	return n;
}

static int add_ids(struct cwe_idlist *list, const uint32_t *id, size_t n, struct cwb_err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (cwe_idlist_add(list, id[i]) < 0)
			return cwb_err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

/* Those of a word that is written out. */
static int encode_text(const struct cwe_bpe *b, const char *text, size_t length, enum role role,
	struct cwe_bpe_work *w, size_t *ret, struct cwb_err *err)
{
	if (reserve_ids(w, length + 1) < 0)
		return no_memory(length, err);
	if (b->ignore_merges && role != ROLE_PART && length <= b->longest) {
		int64_t id = cwe_vocabulary_id(b->vocabulary, text, length);
		if (id >= 0) {
			w->id[0] = (uint32_t)id;
			*ret = 1;
			return 0;
		}
	}
	return cwe_bpe_merge(b, w, split(b, text, length, w->id), ret, err);
}

/* Writes out into w->text the characters that the bytes of a piece stand for. */
static int write_bytes(const char *text, size_t length, struct cwe_bpe_work *w, size_t *ret_length,
	struct cwb_err *err)
{
	size_t at = 0;
	if (reserve_text(w, 2 * length + 1) < 0)
		return no_memory(length, err);
	for (size_t i = 0; i < length; i++)
		at += cwe_utf8_put(cwe_bytelevel_point((unsigned char)text[i]), w->text + at);
	*ret_length = at;
	return 0;
}

/* The tokens of a word in any role into w->id; *ret: their count. */
static int encode_word(const struct cwe_bpe *b, const char *text, size_t length, enum role role,
	struct cwe_bpe_work *w, size_t *ret, struct cwb_err *err)
{
	if (role != ROLE_BYTES)
		return encode_text(b, text, length, role, w, ret, err);
	int rc = write_bytes(text, length, w, &length, err);
	return rc < 0 ? rc : encode_text(b, w->text, length, role, w, ret, err);
}

/* A word that may be among those met before. */
static int encode_short(const struct cwe_bpe *b, const char *text, size_t length, enum role role,
	struct cwe_bpe_work *w, struct cwe_idlist *list, struct cwb_err *err)
{
	size_t n = 0;
	uint64_t h = cwe_hash_text(text, length);
	struct cwe_bpe_word *word = &w->word[(h >> 32) % WORDS];
	if (word->role == role && word->length == length && memcmp(word->text, text, length) == 0)
		return add_ids(list, word->id, word->count, err);
	int rc = encode_word(b, text, length, role, w, &n, err);
	if (rc < 0)
		return rc;
	if (n <= WORD_IDS) {
		word->role = (unsigned char)role;
		word->length = (unsigned char)length;
		word->count = (unsigned char)n;
		memcpy(word->text, text, length);
		if (n > 0)
			memcpy(word->id, w->id, n * sizeof(*w->id));
	}
	return add_ids(list, w->id, n, err);
}

static int encode_part(const struct cwe_bpe *b, const char *text, size_t length, enum role role,
	struct cwe_bpe_work *w, struct cwe_idlist *list, struct cwb_err *err)
{
	size_t n = 0;
	if (length <= WORD_BYTES)
		return encode_short(b, text, length, role, w, list, err);
	int rc = encode_word(b, text, length, role, w, &n, err);
	return rc < 0 ? rc : add_ids(list, w->id, n, err);
}

/* Bytes of text up to the first place behind start where a merge can never join; then both
 * characters beside it are tokens. */
static size_t find_cut(const struct cwe_bpe *b, const char *text, size_t start, size_t length)
{
	uint32_t left = 0;
	uint32_t right = 0;
	size_t at = start + cwe_utf8_next(text + start, length - start, &left);
	while (at > start && at < length) {
		size_t step = cwe_utf8_next(text + at, length - at, &right);
		if (step == 0)
			return length;
		if (!cwe_merges_join(&b->merges, left, right) && cwe_bpe_knows(b, left) &&
			cwe_bpe_knows(b, right))
			return at;
		left = right;
		at += step;
	}
	return length;
}

/* A piece that is too long to be remembered. */
static int encode_long(const struct cwe_bpe *b, const char *text, size_t length,
	struct cwe_bpe_work *w, struct cwe_idlist *list, struct cwb_err *err)
{
	int rc = 0;
	if (b->ignore_merges && length <= b->longest) {
		int64_t id = cwe_vocabulary_id(b->vocabulary, text, length);
		if (id >= 0)
			return add_ids(list, &(uint32_t){(uint32_t)id}, 1, err);
	}
	for (size_t start = 0, end; start < length && rc == 0; start = end) {
		end = find_cut(b, text, start, length);
		rc = encode_part(b, text + start, end - start,
			b->ignore_merges ? ROLE_PART : ROLE_PIECE, w, list, err);
	}
	return rc;
}

int cwe_bpe_encode(const struct cwe_bpe *b, const char *text, size_t length, int bytes,
	struct cwe_bpe_work *work, struct cwe_idlist *list, struct cwb_err *err)
{
	if (!work->word) {
		work->word = calloc(WORDS, sizeof(*work->word));
		if (!work->word)
			return no_memory(length, err);
	}
	if (length <= WORD_BYTES)
		return encode_short(
			b, text, length, bytes ? ROLE_BYTES : ROLE_PIECE, work, list, err);
	if (!bytes)
		return encode_long(b, text, length, work, list, err);
	/* The written text has to outlast those of its parts, which need none. */
	int rc = write_bytes(text, length, work, &length, err);
	return rc < 0 ? rc : encode_long(b, work->text, length, work, list, err);
}
