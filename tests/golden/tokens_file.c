/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers and reference lines below $CWP_SHARED. */
#include "tests/golden/tokens_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"

const char *shared_path(const char *format, ...)
{
	static char path[4096];
	const char *shared = getenv("CWP_SHARED");
	va_list args;
	if (!shared) {
		printf("CWP_SHARED is not set\n");
		exit(77);
	}
	int n = snprintf(path, sizeof(path), "%s/", shared);
	va_start(args, format);
	vsnprintf(path + n, sizeof(path) - (size_t)n, format, args);
	va_end(args);
	return path;
}

void need_file(const char *path)
{
	if (access(path, R_OK) != 0) {
		printf("%s is absent\n", path);
		exit(77);
	}
}

char *read_whole(const char *path, size_t *ret_length)
{
	struct cwb_err err = {0};
	char *data;
	if (cwb_file_read(path, (size_t)1 << 30, &data, ret_length, &err) < 0)
		fail_msg("%s", err.message);
	return data;
}

struct cwe_tokenizer *load_tokenizer(const char *name, char **ret_config, size_t *ret_config_length)
{
	struct cwb_err err = {0};
	struct cwe_tokenizer *t = NULL;
	size_t length;
	size_t config_length;
	char *json = read_whole(shared_path("tokenizers/%s/tokenizer.json", name), &length);
	char *config = read_whole(
		shared_path("tokenizers/%s/tokenizer_config.json", name), &config_length);
	if (cwe_tokenizer_new(json, length, config, config_length, &t, &err) < 0)
		fail_msg("%s: %s", name, err.message);
	free(json);
	if (ret_config) {
		*ret_config = config;
		*ret_config_length = config_length;
	} else {
		free(config);
	}
	return t;
}

json_t *next_json(const char *text, size_t length, size_t *at)
{
	json_error_t error;
	if (*at >= length)
		return NULL;
	const char *end = memchr(text + *at, '\n', length - *at);
	size_t n = end ? (size_t)(end - text) - *at : length - *at;
	json_t *json = json_loadb(text + *at, n, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
	if (!json)
		fail_msg("byte %zu: %s", *at, error.text);
	*at += n + 1;
	return json;
}

void check_ids(const char *what, size_t line, const struct cwe_ids *ids, const json_t *expected)
{
	size_t n = json_array_size(expected);
	for (size_t i = 0; i < ids->count && i < n; i++) {
		json_int_t id = json_integer_value(json_array_get(expected, i));
		if (id != (json_int_t)ids->id[i])
			fail_msg("%s:%zu: token %zu is %u, expected %" JSON_INTEGER_FORMAT, what,
				line, i, (unsigned)ids->id[i], id);
	}
	if (ids->count != n)
		fail_msg("%s:%zu: %zu tokens, expected %zu", what, line, ids->count, n);
}
