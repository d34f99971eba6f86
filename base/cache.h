/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A folder of entries that may be used again: each a folder of plain files, named by a digest of what it was made from.
 * Entries appear whole, those used least recently go first when room is needed, and those in use stay. Any number of
 * processes may use one cache folder; locks are flock()s, so that a process that dies leaves none behind. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/digest.h"
#include "base/err.h"

struct cwb_cache {
	int folder;         /* -1: closed */
	dev_t device;
	uint64_t size, age; /* bytes of all entries at most; seconds that an unused one stays, 0: for ever */
};

/* An entry in the making: its room is set aside from the beginning. */
struct cwb_cache_new {
	int fd; /* its folder, for the caller's files; -1: none */
	char key[CWB_DIGEST_HEX];
	char temp[64];
};

/* Makes the folder where it is missing (mode 0700). CWP_EDENIED: it belongs to somebody else, or others may write in it,
 * so that its bytes cannot be trusted. [any-thread, as are all below; one struct belongs to one thread at a time] */
int cwb_cache_open(const char *path, uint64_t size, uint64_t age, struct cwb_cache *ret, struct cwb_err *err);
void cwb_cache_close(struct cwb_cache *c); /* fine when closed */

/* Removes what processes that died left behind, entries that are too old, and the least recently used ones until `room`
 * more bytes fit. -ENOSPC: they do not, since what is left is in use or the cache is too small. */
int cwb_cache_trim(struct cwb_cache *c, uint64_t room, struct cwb_err *err);
/* Removes least recently used entries until `bytes` are free, or none is left that is not in use; how many were freed. */
uint64_t cwb_cache_shrink(struct cwb_cache *c, uint64_t bytes);

/* Opens the folder of an entry, which is then the most recently used one, and in use until *ret_fd is closed.
 * -ENOENT: there is none. */
int cwb_cache_take(struct cwb_cache *c, const char *key, int *ret_fd, struct cwb_err *err);
/* Removes the entry that *fd, which is closed and set to -1, is the folder of, in use or not; another one that got its
 * name meanwhile stays. */
void cwb_cache_drop(struct cwb_cache *c, const char *key, int *fd);

/* For whoever is about to make an entry that is not there: *ret_fd says so to others until it is closed, or the process ends.
 * -EAGAIN: another one makes it. Whoever got it looks for the entry once more. */
int cwb_cache_claim(struct cwb_cache *c, const char *key, int *ret_fd, struct cwb_err *err); /* cache_claim.c */

/* Bytes of the files in an entry's folder (which has no folders), here one below an open folder. */
uint64_t cwb_cache_measure(int folder, const char *name);

/* Sets `bytes` aside and makes an empty folder for them. -ENOSPC as for cwb_cache_trim. */
int cwb_cache_begin(struct cwb_cache *c, const char *key, uint64_t bytes, struct cwb_cache_new *ret, struct cwb_err *err);
/* Gives the entry its name, on the disk too; where another process was first, its entry stays. *ret_fd as cwb_cache_take
 * has it. The files must be synced. `e` is finished in every case. */
int cwb_cache_commit(struct cwb_cache *c, struct cwb_cache_new *e, int *ret_fd, struct cwb_err *err);
void cwb_cache_abort(struct cwb_cache *c, struct cwb_cache_new *e); /* fine when there is none */
