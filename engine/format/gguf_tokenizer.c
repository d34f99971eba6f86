/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json and tokenizer_config.json of a GGUF file, from its metadata. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "engine/format/gguf.h"

enum token_type { TOKEN_NORMAL = 1, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER, TOKEN_UNUSED, TOKEN_BYTE };

/* Llama 3's split, as its tokenizer.json has it. */
#define LLAMA3_SPLIT                                                                               \
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"                  \
	" ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

struct kind {
	const char *pre;     /* tokenizer.ggml.pre */
	int is_llama3;       /* else smollm */
	int adds_bos;        /* what llama.cpp does when add_bos_token is absent */
};

static const struct kind kinds[] = {
	{"smollm", 0, 0},
	{"llama-bpe", 1, 1},
	{"llama3", 1, 1},
	{"llama-v3", 1, 1},
};

static int no_memory(const struct cwe_gguf *g, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory for its tokenizer", g->input.path);
}

static int find_kind(const struct cwe_gguf *g, const struct kind **ret, struct cwb_err *err)
{
	const char *model = NULL, *pre = NULL;
	int space = 0, rc = cwe_gguf_get_string(g, "tokenizer.ggml.model", &model, err);

	if (rc >= 0)
		rc = cwe_gguf_get_string(g, "tokenizer.ggml.pre", &pre, err);
	if (rc >= 0)
		rc = cwe_gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &space, err);
	if (rc < 0)
		return rc;
	if (!model || !pre)
		return cwb_err_set(err, CWP_EMISSING, "%s: key %s is absent", g->input.path,
			model ? "tokenizer.ggml.pre" : "tokenizer.ggml.model");
	if (strcmp(model, "gpt2") != 0)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: tokenizer.ggml.model: \"%.100s\" is not read from GGUF files, only "
			"\"gpt2\" (byte-level BPE); take the model's safetensors and tokenizer.json", g->input.path, model);
	if (space)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: tokenizer.ggml.add_space_prefix: true is not read for \"gpt2\"",
			g->input.path);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (!strcmp(pre, kinds[i].pre)) {
			*ret = &kinds[i];
			return 0;
		}
	return cwb_err_set(err, CWP_EUNKNOWN, "%s: tokenizer.ggml.pre: \"%.100s\" is not read from GGUF files, only \"smollm\" "
		"and \"llama-bpe\"; take the model's safetensors and tokenizer.json", g->input.path, pre);
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
	int32_t type = TOKEN_NORMAL;

	if (types)
		memcpy(&type, types->data + 4 * i, 4);
	return type;
}

static json_t *byte_level(int add_prefix_space, int trim_offsets, int use_regex)
{
	return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", add_prefix_space, "trim_offsets",
		trim_offsets, "use_regex", use_regex);
}

/* Fills vocabulary (text -> id) and the list of added tokens. */
static int add_tokens(const struct cwe_gguf *g, const struct cwe_gguf_value *tokens, const struct cwe_gguf_value *types,
	json_t *vocabulary, json_t *added, struct cwb_err *err)
{
	for (uint64_t i = 0; i < tokens->count; i++) {
		int32_t type = type_at(types, i);
		json_t *text, *entry;
		const char *key;

		if (type == TOKEN_UNUSED) /* fills the embeddings up; no text ever becomes it */
			continue;
		text = text_at(g, tokens, i, err);
		if (!text)
			return CWP_EFORMAT;
		key = json_string_value(text);
		if (json_object_get(vocabulary, key)) {
			cwb_err_set(err, CWP_EFORMAT, "%s: %s: \"%.100s\" comes twice", g->input.path, tokens->key, key);
			json_decref(text);
			return CWP_EFORMAT;
		}
		entry = json_integer((json_int_t)i);
		if (json_object_set_new(vocabulary, key, entry)) {
			json_decref(text);
			return no_memory(g, err);
		}
		if (type == TOKEN_CONTROL || type == TOKEN_USER) {
			entry = json_pack("{s:I, s:O, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i, "content", text,
				"single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", type == TOKEN_CONTROL);
			if (json_array_append_new(added, entry)) {
				json_decref(text);
				return no_memory(g, err);
			}
		}
		json_decref(text);
	}
	return 0;
}

static int add_merges(const struct cwe_gguf *g, const struct cwe_gguf_value *merges, json_t *to, struct cwb_err *err)
{
	for (uint64_t i = 0; i < merges->count; i++) {
		json_t *text = text_at(g, merges, i, err);

		if (!text)
			return CWP_EFORMAT;
		if (json_array_append_new(to, text))
			return no_memory(g, err);
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

/* The template that puts the first token in front, as Llama 3's tokenizer.json has it. */
static int bos_template(const struct cwe_gguf *g, const struct cwe_gguf_value *tokens, json_t **ret, struct cwb_err *err)
{
	static const char *const key = "tokenizer.ggml.bos_token_id";
	json_t *text = NULL;
	const char *bos;
	uint64_t id = 0;
	int rc = special_token(g, tokens, key, &id, &text, err);

	if (rc == 0)
		return cwb_err_set(err, CWP_EMISSING, "%s: a first token is to be added, but key %s is absent", g->input.path, key);
	if (rc < 0)
		return rc;
	bos = json_string_value(text);
	*ret = json_pack("{s:s, s:[o, {s:s, s:[{s:{s:s,s:i}}, {s:{s:s,s:i}}],"
			 " s:[{s:{s:s,s:i}}, {s:{s:s,s:i}}, {s:{s:s,s:i}}, {s:{s:s,s:i}}], s:{s:{s:s, s:[I], s:[s]}}}]}",
		"type", "Sequence", "processors", byte_level(1, 0, 1), "type", "TemplateProcessing", /* */
		"single", "SpecialToken", "id", bos, "type_id", 0, "Sequence", "id", "A", "type_id", 0, /* */
		"pair", "SpecialToken", "id", bos, "type_id", 0, "Sequence", "id", "A", "type_id", 0, /* */
		"SpecialToken", "id", bos, "type_id", 1, "Sequence", "id", "B", "type_id", 1, /* */
		"special_tokens", bos, "id", bos, "ids", (json_int_t)id, "tokens", bos);
	json_decref(text);
	return *ret ? 0 : no_memory(g, err);
}

static int post_processor(const struct cwe_gguf *g, const struct kind *kind, const struct cwe_gguf_value *tokens,
	json_t **ret, struct cwb_err *err)
{
	int bos = kind->adds_bos, eos = 0, rc = cwe_gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &bos, err);

	if (rc >= 0)
		rc = cwe_gguf_get_bool(g, "tokenizer.ggml.add_eos_token", &eos, err);
	if (rc < 0)
		return rc;
	if (eos)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: tokenizer.ggml.add_eos_token: true is not read", g->input.path);
	if (bos)
		return bos_template(g, tokens, ret, err);
	*ret = json_null();
	return 0;
}

static json_t *pre_tokenizer(const struct kind *kind)
{
	json_t *first = kind->is_llama3 ? json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
						  LLAMA3_SPLIT, "behavior", "Isolated", "invert", 0)
					: json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1);

	return json_pack("{s:s, s:[o, o]}", "type", "Sequence", "pretokenizers", first,
		byte_level(0, 1, !kind->is_llama3));
}

/* The arrays of the vocabulary. *ret_types NULL when all tokens are normal. */
static int token_arrays(const struct cwe_gguf *g, const struct cwe_gguf_value **ret_tokens,
	const struct cwe_gguf_value **ret_types, const struct cwe_gguf_value **ret_merges, struct cwb_err *err)
{
	int rc = cwe_gguf_get_array(g, "tokenizer.ggml.tokens", CWE_GGUF_STRING, ret_tokens, err);

	if (rc >= 0)
		rc = cwe_gguf_get_array(g, "tokenizer.ggml.merges", CWE_GGUF_STRING, ret_merges, err);
	if (rc >= 0)
		rc = cwe_gguf_get_array(g, "tokenizer.ggml.token_type", CWE_GGUF_I32, ret_types, err);
	if (rc < 0)
		return rc;
	if (!*ret_tokens || !*ret_merges)
		return cwb_err_set(err, CWP_EMISSING, "%s: key tokenizer.ggml.%s is absent", g->input.path,
			*ret_tokens ? "merges" : "tokens");
	if (*ret_types && (*ret_types)->count != (*ret_tokens)->count)
		return cwb_err_set(err, CWP_EFORMAT, "%s: tokenizer.ggml.token_type has %" PRIu64 " entries for %" PRIu64 " tokens",
			g->input.path, (*ret_types)->count, (*ret_tokens)->count);
	return 0;
}

int cwe_gguf_tokenizer(const struct cwe_gguf *g, json_t **ret, struct cwb_err *err)
{
	const struct cwe_gguf_value *tokens = NULL, *types = NULL, *merges = NULL;
	json_t *vocabulary = json_object(), *added = json_array(), *list = json_array(), *post = NULL;
	const struct kind *kind = NULL;
	int rc = vocabulary && added && list ? find_kind(g, &kind, err) : no_memory(g, err);

	if (!rc)
		rc = token_arrays(g, &tokens, &types, &merges, err);
	if (!rc)
		rc = add_tokens(g, tokens, types, vocabulary, added, err);
	if (!rc)
		rc = add_merges(g, merges, list, err);
	if (!rc)
		rc = post_processor(g, kind, tokens, &post, err);
	if (rc)
		goto out;
	*ret = json_pack("{s:s, s:n, s:n, s:O, s:n, s:o, s:o, s:o, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:O, s:O}}",
		"version", "1.0", "truncation", "padding", "added_tokens", added, "normalizer", "pre_tokenizer",
		pre_tokenizer(kind), "post_processor", post, "decoder", byte_level(1, 1, 1), /* */
		"model", "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
		"byte_fallback", 0, "ignore_merges", kind->is_llama3, "vocab", vocabulary, "merges", list);
	if (!*ret)
		rc = no_memory(g, err);
out:
	json_decref(vocabulary);
	json_decref(added);
	json_decref(list);
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
	const struct cwe_gguf_value *tokens = NULL, *types = NULL, *merges = NULL;
	json_t *config = json_object(), *text = NULL;
	const char *chat = NULL;
	uint64_t context = 0, id;
	int rc = config ? token_arrays(g, &tokens, &types, &merges, err) : no_memory(g, err);

	for (size_t i = 0; rc >= 0 && i < sizeof special / sizeof *special; i++) {
		rc = special_token(g, tokens, special[i].gguf, &id, &text, err);
		if (rc > 0)
			json_object_set_new(config, special[i].hugging_face, text);
	}
	if (rc >= 0)
		rc = cwe_gguf_need_u64(g, "llama.context_length", UINT32_MAX, &context, err);
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
