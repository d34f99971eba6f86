/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A large file in the making whose size and first bytes are known: data comes in any order, and the file is visible under its
 * name only when it is whole. The unfinished one is ".<name>.tmp-partial" in the same folder, so that a later process can go
 * on with it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cwe_partial {
	int folder; /* the caller's, stays open */
	int fd;     /* -1: not open */
	char *name, *temp;
	uint64_t size;
};

/* The name of the unfinished file of `name`. */
void cwe_partial_temp(const char *name, char *ret, size_t size);

/* Opens the unfinished file: with `resume` an old one of this size and header is kept with its data, else a new one gets the
 * header, and its room is reserved: a full disk is found here. *ret_kept: 1 when the old one was kept. On failure *p is closed,
 * and nothing is left behind. */
int cwe_partial_open(struct cwe_partial *p, int folder, const char *name, int resume, const void *header, size_t length,
	uint64_t size, int *ret_kept, struct cwb_err *err);
/* [any-thread] */
int cwe_partial_write(const struct cwe_partial *p, const void *src, uint64_t bytes, uint64_t at, struct cwb_err *err);
/* Everything written so far is on the disk. */
int cwe_partial_sync(const struct cwe_partial *p, struct cwb_err *err);
/* Syncs and gives the file its name; the folder is not synced. */
int cwe_partial_publish(const struct cwe_partial *p, struct cwb_err *err);
/* Takes the name away again: the file is an unfinished one again. Nothing happens when it does not have its name. */
void cwe_partial_unpublish(const struct cwe_partial *p);
/* Removes the unfinished file. */
void cwe_partial_discard(const struct cwe_partial *p);
/* Closes; an unfinished file stays. One that is all zero with fd -1 is allowed. */
void cwe_partial_close(struct cwe_partial *p);
