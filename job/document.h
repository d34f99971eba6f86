/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A whole file of a schema: text or path -> structure. Internal to this room. */
#pragma once

#include "job/schema.h"

enum cwj_document_flags {
	CWJ_DOCUMENT_MAY_BE_EMPTY = 1 << 0 /* nothing but comments reads as an empty mapping */
};

/* Reads text into target (zeroed by the caller; to be freed with cwj_table_free, also on failure).
 * err may be NULL. */
int cwj_document_parse(const char *text, size_t length, const char *directory,
	const struct cwj_table *table, unsigned flags, void *target, struct cwb_err *err);
/* The same from a file of at most 1 MiB, paths relative to its folder; messages begin with its name
 * and the place. */
int cwj_document_read(const char *path, const struct cwj_table *table, unsigned flags, void *target,
	struct cwb_err *err);

typedef int (*cwj_document_parser)(
	const char *text, size_t length, const char *directory, void *arg, struct cwb_err *err);
/* Hands a file of at most 1 MiB and its absolute folder to parse; messages as above. */
int cwj_document_load(const char *path, cwj_document_parser parse, void *arg, struct cwb_err *err);
