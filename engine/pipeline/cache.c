/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Entries of scores: the tiles of all layers and sets under their names on scratch, and a list of them with digests and
 * sums, and of the model's super weights. Tiles are linked into scratch and out of it where both lie on one file system, else
 * copied; their bytes are checked by the selection, which reads them all anyway. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/pipeline/cache.h"
#include "engine/pipeline/super.h"

/* A line of JSON, and a line with its digest. */
#define LIST "entry"
#define LIST_LIMIT (64u << 20)
#define COPY_BYTES (1u << 20)
#define WAIT_PAUSE 200000000 /* ns */

static void say(const struct cwe_run *run, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void say(const struct cwe_run *run, int level, const char *format, ...)
{
	const struct cwp_host *host = &run->p->host->table;
	char text[1024];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	host->log(host->ctx, level, text);
}

static void drop_claim(struct cwe_run_cache *c)
{
	if (c->claim >= 0) {
		(void)close(c->claim);
	}
	c->claim = -1;
}

/* An entry that another job makes is waited for, unless it will not fit; one that nobody makes is this run's to make. */
static int wait_or_claim(struct cwe_run *run, struct cwb_err *err)
{
	const struct timespec pause = {.tv_nsec = WAIT_PAUSE};
	struct cwe_run_cache *c = &run->cache;
	uint64_t bytes = run->weights * run->sets * (run->job->store_bf16 ? sizeof(uint16_t) : sizeof(float));
	int r = bytes <= run->p->cache_size ? -EAGAIN : 0;
	for (int waits = 0; r == -EAGAIN; waits++) {
		struct cwb_err problem = {0};
		/* Without a claim two jobs do the same work, that is all. */
		int claimed = cwb_cache_claim(&c->store, c->key, &c->claim, &problem);
		int taken = waits > 0 || claimed == 0 ? cwb_cache_take(&c->store, c->key, &c->entry, &problem) : -ENOENT;
		if (taken == 0) {
			drop_claim(c);
		}
		if (taken == 0 || claimed != -EAGAIN) {
			return 0;
		}
		if (waits == 0) {
			say(run, CWP_LOG_INFO, "another job measures the same scores: they are waited for");
		}
		(void)nanosleep(&pause, NULL); /* cut short is fine */
		if (run->p->host->table.cancelled(run->p->host->table.ctx)) {
			r = cwb_err_set(err, CWP_ECANCELLED, "cancelled");
		}
	}
	return r;
}

int cwe_cache_open(struct cwe_run *run, struct cwb_err *err)
{
	struct cwe_run_cache *c = &run->cache;
	struct cwb_err problem = {0};
	/* A pilot keeps only candidates of its own fraction. */
	if (run->p->cache == NULL || run->p->cache_size == 0 || run->scorer == NULL || run->job->scale_pilot) {
		return 0;
	}
	int r = cwe_cache_key(run, c->key, err);
	if (r != 0) {
		return r;
	}
	if (cwb_cache_open(run->p->cache, run->p->cache_size, run->p->cache_age, &c->store, &problem) != 0) {
		say(run, CWP_LOG_WARNING, "scores are not kept: %s", problem.message);
		return 0;
	}
	r = cwb_cache_take(&c->store, c->key, &c->entry, &problem);
	if (r != 0 && r != -ENOENT) {
		say(run, CWP_LOG_WARNING, "%s", problem.message);
	}
	return r == -ENOENT ? wait_or_claim(run, err) : 0;
}

void cwe_cache_close(struct cwe_run *run)
{
	if (run->cache.entry >= 0) {
		(void)close(run->cache.entry);
	}
	run->cache.entry = -1;
	drop_claim(&run->cache);
	cwb_cache_close(&run->cache.store);
}

static int shares_scratch(const struct cwe_run *run)
{
	struct stat st;
	return run->cache.store.folder >= 0 && run->p->scratch != NULL && stat(run->p->scratch, &st) == 0 &&
		st.st_dev == run->cache.store.device;
}

uint64_t cwe_cache_shared(const struct cwe_run *run)
{
	return run->cache.entry >= 0 && shares_scratch(run) ? cwb_cache_measure(run->cache.entry, ".") : 0;
}

uint64_t cwe_cache_make_room(struct cwe_run *run, uint64_t bytes)
{
	return shares_scratch(run) ? cwb_cache_shrink(&run->cache.store, bytes) : 0;
}

/* A file of one folder, which nobody changes any more, in the other one too. */
static int bring(const struct cwe_run *run, int from, int to, const char *name, struct cwb_err *err)
{
	if (linkat(from, name, to, name, 0) == 0) {
		return 0;
	}
	if (errno != EXDEV && errno != EPERM && errno != EMLINK && errno != EOPNOTSUPP) {
		return cwb_err_errno(err, "cache: %s", name);
	}
	char *buffer = malloc(COPY_BYTES);
	int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int out = in >= 0 ? openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
	struct stat st = {0};
	int r = buffer == NULL ? cwb_err_set(err, -ENOMEM, "no memory for copying scores")
		: in < 0 || out < 0 || fstat(in, &st) != 0 ? cwb_err_errno(err, "cache: %s", name) : 0;
	uint64_t size = (uint64_t)st.st_size, n;
	for (uint64_t at = 0; r == 0 && at < size; at += n) {
		n = size - at < COPY_BYTES ? size - at : COPY_BYTES;
		r = cwb_file_pread(in, buffer, n, at, name, err);
		r = r == 0 ? cwb_file_pwrite(out, buffer, n, at, name, err) : r;
		r = r == 0 && run->p->host->table.cancelled(run->p->host->table.ctx) ? cwb_err_set(err, CWP_ECANCELLED, "cancelled") : r;
	}
	if (r == 0 && fdatasync(out) != 0) {
		r = cwb_err_errno(err, "cache: %s", name);
	}
	free(buffer);
	if (in >= 0) {
		(void)close(in);
	}
	if (out >= 0) {
		(void)close(out);
	}
	return r;
}

static int read_number(const json_t *one, const char *key, double *ret)
{
	const char *text = json_string_value(json_object_get(one, key));
	char *end = NULL;
	*ret = text != NULL ? strtod(text, &end) : 0;
	return text != NULL && end != text && *end == '\0' ? 0 : -1;
}

/* The tiles that the list of an entry names, checked against the files that are there. */
static int read_layer(const struct cwe_run *run, const json_t *line, const struct cwe_tiles *tiles, uint32_t layer)
{
	struct cwe_tile_layer *ret = &tiles->layer[layer];
	json_t *sets = json_object_get(line, "sets"), *note = json_object_get(line, "note");
	if (json_array_size(sets) != tiles->sets || (note != NULL && !json_is_object(note))) {
		return -1;
	}
	for (uint32_t s = 0; s < run->sets; s++) {
		const json_t *one = json_array_get(sets, s), *bytes = json_object_get(one, "bytes");
		const char *digest = json_string_value(json_object_get(one, "digest"));
		if (digest == NULL || !cwb_digest_is_hex(digest) || read_number(one, "sum", &ret->sum[s]) != 0 ||
			ret->sum[s] - ret->sum[s] != 0 || read_number(one, "loss", &ret->loss[s]) != 0 || !json_is_integer(bytes) ||
			cwe_tile_bytes_in(tiles, run->cache.entry, layer, s) != json_integer_value(bytes)) {
			return -1;
		}
		memcpy(ret->digest[s], digest, 65);
	}
	json_decref(ret->note);
	ret->note = json_incref(note);
	ret->next[0] = '\0';
	ret->cached = 1;
	return 0;
}

static int read_list(struct cwe_run *run, struct cwe_tiles *tiles)
{
	char *text = NULL, digest[65];
	size_t length = 0;
	json_t *list = NULL;
	if (cwb_file_read_at(run->cache.entry, LIST, LIST_LIMIT, &text, &length, NULL) != 0) {
		return -1;
	}
	const char *end = memchr(text, '\n', length);
	size_t n = end != NULL ? (size_t)(end - text) : 0;
	int ok = end != NULL && length == n + 1 + 64 && cwb_digest_buffer(text, n, digest) == 0 &&
		memcmp(digest, end + 1, 64) == 0 && cwb_json_load(text, n, LIST_LIMIT, 8, &list, NULL) == 0 &&
		json_array_size(json_object_get(list, "layers")) == tiles->layers;
	for (uint32_t l = 0; ok && l < tiles->layers; l++) {
		ok = read_layer(run, json_array_get(json_object_get(list, "layers"), l), tiles, l) == 0;
	}
	const json_t *super = json_object_get(list, "super");
	if (ok && super != NULL && run->job->super_weights) {
		ok = run->super_known = cwe_run_super_take(run, super) == 0;
	}
	json_decref(list);
	free(text);
	return ok ? 0 : -1;
}

static int bring_tile(struct cwe_run *run, const struct cwe_tiles *tiles, uint32_t layer, uint32_t set, int from, int to,
	struct cwb_err *err)
{
	char name[64];
	int r = 0;
	for (int i = 0; r == 0 && i < cwe_tile_stripes(tiles, set); i++) {
		cwe_tile_stripe_name(tiles, layer, set, i, name, sizeof name);
		r = bring(run, from, to, name, err);
	}
	return r;
}

static int bring_tiles(struct cwe_run *run, const struct cwe_tiles *tiles, int from, int to, struct cwb_err *err)
{
	int r = 0;
	for (uint32_t l = 0; r == 0 && l < tiles->layers; l++) {
		for (uint32_t s = 0; r == 0 && s < tiles->sets; s++) {
			r = bring_tile(run, tiles, l, s, from, to, err);
		}
	}
	return r;
}

/* Scratch begins anew with the entry's tiles. The journal gets the first layer first: cut short, it names none from which
 * scoring could go on. */
static int adopt(struct cwe_run *run, struct cwe_tiles *tiles, struct cwb_err *err)
{
	int r = cwe_tiles_restart(tiles, run->identity, err);
	int whole = r == 0 && read_list(run, tiles) == 0;
	r = r == 0 && !whole ? cwb_err_set(err, CWP_EDIGEST, "its list or a file of it is not what was kept") : r;
	r = r == 0 ? bring_tiles(run, tiles, run->cache.entry, run->scratch_fd, err) : r;
	/* Removed by another process, cut short, or on a bad block. */
	r = r == -ENOENT || r == CWP_EFORMAT || r == -EIO ? CWP_EDIGEST : r;
	r = r == 0 ? cwb_file_sync_folder(run->scratch_fd, run->p->scratch, err) : r;
	for (uint32_t l = 0; r == 0 && l < tiles->layers; l++) {
		r = cwe_tiles_commit(tiles, l, err);
	}
	return r;
}

int cwe_cache_fetch(struct cwe_run *run, struct cwe_tiles *tiles, struct cwb_err *err)
{
	struct cwb_err problem = {0};
	int missing = 0;
	for (uint32_t l = 0; l < tiles->layers; l++) {
		missing |= !tiles->layer[l].done;
	}
	if (!missing || run->cache.entry < 0) {
		return 0;
	}
	int r = adopt(run, tiles, &problem);
	if (r == 0) {
		say(run, CWP_LOG_INFO, "scores are taken from the cache, entry %.12s", run->cache.key);
		return 0;
	}
	if (r != CWP_EDIGEST) {
		return cwb_err_set(err, r, "%s", problem.message);
	}
	say(run, CWP_LOG_WARNING, "cache: entry %.12s is damaged, so it is removed and its scores are made again: %s",
		run->cache.key, problem.message);
	(void)cwe_cache_drop(run);
	return cwe_tiles_restart(tiles, run->identity, err);
}

/* The list of an entry as it is written; *ret_bytes: of the tiles. */
static char *make_list(const struct cwe_run *run, const struct cwe_tiles *tiles, size_t *ret_length, uint64_t *ret_bytes)
{
	json_t *layers = json_array(), *list = json_pack("{s:O,s:o*}", "layers", layers, "super", cwe_run_super_places(run));
	*ret_bytes = 0;
	for (uint32_t l = 0; l < tiles->layers; l++) {
		json_t *sets = cwe_tiles_sets_json(tiles, l);
		for (size_t s = 0; s < json_array_size(sets); s++) {
			*ret_bytes += (uint64_t)json_integer_value(json_object_get(json_array_get(sets, s), "bytes"));
		}
		(void)json_array_append_new(layers, json_pack("{s:o,s:O*}", "sets", sets, "note", tiles->layer[l].note));
	}
	char digest[65], *text = cwb_json_dump(list, ret_length), *both = NULL;
	if (text != NULL && cwb_digest_buffer(text, *ret_length, digest) == 0) {
		int n = asprintf(&both, "%s\n%s", text, digest);
		*ret_length = n > 0 ? (size_t)n : 0;
		both = n > 0 ? both : NULL;
	}
	json_decref(layers);
	json_decref(list);
	free(text);
	return both;
}

void cwe_cache_store(struct cwe_run *run, const struct cwe_tiles *tiles)
{
	struct cwe_run_cache *c = &run->cache;
	struct cwb_cache_new made = {.fd = -1};
	struct cwb_err problem = {0};
	uint64_t bytes;
	size_t length = 0;
	if (c->store.folder < 0 || c->entry >= 0) {
		return;
	}
	char *list = make_list(run, tiles, &length, &bytes);
	int r = list != NULL ? cwb_cache_begin(&c->store, c->key, bytes + length, &made, &problem)
			     : cwb_err_set(&problem, -ENOMEM, "no memory for a list");
	if (r == 0) {
		r = bring_tiles(run, tiles, run->scratch_fd, made.fd, &problem);
		r = r == 0 ? cwb_file_replace(made.fd, LIST, list, length, 0600, &problem) : r;
		if (r == 0) {
			r = cwb_cache_commit(&c->store, &made, &c->entry, &problem);
		}
		cwb_cache_abort(&c->store, &made);
	}
	free(list);
	drop_claim(c);
	if (r != 0) {
		say(run, r == -ENOSPC ? CWP_LOG_INFO : CWP_LOG_WARNING, "scores are not kept: %s", problem.message);
	}
}

int cwe_cache_drop(struct cwe_run *run)
{
	if (run->cache.entry < 0) {
		return 0;
	}
	cwb_cache_drop(&run->cache.store, run->cache.key, &run->cache.entry);
	return 1;
}
