/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A small tokenizer.json for tests. */
#include "tests/unit/engine/text/mini.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "engine/text/bytelevel.h"
#include "engine/text/utf8.h"

static json_t *vocabulary(void)
{
	static const char *const more[] = {"ab", "abc", "\u0120a", "<|im_start|>", "<|im_end|>"};
	json_t *vocab = json_object();
	for (int i = 0; i < 256; i++) {
		char text[5] = "";
		text[cwe_utf8_put(cwe_bytelevel_point((unsigned char)i), text)] = '\0';
		json_object_set_new(vocab, text, json_integer(i));
	}
	for (int i = 0; i < 5; i++)
		json_object_set_new(vocab, more[i], json_integer(256 + i));
	return vocab;
}

json_t *mini_json(void)
{
	json_t *json =
		json_loads("{\"version\": \"1.0\", \"added_tokens\": ["
			   "{\"id\": 259, \"content\": \"<|im_start|>\", \"single_word\": false, "
			   "\"lstrip\": false, \"rstrip\": false,"
			   " \"normalized\": false, \"special\": true},"
			   "{\"id\": 260, \"content\": \"<|im_end|>\", \"single_word\": false, "
			   "\"lstrip\": false, \"rstrip\": false,"
			   " \"normalized\": false, \"special\": true}],"
			   "\"normalizer\": null, \"post_processor\": null,"
			   "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": "
			   "false, \"use_regex\": true},"
			   "\"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true},"
			   "\"model\": {\"type\": \"BPE\", \"merges\": [\"a b\", [\"ab\", \"c\"], "
			   "\"\xC4\xA0 a\"]}}",
			0, NULL);
	assert_non_null(json);
	json_object_set_new(json_object_get(json, "model"), "vocab", vocabulary());
	return json;
}

int mini_new(json_t *json, struct cwe_tokenizer **ret, struct cwb_err *err)
{
	static const char config[] =
		"{\"bos_token\": \"<|im_start|>\", \"eos_token\": {\"content\": \"<|im_end|>\"}}";
	char *text = json_dumps(json, 0);
	assert_non_null(text);
	json_decref(json);
	int rc = cwe_tokenizer_new(text, strlen(text), config, strlen(config), ret, err);
	free(text);
	return rc;
}

void mini_set(json_t *json, const char *path, const char *value)
{
	char key[64];
	const char *dot;
	while ((dot = strchr(path, '.')) != NULL) {
		snprintf(key, sizeof(key), "%.*s", (int)(dot - path), path);
		json = json_object_get(json, key);
		assert_non_null(json);
		path = dot + 1;
	}
	json_error_t error;
	json_t *parsed = value ? json_loads(value, JSON_DECODE_ANY, &error) : NULL;
	if (value && !parsed)
		fail_msg("test's JSON: %s: %s", value, error.text);
	if (parsed)
		json_object_set_new(json, path, parsed);
	else
		json_object_del(json, path);
}

const char *mini_ids(const struct cwe_tokenizer *t, const char *text, int special)
{
	static char out[4096];
	struct cwe_ids ids;
	struct cwb_err err = {0};
	size_t at = 0;
	if (cwe_tokenizer_encode(t, text, strlen(text), special, &ids, &err) < 0) {
		snprintf(out, sizeof(out), "%s", err.message);
		return out;
	}
	out[0] = '\0';
	for (size_t i = 0; i < ids.count && at < sizeof(out) - 16; i++)
		at += (size_t)snprintf(
			out + at, sizeof(out) - at, "%s%u", i > 0 ? " " : "", (unsigned)ids.id[i]);
	free(ids.id);
	return out;
}

static char folder[4096];

const char *mini_folder(void)
{
	if (!*folder) {
		const char *base = getenv("TMPDIR");
		snprintf(folder, sizeof(folder), "%s/cwp-text-XXXXXX", base ? base : "/tmp");
		assert_non_null(mkdtemp(folder));
	}
	return folder;
}

void mini_folder_remove(void)
{
	char command[4200];
	if (!*folder)
		return;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	assert_int_equal(system(command), 0);
	*folder = '\0';
}

const char *mini_file(const char *name, const char *content, size_t length)
{
	static char path[4200];
	struct cwb_err err = {0};
	snprintf(path, sizeof(path), "%s/%s", mini_folder(), name);
	if (cwb_file_replace_path(path, content, length, 0600, &err) < 0)
		fail_msg("%s", err.message);
	return path;
}
