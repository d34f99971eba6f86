/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Digests of files in the making: a thread follows the writer and reads what will not change any more, while it is still in
 * memory, and has it go to disk. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"

struct cwe_follow;

/* For so many files, all unknown yet. *ret is freed with cwe_follow_free. */
int cwe_follow_new(size_t files, struct cwe_follow **ret, struct cwb_err *err);
/* File i: its descriptor and name stay the caller's until the end. Before any of the calls below. */
void cwe_follow_file(struct cwe_follow *f, size_t i, int fd, const char *name, uint64_t size);
/* The first `whole` bytes of file i stay as they are now. */
void cwe_follow_whole(struct cwe_follow *f, size_t i, uint64_t whole);
/* They did not: file i is read from its beginning in the end. */
void cwe_follow_again(struct cwe_follow *f, size_t i);
/* All files are whole: reads what is left, several files at a time. Once. */
int cwe_follow_finish(struct cwe_follow *f, struct cwb_err *err);
/* After that. */
const char *cwe_follow_hex(const struct cwe_follow *f, size_t i);
/* Stops whatever is going on; NULL is allowed. */
void cwe_follow_free(struct cwe_follow *f);
