/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 of a stream, a buffer or a file. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CWB_DIGEST_SIZE 32
#define CWB_DIGEST_HEX 65 /* 64 hexadecimal digits and NUL */

/* A digest in the making. Start with cwb_digest_begin; cwb_digest_end or cwb_digest_cancel gives
 * the memory back. */
struct cwb_digest {
	void *ctx; /* libcrypto's; NULL when not begun */
	int failed;
};

/* 0 or -ENOMEM. [any-thread, as are all below; one struct belongs to one thread at a time] */
int cwb_digest_begin(struct cwb_digest *d);
/* A failure is remembered and reported by cwb_digest_end, so that callers may ignore it here. */
void cwb_digest_update(struct cwb_digest *d, const void *data, size_t length);
/* Writes the digest and frees what begin allocated, also on failure (-ENOMEM). */
int cwb_digest_end(struct cwb_digest *d, uint8_t ret[CWB_DIGEST_SIZE]);
int cwb_digest_end_hex(struct cwb_digest *d, char ret_hex[CWB_DIGEST_HEX]);
void cwb_digest_cancel(struct cwb_digest *d); /* fine after end, and on a zeroed struct */

void cwb_digest_hex(const uint8_t digest[CWB_DIGEST_SIZE], char ret_hex[CWB_DIGEST_HEX]);
/* Whether text is a digest as cwb_digest_hex writes it: 64 lower-case hexadecimal digits and NUL.
 */
int cwb_digest_is_hex(const char *text);

/* Of a buffer. 0 or -ENOMEM. */
int cwb_digest_buffer(const void *data, size_t length, char ret_hex[CWB_DIGEST_HEX]);
/* Of a whole open file, read with pread in pieces of 1 MiB: the file's offset stays as it is. path
 * is for errors. cancelled, when not NULL, is asked before each piece with arg; non-zero ends with
 * CWP_ECANCELLED. *ret_size, when not NULL, is the number of bytes read. */
int cwb_digest_fd(int fd, const char *path, int (*cancelled)(void *arg), void *arg,
	char ret_hex[CWB_DIGEST_HEX], uint64_t *ret_size, struct cwb_err *err);
/* Of the regular file at path (symbolic links are followed). */
int cwb_digest_file(
	const char *path, char ret_hex[CWB_DIGEST_HEX], uint64_t *ret_size, struct cwb_err *err);
