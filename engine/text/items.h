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
#include "engine/text/dataset.h"

/* The texts of one item, and its identity. */
struct cwe_item_text {
	const char *part[CWE_ITEM_PARTS];
	size_t length[CWE_ITEM_PARTS];
	size_t count;
	const char *separator; /* as in struct cwe_parts */
	char identity[CWE_ITEM_IDENTITY];
	struct cwe_parts parts; /* what the parts lie in */
};
void cwe_item_text_free(struct cwe_item_text *t);

struct cwe_item {
	uint64_t offset; /* of its bytes in the file; of a JSON document the number of its record */
	size_t length;
	size_t line;                     /* from 1; 0: a JSON document */
	size_t record;                   /* from 1 */
	size_t article;                  /* from 1, of WikiText; 0: none */
	uint8_t digest[CWB_DIGEST_SIZE]; /* SHA-256 of its texts, joined by LF; an absent context is
					    left out */
	uint8_t key[CWB_DIGEST_SIZE];    /* the order of choice */
};

struct cwe_items {
	const struct cwj_set *set; /* the caller's */
	const char *path;          /* the set's */
	uint64_t seed;
	struct cwe_dataset row;
	enum cwe_item_kind kind;
	int fd;
	struct cwe_csv csv;
	char **header; /* [csv.columns]; NULL: none */
	json_t *document;
	const json_t **record; /* [records] of the document */
	size_t records;        /* in the file, items or not */
	char **article;        /* [articles] titles */
	size_t articles;
	struct cwe_item *item;
	size_t count, room;
	size_t passed; /* records that are no items of this kind */
};

/* Finds all items of the set's file, checks them, and sorts them by key. Errors name file, line,
 * record and field. Freed with cwe_items_close, after an error too. CWP_EMISSING: none. */
int cwe_items_open(
	const struct cwj_set *set, uint64_t seed, struct cwe_items *ret, struct cwb_err *err);
void cwe_items_close(struct cwe_items *items);

/* The texts of an item, read again. */
int cwe_items_text(
	struct cwe_items *items, size_t item, struct cwe_item_text *ret, struct cwb_err *err);

/* SHA-256 of seed (decimal), LF, name of the set, LF, digest: a pure function of these. 0 or
 * -ENOMEM. */
int cwe_item_key(uint64_t seed, const char *set, const uint8_t digest[CWB_DIGEST_SIZE],
	uint8_t ret[CWB_DIGEST_SIZE]);

/* Between the files of this unit. Each form finds its records and adds them. */
int cwe_items_find(struct cwe_items *items, struct cwb_err *err);
/* One record: where it is, and its bytes (NULL: of a document). */
int cwe_items_add(struct cwe_items *items, const struct cwe_item *place, const char *text,
	size_t length, struct cwb_err *err);
int cwe_items_refuse(const struct cwe_items *items, const struct cwe_item *place,
	struct cwb_err *err, int code, const char *field, const char *format, ...)
	__attribute__((format(printf, 6, 7)));
