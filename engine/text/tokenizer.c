/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The stages of tokenizer.json in their order: added tokens, normalizer, added tokens again,
 * pre-tokenizer, model, post-processor; and back. Truncation and padding of the file are not
 * applied: samples have their own length. */
#include "engine/text/tokenizer.h"

#include <jansson.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/added.h"
#include "engine/text/component.h"
#include "engine/text/decoder.h"
#include "engine/text/document.h"
#include "engine/text/model.h"
#include "engine/text/normalizer.h"
#include "engine/text/postprocessor.h"
#include "engine/text/pretokenizer.h"
#include "engine/text/utf8.h"

#define TEXT_LIMIT ((size_t)1 << 29) /* bytes of one text; the byte alphabet may double them */

/* What one call of encode works with. The words that it remembers serve the next call. */
struct encoder {
	struct encoder *next;
	const struct cwe_tokenizer *t;
	struct cwe_text_work work;
	struct cwe_pieces pieces;
	struct cwe_idlist list;
};

/* Encoders that no call uses: never more than calls ran at the same time. */
struct idle {
	pthread_mutex_t lock;
	struct encoder *first;
};

struct cwe_tokenizer {
	struct idle *idle;
	struct cwe_normalizer *normalizer;
	struct cwe_added *added;
	struct cwe_pretokenizer *pretokenizer;
	struct cwe_text_model model;
	struct cwe_postprocessor postprocessor;
	struct cwe_decoder *decoder;
	int64_t bos, eos;
};

static int check_template(const struct cwe_tokenizer *t, struct cwb_err *err)
{
	const struct cwe_idlist *side[2] = {&t->postprocessor.before, &t->postprocessor.after};
	for (size_t s = 0; s < 2; s++) {
		for (size_t i = 0; i < side[s]->count; i++) {
			if (side[s]->id[i] >= cwe_tokenizer_size(t))
				return cwe_component_refuse(err, CWP_EVALUE, "post_processor",
					"id %u is that of no token", (unsigned)side[s]->id[i]);
		}
	}
	return 0;
}

/* The parts that need the file's long lists. */
static int read_lists(struct cwe_tokenizer *t, const struct cwe_document *d, struct cwb_err *err)
{
	int rc = cwe_text_model_read(d, &t->model, err);
	if (rc == 0)
		rc = cwe_normalizer_new(
			json_object_get(d->root, "normalizer"), &t->normalizer, err);
	if (rc == 0)
		rc = cwe_added_new(&d->added_tokens, cwe_text_model_vocabulary(&t->model),
			t->normalizer, &t->added, err);
	if (rc == 0)
		cwe_text_model_finish(&t->model);
	return rc;
}

static int read_stages(struct cwe_tokenizer *t, const json_t *json, struct cwb_err *err)
{
	int rc =
		cwe_pretokenizer_new(json_object_get(json, "pre_tokenizer"), &t->pretokenizer, err);
	if (rc == 0)
		rc = cwe_postprocessor_read(
			json_object_get(json, "post_processor"), &t->postprocessor, err);
	if (rc == 0)
		rc = check_template(t, err);
	if (rc == 0)
		rc = cwe_decoder_new(json_object_get(json, "decoder"), &t->decoder, err);
	return rc;
}

/* bos_token and the like: a string, or an object with "content"; -1 when absent, null or no token.
 */
static int64_t config_token(const struct cwe_tokenizer *t, const json_t *config, const char *key)
{
	const json_t *value = json_object_get(config, key);
	if (json_is_object(value))
		value = json_object_get(value, "content");
	return json_is_string(value) ? cwe_tokenizer_id(t, json_string_value(value)) : -1;
}

static int read_config(
	struct cwe_tokenizer *t, const char *config, size_t length, struct cwb_err *err)
{
	json_t *json;
	t->bos = t->eos = -1;
	if (!config)
		return 0;
	int rc = cwe_component_config(config, length, &json, err);
	if (rc < 0)
		return rc;
	t->bos = config_token(t, json, "bos_token");
	t->eos = config_token(t, json, "eos_token");
	json_decref(json);
	return 0;
}

static struct cwe_tokenizer *new_tokenizer(void)
{
	struct cwe_tokenizer *t = calloc(1, sizeof(*t));
	if (t)
		t->idle = calloc(1, sizeof(*t->idle));
	if (t && t->idle && pthread_mutex_init(&t->idle->lock, NULL) == 0)
		return t;
	if (t)
		free(t->idle);
	free(t);
	return NULL;
}

/* taken: NULL, or where the text stands that is freed on the way. */
static int read_text(const char *json, size_t length, char **taken, const char *config,
	size_t config_length, struct cwe_tokenizer **ret, struct cwb_err *err)
{
	struct cwe_document d = {0};
	struct cwe_tokenizer *t = new_tokenizer();
	if (!t)
		return cwb_err_set(err, -ENOMEM, "out of memory");
	int rc = cwe_document_read(json, length, &d, err);
	if (rc == 0)
		rc = read_lists(t, &d, err);
	if (taken) {
		free(*taken);
		*taken = NULL;
	}
	if (rc == 0)
		rc = read_stages(t, d.root, err);
	cwe_document_free(&d);
	if (rc < 0)
		cwb_err_prefix(err, "tokenizer.json");
	else
		rc = read_config(t, config, config_length, err);
#ifdef __GLIBC__
	/* Once it has freed a large block, this libc keeps what is freed afterwards. */
	(void)malloc_trim(0);
#endif
	if (rc < 0) {
		cwe_tokenizer_free(t);
		return rc;
	}
	*ret = t;
	return 0;
}

int cwe_tokenizer_new(const char *json, size_t length, const char *config, size_t config_length,
	struct cwe_tokenizer **ret, struct cwb_err *err)
{
	return read_text(json, length, NULL, config, config_length, ret, err);
}

int cwe_tokenizer_take(char **json, size_t length, const char *config, size_t config_length,
	struct cwe_tokenizer **ret, struct cwb_err *err)
{
	int rc = read_text(*json, length, json, config, config_length, ret, err);
	free(*json); /* there still where memory ran out at once */
	*json = NULL;
	return rc;
}

void cwe_tokenizer_free(struct cwe_tokenizer *t)
{
	if (!t)
		return;
	cwe_normalizer_free(t->normalizer);
	cwe_added_free(t->added);
	cwe_pretokenizer_free(t->pretokenizer);
	cwe_text_model_free(&t->model);
	cwe_postprocessor_free(&t->postprocessor);
	cwe_decoder_free(t->decoder);
	for (struct encoder *e = t->idle->first, *next; e; e = next) {
		next = e->next;
		cwe_text_work_free(&e->work);
		free(e);
	}
	pthread_mutex_destroy(&t->idle->lock);
	free(t->idle);
	free(t);
}

static struct encoder *take_encoder(const struct cwe_tokenizer *t)
{
	struct encoder *e;
	pthread_mutex_lock(&t->idle->lock);
	e = t->idle->first;
	if (e)
		t->idle->first = e->next;
	pthread_mutex_unlock(&t->idle->lock);
	if (!e)
		e = calloc(1, sizeof(*e));
	if (e)
		e->t = t;
	return e;
}

static void give_encoder(struct encoder *e)
{
	cwe_text_work_trim(&e->work);
	cwe_pieces_free(&e->pieces);
	e->list = (struct cwe_idlist){0};
	pthread_mutex_lock(&e->t->idle->lock);
	e->next = e->t->idle->first;
	e->t->idle->first = e;
	pthread_mutex_unlock(&e->t->idle->lock);
}

static int add_ids(struct cwe_idlist *list, const struct cwe_idlist *more, struct cwb_err *err)
{
	for (size_t i = 0; i < more->count; i++) {
		if (cwe_idlist_add(list, more->id[i]) < 0)
			return cwb_err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

/* Text that holds no added token any more. origin: see struct cwe_buffer. */
static int encode_plain(
	struct encoder *e, const char *text, size_t length, size_t origin, struct cwb_err *err)
{
	if (cwe_pieces_set(&e->pieces, text, length, origin) < 0)
		return cwb_err_set(err, -ENOMEM, "out of memory for a text of %zu bytes", length);
	int rc = cwe_pretokenizer_apply(
		e->t->pretokenizer, e->t->model.bpe != NULL, &e->pieces, err);
	for (size_t i = 0; i < e->pieces.count && rc == 0; i++) {
		const struct cwe_piece *p = &e->pieces.piece[i];
		rc = cwe_text_model_encode(&e->t->model, e->pieces.text + p->start,
			p->end - p->start, e->pieces.bytes, &e->work, &e->list, err);
	}
	return rc;
}

/* Text between the added tokens that are not normalized. */
static int encode_normalized(
	struct encoder *e, const char *text, size_t length, size_t origin, struct cwb_err *err)
{
	struct cwe_cuts cuts = {0};
	struct cwe_buffer normal = {0};
	int rc = cwe_normalizer_apply(e->t->normalizer, text, length, origin, &normal, err);
	if (rc == 0)
		rc = cwe_added_cut(e->t->added, 1, normal.text, normal.length, &cuts, err);
	for (size_t i = 0; i < cuts.count && rc == 0; i++) {
		const struct cwe_cut *c = &cuts.cut[i];
		if (c->id < 0)
			rc = encode_plain(e, normal.text + c->start, c->end - c->start,
				c->start < normal.origin ? normal.origin - c->start : 0, err);
		else if (cwe_idlist_add(&e->list, (uint32_t)c->id) < 0)
			rc = cwb_err_set(err, -ENOMEM, "out of memory");
	}
	free(cuts.cut);
	cwe_buffer_free(&normal);
	return rc;
}

static int encode_text(struct encoder *e, const char *text, size_t length, struct cwb_err *err)
{
	struct cwe_cuts cuts = {0};
	size_t first = cwe_utf8_next(text, length, NULL);
	int rc = cwe_added_cut(e->t->added, 0, text, length, &cuts, err);
	for (size_t i = 0; i < cuts.count && rc == 0; i++) {
		const struct cwe_cut *c = &cuts.cut[i];
		if (c->id < 0)
			rc = encode_normalized(e, text + c->start, c->end - c->start,
				c->start == 0 ? first : 0, err);
		else if (cwe_idlist_add(&e->list, (uint32_t)c->id) < 0)
			rc = cwb_err_set(err, -ENOMEM, "out of memory");
	}
	free(cuts.cut);
	return rc;
}

int cwe_tokenizer_encode(const struct cwe_tokenizer *t, const char *text, size_t length,
	int special, struct cwe_ids *ret, struct cwb_err *err)
{
	if (length > TEXT_LIMIT)
		return cwb_err_set(err, CWP_ELIMIT,
			"a text of %zu bytes is longer than %zu: split it", length, TEXT_LIMIT);
	size_t good = cwe_utf8_check(text, length);
	if (good < length)
		return cwb_err_set(err, CWP_EFORMAT, "the text is not UTF-8 at byte %zu (0x%02X)",
			good, (unsigned char)text[good]);
	struct encoder *e = take_encoder(t);
	if (!e)
		return cwb_err_set(err, -ENOMEM, "out of memory");
	int rc = special ? add_ids(&e->list, &t->postprocessor.before, err) : 0;
	if (rc == 0)
		rc = encode_text(e, text, length, err);
	if (rc == 0 && special)
		rc = add_ids(&e->list, &t->postprocessor.after, err);
	if (rc < 0)
		free(e->list.id);
	else
		*ret = (struct cwe_ids){e->list.id, e->list.count};
	give_encoder(e);
	return rc;
}

static const char *token_text(const struct cwe_tokenizer *t, uint32_t id, size_t *ret_length)
{
	const char *text = cwe_added_text(t->added, id, ret_length);
	return text ? text
		    : cwe_vocabulary_text(cwe_text_model_vocabulary(&t->model), id, ret_length);
}

int cwe_tokenizer_decode(const struct cwe_tokenizer *t, const uint32_t *id, size_t count,
	int skip_special, char **ret_text, size_t *ret_length, struct cwb_err *err)
{
	size_t n = 0;
	struct cwe_token_text *token = calloc(count + 1, sizeof(*token));
	if (!token)
		return cwb_err_set(err, -ENOMEM, "out of memory for %zu tokens", count);
	for (size_t i = 0; i < count; i++) {
		/* Ids without a text, which pad a model's vocabulary, give none. */
		token[n].text = token_text(t, id[i], &token[n].length);
		if (token[n].text && !(skip_special && cwe_added_special(t->added, token[n].text,
							       token[n].length)))
			n++;
	}
	int rc = cwe_decoder_apply(t->decoder, token, n, ret_text, ret_length, err);
	free(token);
	return rc;
}

int64_t cwe_tokenizer_id(const struct cwe_tokenizer *t, const char *token)
{
	int64_t id = cwe_vocabulary_id(cwe_added_vocabulary(t->added), token, strlen(token));
	return id >= 0 ? id
		       : cwe_vocabulary_id(
				 cwe_text_model_vocabulary(&t->model), token, strlen(token));
}

int64_t cwe_tokenizer_bos(const struct cwe_tokenizer *t)
{
	return t->bos;
}

int64_t cwe_tokenizer_eos(const struct cwe_tokenizer *t)
{
	return t->eos;
}

size_t cwe_tokenizer_size(const struct cwe_tokenizer *t)
{
	size_t model = cwe_vocabulary_size(cwe_text_model_vocabulary(&t->model));
	size_t added = cwe_vocabulary_size(cwe_added_vocabulary(t->added));
	return model > added ? model : added;
}

size_t cwe_tokenizer_prefix(const struct cwe_tokenizer *t, const uint32_t **ret_id)
{
	*ret_id = t->postprocessor.before.id;
	return t->postprocessor.before.count;
}
