/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Added tokens: reading, and cutting them out of a text. */
#include "engine/text/added.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/text/classes.h"
#include "engine/text/component.h"
#include "engine/text/pieces.h"
#include "engine/text/trie.h"
#include "engine/text/utf8.h"

#define CONTENT_LIMIT 4096            /* bytes; the time of a search grows with it */
#define TOKEN_LIMIT ((size_t)1 << 16) /* bytes of JSON that say one token */

enum {
	FLAG_SPECIAL = 1,
	FLAG_SINGLE_WORD = 2,
	FLAG_LSTRIP = 4,
	FLAG_RSTRIP = 8,
	FLAG_NORMALIZED = 16
};

struct cwe_added {
	struct cwe_vocabulary *vocabulary;
	unsigned char *flags; /* by id */
	size_t ids;
	uint32_t *form; /* by id: where in forms the normalized text begins, plus 1; 0: it is the content */
	struct cwe_buffer forms;
	struct cwe_trie *trie[2]; /* of the tokens not normalized, and normalized */
	const struct cwe_class *space, *word;
};

static int read_flags(const json_t *token, const char *place, unsigned *ret, struct cwb_err *err)
{
	static const struct {
		const char *key;
		unsigned flag;
	} keys[] = {{"special", FLAG_SPECIAL}, {"single_word", FLAG_SINGLE_WORD},
		{"lstrip", FLAG_LSTRIP}, {"rstrip", FLAG_RSTRIP}, {"normalized", FLAG_NORMALIZED}};
	unsigned flags = 0;
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		int on;
		int rc = cwe_component_flag(token, place, keys[i].key, -1, &on, err);
		if (rc < 0)
			return rc;
		flags |= on ? keys[i].flag : 0;
	}
	*ret = flags;
	return 0;
}

static int keep_flags(struct cwe_added *a, uint32_t id, unsigned flags)
{
	if (id >= a->ids) {
		size_t ids = 2 * a->ids > id ? 2 * a->ids : (size_t)id + 256;
		unsigned char *grown = realloc(a->flags, ids);
		if (!grown)
			return -ENOMEM;
		memset(grown + a->ids, 0, ids - a->ids);
		a->flags = grown;
		uint32_t *form = realloc(a->form, ids * sizeof(*form));
		if (!form)
			return -ENOMEM;
		memset(form + a->ids, 0, (ids - a->ids) * sizeof(*form));
		a->form = form;
		a->ids = ids;
	}
	a->flags[id] = (unsigned char)flags;
	return 0;
}

static int put_in_trie(struct cwe_added *a, const struct cwe_normalizer *normalizer,
	const char *content, size_t length, uint32_t id, struct cwb_err *err)
{
	int normalized = (a->flags[id] & FLAG_NORMALIZED) != 0;
	struct cwe_buffer text = {0};
	int rc = 0;
	if (normalized) {
		rc = cwe_normalizer_apply(normalizer, content, length, 0, &text, err);
		if (rc < 0)
			return rc;
		if (text.length != length || memcmp(text.text, content, length) != 0) {
			a->form[id] = (uint32_t)a->forms.length + 1;
			rc = cwe_buffer_put(&a->forms, text.text, text.length + 1, 0);
		}
		content = text.text;
		length = text.length;
	}
	if (rc == 0)
		rc = cwe_trie_add(a->trie[normalized], content, length, id);
	cwe_buffer_free(&text);
	return rc < 0 ? cwb_err_set(err, rc, "out of memory") : 0;
}

/* An added token must agree with the model's vocabulary: the reference would silently give it
 * another id. */
static int check_model(const struct cwe_vocabulary *model, const char *content, size_t length,
	uint32_t id, const char *place, struct cwb_err *err)
{
	int64_t known = cwe_vocabulary_id(model, content, length);
	size_t other_length;
	const char *other = cwe_vocabulary_text(model, id, &other_length);
	if (known >= 0 && known != (int64_t)id)
		return cwe_component_refuse(err, CWP_EVALUE, place,
			"\"%.60s\" has id %u, and %lld in model.vocab", content, (unsigned)id,
			(long long)known);
	if (known < 0 && other)
		return cwe_component_refuse(err, CWP_EVALUE, place,
			"id %u of \"%.60s\" is that of \"%.*s\" in model.vocab", (unsigned)id,
			content, other_length > 60 ? 60 : (int)other_length, other);
	return 0;
}

static int read_token(struct cwe_added *a, const json_t *token, const struct cwe_vocabulary *model,
	const struct cwe_normalizer *normalizer, const char *place, struct cwb_err *err)
{
	const char *content;
	size_t length;
	unsigned id = 0;
	unsigned flags = 0;
	if (!json_is_object(token))
		return cwe_component_refuse(err, CWP_EVALUE, place, "not an object");
	int rc = cwe_component_string(token, place, "content", &content, &length, err);
	if (rc == 0 && !json_object_get(token, "id"))
		rc = cwe_component_refuse(err, CWP_EMISSING, place, "has no \"id\"");
	if (rc == 0)
		rc = cwe_component_id(json_object_get(token, "id"), place, &id, err);
	if (rc == 0)
		rc = read_flags(token, place, &flags, err);
	if (rc < 0)
		return rc;
	if (length == 0)
		return 0; /* the reference leaves it out as well */
	if (length > CONTENT_LIMIT)
		return cwe_component_refuse(
			err, CWP_ELIMIT, place, "longer than %d bytes", CONTENT_LIMIT);
	rc = check_model(model, content, length, id, place, err);
	if (rc == 0)
		rc = cwe_vocabulary_add(a->vocabulary, content, length, id, place, err);
	if (rc == 0 && keep_flags(a, id, flags) < 0)
		rc = cwe_component_refuse(err, -ENOMEM, place, "out of memory");
	return rc < 0 ? rc : put_in_trie(a, normalizer, content, length, id, err);
}

/* One token as a value: lists may have thousands, but each is small. NULL after an error. */
static json_t *next_token(struct cwb_json_stream *s, struct cwb_err *err)
{
	json_t *token = NULL;
	struct cwb_json_item item;
	int rc = cwb_json_stream_next(s, &item, err);
	if (rc < 0)
		return NULL;
	if (rc != CWB_JSON_OBJECT) {
		if (rc == CWB_JSON_ARRAY && cwb_json_stream_skip(s, NULL, NULL, err) < 0)
			return NULL;
		token = json_null(); /* refused by its type */
	} else if (cwb_json_stream_skip(s, NULL, NULL, err) == 0) {
		(void)cwb_json_load_part(
			s->text, item.start, s->at, TOKEN_LIMIT, CWB_JSON_DEPTH, &token, err);
	}
	return token;
}

static int read_list(struct cwe_added *a, const struct cwe_section *list,
	const struct cwe_vocabulary *model, const struct cwe_normalizer *normalizer,
	struct cwb_err *err)
{
	struct cwb_json_stream s;
	if (list->event == CWB_JSON_END || list->event == CWB_JSON_NULL)
		return 0;
	if (list->event != CWB_JSON_ARRAY)
		return cwe_component_refuse(err, CWP_EVALUE, "added_tokens", "not an array");
	int rc = cwe_section_open(list, &s, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < list->count; i++) {
		char place[CWE_PLACE_SIZE];
		struct cwb_err inner = {0};
		json_t *token = next_token(&s, &inner);
		cwe_place_item(place, "", "added_tokens", i);
		rc = token ? read_token(a, token, model, normalizer, place, err)
			   : cwe_component_refuse(err, inner.code, place, "%s", inner.message);
		json_decref(token);
	}
	cwb_json_stream_close(&s);
	return rc;
}

int cwe_added_new(const struct cwe_section *list, const struct cwe_vocabulary *model,
	const struct cwe_normalizer *normalizer, struct cwe_added **ret, struct cwb_err *err)
{
	int rc = 0;
	struct cwe_added *a = calloc(1, sizeof(*a));
	if (!a)
		return cwb_err_set(err, -ENOMEM, "out of memory");
	a->space = cwe_class_find("s", 1);
	a->word = cwe_class_find("w", 1);
	a->trie[0] = cwe_trie_new();
	a->trie[1] = cwe_trie_new();
	if (!a->trie[0] || !a->trie[1])
		rc = cwb_err_set(err, -ENOMEM, "out of memory");
	else
		rc = cwe_vocabulary_new(&a->vocabulary, err);
	if (rc == 0)
		rc = read_list(a, list, model, normalizer, err);
	if (rc < 0) {
		cwe_added_free(a);
		return rc;
	}
	*ret = a;
	return 0;
}

void cwe_added_free(struct cwe_added *a)
{
	if (!a)
		return;
	cwe_vocabulary_free(a->vocabulary);
	free(a->flags);
	free(a->form);
	cwe_buffer_free(&a->forms);
	cwe_trie_free(a->trie[0]);
	cwe_trie_free(a->trie[1]);
	free(a);
}

const struct cwe_vocabulary *cwe_added_vocabulary(const struct cwe_added *a)
{
	return a->vocabulary;
}

const char *cwe_added_text(const struct cwe_added *a, uint32_t id, size_t *ret_length)
{
	if (id >= a->ids || a->form[id] == 0)
		return cwe_vocabulary_text(a->vocabulary, id, ret_length);
	const char *text = a->forms.text + a->form[id] - 1;
	*ret_length = strlen(text);
	return text;
}

int cwe_added_special(const struct cwe_added *a, const char *text, size_t length)
{
	int64_t id = cwe_vocabulary_id(a->vocabulary, text, length);
	return id >= 0 && (a->flags[id] & FLAG_SPECIAL) != 0;
}

static int add_cut(struct cwe_cuts *c, size_t start, size_t end, int64_t id)
{
	if (c->count == c->room) {
		size_t room = c->room ? 2 * c->room : 16;
		struct cwe_cut *cut = realloc(c->cut, room * sizeof(*cut));
		if (!cut)
			return -ENOMEM;
		c->cut = cut;
		c->room = room;
	}
	c->cut[c->count++] = (struct cwe_cut){start, end, id};
	return 0;
}

/* Start of the white space that ends at end, but at least limit. */
static size_t spaces_before(const struct cwe_added *a, const char *text, size_t end, size_t limit)
{
	while (end > limit) {
		size_t start = cwe_utf8_before(text, end);
		uint32_t point = 0;
		if (cwe_utf8_next(text + start, end - start, &point) == 0 ||
			!cwe_class_has(a->space, point))
			break;
		end = start;
	}
	return end > limit ? end
			   : limit; /* the white space before limit belongs to another token */
}

static size_t spaces_behind(
	const struct cwe_added *a, const char *text, size_t start, size_t length)
{
	while (start < length) {
		uint32_t point = 0;
		size_t n = cwe_utf8_next(text + start, length - start, &point);
		if (n == 0 || !cwe_class_has(a->space, point))
			break;
		start += n;
	}
	return start;
}

/* Whether a word character touches text[start..end). */
static int touches_word(
	const struct cwe_added *a, const char *text, size_t length, size_t start, size_t end)
{
	uint32_t point = 0;
	if (start > 0) {
		size_t before = cwe_utf8_before(text, start);
		if (cwe_utf8_next(text + before, start - before, &point) > 0 &&
			cwe_class_has(a->word, point))
			return 1;
	}
	return cwe_utf8_next(text + end, length - end, &point) > 0 && cwe_class_has(a->word, point);
}

int cwe_added_cut(const struct cwe_added *a, int normalized, const char *text, size_t length,
	struct cwe_cuts *ret, struct cwb_err *err)
{
	size_t done = 0; /* what lies before is in a part already */
	struct cwe_piece run = {
		0, 0}; /* white space that was walked over last: not to be walked again */
	int rc = 0;
	ret->count = 0;
	for (size_t at = 0; rc == 0;) {
		uint32_t id = 0;
		at = cwe_trie_begin(a->trie[normalized], text, at, length);
		if (at == length)
			break;
		size_t n = cwe_trie_match(a->trie[normalized], text + at, length - at, &id);
		if (n == 0) {
			at++;
			continue;
		}
		size_t start = at;
		size_t end = at + n;
		at = end;
		if ((a->flags[id] & FLAG_SINGLE_WORD) && touches_word(a, text, length, start, end))
			continue;
		if (a->flags[id] & FLAG_LSTRIP)
			start = spaces_before(a, text, start, done);
		if (a->flags[id] & FLAG_RSTRIP) {
			if (end < run.start || end > run.end)
				run = (struct cwe_piece){end, spaces_behind(a, text, end, length)};
			end = run.end;
		}
		/* White space that the token before swallowed: as in the reference, a token found
		 * inside it counts again, unless it would swallow to its left itself. */
		if (start > end)
			continue;
		if (done < start)
			rc = add_cut(ret, done, start, -1);
		if (rc == 0 && start < end)
			rc = add_cut(ret, start, end, id);
		done = end;
	}
	if (rc == 0 && done < length)
		rc = add_cut(ret, done, length, -1);
	return rc < 0 ? cwb_err_set(err, -ENOMEM, "out of memory") : 0;
}
