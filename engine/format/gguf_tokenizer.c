/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json and tokenizer_config.json of a GGUF file, from its metadata. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/gguf_family.h"
#include "engine/format/gguf_vocabulary.h"

/* The vocabulary of a file, and what is done around it. */
struct vocabulary {
	const struct cwe_gguf *g;
	const struct cwe_gguf_value *tokens;
	const struct cwe_gguf_value *types;  /* NULL: all are normal */
	const struct cwe_gguf_value *merges; /* of "gpt2" */
	const struct cwe_gguf_value *scores; /* of "llama" */
	const struct cwe_gguf_pre *pre;      /* of "gpt2", else NULL */
	int space_prefix;                    /* of "llama": a space in front of each text */
	int strips;                          /* special tokens swallow the white space behind them */
};

static int no_memory(const struct cwe_gguf *g, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory for its tokenizer", g->input.path);
}

static int unknown_model(const struct cwe_gguf *g, const char *key, const char *value, const char *known, struct cwb_err *err)
{
	return cwb_err_set(err, CWP_EUNKNOWN, "%s: %s: \"%.100s\" is not read from GGUF files, only %s; take the model's safetensors and "
		"tokenizer.json", g->input.path, key, value, known);
}

/* Byte-level BPE. */
static int open_gpt2(struct vocabulary *v, struct cwb_err *err)
{
	const char *pre = NULL;
	int space = 0, rc = cwe_gguf_get_string(v->g, "tokenizer.ggml.pre", &pre, err);

	if (rc >= 0)
		rc = cwe_gguf_get_bool(v->g, "tokenizer.ggml.add_space_prefix", &space, err);
	if (rc >= 0)
		rc = cwe_gguf_get_array(v->g, "tokenizer.ggml.merges", CWE_GGUF_STRING, &v->merges, err);
	if (rc < 0)
		return rc;
	if (!pre || !v->merges)
		return cwb_err_set(err, CWP_EMISSING, "%s: key tokenizer.ggml.%s is absent", v->g->input.path, pre ? "merges" : "pre");
	if (space)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: tokenizer.ggml.add_space_prefix: true is not read for \"gpt2\"",
			v->g->input.path);
	v->pre = cwe_gguf_pre_find(pre);
	return v->pre ? 0 : unknown_model(v->g, "tokenizer.ggml.pre", pre, "smollm, llama-bpe, llama3, qwen2, tekken, dbrx, gpt-4o, gpt-2, phi-2 and default", err);
}

/* SentencePiece's BPE. */
static int open_llama(struct vocabulary *v, struct cwb_err *err)
{
	const char *architecture = NULL;
	int rc = cwe_gguf_get_bool(v->g, "tokenizer.ggml.add_space_prefix", &v->space_prefix, err);

	if (rc == 0)
		v->space_prefix = 1;
	if (rc >= 0)
		rc = cwe_gguf_get_string(v->g, "general.architecture", &architecture, err);
	if (rc >= 0)
		rc = cwe_gguf_get_array(v->g, "tokenizer.ggml.scores", CWE_GGUF_F32, &v->scores, err);
	if (rc < 0)
		return rc;
	if (!v->scores)
		return cwb_err_set(err, CWP_EMISSING, "%s: key tokenizer.ggml.scores is absent", v->g->input.path);
	if (v->scores->count != v->tokens->count)
		return cwb_err_set(err, CWP_EFORMAT, "%s: tokenizer.ggml.scores has %" PRIu64 " entries for %" PRIu64 " tokens",
			v->g->input.path, v->scores->count, v->tokens->count);
	/* Phi-3's special tokens do, which GGUF has no key for; llama.cpp goes by the model's name. */
	v->strips = architecture && !strcmp(architecture, "phi3");
	return 0;
}

static int open_vocabulary(const struct cwe_gguf *g, struct vocabulary *v, struct cwb_err *err)
{
	const char *model = NULL;
	int rc = cwe_gguf_get_string(g, "tokenizer.ggml.model", &model, err);

	*v = (struct vocabulary){.g = g};
	if (rc >= 0)
		rc = cwe_gguf_get_array(g, "tokenizer.ggml.tokens", CWE_GGUF_STRING, &v->tokens, err);
	if (rc >= 0)
		rc = cwe_gguf_get_array(g, "tokenizer.ggml.token_type", CWE_GGUF_I32, &v->types, err);
	if (rc < 0)
		return rc;
	if (!model || !v->tokens)
		return cwb_err_set(err, CWP_EMISSING, "%s: key tokenizer.ggml.%s is absent", g->input.path, model ? "tokens" : "model");
	if (v->types && v->types->count != v->tokens->count)
		return cwb_err_set(err, CWP_EFORMAT, "%s: tokenizer.ggml.token_type has %" PRIu64 " entries for %" PRIu64 " tokens",
			g->input.path, v->types->count, v->tokens->count);
	if (!strcmp(model, "gpt2"))
		return open_gpt2(v, err);
	if (!strcmp(model, "llama"))
		return open_llama(v, err);
	return unknown_model(g, "tokenizer.ggml.model", model, "\"gpt2\" (byte-level BPE) and \"llama\" (SentencePiece's)", err);
}

/* The i-th string of an array as JSON; NULL after an error. */
static json_t *text_at(const struct cwe_gguf *g, const struct cwe_gguf_value *v, uint64_t i, struct cwb_err *err)
{
	const char *text = (const char *)v->data + v->starts[i];
	json_t *json;

	if (strlen(text) + 1 != v->starts[i + 1] - v->starts[i]) {
		cwb_err_set(err, CWP_EFORMAT, "%s: %s: entry %" PRIu64 " holds a NUL byte", g->input.path, v->key, i);
		return NULL;
	}
	json = json_string(text);
	if (!json)
		cwb_err_set(err, CWP_EFORMAT, "%s: %s: entry %" PRIu64 " is not UTF-8", g->input.path, v->key, i);
	return json;
}

static int32_t type_at(const struct cwe_gguf_value *types, uint64_t i)
{
	int32_t type = CWE_GGUF_TOKEN_NORMAL;

	if (types)
		memcpy(&type, types->data + 4 * i, 4);
	return type;
}

static json_t *byte_level(int add_prefix_space, int trim_offsets, int use_regex)
{
	return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", add_prefix_space, "trim_offsets",
		trim_offsets, "use_regex", use_regex);
}

/* llama.cpp's converter writes spaces for U+2581 into tokens of users, which the reference has as U+2581: those of white space alone
 * are made by merges there. A new reference. */
static json_t *with_marks(json_t *text, const json_t *vocabulary)
{
	size_t n = json_string_length(text);
	char *marks = n > 0 && strspn(json_string_value(text), " ") == n ? malloc(3 * n + 1) : NULL;
	json_t *marked = NULL;

	if (marks) {
		for (size_t i = 0; i < n; i++)
			memcpy(marks + 3 * i, "\xE2\x96\x81", 3);
		marks[3 * n] = '\0';
		if (!json_object_get(vocabulary, marks))
			marked = json_stringn(marks, 3 * n);
		free(marks);
	}
	return marked ? marked : json_incref(text);
}

/* The entry of added_tokens for a token that is cut out of texts whole. */
static json_t *added_token(const struct vocabulary *v, uint64_t id, json_t *text, int32_t type)
{
	static const char *const plain[] = {"<unk>", "<s>", "<|endoftext|>"};
	int special = type != CWE_GGUF_TOKEN_USER, strips = v->strips && special;

	for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
		strips &= strcmp(json_string_value(text), plain[i]) != 0;
	return json_pack("{s:I, s:O, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id, "content", text, "single_word", 0, "lstrip", 0,
		"rstrip", strips, "normalized", 0, "special", special);
}

static int add_token(const struct vocabulary *v, uint64_t id, json_t *text, int32_t type, json_t *vocabulary, json_t *added,
	struct cwb_err *err)
{
	const char *key = json_string_value(text);

	if (json_object_get(vocabulary, key))
		return cwb_err_set(err, CWP_EFORMAT, "%s: %s: \"%.100s\" comes twice", v->g->input.path, v->tokens->key, key);
	if (json_object_set_new(vocabulary, key, json_integer((json_int_t)id)))
		return no_memory(v->g, err);
	if ((type == CWE_GGUF_TOKEN_CONTROL || type == CWE_GGUF_TOKEN_USER || (type == CWE_GGUF_TOKEN_UNKNOWN && !v->pre)) &&
		json_array_append_new(added, added_token(v, id, text, type)))
		return no_memory(v->g, err);
	return 0;
}

/* Fills vocabulary (text -> id) and the list of added tokens. */
static int add_tokens(const struct vocabulary *v, json_t *vocabulary, json_t *added, struct cwb_err *err)
{
	int rc = 0;

	for (uint64_t i = 0; i < v->tokens->count && !rc; i++) {
		int32_t type = type_at(v->types, i);
		json_t *text, *marked;

		if (type == CWE_GGUF_TOKEN_UNUSED) /* fills the embeddings up; no text ever becomes it */
			continue;
		text = text_at(v->g, v->tokens, i, err);
		if (!text)
			return CWP_EFORMAT;
		marked = !v->pre && type == CWE_GGUF_TOKEN_USER ? with_marks(text, vocabulary) : json_incref(text);
		rc = add_token(v, i, marked, type, vocabulary, added, err);
		json_decref(marked);
		json_decref(text);
	}
	return rc;
}

static int add_merges(const struct vocabulary *v, const json_t *vocabulary, json_t *to, struct cwb_err *err)
{
	if (!v->pre)
		return cwe_gguf_merges(v->g, vocabulary, v->scores, to, err);
	for (uint64_t i = 0; i < v->merges->count; i++) {
		json_t *text = text_at(v->g, v->merges, i, err);

		if (!text)
			return CWP_EFORMAT;
		if (json_array_append_new(to, text))
			return no_memory(v->g, err);
	}
	return 0;
}

/* The text of the token whose id stands under `key`: 1, or 0 when there is no such key. */
static int special_token(const struct cwe_gguf *g, const struct cwe_gguf_value *tokens, const char *key, uint64_t *ret_id,
	json_t **ret_text, struct cwb_err *err)
{
	int rc = cwe_gguf_get_u64(g, key, 0, UINT32_MAX, ret_id, err);

	if (rc <= 0)
		return rc;
	if (*ret_id >= tokens->count)
		return cwb_err_set(err, CWP_EVALUE, "%s: %s: %" PRIu64 ", but there are only %" PRIu64 " tokens", g->input.path, key,
			*ret_id, tokens->count);
	*ret_text = text_at(g, tokens, *ret_id, err);
	return *ret_text ? 1 : CWP_EFORMAT;
}

/* A special token that a template adds: its text, also listed in `special`. */
static int add_special(const struct vocabulary *v, const char *key, json_t *special, json_t **ret_text, struct cwb_err *err)
{
	json_t *text = NULL;
	const char *name;
	uint64_t id = 0;
	int rc = special_token(v->g, v->tokens, key, &id, &text, err);

	if (rc == 0)
		return cwb_err_set(err, CWP_EMISSING, "%s: this token is to be added, but key %s is absent", v->g->input.path, key);
	if (rc < 0)
		return rc;
	name = json_string_value(text);
	if (json_object_set_new(special, name, json_pack("{s:s, s:[I], s:[s]}", "id", name, "ids", (json_int_t)id, "tokens", name))) {
		json_decref(text);
		return no_memory(v->g, err);
	}
	*ret_text = text;
	return 0;
}

/* Appends what stands for one text: first token, text, last token, all of one type. */
static int append_text(json_t *list, const json_t *bos, const char *id, const json_t *eos, int type)
{
	int rc = 0;

	if (bos)
		rc |= json_array_append_new(list,
			json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", json_string_value(bos), "type_id", type));
	rc |= json_array_append_new(list, json_pack("{s:{s:s, s:i}}", "Sequence", "id", id, "type_id", type));
	if (eos)
		rc |= json_array_append_new(list,
			json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", json_string_value(eos), "type_id", type));
	return rc;
}

/* The template that puts the first token in front of a text, and the last one behind it; of byte-level tokenizers with the step that
 * theirs have. */
static int make_template(const struct vocabulary *v, int add_bos, int add_eos, json_t **ret, struct cwb_err *err)
{
	json_t *single = json_array(), *pair = json_array(), *special = json_object(), *bos = NULL, *eos = NULL;
	int rc = add_bos ? add_special(v, "tokenizer.ggml.bos_token_id", special, &bos, err) : 0;

	if (!rc && add_eos)
		rc = add_special(v, "tokenizer.ggml.eos_token_id", special, &eos, err);
	if (!rc && (append_text(single, bos, "A", eos, 0) || append_text(pair, bos, "A", eos, 0) || append_text(pair, bos, "B", eos, 1)))
		rc = no_memory(v->g, err);
	if (!rc) {
		*ret = json_pack("{s:s, s:O, s:O, s:O}", "type", "TemplateProcessing", "single", single, "pair", pair, "special_tokens",
			special);
		if (*ret && v->pre)
			*ret = json_pack("{s:s, s:[o, o]}", "type", "Sequence", "processors", byte_level(1, 0, 1), *ret);
		rc = *ret ? 0 : no_memory(v->g, err);
	}
	json_decref(single);
	json_decref(pair);
	json_decref(special);
	json_decref(bos);
	json_decref(eos);
	return rc;
}

static int post_processor(const struct vocabulary *v, json_t **ret, struct cwb_err *err)
{
	int bos = v->pre ? v->pre->adds_bos : 1, eos = 0, rc = cwe_gguf_get_bool(v->g, "tokenizer.ggml.add_bos_token", &bos, err);

	if (rc >= 0)
		rc = cwe_gguf_get_bool(v->g, "tokenizer.ggml.add_eos_token", &eos, err);
	if (rc < 0)
		return rc;
	if (bos || eos)
		return make_template(v, bos, eos, ret, err);
	*ret = json_null();
	return 0;
}

/* Spaces are U+2581 to the model, and one is in front of each text where the file says so. */
static json_t *normalizer(const struct vocabulary *v)
{
	json_t *replace;

	if (v->pre)
		return v->pre->normalizer ? json_pack("{s:s}", "type", v->pre->normalizer) : json_null();
	replace = json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ", "content", "\xE2\x96\x81");
	return v->space_prefix ? json_pack("{s:s, s:[{s:s, s:s}, o]}", "type", "Sequence", "normalizers", "type", "Prepend", "prepend",
					 "\xE2\x96\x81", replace)
			       : replace;
}

static json_t *decoder(const struct vocabulary *v)
{
	json_t *steps;

	if (v->pre)
		return byte_level(1, 1, 1);
	steps = json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String", "\xE2\x96\x81", "content", " ",
		"type", "ByteFallback", "type", "Fuse");
	if (v->space_prefix && json_array_append_new(steps, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1,
				       "stop", 0))) {
		json_decref(steps);
		return NULL;
	}
	return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", steps);
}

/* The token of characters that no token is, of "llama": text or null; new. */
static int unknown_token(const struct vocabulary *v, json_t **ret, struct cwb_err *err)
{
	uint64_t id = 0;
	int rc = v->pre ? 0 : special_token(v->g, v->tokens, "tokenizer.ggml.unknown_token_id", &id, ret, err);

	if (rc == 0)
		*ret = v->pre || v->tokens->count == 0 ? json_null() : text_at(v->g, v->tokens, 0, err);
	return rc < 0 ? rc : *ret ? 0 : CWP_EFORMAT;
}

int cwe_gguf_tokenizer(const struct cwe_gguf *g, json_t **ret, struct cwb_err *err)
{
	json_t *vocabulary = json_object(), *added = json_array(), *list = json_array(), *post = NULL, *unknown = NULL;
	struct vocabulary v;
	int rc = vocabulary && added && list ? open_vocabulary(g, &v, err) : no_memory(g, err);

	if (!rc)
		rc = add_tokens(&v, vocabulary, added, err);
	if (!rc)
		rc = add_merges(&v, vocabulary, list, err);
	if (!rc)
		rc = unknown_token(&v, &unknown, err);
	if (!rc)
		rc = post_processor(&v, &post, err);
	if (rc)
		goto out;
	*ret = json_pack("{s:s, s:n, s:n, s:O, s:o, s:o, s:o, s:o, s:{s:s, s:n, s:O, s:n, s:n, s:b, s:b, s:b, s:O, s:O}}",
		"version", "1.0", "truncation", "padding", "added_tokens", added, "normalizer", normalizer(&v), "pre_tokenizer",
		v.pre ? cwe_gguf_pre_json(v.pre) : json_null(), "post_processor", post, "decoder", decoder(&v), /* */
		"model", "type", "BPE", "dropout", "unk_token", unknown, "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", !v.pre,
		"byte_fallback", !v.pre, "ignore_merges", v.pre && v.pre->ignore_merges, "vocab", vocabulary, "merges", list);
	if (!*ret)
		rc = no_memory(g, err);
out:
	json_decref(vocabulary);
	json_decref(added);
	json_decref(list);
	json_decref(unknown);
	return rc;
}

int cwe_gguf_tokenizer_config(const struct cwe_gguf *g, json_t **ret, struct cwb_err *err)
{
	static const struct {
		const char *gguf, *hugging_face;
	} special[] = {
		{"tokenizer.ggml.bos_token_id", "bos_token"},
		{"tokenizer.ggml.eos_token_id", "eos_token"},
		{"tokenizer.ggml.unknown_token_id", "unk_token"},
		{"tokenizer.ggml.padding_token_id", "pad_token"},
	};
	const struct cwe_gguf_family *family = NULL;
	struct vocabulary v;
	json_t *config = json_object(), *text = NULL;
	const char *chat = NULL;
	uint64_t context = 0, id;
	int rc = config ? open_vocabulary(g, &v, err) : no_memory(g, err);

	for (size_t i = 0; rc >= 0 && i < sizeof special / sizeof *special; i++) {
		rc = special_token(g, v.tokens, special[i].gguf, &id, &text, err);
		if (rc > 0)
			json_object_set_new(config, special[i].hugging_face, text);
	}
	if (rc >= 0)
		rc = cwe_gguf_family_of(g, &family, err);
	if (rc >= 0)
		rc = cwe_gguf_need_u64(g, cwe_gguf_key(family, "context_length").text, UINT32_MAX, &context, err);
	if (rc >= 0)
		rc = cwe_gguf_get_string(g, "tokenizer.chat_template", &chat, err);
	if (rc < 0) {
		json_decref(config);
		return rc;
	}
	json_object_set_new(config, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
	json_object_set_new(config, "model_max_length", json_integer((json_int_t)context));
	json_object_set_new(config, "clean_up_tokenization_spaces", json_false());
	if (chat && json_object_set_new(config, "chat_template", json_string(chat))) {
		json_decref(config);
		return cwb_err_set(err, CWP_EFORMAT, "%s: tokenizer.chat_template is not UTF-8", g->input.path);
	}
	*ret = config;
	return 0;
}
