/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Threads that take the next piece of a file with bytes to read. Pieces enter the digest in their order; the thread that finds the
 * next one ready hashes it and all that others have made ready meanwhile, so that hashing waits for nobody as long as reading is
 * ahead of it. */
#include "engine/format/follow.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "base/file.h"

enum { PIECE = 256 << 10, BEHIND = 8 << 20, MOST_THREADS = 8, MANY = 4 /* processors, enough for a second thread beside others */ };
enum { EACH = 2 /* pieces that a thread brings */ };

struct file {
	int fd;
	const char *name;
	uint64_t size, whole;
	uint64_t taken;  /* bytes that threads have read, or read now */
	uint64_t at;     /* bytes that the digest has */
	uint64_t behind; /* bytes that are on their way to the disk */
	int hashing;     /* a thread does: the digest is its own */
	int again;
	struct cwb_digest digest;
	char hex[CWB_DIGEST_HEX];
};

struct piece {
	struct file *file; /* NULL when free */
	uint64_t at, n;
	int ready;
	uint8_t *buffer; /* [PIECE] */
};

struct cwe_follow {
	pthread_mutex_t lock; /* of all that follows, but for a digest */
	pthread_cond_t wake;
	size_t count;
	struct file *file;
	pthread_t thread[MOST_THREADS];
	unsigned threads, processors;
	cpu_set_t cpus; /* of the thread that began: one of a pool, which may start threads too, has one only */
	struct piece piece[EACH * (MOST_THREADS + 1)]; /* of the threads, and of the one that waits for the end */
	size_t pieces;
	int last; /* all bytes are there: threads end when nothing is left */
	int stop;
	int failed;
	struct cwb_err err;
};

static unsigned processors(cpu_set_t *ret)
{
	CPU_ZERO(ret);
	return sched_getaffinity(0, sizeof *ret, ret) ? 1 : (unsigned)CPU_COUNT(ret);
}

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
	f->processors = processors(&f->cpus);
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

/* The next n bytes into the digest. */
static int add(struct file *one, uint64_t at, uint64_t n, const uint8_t *buffer, struct cwb_err *err)
{
	uint64_t end = at + n;

	if (!at && cwb_digest_begin(&one->digest))
		return cwb_err_set(err, -ENOMEM, "%s: no memory for its digest", one->name);
	cwb_digest_update(&one->digest, buffer, n);
	if (end == one->size && cwb_digest_end_hex(&one->digest, one->hex))
		return cwb_err_set(err, -ENOMEM, "%s: no memory for its digest", one->name);
	return 0;
}

/* The piece that comes next in a file's digest, when it has been read. */
static struct piece *next_of(struct cwe_follow *f, const struct file *one)
{
	size_t i;

	for (i = 0; i < f->pieces; i++)
		if (f->piece[i].file == one && f->piece[i].ready && f->piece[i].at == one->at)
			return &f->piece[i];
	return NULL;
}

static struct piece *free_piece(struct cwe_follow *f)
{
	size_t i;

	for (i = 0; i < f->pieces; i++)
		if (!f->piece[i].file)
			return &f->piece[i];
	return NULL;
}

/* The first file with bytes to hash that no thread hashes; as the next two, the number of files where there is none. */
static size_t to_hash(struct cwe_follow *f)
{
	size_t i;

	for (i = 0; i < f->count; i++)
		if (!f->file[i].hashing && next_of(f, &f->file[i]))
			return i;
	return i;
}

/* Of which enough is hashed, or all, to have it go to the disk. */
static size_t to_send(struct cwe_follow *f)
{
	size_t i;

	for (i = 0; i < f->count; i++) {
		uint64_t n = f->file[i].at - f->file[i].behind;

		if (n >= BEHIND || (n && f->file[i].at == f->file[i].size))
			return i;
	}
	return i;
}

/* With bytes to read. */
static size_t to_read(struct cwe_follow *f)
{
	size_t i;

	for (i = 0; i < f->count; i++)
		if (f->file[i].taken < f->file[i].whole)
			return i;
	return i;
}

/* All of a file that is ready. Under the lock, as are the next two; they leave it while they work. */
static int hash(struct cwe_follow *f, struct file *one, struct cwb_err *err)
{
	struct piece *p;
	int rc = 0;

	one->hashing = 1;
	while (!rc && !f->stop && !f->failed && (p = next_of(f, one))) {
		pthread_mutex_unlock(&f->lock);
		rc = add(one, p->at, p->n, p->buffer, err);
		pthread_mutex_lock(&f->lock);
		one->at += rc ? 0 : p->n;
		p->file = NULL;
		pthread_cond_broadcast(&f->wake);
	}
	one->hashing = 0;
	return rc;
}

static void send(struct cwe_follow *f, struct file *one)
{
	uint64_t from = one->behind, n = one->at - from;

	one->behind = one->at;
	pthread_mutex_unlock(&f->lock);
	cwb_file_write_behind(one->fd, from, n);
	pthread_mutex_lock(&f->lock);
}

static int fill(struct cwe_follow *f, struct file *one, struct piece *p, struct cwb_err *err)
{
	uint64_t left = one->whole - one->taken;
	int rc;

	*p = (struct piece){.file = one, .at = one->taken, .n = left < PIECE ? left : PIECE, .buffer = p->buffer};
	one->taken += p->n;
	pthread_mutex_unlock(&f->lock);
	rc = cwb_file_pread(one->fd, p->buffer, p->n, p->at, one->name, err);
	pthread_mutex_lock(&f->lock);
	p->ready = 1;
	return rc;
}

/* Pieces of this thread's: none where memory is short, as long as others have some. Under the lock. */
static int bring(struct cwe_follow *f, struct cwb_err *err)
{
	int i;

	for (i = 0; i < EACH; i++) {
		uint8_t *buffer = malloc(PIECE);

		if (buffer)
			f->piece[f->pieces++].buffer = buffer;
	}
	return f->pieces ? 0 : cwb_err_set(err, -ENOMEM, "%s: no memory to read it", f->count ? f->file[0].name : "digests");
}

/* One step: 1 where there was none to take. */
static int step(struct cwe_follow *f, struct cwb_err *err)
{
	size_t i = to_hash(f);
	struct piece *p;

	if (i < f->count)
		return hash(f, &f->file[i], err);
	i = to_send(f);
	if (i < f->count) {
		send(f, &f->file[i]);
		return 0;
	}
	i = to_read(f);
	p = i < f->count ? free_piece(f) : NULL;
	return p ? fill(f, &f->file[i], p, err) : 1;
}

static void work(struct cwe_follow *f)
{
	struct cwb_err err = {0};
	int rc;

	pthread_mutex_lock(&f->lock);
	rc = bring(f, &err);
	while (rc >= 0 && !f->stop && !f->failed) {
		rc = step(f, &err);
		if (rc > 0 && f->last && to_read(f) == f->count)
			break;
		if (rc > 0)
			pthread_cond_wait(&f->wake, &f->lock);
	}
	if (rc < 0 && !f->failed) {
		f->failed = rc;
		f->err = err;
		pthread_cond_broadcast(&f->wake);
	}
	pthread_mutex_unlock(&f->lock);
}

static void *thread_main(void *arg)
{
	const struct cwe_follow *f = arg;

	(void)sched_setaffinity(0, sizeof f->cpus, &f->cpus); /* else it shares a processor */
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
	if (!f->threads && start_thread(f) && f->processors >= MANY)
		(void)start_thread(f);
}

void cwe_follow_again(struct cwe_follow *f, size_t i)
{
	pthread_mutex_lock(&f->lock);
	f->file[i].again = 1;
	f->file[i].whole = 0;
	pthread_mutex_unlock(&f->lock);
}

/* No thread has a piece of the file. Under the lock. */
static void wait_until_free(struct cwe_follow *f, const struct file *one)
{
	while (one->at != one->taken && !f->failed)
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
			one->at = one->taken = one->behind = 0;
		}
		one->whole = one->size;
	}
	f->last = 1;
	pthread_cond_broadcast(&f->wake);
	pthread_mutex_unlock(&f->lock);
	while (more && f->threads < f->count && f->threads + 1 < f->processors)
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
	for (i = 0; i < f->pieces; i++)
		free(f->piece[i].buffer);
	pthread_cond_destroy(&f->wake);
	pthread_mutex_destroy(&f->lock);
	free(f->file);
	free(f);
}
