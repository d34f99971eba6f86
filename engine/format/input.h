/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A model file that is read piece by piece with pread: a file that shrinks meanwhile is an error, not a signal. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cwe_input {
	int fd;
	char *path;    /* for messages */
	uint64_t size; /* when it was opened */
};

/* Opens a file for reading; the descriptor, or -errno. A FIFO does not block. */
int cwe_input_fd(const char *path, struct cwb_err *err);
/* Takes over an open descriptor, also on failure; path is for messages. CWP_EFORMAT when it is no regular file. *ret is
 * closed with cwe_input_close. */
int cwe_input_adopt(int fd, const char *path, struct cwe_input *ret, struct cwb_err *err);
void cwe_input_close(struct cwe_input *in); /* one that is all zero with fd -1 is allowed */

/* Reads exactly `bytes` bytes at `offset`. CWP_EFORMAT when the file ends before. [any-thread] */
int cwe_input_read(const struct cwe_input *in, uint64_t offset, void *dst, uint64_t bytes, struct cwb_err *err);
