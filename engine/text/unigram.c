/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Unigram: the best way to each place of the text, from left to right. Order of additions and of
 * comparisons is the reference's, since equal scores differ in their last bit. */
#include "engine/text/unigram.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/component.h"
#include "engine/text/trie.h"
#include "engine/text/utf8.h"

#define NONE UINT32_MAX
#define PIECE_LIMIT 1024       /* bytes; the time of a search grows with it */
#define PENALTY 10.0           /* of an unknown character, below the least score */
#define KEEP ((size_t)1 << 16) /* places that outlive a call */

struct cwe_unigram {
	struct cwe_vocabulary *vocabulary;
	struct cwe_trie *trie;
	double *score; /* by id */
	size_t count;
	double unknown_score;
	uint32_t unknown; /* id or NONE */
	int byte_fallback;
	uint32_t byte_id[256]; /* of "<0x00>" to "<0xFF>", or NONE */
};

/* The best way from the start of the text to one of its bytes. */
struct cwe_unigram_place {
	double score;
	uint32_t id;    /* of its last token */
	uint32_t start; /* of that token, or NONE: no way leads here. Once the best way is known:
			   its next place */
};

static double power_of_ten(unsigned exponent)
{
	char text[16];
	double power = 1;
	if (exponent > 22) {
		snprintf(text, sizeof(text), "1e%u", exponent);
		return strtod(text, NULL); /* no point in it, so that the locale plays no part */
	}
	for (; exponent > 0; exponent--)
		power *= 10; /* exact */
	return power;
}

/* Digits behind *at: into *value until they no longer fit; returns how many were left out. */
static int read_digits(
	const char *number, size_t length, size_t *at, uint64_t *value, int *ret_taken)
{
	int left_out = 0;
	*ret_taken = 0;
	for (; *at < length && number[*at] >= '0' && number[*at] <= '9'; (*at)++) {
		uint64_t digit = (uint64_t)(number[*at] - '0');
		if (left_out > 0 || *value > (UINT64_MAX - digit) / 10) {
			left_out++;
		} else {
			*value = *value * 10 + digit;
			(*ret_taken)++;
		}
	}
	return left_out;
}

void cwe_unigram_score(const char *number, size_t length, double *ret)
{
	uint64_t value = 0;
	uint64_t power = 0;
	int taken;
	size_t at = length > 0 && number[0] == '-';
	int negative = at > 0;
	long exponent = read_digits(number, length, &at, &value, &taken);
	if (at < length && number[at] == '.') {
		at++;
		(void)read_digits(number, length, &at, &value, &taken);
		exponent -= taken;
	}
	if (at < length && (number[at] | 32) == 'e') {
		at++;
		int down = at < length && number[at] == '-';
		at += at < length && (number[at] == '-' || number[at] == '+');
		if (read_digits(number, length, &at, &power, &taken) > 0 || power > 100000)
			power = 100000;
		exponent += down ? -(long)power : (long)power;
	}
	double f = (double)value;
	while (f != 0 && exponent < -308) {
		f /= 1e308;
		exponent += 308;
	}
	if (f != 0 && exponent > 308)
		f = INFINITY;
	else if (f != 0 && exponent >= 0)
		f *= power_of_ten((unsigned)exponent);
	else if (f != 0)
		f /= power_of_ten((unsigned)-exponent);
	*ret = negative ? -f : f;
}

static int refuse_piece(size_t id, const char *what, struct cwb_err *err)
{
	char place[CWE_PLACE_SIZE];
	cwe_place_item(place, "model", "vocab", id);
	return cwe_component_refuse(err, CWP_EVALUE, place, "%s", what);
}

/* One entry ["piece", score]. *ret_text is valid until the next string. */
static int read_piece(struct cwb_json_stream *s, size_t id, struct cwb_json_item *ret_text,
	double *ret_score, struct cwb_err *err)
{
	static const char pair[] = "not a pair of a string and a score";
	struct cwb_json_item item;
	int rc = cwb_json_stream_next(s, &item, err);
	if (rc >= 0 && rc != CWB_JSON_ARRAY)
		return refuse_piece(id, pair, err);
	if (rc >= 0)
		rc = cwb_json_stream_next(s, ret_text, err);
	if (rc >= 0 && rc != CWB_JSON_STRING)
		return refuse_piece(id, pair, err);
	if (rc >= 0)
		rc = cwb_json_stream_next(s, &item, err);
	if (rc == CWB_JSON_ARRAY_END)
		return refuse_piece(id, pair, err);
	if (rc >= 0 && rc != CWB_JSON_INTEGER && rc != CWB_JSON_REAL)
		return refuse_piece(id, "the score is not a number", err);
	if (rc < 0)
		return rc;
	cwe_unigram_score(s->text + item.start, item.end - item.start, ret_score);
	rc = cwb_json_stream_next(s, &item, err);
	if (rc >= 0 && rc != CWB_JSON_ARRAY_END)
		return refuse_piece(id, pair, err);
	return rc < 0 ? rc : 0;
}

static int add_piece(
	struct cwe_unigram *u, struct cwb_json_stream *s, size_t id, struct cwb_err *err)
{
	char place[CWE_PLACE_SIZE];
	struct cwb_json_item text = {0};
	int rc = read_piece(s, id, &text, &u->score[id], err);
	if (rc < 0)
		return rc;
	if (text.length > PIECE_LIMIT) {
		cwe_place_item(place, "model", "vocab", id);
		return cwe_component_refuse(
			err, CWP_ELIMIT, place, "longer than %d bytes", PIECE_LIMIT);
	}
	/* The place is made for the message only: it takes longer than the rest. */
	if (cwe_vocabulary_add(u->vocabulary, text.text, text.length, (uint32_t)id, "", NULL) < 0) {
		cwe_place_item(place, "model", "vocab", id);
		return cwe_vocabulary_add(
			u->vocabulary, text.text, text.length, (uint32_t)id, place, err);
	}
	if (cwe_trie_add(u->trie, text.text, text.length, (uint32_t)id) < 0)
		return cwb_err_set(err, -ENOMEM, "model.vocab: out of memory");
	if (u->score[id] < u->unknown_score)
		u->unknown_score = u->score[id];
	return 0;
}

static int read_vocabulary(
	struct cwe_unigram *u, const struct cwe_section *vocab, struct cwb_err *err)
{
	struct cwb_json_stream s;
	if (vocab->event == CWB_JSON_END)
		return cwe_component_refuse(err, CWP_EMISSING, "model", "has no \"vocab\"");
	if (vocab->event != CWB_JSON_ARRAY)
		return cwe_component_refuse(err, CWP_EVALUE, "model", "\"vocab\" is not an array");
	u->count = vocab->count;
	if (u->count >= CWE_ID_LIMIT)
		return cwe_component_refuse(
			err, CWP_ELIMIT, "model.vocab", "more than %u", CWE_ID_LIMIT - 1);
	u->score = calloc(u->count + 1, sizeof(*u->score));
	u->trie = cwe_trie_new();
	if (!u->score || !u->trie)
		return cwb_err_set(err, -ENOMEM, "model.vocab: out of memory");
	int rc = cwe_vocabulary_new(&u->vocabulary, err);
	if (rc == 0)
		rc = cwe_vocabulary_reserve(
			u->vocabulary, u->count, 8 * u->count, "model.vocab", err);
	if (rc == 0)
		rc = cwe_section_open(vocab, &s, err);
	if (rc < 0)
		return rc;
	u->unknown_score = INFINITY;
	for (size_t i = 0; i < u->count && rc == 0; i++)
		rc = add_piece(u, &s, i, err);
	cwb_json_stream_close(&s);
	u->unknown_score -= PENALTY;
	return rc;
}

static int read_options(struct cwe_unigram *u, const json_t *model, struct cwb_err *err)
{
	const json_t *unknown = json_object_get(model, "unk_id");
	unsigned id = NONE;
	int rc = cwe_component_flag(model, "model", "byte_fallback", 0, &u->byte_fallback, err);
	if (rc == 0 && unknown && !json_is_null(unknown))
		rc = cwe_component_id(unknown, "model.unk_id", &id, err);
	if (rc == 0 && id != NONE && id >= u->count)
		rc = cwe_component_refuse(err, CWP_EVALUE, "model.unk_id",
			"%u, but there are %zu tokens", id, u->count);
	u->unknown = id;
	for (unsigned byte = 0; byte < 256 && rc == 0; byte++) {
		char text[8];
		snprintf(text, sizeof(text), "<0x%02X>", byte);
		int64_t known = cwe_vocabulary_id(u->vocabulary, text, 6);
		u->byte_id[byte] = known < 0 ? NONE : (uint32_t)known;
	}
	return rc;
}

int cwe_unigram_new(const struct cwe_document *d, struct cwe_unigram **ret, struct cwb_err *err)
{
	struct cwe_unigram *u = calloc(1, sizeof(*u));
	if (!u)
		return cwb_err_set(err, -ENOMEM, "out of memory");
	int rc = read_vocabulary(u, &d->vocab, err);
	if (rc == 0)
		rc = read_options(u, json_object_get(d->root, "model"), err);
	if (rc < 0) {
		cwe_unigram_free(u);
		return rc;
	}
	*ret = u;
	return 0;
}

void cwe_unigram_free(struct cwe_unigram *u)
{
	if (!u)
		return;
	cwe_vocabulary_free(u->vocabulary);
	cwe_trie_free(u->trie);
	free(u->score);
	free(u);
}

const struct cwe_vocabulary *cwe_unigram_vocabulary(const struct cwe_unigram *u)
{
	return u->vocabulary;
}

void cwe_unigram_work_free(struct cwe_unigram_work *w)
{
	free(w->place);
	*w = (struct cwe_unigram_work){0};
}

void cwe_unigram_work_trim(struct cwe_unigram_work *w)
{
	if (w->places > KEEP)
		cwe_unigram_work_free(w);
}

static int reserve(struct cwe_unigram_work *w, size_t n)
{
	if (n > w->places) {
		struct cwe_unigram_place *place = realloc(w->place, n * sizeof(*place));
		if (!place)
			return -ENOMEM;
		w->place = place;
		w->places = n;
	}
	for (size_t i = 0; i < n; i++)
		w->place[i] = (struct cwe_unigram_place){0, 0, NONE};
	return 0;
}

/* A token from start to p; whether it is the best way to p so far. */
static int offer(struct cwe_unigram_place *p, double score, size_t start, uint32_t id)
{
	if (p->start != NONE && !(score > p->score))
		return 0;
	*p = (struct cwe_unigram_place){score, id, (uint32_t)start};
	return 1;
}

static int find_ways(const struct cwe_unigram *u, const char *text, size_t length,
	struct cwe_unigram_place *place, struct cwb_err *err)
{
	for (size_t start = 0, step; start < length; start += step) {
		double till_here = place[start].score;
		uint32_t node = 0;
		int single = 0; /* whether a token is this character alone */
		step = cwe_utf8_next(text + start, length - start, NULL);
		step = step > 0 ? step : 1;
		for (size_t end = start + 1; end <= length; end++) {
			uint32_t id;
			node = cwe_trie_step(u->trie, node, (unsigned char)text[end - 1], &id);
			if (node == 0)
				break;
			if (id == NONE)
				continue;
			(void)offer(&place[end], u->score[id] + till_here, start, id);
			single |= end - start == step;
		}
		if (!single &&
			offer(&place[start + step], u->unknown_score + till_here, start,
				u->unknown) &&
			u->unknown == NONE)
			return cwb_err_set(err, CWP_EVALUE,
				"model.unk_id is null, and \"%.*s\", at byte %zu of a piece of the "
				"text, is in no token",
				(int)step, text + start, start);
	}
	return 0;
}

/* The tokens of text that no token is, or of neighbours that are unknown, taken together. */
static int add_unknown(
	const struct cwe_unigram *u, const char *text, size_t length, struct cwe_idlist *list)
{
	int64_t known = cwe_vocabulary_id(u->vocabulary, text, length);
	int all = u->byte_fallback && known < 0;
	for (size_t i = 0; i < length && all; i++)
		all = u->byte_id[(unsigned char)text[i]] != NONE;
	if (!all)
		return cwe_idlist_add(list, known < 0 ? u->unknown : (uint32_t)known);
	for (size_t i = 0; i < length; i++) {
		if (cwe_idlist_add(list, u->byte_id[(unsigned char)text[i]]) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Turns the best way to the end around, so that each place tells the next one; returns the first.
 */
static size_t turn(struct cwe_unigram_place *place, size_t length)
{
	size_t next = 0;
	for (size_t at = length; at > 0;) {
		size_t start = place[at].start;
		place[at].start = (uint32_t)next;
		next = at;
		at = start;
	}
	return next;
}

int cwe_unigram_encode(const struct cwe_unigram *u, const char *text, size_t length,
	struct cwe_unigram_work *work, struct cwe_idlist *list, struct cwb_err *err)
{
	if (reserve(work, length + 1) < 0)
		return cwb_err_set(err, -ENOMEM, "out of memory for a text of %zu bytes", length);
	struct cwe_unigram_place *place = work->place;
	int rc = find_ways(u, text, length, place, err);
	if (rc < 0 || length == 0)
		return rc;
	for (size_t start = 0, end = turn(place, length); start < length && rc == 0;
		end = place[start].start) {
		uint32_t id = place[end].id;
		while (id == u->unknown && place[end].start != 0 &&
			place[place[end].start].id == id)
			end = place[end].start;
		rc = id == u->unknown ? add_unknown(u, text + start, end - start, list)
				      : cwe_idlist_add(list, id);
		start = end;
	}
	return rc < 0 ? cwb_err_set(err, -ENOMEM, "out of memory") : 0;
}
