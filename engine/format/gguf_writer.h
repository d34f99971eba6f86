/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One GGUF file (version 3), written: metadata and all shapes first, data in any order, as a file in the making (partial.h). */
#pragma once

#include "engine/format/gguf_keys.h"

#define CWE_GGUF_NAME_MAX 63 /* bytes of a tensor's name that ggml takes */
#define CWE_GGUF_ALIGNMENT 32

struct cwe_gguf_plan {
	char *name;
	uint32_t type; /* enum cwe_gguf_type */
	uint32_t rank;
	uint64_t dims[CWE_RANK_MAX]; /* the innermost first */
};

/* Where everything lies. */
struct cwe_gguf_layout {
	uint8_t *header; /* up to the data */
	uint64_t header_bytes;
	uint64_t *offset, *bytes; /* [count] of each tensor, from the start of the file */
	size_t count;
	uint64_t size; /* of the file */
};

/* Lays tensors out in the order of the plan, each at a multiple of 32. CWP_ESHAPE, CWP_ELIMIT, -ENOMEM; *ret is freed with
 * cwe_gguf_layout_free. */
int cwe_gguf_layout_make(const struct cwe_gguf_keys *keys, const struct cwe_gguf_plan *tensor, size_t count,
	struct cwe_gguf_layout *ret, struct cwb_err *err);
void cwe_gguf_layout_free(struct cwe_gguf_layout *l);

struct cwe_gguf_writer;

/* Begins a file, or goes on with an unfinished one of the same header (resume). The layout is taken over, also on failure.
 * *ret_kept: 1 when data of an earlier attempt was kept. *ret is closed with cwe_gguf_writer_free. */
int cwe_gguf_writer_new(int folder, const char *name, int resume, struct cwe_gguf_layout *layout, struct cwe_gguf_writer **ret,
	int *ret_kept, struct cwb_err *err);
/* Bytes [offset, offset + bytes) of tensor number i of the plan. [any-thread] */
int cwe_gguf_writer_write(const struct cwe_gguf_writer *w, size_t i, uint64_t offset, const void *src, uint64_t bytes,
	struct cwb_err *err);
/* Where tensor i begins; the file's size where there is none behind. */
uint64_t cwe_gguf_writer_start(const struct cwe_gguf_writer *w, size_t i);
/* The file, which stays the writer's. */
int cwe_gguf_writer_fd(const struct cwe_gguf_writer *w);
int cwe_gguf_writer_sync(const struct cwe_gguf_writer *w, struct cwb_err *err);
int cwe_gguf_writer_publish(const struct cwe_gguf_writer *w, struct cwb_err *err);
/* Takes the name away again, as a later step failed: the file is an unfinished one again. */
void cwe_gguf_writer_unpublish(const struct cwe_gguf_writer *w);
/* Closes; an unfinished file stays for a later attempt. NULL is allowed. */
void cwe_gguf_writer_free(struct cwe_gguf_writer *w);
