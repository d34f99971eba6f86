/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The items of a calibration file: where each lies, what it is called, and in which order they are
 * chosen. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"

enum cwe_item_kind { CWE_ITEM_TEXT, CWE_ITEM_ANSWER, CWE_ITEM_PAIR };

#define CWE_ITEM_PARTS 3

/* The texts of one item: of TEXT {text}, of ANSWER {prompt, answer}, of PAIR {context, more, less}.
 */
struct cwe_item_text {
	const char *part[CWE_ITEM_PARTS];
	size_t length[CWE_ITEM_PARTS];
	size_t count;
	json_t *json; /* what the parts lie in, or */
	char *owned;
};
void cwe_item_text_free(struct cwe_item_text *t);

struct cwe_item {
	uint64_t offset; /* of its bytes in the file */
	size_t length;
	size_t line;                     /* from 1 */
	uint8_t digest[CWB_DIGEST_SIZE]; /* SHA-256 of its texts, joined by LF; an absent context is
					    left out */
	uint8_t key[CWB_DIGEST_SIZE];    /* the order of choice */
};

struct cwe_items {
	const char *path; /* the caller's */
	enum cwe_item_kind kind;
	int paragraphs; /* plain text instead of JSON lines */
	int fd;
	struct cwe_item *item;
	size_t count, room;
};

/* Finds all items of a file, checks them, and sorts them by key. TEXT: JSON lines when the name
 * ends in .jsonl, else paragraphs (lines between lines that are empty or white space; CR LF counts
 * as LF). Empty lines of JSON lines are left out. Errors name file, line and field. Freed with
 * cwe_items_close, after an error too. */
int cwe_items_open(const char *path, enum cwe_item_kind kind, uint64_t seed, const char *set,
	struct cwe_items *ret, struct cwb_err *err);
void cwe_items_close(struct cwe_items *items);

/* The texts of an item, read again. */
int cwe_items_text(
	const struct cwe_items *items, size_t item, struct cwe_item_text *ret, struct cwb_err *err);

/* SHA-256 of seed (decimal), LF, name of the set, LF, digest: a pure function of these. 0 or
 * -ENOMEM. */
int cwe_item_key(uint64_t seed, const char *set, const uint8_t digest[CWB_DIGEST_SIZE],
	uint8_t ret[CWB_DIGEST_SIZE]);
