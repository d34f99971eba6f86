/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One safetensors file, read: the header is checked whole before anything is believed, data is read piece by piece. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "engine/format/dtype.h"
#include "engine/format/input.h"

#define CWE_SAFETENSORS_HEADER_MAX 100000000u /* bytes of JSON, as the reference implementation has it */
#define CWE_SAFETENSORS_RANK_MAX 8

struct cwe_safetensors_entry {
	const char *name;
	enum cwe_dtype dtype;
	uint32_t rank; /* 0: a scalar of one element */
	uint64_t shape[CWE_SAFETENSORS_RANK_MAX];
	uint64_t offset; /* of its data, from the start of the file */
	uint64_t bytes;
};

struct cwe_safetensors {
	struct cwe_input input;
	size_t count;
	struct cwe_safetensors_entry *entries; /* sorted by name (strcmp) */
	json_t *header;                        /* owns the names */
};

/* Opens a file and checks its header: length, UTF-8, JSON without a key twice, known dtypes, products without overflow,
 * data without holes, overlaps or a rest. CWP_EFORMAT, CWP_EUNKNOWN (dtype), -errno. *ret is closed with
 * cwe_safetensors_close. */
int cwe_safetensors_open(const char *path, struct cwe_safetensors **ret, struct cwb_err *err);
/* The same of an open descriptor, which is taken over, also on failure; path is for messages. */
int cwe_safetensors_adopt(int fd, const char *path, struct cwe_safetensors **ret, struct cwb_err *err);
void cwe_safetensors_close(struct cwe_safetensors *s); /* NULL is allowed */

/* The tensor of this name, or NULL. Lives as long as s. [any-thread] */
const struct cwe_safetensors_entry *cwe_safetensors_find(const struct cwe_safetensors *s, const char *name);
/* A text of __metadata__, or NULL. */
const char *cwe_safetensors_metadata(const struct cwe_safetensors *s, const char *key);

/* `bytes` bytes of a tensor's data from byte `offset` of it on; the range must lie inside (CWP_EVALUE). [any-thread] */
int cwe_safetensors_read(const struct cwe_safetensors *s, const struct cwe_safetensors_entry *e, uint64_t offset,
	void *dst, uint64_t bytes, struct cwb_err *err);
