/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Files of a model in several parts are hashed beside each other. The pool is not used: how many threads it gets is decided
 * later, from what the inputs are. */
#include "engine/pipeline/inputs_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8 /* at most, with the caller */

struct work {
	struct cwe_run *run;
	struct cwe_input_file *input;
	size_t n;
	pthread_mutex_t lock; /* of what follows, and of run->known */
	size_t next;
	int failed;
};

static int is_cancelled(void *arg)
{
	struct cwp_host *host = arg;
	return host->cancelled(host->ctx);
}

/* The digest of an open file: from the list where it is known, else of its bytes, noted when nobody wrote meanwhile. */
static int digest_of(struct work *w, int fd, const struct stat *before, struct cwe_input_file *in)
{
	struct cwb_known_file file, now;
	struct timespec began;
	struct stat after;
	cwb_known_identify(before, &file);
	pthread_mutex_lock(&w->lock);
	int known = cwb_known_find(&w->run->known, &file, in->hex);
	pthread_mutex_unlock(&w->lock);
	if (known) {
		in->size = file.size;
		return 0;
	}
	(void)clock_gettime(CLOCK_REALTIME, &began);
	int r = cwb_digest_fd(fd, in->path, is_cancelled, &w->run->p->host->table, in->hex, &in->size, &in->err);
	if (r == 0 && fstat(fd, &after) == 0) {
		cwb_known_identify(&after, &now);
		pthread_mutex_lock(&w->lock);
		/* What cannot be noted for want of memory is only read again. */
		(void)(cwb_known_same(&file, &now) && in->size == file.size && cwb_known_add(&w->run->known, &file, &began, in->hex));
		pthread_mutex_unlock(&w->lock);
	}
	return r;
}

static int digest_file(struct work *w, struct cwe_input_file *in)
{
	struct stat st;
	/* Opening a pipe must not wait for its other end. */
	int fd = open(in->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		return cwb_err_errno(&in->err, "%s", in->path);
	}
	int r = fstat(fd, &st) == 0 ? 0 : cwb_err_errno(&in->err, "%s", in->path);
	if (r == 0 && !S_ISREG(st.st_mode)) {
		r = cwb_err_set(&in->err, CWP_EFORMAT, "%s is not a regular file", in->path);
	}
	r = r == 0 ? digest_of(w, fd, &st, in) : r;
	(void)close(fd);
	return r;
}

/* One file after the other, until one failed; those before it are begun by then. */
static void *take_files(void *arg)
{
	struct work *w = arg;
	pthread_mutex_lock(&w->lock);
	while (w->next < w->n && !w->failed) {
		struct cwe_input_file *in = &w->input[w->next++];
		pthread_mutex_unlock(&w->lock);
		in->code = digest_file(w, in);
		pthread_mutex_lock(&w->lock);
		w->failed |= in->code != 0;
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* As many as there are files for, and threads that the job may have; fewer where the system gives fewer. Signals stay with the
 * program's own threads. */
static size_t start(struct work *w, pthread_t thread[THREADS])
{
	size_t most = cwe_pool_threads(w->run->p->host->pool), n = 0;
	sigset_t all, old;
	most = most < THREADS ? most : THREADS;
	most = most < w->n ? most : w->n;
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	while (n + 1 < most && pthread_create(&thread[n], NULL, take_files, w) == 0) {
		n++;
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return n;
}

int cwe_inputs_digest(struct cwe_run *run, struct cwe_input_file *input, size_t n, struct cwb_err *err)
{
	struct work w = {.run = run, .input = input, .n = n};
	pthread_t thread[THREADS];
	pthread_mutex_init(&w.lock, NULL);
	size_t threads = start(&w, thread);
	(void)take_files(&w);
	while (threads > 0) {
		(void)pthread_join(thread[--threads], NULL);
	}
	pthread_mutex_destroy(&w.lock);
	for (size_t i = 0; i < n; i++) {
		if (input[i].code != 0) {
			return cwb_err_set(err, input[i].code, "%s", input[i].err.message);
		}
	}
	return 0;
}
