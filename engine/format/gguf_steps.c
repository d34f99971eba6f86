/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Normalizer, pre-tokenizer, model and template of a tokenizer.json in GGUF's words. */
#include <string.h>

#include "engine/format/gguf_tokens.h"
#include "engine/format/gguf_vocabulary.h"

#define SPLITS_MAX 8
#define MARK "\xE2\x96\x81" /* U+2581, which stands for a space */

static int refuse(const char *what, const char *value, struct cwb_err *err)
{
	return cwb_err_set(err, CWP_EVALUE, "write.format: gguf cannot say what tokenizer.json has as its %s (%.80s): choose "
		"compressed-tensors or dense", what, value ? value : "unknown");
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static int is_text(const json_t *object, const char *key, const char *value)
{
	const char *text = text_of(object, key);

	return text && !strcmp(text, value);
}

static int is_type(const json_t *step, const char *type)
{
	return is_text(step, "type", type);
}

/* The i-th step of one or of a sequence; NULL behind the last. */
static const json_t *step_at(const json_t *steps, const char *list, size_t i)
{
	if (!steps || json_is_null(steps))
		return NULL;
	if (is_type(steps, "Sequence"))
		return json_array_get(json_object_get(steps, list), i);
	return i == 0 ? steps : NULL;
}

/* ---- byte-level BPE ---- */

struct splitting {
	const char *split[SPLITS_MAX];
	size_t count;
	int digits, words, byte_level;
};

static int take_splitter(const json_t *step, struct splitting *s, struct cwb_err *err)
{
	const char *pattern = text_of(json_object_get(step, "pattern"), "Regex");

	if (s->byte_level)
		return refuse("pre_tokenizer", "a step behind ByteLevel", err);
	if (is_type(step, "Digits") && json_is_true(json_object_get(step, "individual_digits")) && !s->count && !s->digits) {
		s->digits = 1;
	} else if (is_type(step, "Split") && pattern && is_text(step, "behavior", "Isolated") &&
		   !json_is_true(json_object_get(step, "invert")) && s->count < SPLITS_MAX) {
		s->split[s->count++] = pattern;
	} else if (is_type(step, "ByteLevel") && !json_is_true(json_object_get(step, "add_prefix_space"))) {
		s->byte_level = 1;
		s->words = !json_is_false(json_object_get(step, "use_regex"));
	} else {
		return refuse("pre_tokenizer", text_of(step, "type"), err);
	}
	return 0;
}

static int read_byte_level(const json_t *tokenizer, struct cwe_gguf_steps *ret, struct cwb_err *err)
{
	const json_t *normalizer = json_object_get(tokenizer, "normalizer"), *model = json_object_get(tokenizer, "model"), *step;
	const json_t *steps = json_object_get(tokenizer, "pre_tokenizer");
	struct splitting s = {.count = 0};

	for (size_t i = 0; (step = step_at(steps, "pretokenizers", i)); i++) {
		int rc = take_splitter(step, &s, err);

		if (rc)
			return rc;
	}
	if (normalizer && !json_is_null(normalizer) && !is_type(normalizer, "NFC"))
		return refuse("normalizer", text_of(normalizer, "type"), err);
	ret->pre = cwe_gguf_pre_match(s.digits, s.split, s.count, s.words, text_of(normalizer, "type"),
		json_is_true(json_object_get(model, "ignore_merges")));
	return ret->pre ? 0 : refuse("pre_tokenizer", s.count ? s.split[0] : "ByteLevel", err);
}

static int is_byte_level(const json_t *tokenizer)
{
	const json_t *steps = json_object_get(tokenizer, "pre_tokenizer"), *step;
	int found = 0;

	for (size_t i = 0; (step = step_at(steps, "pretokenizers", i)); i++)
		found |= is_type(step, "ByteLevel");
	return found;
}

/* ---- SentencePiece's BPE ---- */

/* Spaces become marks, with one in front where `prefix` says so; Metaspace does both, and splits at nothing else. */
static int read_marks(const json_t *tokenizer, int *ret_prefix, struct cwb_err *err)
{
	const json_t *normalizer = json_object_get(tokenizer, "normalizer"), *pre = json_object_get(tokenizer, "pre_tokenizer"), *step;
	int replaces = 0, metaspace = pre && is_type(pre, "Metaspace");

	*ret_prefix = 0;
	for (size_t i = 0; (step = step_at(normalizer, "normalizers", i)); i++) {
		if (is_type(step, "Prepend") && is_text(step, "prepend", MARK) && i == 0)
			*ret_prefix = 1;
		else if (is_type(step, "Replace") && is_text(json_object_get(step, "pattern"), "String", " ") &&
			 is_text(step, "content", MARK) && !replaces)
			replaces = 1;
		else
			return refuse("normalizer", text_of(step, "type"), err);
	}
	if (metaspace && !replaces && !*ret_prefix && is_text(pre, "replacement", MARK) && json_is_false(json_object_get(pre, "split"))) {
		*ret_prefix = !is_text(pre, "prepend_scheme", "never");
		return 0;
	}
	/* Once spaces are marks, a split at spaces splits nothing. */
	if (pre && !json_is_null(pre) && !(is_type(pre, "Split") && is_text(json_object_get(pre, "pattern"), "String", " ")))
		return refuse("pre_tokenizer", text_of(pre, "type"), err);
	return replaces ? 0 : refuse("normalizer", "no Replace of spaces", err);
}

/* ---- the template ---- */

/* Tokens before and behind the text: at most one each. */
static int read_template(const json_t *template, struct cwe_gguf_steps *ret, struct cwb_err *err)
{
	const json_t *single = json_object_get(template, "single"), *item;
	size_t i, texts = 0;

	json_array_foreach (single, i, item) {
		const json_t *special = json_object_get(item, "SpecialToken");
		const char *id = text_of(special, "id"), **place = texts ? &ret->eos : &ret->bos;

		if (json_object_get(item, "Sequence") && !texts)
			texts++;
		else if (id && !*place)
			*place = id;
		else
			return refuse("post_processor", "more than one token at an end", err);
	}
	return texts == 1 ? 0 : refuse("post_processor", "a template without a text", err);
}

static int read_post(const json_t *tokenizer, struct cwe_gguf_steps *ret, struct cwb_err *err)
{
	const json_t *steps = json_object_get(tokenizer, "post_processor"), *step;
	int found = 0, rc = 0;

	for (size_t i = 0; !rc && (step = step_at(steps, "processors", i)); i++) {
		if (is_type(step, "ByteLevel")) /* only changes offsets */
			continue;
		if (!is_type(step, "TemplateProcessing") || found++)
			return refuse("post_processor", text_of(step, "type"), err);
		rc = read_template(step, ret, err);
	}
	return rc;
}

int cwe_gguf_steps_read(const json_t *tokenizer, struct cwe_gguf_steps *ret, struct cwb_err *err)
{
	const json_t *model = json_object_get(tokenizer, "model");
	const char *type = text_of(model, "type"), *prefix = text_of(model, "continuing_subword_prefix");
	const char *suffix = text_of(model, "end_of_word_suffix");
	int rc;

	*ret = (struct cwe_gguf_steps){0};
	if (type && strcmp(type, "BPE") != 0)
		return refuse("model", type, err);
	if ((prefix && *prefix) || (suffix && *suffix) || json_number_value(json_object_get(model, "dropout")) > 0)
		return refuse("model", "BPE with dropout or with marks of words", err);
	if (is_byte_level(tokenizer)) {
		rc = read_byte_level(tokenizer, ret, err);
	} else if (!json_is_true(json_object_get(model, "byte_fallback"))) {
		rc = refuse("model", "BPE neither of bytes nor with byte_fallback", err);
	} else {
		rc = read_marks(tokenizer, &ret->space_prefix, err);
	}
	return rc ? rc : read_post(tokenizer, ret, err);
}
