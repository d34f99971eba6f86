/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* End tokens: which files name them, and what is refused there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/text/ends.h"
#include "tests/unit/engine/text/mini.h"

/* "5 7" of a folder with these files (NULL: not there); else the message. */
static const char *ends(const char *generation, const char *config, int with_tokenizer)
{
	static char out[1024];
	struct cwb_err err = {0};
	struct cwe_source *source = NULL;
	struct cwe_tokenizer *t = NULL;
	struct cwe_ids ids = {0};
	out[0] = '\0';
	mini_folder_remove();
	mini_file("config.json", config, strlen(config));
	if (generation)
		mini_file("generation_config.json", generation, strlen(generation));
	if (with_tokenizer)
		assert_int_equal(mini_new(mini_json(), &t, &err), 0);
	assert_int_equal(cwe_source_open(mini_folder(), CWE_SOURCE_NO_WEIGHTS, &source, &err), 0);
	if (cwe_end_tokens(source, t, &ids, &err) < 0) {
		assert_memory_equal(err.message, mini_folder(), strlen(mini_folder()));
		snprintf(out, sizeof(out), "%s", err.message + strlen(mini_folder()));
	}
	for (size_t i = 0; i < ids.count; i++)
		snprintf(out + strlen(out), sizeof(out) - strlen(out), "%s%u", i > 0 ? " " : "", (unsigned)ids.id[i]);
	free(ids.id);
	cwe_tokenizer_free(t);
	cwe_source_close(source);
	mini_folder_remove();
	return out;
}

static void where(void **state)
{
	(void)state;
	assert_string_equal(ends("{\"eos_token_id\": 5}", "{\"eos_token_id\": 9}", 0), "5");
	assert_string_equal(ends("{\"eos_token_id\": [5, 7, 5]}", "{}", 0), "5 7");
	assert_string_equal(ends("{\"eos_token_id\": [5, 260]}", "{}", 1), "5 260");
	assert_string_equal(ends("{\"eos_token_id\": 5}", "{}", 1), "5 260");
	/* A file that names none says so for config.json too. */
	assert_string_equal(ends("{\"eos_token_id\": null}", "{\"eos_token_id\": 9}", 0), "");
	assert_string_equal(ends("{}", "{\"eos_token_id\": 9}", 0), "");
	assert_string_equal(ends(NULL, "{\"eos_token_id\": 9}", 0), "9");
	assert_string_equal(ends(NULL, "{\"eos_token_id\": [9, 4294967295]}", 0), "9 4294967295");
	assert_string_equal(ends(NULL, "{\"text_config\": {\"eos_token_id\": 8}}", 0), "8");
	assert_string_equal(ends(NULL, "{\"eos_token_id\": 9, \"text_config\": {\"eos_token_id\": 8}}", 0), "9");
	assert_string_equal(ends(NULL, "{}", 0), "");
	assert_string_equal(ends(NULL, "{}", 1), "260");
}

static void refused(void **state)
{
	static const struct {
		const char *generation, *config, *text;
	} bad[] = {{"{\"eos_token_id\": \"</s>\"}", "{}",
			   ": generation_config.json: eos_token_id must be a token id or a list of them, not string"},
		{"{\"eos_token_id\": [1, 2.5]}", "{}",
			": generation_config.json: eos_token_id must be a token id or a list of them, not number"},
		{"{\"eos_token_id\": [[1]]}", "{}",
			": generation_config.json: eos_token_id must be a token id or a list of them, not array"},
		{"{\"eos_token_id\": -1}", "{}", ": generation_config.json: eos_token_id -1 is no token id"},
		{NULL, "{\"eos_token_id\": 4294967296}", ": config.json: eos_token_id 4294967296 is no token id"},
		{NULL, "{\"text_config\": {\"eos_token_id\": true}}",
			": config.json: eos_token_id must be a token id or a list of them, not boolean"}};
	char many[1024] = "{\"eos_token_id\": [0";
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_string_equal(ends(bad[i].generation, bad[i].config, 0), bad[i].text);
	assert_memory_equal(ends("{\"eos_token_id\": 5", "{}", 0), ": generation_config.json: ", 26);
	for (int i = 1; i <= 64; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), ", %d", i);
	strcat(many, "]}");
	assert_string_equal(ends(many, "{}", 0), ": generation_config.json: more than 64 end tokens");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(where), cmocka_unit_test(refused)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
