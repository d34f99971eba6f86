/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Answers that are kept: all of a model and benchmark on scratch, so that a later attempt goes on behind them, and those of
 * the original and of the plainly quantized model in the cache (base/cache.h), so that jobs on one model, and the points of a
 * sweep, ask them once. A file holds the key, a record for each
 * request with its text and its windows, and a digest of all before it. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/pipeline/cache.h"
#include "engine/pipeline/evaluate.h"

#define NAME "answers"        /* of the file in an entry of the cache */
#define LIMIT (1u << 30)      /* bytes of a file */
#define TEXT_LIMIT (64u << 20)
#define VERSION 2             /* to be raised when the same requests get other answers though no key says so */

struct record {
	double loglik, kl;
	uint64_t tokens, text_length, windows;
	uint32_t greedy, flags;
};

static void say(const struct cwe_run *run, int level, const char *what, const char *why)
{
	const struct cwp_host *host = &run->p->host->table;
	char text[1024];
	(void)snprintf(text, sizeof text, "%s: %.900s", what, why);
	host->log(host->ctx, level, text);
}

/* Whether other jobs may get the answers of the model at work. */
static int shared(const struct cwe_evaluation *e)
{
	return e->cache.folder >= 0 &&
		(e->which == CWE_COMPARED_ORIGINAL || (e->which == CWE_COMPARED_QUANTIZED && e->plain[0] != '\0'));
}

/* Of what decides the answers: the requests, the model, and whom else they ask. A judge's files are in the identity of this
 * job alone. */
static int make_key(const struct cwe_evaluation *e, const struct cwe_benchmark *b, char ret[65])
{
	const struct cwe_run *run = e->run;
	char text[512];
	int n;
	if (e->which == CWE_COMPARED_ORIGINAL) {
		n = snprintf(text, sizeof text, "%d original %s %s %s", VERSION, e->model, b->asked, b->judges > 0 ? run->identity : "");
	} else if (e->which == CWE_COMPARED_QUANTIZED && e->plain[0] != '\0') {
		n = snprintf(text, sizeof text, "%d quantized %s %s %s", VERSION, e->plain, b->asked, b->judges > 0 ? run->identity : "");
	} else {
		n = snprintf(text, sizeof text, "%d %d %s %a %s", VERSION, (int)e->which, run->identity, run->fraction, b->asked);
	}
	return cwb_digest_buffer(text, n > 0 ? (size_t)n : 0, ret);
}

static void file_name(const char key[65], char ret[32])
{
	(void)snprintf(ret, 32, "answers-%.16s", key);
}

static int take_windows(const char *data, size_t length, size_t *at, uint64_t n, struct cwp_window **ret)
{
	size_t size;
	if (n > SIZE_MAX || __builtin_mul_overflow((size_t)n, sizeof **ret, &size) || size > length - *at) {
		return -1;
	}
	struct cwp_window *window = malloc(size + 1);
	if (window == NULL) {
		return -1;
	}
	memcpy(window, data + *at, size);
	*at += size;
	for (uint64_t i = 0; i < n; i++) {
		if (!isfinite(window[i].loglik)) {
			free(window);
			return -1;
		}
	}
	*ret = window;
	return 0;
}

/* One record, its text and its windows into the answer; 0 where they are what this benchmark can have. */
static int take_record(const char *data, size_t length, size_t *at, struct cwp_answer *a)
{
	struct record x;
	struct cwp_window *window = NULL;
	if (length - *at < sizeof x) {
		return -1;
	}
	memcpy(&x, data + *at, sizeof x);
	*at += sizeof x;
	if (x.text_length > length - *at || x.text_length > TEXT_LIMIT || !isfinite(x.loglik) || !isfinite(x.kl)) {
		return -1;
	}
	char *text = malloc(x.text_length + 1);
	if (text == NULL) {
		return -1;
	}
	memcpy(text, data + *at, x.text_length);
	text[x.text_length] = '\0';
	*at += x.text_length;
	if (x.windows > 0 && take_windows(data, length, at, x.windows, &window) != 0) {
		free(text);
		return -1;
	}
	free((char *)(uintptr_t)a->text);
	free((struct cwp_window *)(uintptr_t)a->window);
	*a = (struct cwp_answer){.size = sizeof *a, .greedy = x.greedy, .loglik = x.loglik, .tokens = x.tokens, .text = text,
		.text_length = x.text_length, .flags = x.flags, .kl = x.kl, .window = window, .windows = (size_t)x.windows};
	return 0;
}

/* All answers, or none. */
static int take(struct cwe_benchmark *b, const char *data, size_t length, const char key[65])
{
	char digest[65];
	uint64_t count;
	size_t at = 64 + sizeof count;
	if (length < at + 64 || memcmp(data, key, 64) != 0 || cwb_digest_buffer(data, length - 64, digest) != 0 ||
		memcmp(data + length - 64, digest, 64) != 0) {
		return -1;
	}
	memcpy(&count, data + 64, sizeof count);
	int ok = count == b->count;
	for (uint64_t i = 0; ok && i < count; i++) {
		ok = take_record(data, length - 64, &at, &b->answer[i]) == 0;
	}
	if (!ok || at != length - 64) {
		cwe_benchmark_clear(b);
		return -1;
	}
	return 0;
}

static int load_from(struct cwe_benchmark *b, int folder, const char *name, const char key[65])
{
	char *data = NULL;
	size_t length = 0;
	int r = folder >= 0 ? cwb_file_read_at(folder, name, LIMIT, &data, &length, NULL) : -ENOENT;
	r = r == 0 ? take(b, data, length, key) : r;
	free(data);
	return r;
}

int cwe_evaluation_load(struct cwe_evaluation *e, struct cwe_benchmark *b, int *ret_found, struct cwb_err *err)
{
	char key[65], name[32];
	int fd = -1, r = make_key(e, b, key);
	*ret_found = 0;
	if (r != 0) {
		return cwb_err_set(err, r, "digest of answers");
	}
	file_name(key, name);
	if (load_from(b, e->run->scratch_fd, name, key) == 0) {
		*ret_found = 1;
		return 0;
	}
	if (!shared(e) || cwb_cache_take(&e->cache, key, &fd, NULL) != 0) {
		return 0;
	}
	*ret_found = load_from(b, fd, NAME, key) == 0;
	b->cached[e->which] = *ret_found;
	if (!*ret_found) {
		say(e->run, CWP_LOG_WARNING, "cache: answers are damaged, so they are removed and made again", key);
		cwb_cache_drop(&e->cache, key, &fd);
	}
	if (fd >= 0) {
		(void)close(fd);
	}
	return 0;
}

static char *make_file(const struct cwe_benchmark *b, const char key[65], size_t *ret_length)
{
	size_t length = 64 + sizeof b->count + 64, at = 64;
	char digest[65];
	for (uint64_t i = 0; i < b->count; i++) {
		length += sizeof(struct record) + b->answer[i].text_length + b->answer[i].windows * sizeof *b->answer[i].window;
	}
	char *data = length <= LIMIT ? malloc(length) : NULL;
	if (data == NULL) {
		return NULL;
	}
	memcpy(data, key, 64);
	memcpy(data + at, &b->count, sizeof b->count);
	at += sizeof b->count;
	for (uint64_t i = 0; i < b->count; i++) {
		const struct cwp_answer *a = &b->answer[i];
		const struct record x = {a->loglik, a->kl, a->tokens, a->text_length, a->windows, a->greedy, a->flags};
		memcpy(data + at, &x, sizeof x);
		at += sizeof x;
		if (a->text_length > 0) {
			memcpy(data + at, a->text, a->text_length);
		}
		at += a->text_length;
		if (a->windows > 0) {
			memcpy(data + at, a->window, a->windows * sizeof *a->window);
		}
		at += a->windows * sizeof *a->window;
	}
	if (cwb_digest_buffer(data, at, digest) != 0) {
		free(data);
		return NULL;
	}
	memcpy(data + at, digest, 64);
	*ret_length = at + 64;
	return data;
}

/* What is not kept is only asked again. */
static void store_in_cache(struct cwe_evaluation *e, const char key[65], const char *data, size_t length)
{
	struct cwb_cache_new made = {.fd = -1};
	struct cwb_err problem = {0};
	int fd = -1, r = cwb_cache_begin(&e->cache, key, length, &made, &problem);
	if (r == 0) {
		r = cwb_file_replace(made.fd, NAME, data, length, 0600, &problem);
		r = r == 0 ? cwb_cache_commit(&e->cache, &made, &fd, &problem) : r;
		cwb_cache_abort(&e->cache, &made);
	}
	if (fd >= 0) {
		(void)close(fd);
	}
	if (r != 0) {
		say(e->run, r == -ENOSPC ? CWP_LOG_INFO : CWP_LOG_WARNING, "answers are not kept", problem.message);
	}
}

/* Keeps answers on scratch, and in the cache where others may have them. */
static int store(struct cwe_evaluation *e, const struct cwe_benchmark *b, int others, struct cwb_err *err)
{
	char key[65], name[32];
	size_t length = 0;
	int r = make_key(e, b, key);
	char *data = r == 0 ? make_file(b, key, &length) : NULL;
	if (data == NULL) {
		say(e->run, CWP_LOG_INFO, "answers are not kept", "they are too many for memory");
		return 0;
	}
	file_name(key, name);
	r = e->run->scratch_fd >= 0 ? cwb_file_replace(e->run->scratch_fd, name, data, length, 0600, err) : 0;
	if (r == 0 && e->run->scratch_fd >= 0 && e->run->p->checkpoint != NULL) {
		e->run->p->checkpoint(e->run->p->arg);
	}
	if (r == 0 && others) {
		store_in_cache(e, key, data, length);
	}
	free(data);
	return r;
}

int cwe_evaluation_store(struct cwe_evaluation *e, const struct cwe_benchmark *b, struct cwb_err *err)
{
	return store(e, b, shared(e), err);
}

int cwe_evaluation_answered(struct cwe_evaluation *e, enum cwe_compared which, int *ret, struct cwb_err *err)
{
	int r = 0, found = e->run->scratch_fd >= 0;
	e->which = which;
	for (size_t i = 0; r == 0 && found && i < e->n; i++) {
		cwe_benchmark_clear(&e->benchmark[i]);
		r = cwe_evaluation_load(e, &e->benchmark[i], &found, err);
		/* Another job may remove them from the cache before they are used. */
		r = r == 0 && found ? store(e, &e->benchmark[i], 0, err) : r;
		cwe_benchmark_clear(&e->benchmark[i]);
	}
	*ret = r == 0 && found;
	return r;
}

int cwe_evaluation_cache(struct cwe_evaluation *e, struct cwb_err *err)
{
	const struct cwe_pipeline *p = e->run->p;
	struct cwb_err problem = {0};
	int r = cwe_cache_model_key(e->run, e->model, err);
	r = r == 0 && e->run->protecting ? cwe_cache_plain_key(e->run, e->model, e->plain, err) : r;
	if (r == 0 && p->cache != NULL && p->cache_size > 0 &&
		cwb_cache_open(p->cache, p->cache_size, p->cache_age, &e->cache, &problem) != 0) {
		say(e->run, CWP_LOG_WARNING, "answers are not kept", problem.message);
		e->cache.folder = -1;
	}
	return r;
}
