/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Files: bounded reading, complete reads and writes, files that appear whole or not at all,
 * folders. All functions restart after signals, give 0 or a negative code, and may be called from
 * any thread. `path` arguments beside a descriptor only serve the messages. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* Reads a whole regular file of at most `limit` bytes. *ret_data is freed with free(); one NUL byte
 * follows the *ret_length bytes. CWP_ELIMIT: longer. CWP_EFORMAT: not a regular file. Symbolic
 * links are followed. */
int cwb_file_read(
	const char *path, size_t limit, char **ret_data, size_t *ret_length, struct cwb_err *err);
/* The same below an open folder (or AT_FDCWD). */
int cwb_file_read_at(int folder, const char *name, size_t limit, char **ret_data,
	size_t *ret_length, struct cwb_err *err);

/* Exactly `length` bytes at `offset`; CWP_EFORMAT when the file ends before. */
int cwb_file_pread(
	int fd, void *dst, size_t length, uint64_t offset, const char *path, struct cwb_err *err);
int cwb_file_pwrite(int fd, const void *src, size_t length, uint64_t offset, const char *path,
	struct cwb_err *err);
/* Hints, which may come to nothing: have what was just written go to disk now, have what is wanted next brought into
 * memory, while the caller computes. Neither waits for the disk as a rule. */
void cwb_file_write_behind(int fd, uint64_t offset, uint64_t length);
void cwb_file_read_ahead(int fd, uint64_t offset, uint64_t length);
/* All bytes at the file's (or pipe's) own position. */
int cwb_file_write(int fd, const void *src, size_t length, const char *path, struct cwb_err *err);

/* A file in the making: `.<name>.tmp-<random>` in the folder where it will stand. */
struct cwb_file_temp {
	int folder; /* the caller's descriptor, or AT_FDCWD; must stay open */
	int fd;     /* open for reading and writing; -1 when there is none */
	char name[256];
	char temp[256];
};

/* name has no '/'. mode is subject to the umask. */
int cwb_file_temp_open(
	int folder, const char *name, mode_t mode, struct cwb_file_temp *ret, struct cwb_err *err);
/* fsync, rename over `name`, fsync of the folder. Whatever happens, t is finished afterwards and,
 * on failure, the temporary file is gone. */
int cwb_file_temp_commit(struct cwb_file_temp *t, struct cwb_err *err);
void cwb_file_temp_abort(struct cwb_file_temp *t); /* fine after commit, and when fd is -1 */

/* Writes a whole file that appears at once or not at all. */
int cwb_file_replace(int folder, const char *name, const void *data, size_t length, mode_t mode,
	struct cwb_err *err);
/* The same with a path (its folder must exist). */
int cwb_file_replace_path(
	const char *path, const void *data, size_t length, mode_t mode, struct cwb_err *err);

/* fsync of a folder, after entries were made, renamed or removed in it. */
int cwb_file_sync_folder(int folder, const char *path, struct cwb_err *err);
/* Makes a folder and those above it that are missing. An existing folder is fine. */
int cwb_file_make_folders(const char *path, mode_t mode, struct cwb_err *err);
/* Removes a file or a whole tree below an open folder. Symbolic links are removed, never followed;
 * nothing there is fine; mount points below are not entered. Trees deeper than 128 levels are
 * refused with CWP_ELIMIT. */
int cwb_file_remove_tree(int folder, const char *name, struct cwb_err *err);
/* The same of all entries of an open folder that `wanted` names. what: the folder, for messages. */
int cwb_file_remove_matching(int folder, int (*wanted)(const char *name), const char *what, struct cwb_err *err);
