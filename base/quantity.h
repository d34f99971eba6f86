/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sizes ("4GiB") and times ("2h") as people write them in job files and configurations. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CWB_QUANTITY_TEXT 32

/* A number and, without a space, one of B KiB MiB GiB KB MB GB (powers of 1024 and of 1000) ->
 * bytes. A fraction is allowed where it gives whole bytes ("1.5GiB"); a bare number only when it is
 * 0. 0, CWP_EVALUE (not of this form) or CWP_ELIMIT (more than 2^63 - 1). *ret is written only on
 * success. [any-thread] */
int cwb_size_parse(const char *text, uint64_t *ret_bytes);
/* The same with s, m, h -> whole seconds ("90s", "1.5h"). */
int cwb_time_parse(const char *text, uint64_t *ret_seconds);

/* The shortest exact text that the parsers read back as the same number: "5GB", "1536MiB", "7B";
 * "2h", "90s". */
void cwb_size_print(uint64_t bytes, char ret[CWB_QUANTITY_TEXT]);
void cwb_time_print(uint64_t seconds, char ret[CWB_QUANTITY_TEXT]);
