/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scores that an earlier job measured, kept in a cache (base/cache.h) by a digest of all that decides their bytes. A cache
 * changes what a job costs, never what it gives: what is wrong with it is a warning, and the scores are measured. */
#pragma once

#include "engine/pipeline/run.h"
#include "engine/pipeline/tiles.h"

/* Digest of model, adapters, samples, scorer, backend, modules and program: tiles of equal keys have equal bytes. */
int cwe_cache_key(const struct cwe_run *run, char ret[65], struct cwb_err *err);                /* cache_key.c */

/* Digest of model, adapters, chat format, backend and program: what decides the original's answers to given requests. */
int cwe_cache_model_key(const struct cwe_run *run, char ret[65], struct cwb_err *err);          /* cache_key.c */

/* Digest of that, given as `model`, of the quantizer, its grids and, where it is calibrated, the samples: what decides the plainly
 * quantized model's answers. "" where they also depend on what is protected: scales of inputs are the output's. cache_key.c */
int cwe_cache_plain_key(const struct cwe_run *run, const char model[65], char ret[65], struct cwb_err *err);

/* Opens the cache that the pipeline names, if it does, and holds the entry of this run's key, if there is one: it stays in
 * use until cwe_cache_close. Needs samples and the digests of the inputs. */
int cwe_cache_open(struct cwe_run *run, struct cwb_err *err);
void cwe_cache_close(struct cwe_run *run);

/* What the held entry's tiles will not take on scratch, since they lie on its file system already. */
uint64_t cwe_cache_shared(const struct cwe_run *run);
/* Makes up to `bytes` free on the file system of scratch by removing entries that nobody uses; how many were freed. */
uint64_t cwe_cache_make_room(struct cwe_run *run, uint64_t bytes);

/* Puts the entry's tiles into a scratch folder that lacks some, as links where it can, and notes them in its journal. An
 * entry that is not whole is removed, with a warning, and the tiles are as if there had been none. */
int cwe_cache_fetch(struct cwe_run *run, struct cwe_tiles *tiles, struct cwb_err *err);
/* Keeps complete tiles for later jobs. */
void cwe_cache_store(struct cwe_run *run, const struct cwe_tiles *tiles);
/* Scores that came from the cache, or went there, are not what they were: removes the entry. 1 where there was one. */
int cwe_cache_drop(struct cwe_run *run);
