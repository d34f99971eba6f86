/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Digests of files that need not be read again: a short list on the disk, by device, inode, size, time of modification and
 * time of change. A file that was touched within seconds of the reading is not listed, since a later write might leave its
 * times as they are. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "base/digest.h"
#include "base/err.h"

/* What says that a file is the same one, unchanged. */
struct cwb_known_file {
	uint64_t device, inode, size;
	int64_t modified, changed; /* nanoseconds since 1970 */
};

struct cwb_known_entry {
	struct cwb_known_file file;
	char hex[CWB_DIGEST_HEX];
};

#define CWB_KNOWN_MAX 1024 /* entries; those that were not used for the longest time go first */

/* Begins empty with all bytes zero. One struct belongs to one thread at a time. */
struct cwb_known {
	struct cwb_known_entry *entry; /* [count], the one used last at the end */
	size_t count;
	int changed; /* since it was read */
};

void cwb_known_identify(const struct stat *st, struct cwb_known_file *ret);
int cwb_known_same(const struct cwb_known_file *a, const struct cwb_known_file *b);

/* Reads the list of a folder that only its owner may write to. What is missing or damaged is an empty list. */
void cwb_known_read(struct cwb_known *k, int folder);
/* 1 with the digest when it is known. */
int cwb_known_find(struct cwb_known *k, const struct cwb_known_file *file, char ret_hex[CWB_DIGEST_HEX]);
/* Notes a digest that was computed of a file which was the same before and after; began: CLOCK_REALTIME before the first
 * byte was read. Files that are too young by then are passed over; -ENOMEM. */
int cwb_known_add(struct cwb_known *k, const struct cwb_known_file *file, const struct timespec *began, const char *hex);
/* Notes a digest of bytes that the caller wrote itself; -ENOMEM. */
int cwb_known_note(struct cwb_known *k, const struct cwb_known_file *file, const char *hex);
/* Writes the list, when it has changed, with what others wrote meanwhile. */
int cwb_known_write(struct cwb_known *k, int folder, struct cwb_err *err);
void cwb_known_clear(struct cwb_known *k);
