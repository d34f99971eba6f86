/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tokens, types, merges or scores, special tokens and the chat template of a tokenizer.json as metadata of GGUF. */
#include "engine/format/gguf_tokens.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/format/gguf_vocabulary.h"

#define TEXT_MAX (256u << 20)
#define DEPTH 64

struct token {
	const char *text; /* NULL: no token has this number */
	int32_t type;
	float score; /* 0: not made by merges */
};

struct making {
	struct cwe_source *source;
	json_t *tokenizer, *config, *generation; /* config: tokenizer_config.json; NULL where absent */
	const json_t *model, *vocabulary, *merges;
	struct cwe_gguf_steps steps;
	struct token *token; /* [size] */
	uint64_t size;
	struct cwe_gguf_keys *k;
};

static int no_memory(struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "tokenizer.json: out of memory");
}

/* *ret stays NULL where the source has no such text. reals: numbers may be larger than integers, and do not count. */
static int load(struct cwe_source *source, const char *name, int reals, json_t **ret, struct cwb_err *err)
{
	struct cwb_err local = {0};
	char *text = NULL;
	size_t length = 0;
	int rc = cwe_source_text(source, name, &text, &length, &local);

	if (rc == CWP_EMISSING)
		return 0;
	if (rc)
		return cwb_err_set(err, rc, "%s", local.message);
	if (reals)
		*ret = json_loadb(text, length, JSON_DECODE_INT_AS_REAL, NULL);
	rc = !reals ? cwb_json_load(text, length, TEXT_MAX, DEPTH, ret, err) : *ret ? 0 : cwb_err_set(err, CWP_EFORMAT, "not valid JSON");
	free(text);
	return rc ? cwb_err_prefix(err, "%s", name) : 0;
}

/* ---- tokens ---- */

/* The number of a token, or -1. */
static json_int_t id_of(const struct making *m, const char *text)
{
	const json_t *id = json_object_get(m->vocabulary, text), *entry;
	size_t i;

	if (json_is_integer(id))
		return json_integer_value(id);
	json_array_foreach (json_object_get(m->tokenizer, "added_tokens"), i, entry) {
		const char *content = json_string_value(json_object_get(entry, "content"));

		if (content && !strcmp(content, text))
			return json_integer_value(json_object_get(entry, "id"));
	}
	return -1;
}

static int put_token(struct making *m, const char *text, const json_t *id, int32_t type, struct cwb_err *err)
{
	json_int_t n = json_integer_value(id);

	if (!text || !json_is_integer(id) || n < 0)
		return cwb_err_set(err, CWP_EFORMAT, "tokenizer.json: token \"%.80s\" has no number", text ? text : "");
	if ((uint64_t)n >= m->size)
		return cwb_err_set(err, CWP_EVALUE, "tokenizer.json: token \"%.80s\" has number %" JSON_INTEGER_FORMAT ", but the model has "
			"embeddings of %" PRIu64 " tokens, and gguf no place for more: choose compressed-tensors or dense", text, n, m->size);
	if (m->token[n].text && strcmp(m->token[n].text, text) != 0)
		return cwb_err_set(err, CWP_EFORMAT, "tokenizer.json: tokens \"%.80s\" and \"%.80s\" have the same number", m->token[n].text,
			text);
	m->token[n].text = text;
	m->token[n].type = type;
	return 0;
}

/* "<0x0A>": the byte that no other token has. */
static int is_byte(const char *text)
{
	return strlen(text) == 6 && !strncmp(text, "<0x", 3) && text[5] == '>' && strspn(text + 3, "0123456789ABCDEF") == 2;
}

static int list_tokens(struct making *m, struct cwb_err *err)
{
	const char *unknown = m->steps.pre ? NULL : json_string_value(json_object_get(m->model, "unk_token")), *text;
	const json_t *id, *entry;
	size_t i;
	int rc = 0;

	json_object_foreach ((json_t *)m->vocabulary, text, id) {
		int32_t type = unknown && !strcmp(text, unknown)  ? CWE_GGUF_TOKEN_UNKNOWN :
			       !m->steps.pre && is_byte(text)    ? CWE_GGUF_TOKEN_BYTE :
								    CWE_GGUF_TOKEN_NORMAL;

		rc = put_token(m, text, id, type, err);
		if (rc)
			return rc;
	}
	json_array_foreach (json_object_get(m->tokenizer, "added_tokens"), i, entry) {
		int is_special = json_is_true(json_object_get(entry, "special"));

		text = json_string_value(json_object_get(entry, "content"));
		if (!rc && !(unknown && text && !strcmp(text, unknown)))
			rc = put_token(m, text, json_object_get(entry, "id"), is_special ? CWE_GGUF_TOKEN_CONTROL : CWE_GGUF_TOKEN_USER, err);
	}
	return rc;
}

/* How many of the marks that stand for spaces a token is made of; 0: it has something else. */
static size_t count_marks(const char *text)
{
	size_t n = 0;

	while (!strncmp(text + 3 * n, "\xE2\x96\x81", 3))
		n++;
	return text[3 * n] ? 0 : n;
}

static void add_tokens(const struct making *m)
{
	cwe_gguf_keys_array(m->k, "tokenizer.ggml.tokens", CWE_GGUF_STRING, m->size);
	for (uint64_t i = 0; i < m->size; i++) {
		const char *text = m->token[i].text;
		char pad[64];
		size_t marks = text && m->token[i].type == CWE_GGUF_TOKEN_USER ? count_marks(text) : 0;

		if (!text)
			snprintf(pad, sizeof pad, "[PAD%" PRIu64 "]", i);
		if (marks && marks < sizeof pad) /* llama.cpp looks for tokens of users in texts as they are */
			snprintf(pad, sizeof pad, "%*s", (int)marks, "");
		else if (text)
			marks = 0;
		cwe_gguf_keys_string(m->k, text && !marks ? text : pad, strlen(text && !marks ? text : pad));
	}
	cwe_gguf_keys_array(m->k, "tokenizer.ggml.token_type", CWE_GGUF_I32, m->size);
	for (uint64_t i = 0; i < m->size; i++) {
		int32_t type = m->token[i].text ? m->token[i].type : CWE_GGUF_TOKEN_UNUSED;

		cwe_gguf_keys_bytes(m->k, &type, sizeof type);
	}
}

/* ---- merges ---- */

static int bad_merge(size_t i, struct cwb_err *err)
{
	return cwb_err_set(err, CWP_EFORMAT, "tokenizer.json: merge %zu is no pair of two tokens", i);
}

static int add_merges(const struct making *m, struct cwb_err *err)
{
	const json_t *merge;
	size_t i;

	cwe_gguf_keys_array(m->k, "tokenizer.ggml.merges", CWE_GGUF_STRING, json_array_size(m->merges));
	json_array_foreach (m->merges, i, merge) {
		char *text = cwe_gguf_merge_text(merge);

		if (!text)
			return bad_merge(i, err);
		cwe_gguf_keys_string(m->k, text, strlen(text));
		free(text);
	}
	return 0;
}

/* Scores in place of merges. Tokens of one score are those that texts have whole, such as runs of spaces: tokens of users. */
static int rank_tokens(struct making *m, struct cwb_err *err)
{
	struct cwe_gguf_ranks ranks = {NULL};
	int rc = cwe_gguf_ranks_make(m->model, m->size, &ranks, err);

	for (uint64_t n = 0; n < m->size && !rc; n++) {
		struct token *t = &m->token[n];

		t->score = ranks.rank[n].group ? -(float)ranks.rank[n].group :
			   t->type == CWE_GGUF_TOKEN_NORMAL ? -(float)(ranks.groups + 1) : 0;
		if (ranks.rank[n].shared && t->type == CWE_GGUF_TOKEN_NORMAL)
			t->type = CWE_GGUF_TOKEN_USER;
	}
	cwe_gguf_ranks_free(&ranks);
	return rc;
}

static void add_scores(const struct making *m)
{
	cwe_gguf_keys_array(m->k, "tokenizer.ggml.scores", CWE_GGUF_F32, m->size);
	for (uint64_t n = 0; n < m->size; n++)
		cwe_gguf_keys_bytes(m->k, &m->token[n].score, sizeof(float));
}

/* ---- what is around ---- */

/* The token that a key of tokenizer_config.json names, or else config.json by its number; -1 without. */
static json_int_t special_of(const struct making *m, const char *name)
{
	const json_t *v = json_object_get(m->config, name), *id;
	const char *text = json_is_object(v) ? json_string_value(json_object_get(v, "content")) : json_string_value(v);
	json_int_t n = text ? id_of(m, text) : -1;
	char key[32];

	snprintf(key, sizeof key, "%s_id", name);
	id = json_object_get(m->source->config, key);
	id = json_is_array(id) ? json_array_get(id, 0) : id;
	if (n < 0 && json_is_integer(id))
		n = json_integer_value(id);
	return n >= 0 && (uint64_t)n < m->size ? n : -1;
}

static void add_id(const struct making *m, const char *key, json_int_t id)
{
	if (id >= 0)
		cwe_gguf_keys_u32(m->k, key, (uint32_t)id);
}

/* The other token at which generation stops: the end of a turn beside the end of a text. */
static json_int_t turn_of(const struct making *m, json_int_t eos)
{
	const json_t *list = json_object_get(m->generation, "eos_token_id"), *id;
	size_t i;
	int has_eos = 0;
	json_int_t other = -1;

	json_array_foreach (list, i, id) {
		json_int_t n = json_integer_value(id);

		has_eos |= n == eos;
		other = other < 0 && n != eos && n >= 0 && (uint64_t)n < m->size ? n : other;
	}
	return has_eos ? other : -1;
}

static int add_specials(const struct making *m, struct cwb_err *err)
{
	json_int_t bos = m->steps.bos ? id_of(m, m->steps.bos) : special_of(m, "bos_token");
	json_int_t eos = m->steps.eos ? id_of(m, m->steps.eos) : special_of(m, "eos_token"), unknown = special_of(m, "unk_token");
	const char *text = m->steps.pre ? NULL : json_string_value(json_object_get(m->model, "unk_token"));

	if ((m->steps.bos && bos < 0) || (m->steps.eos && eos < 0))
		return cwb_err_set(err, CWP_EFORMAT, "tokenizer.json: post_processor adds \"%.80s\", which is no token",
			bos < 0 ? m->steps.bos : m->steps.eos);
	add_id(m, "tokenizer.ggml.bos_token_id", bos);
	add_id(m, "tokenizer.ggml.eos_token_id", eos);
	add_id(m, "tokenizer.ggml.eot_token_id", turn_of(m, eos));
	add_id(m, "tokenizer.ggml.unknown_token_id", text ? id_of(m, text) : unknown);
	add_id(m, "tokenizer.ggml.padding_token_id", special_of(m, "pad_token"));
	cwe_gguf_keys_bool(m->k, "tokenizer.ggml.add_bos_token", m->steps.bos != NULL);
	cwe_gguf_keys_bool(m->k, "tokenizer.ggml.add_eos_token", m->steps.eos != NULL);
	if (!m->steps.pre)
		cwe_gguf_keys_bool(m->k, "tokenizer.ggml.add_space_prefix", m->steps.space_prefix);
	return 0;
}

/* chat_template.jinja, or the template of tokenizer_config.json: of several the one called "default". */
static int add_chat(const struct making *m, struct cwb_err *err)
{
	const json_t *chat = json_object_get(m->config, "chat_template"), *entry, *found = json_is_array(chat) ? NULL : chat;
	struct cwb_err local = {0};
	size_t i, length = 0;
	char *text = NULL;
	int rc = cwe_source_text(m->source, "chat_template.jinja", &text, &length, &local);

	if (rc && rc != CWP_EMISSING)
		return cwb_err_set(err, rc, "%s", local.message);
	json_array_foreach (chat, i, entry) {
		const char *name = json_string_value(json_object_get(entry, "name"));

		if (name && !strcmp(name, "default"))
			found = json_object_get(entry, "template");
	}
	if (!rc)
		cwe_gguf_keys_text(m->k, "tokenizer.chat_template", text, length);
	else if (json_is_string(found))
		cwe_gguf_keys_text(m->k, "tokenizer.chat_template", json_string_value(found), json_string_length(found));
	free(text);
	return 0;
}

static int fill(struct making *m, struct cwb_err *err)
{
	const char *kind;
	int rc = cwe_gguf_steps_read(m->tokenizer, &m->steps, err);

	m->model = json_object_get(m->tokenizer, "model");
	m->vocabulary = json_object_get(m->model, "vocab");
	m->merges = json_object_get(m->model, "merges");
	if (!rc && (!json_is_object(m->vocabulary) || !json_is_array(m->merges)))
		rc = cwb_err_set(err, CWP_EFORMAT, "tokenizer.json: model has no vocab or no merges");
	if (rc)
		return rc;
	kind = m->steps.pre ? "gpt2" : "llama";
	cwe_gguf_keys_text(m->k, "tokenizer.ggml.model", kind, strlen(kind));
	if (m->steps.pre)
		cwe_gguf_keys_text(m->k, "tokenizer.ggml.pre", m->steps.pre->name, strlen(m->steps.pre->name));
	m->token = calloc(m->size + 1, sizeof *m->token);
	rc = m->token ? list_tokens(m, err) : no_memory(err);
	if (!rc && !m->steps.pre)
		rc = rank_tokens(m, err);
	if (rc)
		return rc;
	add_tokens(m);
	if (m->steps.pre)
		rc = add_merges(m, err);
	else
		add_scores(m);
	if (!rc)
		rc = add_specials(m, err);
	return rc ? rc : add_chat(m, err);
}

/* llama.cpp's word for a model without a vocabulary; config.json knows some tokens all the same. */
static void add_none(const struct making *m)
{
	cwe_gguf_keys_text(m->k, "tokenizer.ggml.model", "none", strlen("none"));
	add_id(m, "tokenizer.ggml.bos_token_id", special_of(m, "bos_token"));
	add_id(m, "tokenizer.ggml.eos_token_id", special_of(m, "eos_token"));
	add_id(m, "tokenizer.ggml.padding_token_id", special_of(m, "pad_token"));
}

int cwe_gguf_tokens_add(struct cwe_source *source, uint64_t size, struct cwe_gguf_keys *k, struct cwb_err *err)
{
	struct making m = {.source = source, .size = size, .k = k};
	int rc = load(source, "tokenizer.json", 0, &m.tokenizer, err);

	if (!rc)
		rc = load(source, "tokenizer_config.json", 1, &m.config, err);
	if (!rc)
		rc = load(source, "generation_config.json", 0, &m.generation, err);
	if (!rc && m.tokenizer)
		rc = fill(&m, err);
	else if (!rc)
		add_none(&m);
	free(m.token);
	json_decref(m.tokenizer);
	json_decref(m.config);
	json_decref(m.generation);
	return rc;
}

int cwe_gguf_tokens_check(struct cwe_source *source, const struct cwe_gguf *g, struct cwb_err *err)
{
	const struct cwe_gguf_value *tokens = NULL;
	json_t *wanted = NULL, *found = NULL;
	const char *model = NULL;
	int rc = cwe_gguf_get_string(g, "tokenizer.ggml.model", &model, err);

	if (rc > 0)
		rc = cwe_gguf_get_array(g, "tokenizer.ggml.tokens", CWE_GGUF_STRING, &tokens, err);
	if (rc <= 0 || strcmp(model, "llama") != 0)
		return rc < 0 ? rc : 0;
	rc = load(source, "tokenizer.json", 0, &wanted, err);
	if (!rc)
		rc = cwe_gguf_tokenizer(g, &found, err);
	if (!rc)
		rc = cwe_gguf_same_merges(json_object_get(wanted, "model"), json_object_get(found, "model"), tokens->count, err);
	json_decref(wanted);
	json_decref(found);
	return rc;
}
