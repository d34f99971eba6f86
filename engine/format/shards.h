/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The tensor files of a checkpoint in the making: model.safetensors alone, or shards with an index, and the texts beside
 * them. Everything is written under temporary names; a set of files gets its names together, or none of it does. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/known.h"
#include "engine/format/safetensors_writer.h"
#include "engine/format/source.h"

struct cwe_shards;

enum cwe_shards_flags {
	CWE_SHARDS_LOOK = 1 << 8,   /* only find the names: for cwe_shards_published */
	CWE_SHARDS_MEASURE = 1 << 9, /* with LOOK: for cwe_shards_bytes */
	CWE_SHARDS_DIGEST = 1 << 10 /* compute digests while files are written: for cwe_shards_digests */
};

/* Cuts tensors into files of at most `limit` bytes of data (a unit that is larger gets its own) and begins them all.
 * unit [count]: neighbours of equal numbers stay in one file. flags: those above and those of a single file.
 * *ret_kept: 1 when all files of an earlier attempt were kept with their data. The plan is copied. */
int cwe_shards_new(int folder, unsigned flags, const struct cwe_safetensors_plan *tensor, const size_t *unit, size_t count,
	uint64_t limit, struct cwe_shards **ret, int *ret_kept, struct cwb_err *err);
/* Bytes [offset, offset + bytes) of tensor number i. [any-thread] */
int cwe_shards_write(struct cwe_shards *s, size_t i, uint64_t offset, const void *src, uint64_t bytes, struct cwb_err *err);
/* Tensor i has all its bytes: its file's digest may go on over them. */
void cwe_shards_done(struct cwe_shards *s, size_t i);
/* All that was written so far is on the disk. */
int cwe_shards_sync(struct cwe_shards *s, struct cwb_err *err);
/* Syncs all files, then gives them their names; on failure none has its name. With CWE_SHARDS_DIGEST digests are complete
 * then. */
int cwe_shards_publish(struct cwe_shards *s, struct cwb_err *err);
/* Adds the digests of files that have their names to a list in memory. */
int cwe_shards_digests(const struct cwe_shards *s, struct cwb_known *list, struct cwb_err *err);
/* Takes the names away again, as a later step failed: the files are unfinished ones again. */
void cwe_shards_unpublish(struct cwe_shards *s);
/* Whether all files stand under their names. */
int cwe_shards_published(const struct cwe_shards *s);
/* Bytes that the files would have; only with CWE_SHARDS_MEASURE. */
uint64_t cwe_shards_bytes(const struct cwe_shards *s);
size_t cwe_shards_count(const struct cwe_shards *s);
/* Removes the unfinished files. */
void cwe_shards_discard(struct cwe_shards *s);
/* model.safetensors.index.json; NULL without error when there is one file only. A new reference. */
int cwe_shards_index(const struct cwe_shards *s, json_t **ret, struct cwb_err *err);
void cwe_shards_free(struct cwe_shards *s); /* NULL is allowed */

#define CWE_TEXTS_MAX 16

/* Small files that appear together. */
struct cwe_texts {
	int folder;
	uint64_t bytes; /* of all that were added */
	size_t count;
	struct cwb_file_temp temp[CWE_TEXTS_MAX];
};

/* folder -1: nothing is written, only measured. */
void cwe_texts_begin(struct cwe_texts *t, int folder);
int cwe_texts_add(struct cwe_texts *t, const char *name, const void *data, size_t length, struct cwb_err *err);
/* An indented JSON file whose numbers read back as the same ones. */
int cwe_texts_add_json(struct cwe_texts *t, const char *name, const json_t *json, struct cwb_err *err);
/* Tokenizer and generation files of a source, those that it has. */
int cwe_texts_add_source(struct cwe_texts *t, struct cwe_source *source, struct cwb_err *err);
/* In the order of adding; on failure none has its name. */
int cwe_texts_commit(struct cwe_texts *t, struct cwb_err *err);
void cwe_texts_remove(struct cwe_texts *t); /* files that were committed */
void cwe_texts_abort(struct cwe_texts *t);  /* before or after commit; committed files stay */

/* Removes what an earlier attempt left in a folder: all temporary files (".*.tmp-*") but unfinished tensor files when
 * keep is set, else also tensor files and index under their names. */
int cwe_shards_clean(int folder, int keep, struct cwb_err *err);
