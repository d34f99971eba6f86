/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reading of the model "BPE": its lists event by event, straight into tables of their final size.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/bpe_p.h"
#include "engine/text/component.h"
#include "engine/text/utf8.h"

#define JOINED_LIMIT 1024 /* bytes of a merged token */

static int shown(size_t length)
{
	return length > 60 ? 60 : (int)length;
}

static int token_id(const struct cwe_bpe *b, const char *text, size_t length, const char *place,
	uint32_t *ret, struct cwb_err *err)
{
	int64_t id = cwe_vocabulary_id(b->vocabulary, text, length);
	if (id < 0)
		return cwe_component_refuse(err, CWP_EVALUE, place,
			"token \"%.*s\" is not in the vocabulary", shown(length), text);
	*ret = (uint32_t)id;
	return 0;
}

/* One merge as it was read, both halves in one text. */
struct pair {
	char text[JOINED_LIMIT];
	size_t length[2];
};

/* Made for messages only: it takes longer than reading a merge. */
static const char *merge_place(char place[CWE_PLACE_SIZE], size_t rank)
{
	cwe_place_item(place, "model", "merges", rank);
	return place;
}

static int not_a_pair(size_t rank, struct cwb_err *err)
{
	char place[CWE_PLACE_SIZE];
	return cwe_component_refuse(err, CWP_EVALUE, merge_place(place, rank),
		"neither a string nor a pair of strings");
}

static int too_long(size_t rank, struct cwb_err *err)
{
	char place[CWE_PLACE_SIZE];
	return cwe_component_refuse(err, CWP_ELIMIT, merge_place(place, rank),
		"a token longer than %d bytes", JOINED_LIMIT);
}

static int find_token(const struct cwe_bpe *b, const char *text, size_t length, size_t rank,
	uint32_t *ret, struct cwb_err *err)
{
	char place[CWE_PLACE_SIZE];
	int64_t id = cwe_vocabulary_id(b->vocabulary, text, length);
	if (id < 0)
		return token_id(b, text, length, merge_place(place, rank), ret, err);
	*ret = (uint32_t)id;
	return 0;
}

static int add_merge(struct cwe_bpe *b, const struct pair *p, size_t rank, struct cwb_err *err)
{
	const char *right = p->text + p->length[0];
	uint32_t id[2] = {0};
	uint32_t point[2] = {0};
	uint32_t to = 0;
	int rc = find_token(b, p->text, p->length[0], rank, &id[0], err);
	if (rc == 0)
		rc = find_token(b, right, p->length[1], rank, &id[1], err);
	if (rc == 0)
		rc = find_token(b, p->text, p->length[0] + p->length[1], rank, &to, err);
	if (rc < 0)
		return rc;
	if (p->length[0] > 0) {
		size_t last = cwe_utf8_before(p->text, p->length[0]);
		(void)cwe_utf8_next(p->text + last, p->length[0] - last, &point[0]);
	}
	(void)cwe_utf8_next(right, p->length[1], &point[1]);
	cwe_merges_put(&b->merges, id, point, (uint32_t)rank, to);
	return 0;
}

/* The two halves of a merge that is written "a b". */
static int split_merge(
	struct pair *p, const struct cwb_json_item *item, size_t rank, struct cwb_err *err)
{
	char place[CWE_PLACE_SIZE];
	const char *space = memchr(item->text, ' ', item->length);
	size_t left = space ? (size_t)(space - item->text) : 0;
	if (!space || memchr(space + 1, ' ', item->length - left - 1))
		return cwe_component_refuse(err, CWP_EVALUE, merge_place(place, rank),
			"\"%.*s\" is not two tokens with a space between", shown(item->length),
			item->text);
	if (item->length - 1 > sizeof(p->text))
		return too_long(rank, err);
	p->length[0] = left;
	p->length[1] = item->length - left - 1;
	memcpy(p->text, item->text, left);
	memcpy(p->text + left, space + 1, p->length[1]);
	return 0;
}

/* The halves of a merge that is written ["a", "b"]; the bracket is read. */
static int read_pair(struct cwb_json_stream *s, struct pair *p, size_t rank, struct cwb_err *err)
{
	struct cwb_json_item item;
	size_t used = 0;
	for (size_t i = 0; i < 3; i++) {
		int rc = cwb_json_stream_next(s, &item, err);
		if (rc < 0)
			return rc;
		if (rc != (i < 2 ? CWB_JSON_STRING : CWB_JSON_ARRAY_END))
			return not_a_pair(rank, err);
		if (i == 2)
			break;
		if (item.length > sizeof(p->text) - used)
			return too_long(rank, err);
		memcpy(p->text + used, item.text, item.length);
		p->length[i] = item.length;
		used += item.length;
	}
	return 0;
}

static int read_merge(struct cwe_bpe *b, struct cwb_json_stream *s,
	const struct cwb_json_item *item, size_t rank, struct cwb_err *err)
{
	struct pair p;
	int rc;
	p.length[0] = p.length[1] = 0;
	if (item->event == CWB_JSON_STRING)
		rc = split_merge(&p, item, rank, err);
	else if (item->event == CWB_JSON_ARRAY)
		rc = read_pair(s, &p, rank, err);
	else
		rc = not_a_pair(rank, err);
	return rc < 0 ? rc : add_merge(b, &p, rank, err);
}

static int read_merges(struct cwe_bpe *b, const struct cwe_section *merges, struct cwb_err *err)
{
	struct cwb_json_stream s;
	struct cwb_json_item item;
	if (merges->event == CWB_JSON_END)
		return cwe_component_refuse(err, CWP_EMISSING, "model", "has no \"merges\"");
	if (merges->event != CWB_JSON_ARRAY)
		return cwe_component_refuse(err, CWP_EVALUE, "model", "\"merges\" is not an array");
	if (merges->count > CWE_MERGE_LIMIT)
		return cwe_component_refuse(
			err, CWP_ELIMIT, "model.merges", "more than %u", CWE_MERGE_LIMIT);
	if (cwe_merges_new(&b->merges, merges->count) < 0)
		return cwe_component_refuse(err, -ENOMEM, "model.merges", "out of memory");
	int rc = cwe_section_open(merges, &s, err);
	if (rc < 0)
		return rc;
	for (size_t rank = 0; rc == 0 && rank < merges->count; rank++) {
		rc = cwb_json_stream_next(&s, &item, err);
		if (rc >= 0)
			rc = read_merge(b, &s, &item, rank, err);
	}
	cwb_json_stream_close(&s);
	return rc;
}

/* What is wrong with an id. */
static int refuse_id(
	const struct cwb_json_item *key, const struct cwb_json_item *value, struct cwb_err *err)
{
	char place[CWE_PLACE_SIZE];
	(void)snprintf(
		place, sizeof(place), "model.vocab[\"%.*s\"]", shown(key->length), key->text);
	if (value->event != CWB_JSON_INTEGER)
		return cwe_component_refuse(err, CWP_EVALUE, place, "the id is not an integer");
	return cwe_component_refuse(err, CWP_EVALUE, place, "id %lld is not from 0 to %u",
		(long long)value->integer, CWE_ID_LIMIT - 1);
}

static int read_token(struct cwe_bpe *b, struct cwb_json_stream *s, struct cwb_err *err)
{
	struct cwb_json_item key;
	struct cwb_json_item value;
	int rc = cwb_json_stream_next(s, &key, err);
	if (rc >= 0)
		rc = cwb_json_stream_next(s, &value, err);
	if (rc < 0)
		return rc;
	if (value.event != CWB_JSON_INTEGER || value.integer < 0 ||
		value.integer >= (int64_t)CWE_ID_LIMIT)
		return refuse_id(&key, &value, err);
	if (key.length > b->longest)
		b->longest = key.length;
	return cwe_vocabulary_add(
		b->vocabulary, key.text, key.length, (uint32_t)value.integer, "model.vocab", err);
}

static int read_vocabulary(struct cwe_bpe *b, const struct cwe_section *vocab, struct cwb_err *err)
{
	struct cwb_json_stream s;
	if (vocab->event == CWB_JSON_END)
		return cwe_component_refuse(err, CWP_EMISSING, "model", "has no \"vocab\"");
	if (vocab->event != CWB_JSON_OBJECT)
		return cwe_component_refuse(err, CWP_EVALUE, "model.vocab", "not an object");
	int rc = cwe_vocabulary_new(&b->vocabulary, err);
	if (rc == 0)
		rc = cwe_vocabulary_reserve(
			b->vocabulary, vocab->count, vocab->bytes, "model.vocab", err);
	if (rc == 0)
		rc = cwe_section_open(vocab, &s, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < vocab->count; i++)
		rc = read_token(b, &s, err);
	cwb_json_stream_close(&s);
	return rc;
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
	b->unknown = CWE_BPE_NONE;
	if (unknown && !json_is_null(unknown)) {
		if (!json_is_string(unknown))
			return cwe_component_refuse(
				err, CWP_EVALUE, "model.unk_token", "not a string");
		rc = token_id(b, json_string_value(unknown), json_string_length(unknown),
			"model.unk_token", &b->unknown, err);
	}
	return rc;
}

/* The character that a token is, or UINT32_MAX. */
static uint32_t token_character(const struct cwe_bpe *b, size_t id)
{
	size_t length = 0;
	uint32_t point = 0;
	const char *text = cwe_vocabulary_text(b->vocabulary, (uint32_t)id, &length);
	if (!text || length == 0 || length > 4 || cwe_utf8_next(text, length, &point) != length)
		return UINT32_MAX;
	return point;
}

static void add_character(struct cwe_bpe *b, uint32_t point, uint32_t id)
{
	if (point < 0x10000)
		b->known[point / 64] |= (uint64_t)1 << point % 64;
	if (point < CWE_BPE_LOW) {
		b->low[point] = id;
		return;
	}
	size_t i = cwe_hash_place(cwe_hash_mix(point * 0x9E3779B97F4A7C15u), b->highs);
	while (b->high[i] != UINT64_MAX)
		i = i + 1 < b->highs ? i + 1 : 0;
	b->high[i] = (uint64_t)id << 32 | point;
}

static int fill_tables(struct cwe_bpe *b)
{
	size_t size = cwe_vocabulary_size(b->vocabulary);
	size_t count = 0;
	memset(b->low, 0xFF, sizeof(b->low));
	for (size_t id = 0; id < size; id++) {
		uint32_t point = token_character(b, id);
		count += point != UINT32_MAX && point >= CWE_BPE_LOW;
	}
	b->highs = count + count / 2 + 8;
	b->high = malloc(b->highs * sizeof(*b->high));
	if (!b->high)
		return -ENOMEM;
	memset(b->high, 0xFF, b->highs * sizeof(*b->high));
	for (size_t id = 0; id < size; id++) {
		uint32_t point = token_character(b, id);
		if (point != UINT32_MAX)
			add_character(b, point, (uint32_t)id);
	}
	for (unsigned byte = 0; byte < 256; byte++) {
		char text[8];
		(void)snprintf(text, sizeof(text), "<0x%02X>", byte);
		int64_t id = cwe_vocabulary_id(b->vocabulary, text, 6);
		b->byte_id[byte] = id < 0 ? CWE_BPE_NONE : (uint32_t)id;
	}
	return 0;
}

int cwe_bpe_new(const struct cwe_document *d, struct cwe_bpe **ret, struct cwb_err *err)
{
	struct cwe_bpe *b = calloc(1, sizeof(*b));
	const json_t *model = json_object_get(d->root, "model");
	if (!b)
		return cwb_err_set(err, -ENOMEM, "out of memory");
	int rc = read_vocabulary(b, &d->vocab, err);
	if (rc == 0)
		rc = read_options(b, model, err);
	if (rc == 0)
		rc = read_merges(b, &d->merges, err);
	if (rc == 0 && fill_tables(b) < 0)
		rc = cwb_err_set(err, -ENOMEM, "model.vocab: out of memory");
	if (rc < 0) {
		cwe_bpe_free(b);
		return rc;
	}
	*ret = b;
	return 0;
}

void cwe_bpe_finish(struct cwe_bpe *b)
{
	if (!b->ignore_merges)
		cwe_vocabulary_forget(b->vocabulary);
}

void cwe_bpe_free(struct cwe_bpe *b)
{
	if (!b)
		return;
	cwe_vocabulary_free(b->vocabulary);
	cwe_merges_free(&b->merges);
	free(b->high);
	free(b);
}

const struct cwe_vocabulary *cwe_bpe_vocabulary(const struct cwe_bpe *b)
{
	return b->vocabulary;
}
