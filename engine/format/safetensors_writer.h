/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One safetensors file, written: all shapes first, data in any order, visible under its name only when it is whole, as a
 * file in the making (partial.h). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/format/dtype.h"
#include "engine/format/safetensors.h"

struct cwe_safetensors_plan {
	const char *name;
	enum cwe_dtype dtype;
	uint32_t rank;
	uint64_t shape[CWE_SAFETENSORS_RANK_MAX];
};

struct cwe_safetensors_text {
	const char *key, *value;
};

struct cwe_safetensors_writer;

enum cwe_safetensors_writer_flags {
	CWE_SAFETENSORS_RESUME = 1 << 0,  /* keep the data of an unfinished file whose header is the same */
	CWE_SAFETENSORS_IN_ORDER = 1 << 1 /* lay tensors out as they are given, where that aligns all of them */
};

/* Writes the header and reserves the room: a full disk is found here. Names must differ. Tensors are laid out by falling
 * alignment, then by name; __metadata__ holds {"format": "pt"} and the texts. folder stays the caller's and open.
 * *ret_kept (may be NULL): 1 when data of an earlier attempt was kept. *ret is closed with
 * cwe_safetensors_writer_free. */
int cwe_safetensors_writer_new(int folder, const char *name, unsigned flags, const struct cwe_safetensors_plan *tensor,
	size_t count, const struct cwe_safetensors_text *text, size_t n_text, struct cwe_safetensors_writer **ret,
	int *ret_kept, struct cwb_err *err);

/* Bytes that the whole file would have. */
int cwe_safetensors_writer_measure(unsigned flags, const struct cwe_safetensors_plan *tensor, size_t count,
	const struct cwe_safetensors_text *text, size_t n_text, uint64_t *ret_bytes, struct cwb_err *err);

/* Bytes [offset, offset + bytes) of tensor number i of the plan. [any-thread] */
int cwe_safetensors_writer_write(struct cwe_safetensors_writer *w, size_t i, uint64_t offset, const void *src,
	uint64_t bytes, struct cwb_err *err);
/* Tensor i has all its bytes. Returns how many bytes of the file from its beginning on are whole by now. */
uint64_t cwe_safetensors_writer_done(struct cwe_safetensors_writer *w, size_t i);
/* The unfinished file, for reading. */
int cwe_safetensors_writer_fd(const struct cwe_safetensors_writer *w);
/* Everything written so far is on the disk. */
int cwe_safetensors_writer_sync(struct cwe_safetensors_writer *w, struct cwb_err *err);
/* Syncs and gives the file its name; the folder is not synced. The writer can only be freed then. */
int cwe_safetensors_writer_publish(struct cwe_safetensors_writer *w, struct cwb_err *err);
/* Removes the unfinished file. */
void cwe_safetensors_writer_discard(struct cwe_safetensors_writer *w);
/* Bytes of the whole file, and of its data. */
uint64_t cwe_safetensors_writer_size(const struct cwe_safetensors_writer *w);
/* Closes; an unfinished file stays for a later attempt. NULL is allowed. */
void cwe_safetensors_writer_free(struct cwe_safetensors_writer *w);
