/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reads the ABI note of a plugin file without running any of its code: a bounded ELF reader. The daemon may use it. */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct cwe_note {
	uint32_t abi_major;
	uint32_t abi_minor;
	uint32_t kind; /* enum cwp_kind */
};

/* Reads the note from an open file. CWP_EFORMAT: not an ELF shared object of this machine; CWP_EABI: no note of
 * ours in it; both say what to do. [any-thread] */
int cwe_note_read(int fd, const char *path, struct cwe_note *ret, struct cwb_err *err);

/* CWP_EABI, naming both versions, the file and the remedy, unless the major number is ours and the minor at most ours. */
int cwe_note_check(const struct cwe_note *note, const char *path, struct cwb_err *err);

/* "scorer", "quantizer", "backend", "evaluator"; NULL for another number. */
const char *cwe_kind_name(uint32_t kind);

/* The GNU build id in hexadecimal, "" where the file has none. [any-thread] */
int cwe_note_build_id(int fd, const char *path, char ret_hex[65], struct cwb_err *err);
