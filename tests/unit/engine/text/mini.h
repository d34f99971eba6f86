/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A small tokenizer.json for tests: byte alphabet, a few merges, and whatever a test puts in its
 * place. */
#pragma once

#include <jansson.h>

#include "engine/text/chat.h"
#include "engine/text/samples.h"
#include "engine/text/tokenizer.h"

/* The object; ids 0 to 255 are the bytes, 256 "ab", 257 "abc", 258 "\u0120a", 259 "<|im_start|>",
 * 260 "<|im_end|>". ByteLevel with its pattern, no normalizer, no template. A new reference. */
json_t *mini_json(void);

/* Makes a tokenizer of json (taken over); the message of a failure goes to err. */
int mini_new(json_t *json, struct cwe_tokenizer **ret, struct cwb_err *err);

/* Replaces a member by parsed JSON text: path is like "model.merges". */
void mini_set(json_t *json, const char *path, const char *value);

/* "97 256" of a text; a static buffer. On failure the message. */
const char *mini_ids(const struct cwe_tokenizer *t, const char *text, int special);

/* A folder for a test's files ($TMPDIR or /tmp), removed with its files by mini_folder_remove. */
const char *mini_folder(void);
void mini_folder_remove(void);
/* Writes a file there; the path is a static buffer. */
const char *mini_file(const char *name, const char *content, size_t length);
