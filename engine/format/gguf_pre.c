/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What tokenizer.ggml.pre stands for. llama.cpp's own patterns are rewritten for an engine without classes or without case; here are
 * those of the families' tokenizer.json, and llama.cpp's where no tokenizer.json is behind the name. */
#include <string.h>

#include "engine/format/gguf_tokens.h"
#include "engine/format/gguf_vocabulary.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define REST(behind) " ?[^\\s\\p{L}\\p{N}]+[\\r\\n" behind "]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" REST("")
#define QWEN2 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" REST("")
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(behind) \
	"[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" behind "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" behind
#define TEKKEN CASED("") "|\\p{N}|" REST("/")
#define GPT4O CASED(CONTRACTIONS "?") "|\\p{N}{1,3}|" REST("/")

static const struct cwe_gguf_pre names[] = {
	{.name = "smollm", .digits = 1, .words = 1},
	{.name = "llama-bpe", .split = {LLAMA3}, .ignore_merges = 1, .adds_bos = 1},
	{.name = "llama3", .split = {LLAMA3}, .ignore_merges = 1, .adds_bos = 1},
	{.name = "llama-v3", .split = {LLAMA3}, .ignore_merges = 1, .adds_bos = 1},
	{.name = "qwen2", .split = {QWEN2}, .normalizer = "NFC"},
	{.name = "deepseek-r1-qwen", .split = {QWEN2}, .normalizer = "NFC"},
	{.name = "tekken", .split = {TEKKEN}, .ignore_merges = 1, .adds_bos = 1},
	{.name = "dbrx", .split = {LLAMA3}}, /* also of OLMo 2 and Phi-4 */
	{.name = "gpt-4o", .split = {GPT4O}}, /* Phi-4-mini */
	{.name = "gpt-2", .words = 1},
	{.name = "phi-2", .words = 1},
	{.name = "default",
		.split = {"[\\p{P}\\$\\+<=>\\^~\\|]+", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)",
			"\\p{N}+", "[0-9][0-9][0-9]"}},
};

const struct cwe_gguf_pre *cwe_gguf_pre_find(const char *name)
{
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (!strcmp(name, names[i].name))
			return &names[i];
	return NULL;
}

static int same_split(const struct cwe_gguf_pre *pre, const char *const *split, size_t count)
{
	size_t n = 0;

	while (n < count && pre->split[n] && !strcmp(pre->split[n], split[n]))
		n++;
	return n == count && !pre->split[n];
}

const struct cwe_gguf_pre *cwe_gguf_pre_match(int digits, const char *const *split, size_t count, int words, const char *normalizer,
	int ignore_merges)
{
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const struct cwe_gguf_pre *pre = &names[i];
		int same = normalizer && pre->normalizer ? !strcmp(normalizer, pre->normalizer) : !normalizer && !pre->normalizer;

		if (same && pre->digits == digits && pre->words == words && pre->ignore_merges == ignore_merges &&
			same_split(pre, split, count))
			return pre;
	}
	return NULL;
}

json_t *cwe_gguf_pre_json(const struct cwe_gguf_pre *pre)
{
	json_t *list = json_array();
	int rc = 0;

	if (pre->digits)
		rc |= json_array_append_new(list, json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1));
	for (size_t i = 0; pre->split[i]; i++)
		rc |= json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
			pre->split[i], "behavior", "Isolated", "invert", 0));
	rc |= json_array_append_new(list, json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets",
		1, "use_regex", pre->words));
	if (rc) {
		json_decref(list);
		return NULL;
	}
	return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}
