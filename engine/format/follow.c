/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Threads that take the file with bytes to read, a piece at a time. */
#include "engine/format/follow.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "base/file.h"

enum { PIECE = 256 << 10, BEHIND = 8 << 20, MOST_THREADS = 8 };

struct file {
	int fd;
	const char *name;
	uint64_t size, whole, at; /* at: bytes that the digest has */
	int busy;                 /* a thread has it; the digest is that thread's */
	int again;
	struct cwb_digest digest;
	char hex[CWB_DIGEST_HEX];
};

struct cwe_follow {
	pthread_mutex_t lock; /* of all that follows, but for the digest of a busy file */
	pthread_cond_t wake;
	size_t count;
	struct file *file;
	pthread_t thread[MOST_THREADS];
	unsigned threads;
	int last; /* all bytes are there: threads end when nothing is left */
	int stop;
	int failed;
	struct cwb_err err;
};

int cwe_follow_new(size_t files, struct cwe_follow **ret, struct cwb_err *err)
{
	struct cwe_follow *f = calloc(1, sizeof *f);
	size_t i;

	if (f)
		f->file = calloc(files + 1, sizeof *f->file);
	if (!f || !f->file) {
		free(f);
		return cwb_err_set(err, -ENOMEM, "digests of tensor files: out of memory");
	}
	f->count = files;
	for (i = 0; i < files; i++)
		f->file[i].fd = -1;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->wake, NULL);
	*ret = f;
	return 0;
}

void cwe_follow_file(struct cwe_follow *f, size_t i, int fd, const char *name, uint64_t size)
{
	f->file[i].fd = fd;
	f->file[i].name = name;
	f->file[i].size = size;
}

/* Bytes [at, end) into the digest, which is begun where at is 0. */
static int read_on(struct cwe_follow *f, struct file *one, uint64_t end, uint8_t *buffer, struct cwb_err *err)
{
	uint64_t first = one->at, n;
	int rc = 0, stop = 0;

	if (!one->at && cwb_digest_begin(&one->digest))
		return cwb_err_set(err, -ENOMEM, "%s: no memory for its digest", one->name);
	while (one->at < end && !rc && !stop) {
		n = end - one->at < PIECE ? end - one->at : PIECE;
		rc = cwb_file_pread(one->fd, buffer, n, one->at, one->name, err);
		if (!rc)
			cwb_digest_update(&one->digest, buffer, n);
		one->at += n;
		if (one->at - first >= BEHIND || one->at == end) {
			cwb_file_write_behind(one->fd, first, one->at - first);
			first = one->at;
		}
		pthread_mutex_lock(&f->lock);
		stop = f->stop;
		pthread_mutex_unlock(&f->lock);
	}
	if (!rc && one->at == one->size && cwb_digest_end_hex(&one->digest, one->hex))
		rc = cwb_err_set(err, -ENOMEM, "%s: no memory for its digest", one->name);
	return rc;
}

/* A file with bytes to read, or NULL. */
static struct file *take(struct cwe_follow *f)
{
	size_t i;

	for (i = 0; i < f->count; i++)
		if (!f->file[i].busy && f->file[i].at < f->file[i].whole)
			return &f->file[i];
	return NULL;
}

static void work(struct cwe_follow *f)
{
	uint8_t *buffer = malloc(PIECE);
	struct cwb_err err = {0};
	struct file *one;
	uint64_t end;
	int rc;

	pthread_mutex_lock(&f->lock);
	while (!f->stop && !f->failed) {
		one = take(f);
		if (!one && f->last)
			break;
		if (!one) {
			pthread_cond_wait(&f->wake, &f->lock);
			continue;
		}
		one->busy = 1;
		end = one->whole;
		pthread_mutex_unlock(&f->lock);
		rc = buffer ? read_on(f, one, end, buffer, &err) : cwb_err_set(&err, -ENOMEM, "%s: no memory to read it", one->name);
		pthread_mutex_lock(&f->lock);
		one->busy = 0;
		pthread_cond_broadcast(&f->wake);
		if (rc && !f->failed) {
			f->failed = rc;
			f->err = err;
		}
	}
	pthread_mutex_unlock(&f->lock);
	free(buffer);
}

static void *thread_main(void *arg)
{
	work(arg);
	return NULL;
}

/* Whether there is one more: where the system gives none, the end does all the work. Signals stay with the program's own threads. */
static int start_thread(struct cwe_follow *f)
{
	sigset_t all, old;
	int rc;

	if (f->threads == MOST_THREADS)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&f->thread[f->threads], NULL, thread_main, f);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	f->threads += !rc;
	return !rc;
}

void cwe_follow_whole(struct cwe_follow *f, size_t i, uint64_t whole)
{
	struct file *one = &f->file[i];

	pthread_mutex_lock(&f->lock);
	if (!one->again && whole > one->whole) {
		one->whole = whole;
		pthread_cond_broadcast(&f->wake);
	}
	pthread_mutex_unlock(&f->lock);
	if (!f->threads)
		(void)start_thread(f);
}

void cwe_follow_again(struct cwe_follow *f, size_t i)
{
	pthread_mutex_lock(&f->lock);
	f->file[i].again = 1;
	f->file[i].whole = 0;
	pthread_mutex_unlock(&f->lock);
}

static unsigned processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof set, &set) ? 1 : (unsigned)CPU_COUNT(&set);
}

/* No thread has the file, or it stops. Under the lock. */
static void wait_until_free(struct cwe_follow *f, const struct file *one)
{
	while (one->busy)
		pthread_cond_wait(&f->wake, &f->lock);
}

static void join(struct cwe_follow *f)
{
	while (f->threads)
		pthread_join(f->thread[--f->threads], NULL);
}

int cwe_follow_finish(struct cwe_follow *f, struct cwb_err *err)
{
	int more = 1;
	size_t i;

	pthread_mutex_lock(&f->lock);
	for (i = 0; i < f->count; i++) {
		struct file *one = &f->file[i];

		if (one->again) {
			wait_until_free(f, one);
			cwb_digest_cancel(&one->digest);
			one->at = 0;
		}
		one->whole = one->size;
	}
	f->last = 1;
	pthread_cond_broadcast(&f->wake);
	pthread_mutex_unlock(&f->lock);
	while (more && f->threads + 1 < f->count && f->threads + 1 < processors())
		more = start_thread(f);
	work(f);
	join(f);
	if (f->failed && err)
		*err = f->err;
	return f->failed;
}

const char *cwe_follow_hex(const struct cwe_follow *f, size_t i)
{
	return f->file[i].hex;
}

void cwe_follow_free(struct cwe_follow *f)
{
	size_t i;

	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->stop = 1;
	pthread_cond_broadcast(&f->wake);
	pthread_mutex_unlock(&f->lock);
	join(f);
	for (i = 0; i < f->count; i++)
		cwb_digest_cancel(&f->file[i].digest);
	pthread_cond_destroy(&f->wake);
	pthread_mutex_destroy(&f->lock);
	free(f->file);
	free(f);
}
