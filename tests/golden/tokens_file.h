/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers and reference lines below $CWP_SHARED, for the tests of tokens and chat formats. */
#pragma once

#include <jansson.h>

#include "engine/text/tokenizer.h"

/* $CWP_SHARED followed by the rest; a static buffer. */
const char *shared_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends the program with 77 when a file is absent. */
void need_file(const char *path);
/* A whole file, or the end of the program. */
char *read_whole(const char *path, size_t *ret_length);
/* $CWP_SHARED/tokenizers/<name>; *ret_config is freed with free() when not NULL. */
struct cwe_tokenizer *load_tokenizer(
	const char *name, char **ret_config, size_t *ret_config_length);
/* The next line of text at *at as JSON, NULL at the end. Lines end with LF alone; strings may hold
 * NUL. */
json_t *next_json(const char *text, size_t length, size_t *at);
/* Fails the test, and says where, when ids differ from the JSON array. */
void check_ids(const char *what, size_t line, const struct cwe_ids *ids, const json_t *expected);
