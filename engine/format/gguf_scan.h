/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Within the GGUF reader: a file's header read in order through a buffer, within its size and a memory limit. */
#pragma once

#include "engine/format/gguf.h"

#define CWE_GGUF_SCAN_BUFFER 65536

struct cwe_gguf_scan {
	const struct cwe_input *input;
	uint64_t at;   /* next byte to be taken */
	uint64_t kept; /* bytes of memory used so far */
	uint64_t buffer_at, buffer_length;
	unsigned char buffer[CWE_GGUF_SCAN_BUFFER];
};

/* Takes n bytes, a number of 4 or 8 bytes. CWP_EFORMAT where the file ends before. */
int cwe_gguf_scan_bytes(struct cwe_gguf_scan *s, void *dst, uint64_t n, struct cwb_err *err);
int cwe_gguf_scan_u32(struct cwe_gguf_scan *s, uint32_t *ret, struct cwb_err *err);
int cwe_gguf_scan_u64(struct cwe_gguf_scan *s, uint64_t *ret, struct cwb_err *err);
/* A key or tensor name: 1 to `max` bytes, no NUL byte; *ret is freed with free(). */
int cwe_gguf_scan_name(struct cwe_gguf_scan *s, uint64_t max, char **ret, struct cwb_err *err);
/* One value, kind first; ret->key is there already and only named in messages. */
int cwe_gguf_scan_value(struct cwe_gguf_scan *s, struct cwe_gguf_value *ret, struct cwb_err *err);
