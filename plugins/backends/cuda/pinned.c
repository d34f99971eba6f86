/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Regions of host memory, pinned at once or by a thread of their own, and fetches that wait for that. What the driver does not pin
 * stays ordinary memory, to which transfers are slower. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "plugins/backends/cuda/memory.h"
#include "plugins/backends/cuda/ops_base.h"
#include "plugins/backends/cuda/pinned.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* since Linux 5.14 */
#endif

enum { MOST_TOUCHING = 4, PAGE = 4096, HUGE_PAGE = 2 << 20, TOUCH_STEP = 16 << 20 };

enum state {
	ALLOCATED,  /* by the runtime */
	WAITING,    /* for the thread */
	REGISTERED, /* ordinary memory that the driver pinned */
	ORDINARY    /* that it did not */
};

struct region {
	struct region *next;
	char *p;
	size_t bytes;
	char *mapped; /* all but ALLOCATED: what mmap gave */
	size_t mapped_bytes;
	enum state state;
};

/* A fetch into memory that is not pinned yet. */
struct later {
	struct later *next;
	cudaStream_t stream;
	cudaEvent_t before;
	void *dst;
	const void *d_src;
	size_t bytes;
};

struct cuda_pinned {
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t changed;
	struct region *region; /* the newest first */
	struct later *later, **last; /* in their order */
	cudaError_t error; /* of a fetch that the thread began */
	int running;       /* there is a thread */
	pthread_t thread;
	atomic_int stop;   /* of the thread, whatever it does */
};

int cuda_pinned_open(struct cuda *b)
{
	struct cuda_pinned *s = calloc(1, sizeof(*s));
	if (!s) {
		return -ENOMEM;
	}
	if (pthread_mutex_init(&s->lock, NULL)) {
		free(s);
		return -ENOMEM;
	}
	if (pthread_cond_init(&s->changed, NULL)) {
		(void)pthread_mutex_destroy(&s->lock);
		free(s);
		return -ENOMEM;
	}
	s->last = &s->later;
	b->pinned = s;
	return 0;
}

static void release(const struct region *r)
{
	if (r->state == ALLOCATED) {
		(void)cudaFreeHost(r->p);
		return;
	}
	if (r->state == REGISTERED) {
		(void)cudaHostUnregister(r->p);
	}
	(void)munmap(r->mapped, r->mapped_bytes);
}

void cuda_pinned_close(struct cuda *b)
{
	struct cuda_pinned *s = b->pinned;
	if (!s) {
		return;
	}
	(void)pthread_mutex_lock(&s->lock);
	atomic_store(&s->stop, 1);
	(void)pthread_cond_broadcast(&s->changed);
	int running = s->running;
	(void)pthread_mutex_unlock(&s->lock);
	if (running) {
		(void)pthread_join(s->thread, NULL);
	}
	/* Transfers that still use the memory are done first. */
	(void)cudaDeviceSynchronize();
	while (s->later) {
		struct later *l = s->later;
		s->later = l->next;
		(void)cudaEventDestroy(l->before);
		free(l);
	}
	while (s->region) {
		struct region *r = s->region;
		s->region = r->next;
		release(r);
		free(r);
	}
	(void)pthread_cond_destroy(&s->changed);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
	b->pinned = NULL;
}

/* Pages of a region that several threads bring into being. */
struct touching {
	char *p;
	size_t bytes;
	atomic_size_t next;
	const atomic_int *stop;
};

/* The memory may be in use already: what it holds is left as it is. */
static void touch(char *p, size_t bytes)
{
	if (madvise(p, bytes, MADV_POPULATE_WRITE) == 0) {
		return;
	}
	for (size_t at = 0; at < bytes; at += PAGE) {
		(void)__atomic_fetch_or(p + at, 0, __ATOMIC_RELAXED);
	}
}

static void *touch_steps(void *arg)
{
	struct touching *t = arg;
	for (size_t at; !atomic_load(t->stop) && (at = atomic_fetch_add(&t->next, TOUCH_STEP)) < t->bytes;) {
		touch(t->p + at, t->bytes - at < TOUCH_STEP ? t->bytes - at : TOUCH_STEP);
	}
	return NULL;
}

/* Signals stay with the threads that the program made itself. */
static int start(pthread_t *thread, void *(*run)(void *), void *arg)
{
	sigset_t all, old;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(thread, NULL, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

static void touch_all(const struct cuda *b, char *p, size_t bytes)
{
	struct touching t = {.p = p, .bytes = bytes, .stop = &b->pinned->stop};
	pthread_t thread[MOST_TOUCHING];
	uint32_t n = 0, wanted = b->host->threads / 2 < MOST_TOUCHING ? b->host->threads / 2 : MOST_TOUCHING;
	while (n + 1 < wanted && start(&thread[n], touch_steps, &t) == 0) {
		n++;
	}
	(void)touch_steps(&t);
	for (uint32_t i = 0; i < n; i++) {
		(void)pthread_join(thread[i], NULL);
	}
}

/* The region that waits longest, or NULL. */
static struct region *waiting(const struct cuda_pinned *s)
{
	struct region *found = NULL;
	for (struct region *r = s->region; r; r = r->next) {
		found = r->state == WAITING ? r : found;
	}
	return found;
}

/* The region that holds all of [p, p + bytes), or NULL. */
static struct region *holder(const struct cuda_pinned *s, const void *p, size_t bytes)
{
	uintptr_t at = (uintptr_t)p;
	for (struct region *r = s->region; r; r = r->next) {
		uintptr_t begin = (uintptr_t)r->p;
		if (at >= begin && at - begin < r->bytes && bytes <= r->bytes - (at - begin)) {
			return r;
		}
	}
	return NULL;
}

static int is_waiting(const struct cuda_pinned *s, const void *p, size_t bytes)
{
	const struct region *r = holder(s, p, bytes);
	return r && r->state == WAITING;
}

/* Begins the fetches that were waiting for no other memory than what is pinned now. */
static void begin_fetches(struct cuda_pinned *s)
{
	struct later **at = &s->later;
	while (*at) {
		struct later *l = *at;
		if (is_waiting(s, l->dst, l->bytes)) {
			at = &l->next;
			continue;
		}
		cudaError_t e = cudaStreamWaitEvent(l->stream, l->before, 0);
		e = e != cudaSuccess ? e : cudaMemcpyAsync(l->dst, l->d_src, l->bytes, cudaMemcpyDeviceToHost, l->stream);
		s->error = s->error != cudaSuccess ? s->error : e;
		(void)cudaEventDestroy(l->before);
		*at = l->next;
		free(l);
	}
	s->last = at;
}

static void *run(void *arg)
{
	struct cuda *b = arg;
	struct cuda_pinned *s = b->pinned;
	(void)cudaSetDevice(b->device);
	(void)pthread_mutex_lock(&s->lock);
	for (struct region *r = NULL; !atomic_load(&s->stop);) {
		if (!(r = waiting(s))) {
			(void)pthread_cond_wait(&s->changed, &s->lock);
			continue;
		}
		/* Who frees it waits until it is no longer WAITING. */
		(void)pthread_mutex_unlock(&s->lock);
		touch_all(b, r->p, r->bytes);
		int stop = atomic_load(&s->stop);
		cudaError_t e = stop ? cudaErrorNotReady : cudaHostRegister(r->p, r->bytes, cudaHostRegisterPortable);
		if (e != cudaSuccess) {
			(void)cudaGetLastError();
		}
		(void)pthread_mutex_lock(&s->lock);
		r->state = e == cudaSuccess ? REGISTERED : ORDINARY;
		if (!stop) {
			begin_fetches(s);
		}
		(void)pthread_cond_broadcast(&s->changed);
	}
	(void)pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* Whole huge pages. Not to be pinned where there is no thread for it. */
static int map_later(struct cuda *b, struct region *r)
{
	struct cuda_pinned *s = b->pinned;
	size_t whole = (r->bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	r->mapped_bytes = whole + HUGE_PAGE;
	r->mapped = mmap(NULL, r->mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->mapped == MAP_FAILED) {
		return -ENOMEM;
	}
	r->p = (char *)(((uintptr_t)r->mapped + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
	r->state = WAITING;
	(void)madvise(r->p, whole, MADV_HUGEPAGE);
	(void)pthread_mutex_lock(&s->lock);
	s->running = s->running || start(&s->thread, run, b) == 0;
	r->state = s->running ? WAITING : ORDINARY;
	(void)pthread_mutex_unlock(&s->lock);
	return 0;
}

void *cuda_host_alloc(void *vb, size_t bytes)
{
	struct cuda *b = vb;
	struct cuda_pinned *s = b->pinned;
	struct region *r = calloc(1, sizeof(*r));
	void *p = NULL;
	if (!r || bytes > PTRDIFF_MAX - 2 * (size_t)HUGE_PAGE) {
		free(r);
		return NULL;
	}
	r->bytes = bytes;
	int rc = 0;
	if (bytes >= CUDA_PINNED_LATER) {
		rc = map_later(b, r);
	} else {
		rc = cudaHostAlloc(&p, bytes ? bytes : 64, cudaHostAllocPortable) == cudaSuccess ? 0 : -ENOMEM;
		r->p = p;
	}
	if (rc) {
		(void)cudaGetLastError();
		free(r);
		return NULL;
	}
	p = r->p;
	(void)pthread_mutex_lock(&s->lock);
	r->next = s->region;
	s->region = r;
	(void)pthread_cond_broadcast(&s->changed);
	(void)pthread_mutex_unlock(&s->lock);
	return p;
}

void cuda_host_free(void *vb, void *p)
{
	struct cuda *b = vb;
	struct cuda_pinned *s = b->pinned;
	(void)pthread_mutex_lock(&s->lock);
	struct region *r = p ? holder(s, p, 0) : NULL;
	while (r && r->state == WAITING) {
		(void)pthread_cond_wait(&s->changed, &s->lock);
	}
	struct region **at = &s->region;
	while (r && *at != r) {
		at = &(*at)->next;
	}
	if (r) {
		*at = r->next;
	}
	(void)pthread_mutex_unlock(&s->lock);
	if (r) {
		/* Transfers that still use it are done first. */
		(void)cudaDeviceSynchronize();
		release(r);
		free(r);
	}
}

int cuda_is_pinned(const struct cuda *b, const void *p, size_t bytes)
{
	struct cuda_pinned *s = b->pinned;
	(void)pthread_mutex_lock(&s->lock);
	const struct region *r = holder(s, p, bytes);
	int pinned = r && (r->state == ALLOCATED || r->state == REGISTERED);
	(void)pthread_mutex_unlock(&s->lock);
	return pinned;
}

void cuda_pinned_wait(struct cuda *b, const void *p, size_t bytes)
{
	struct cuda_pinned *s = b->pinned;
	(void)pthread_mutex_lock(&s->lock);
	const struct region *r = holder(s, p, bytes);
	while (r && r->state == WAITING) {
		(void)pthread_cond_wait(&s->changed, &s->lock);
	}
	(void)pthread_mutex_unlock(&s->lock);
}

/* Puts a fetch on the list. */
static cudaError_t keep(struct cuda *b, cudaStream_t stream, void *dst, const void *d_src, size_t bytes)
{
	struct cuda_pinned *s = b->pinned;
	struct later *l = calloc(1, sizeof(*l));
	if (!l) {
		return cudaErrorMemoryAllocation;
	}
	*l = (struct later){.stream = stream, .dst = dst, .d_src = d_src, .bytes = bytes};
	cudaError_t e = cudaEventCreateWithFlags(&l->before, cudaEventDisableTiming);
	if (e != cudaSuccess) {
		free(l);
		return e;
	}
	e = cudaEventRecord(l->before, b->stream);
	*s->last = l;
	s->last = &l->next;
	return e;
}

cudaError_t cuda_pinned_fetch(struct cuda *b, cudaStream_t beside, cudaEvent_t before, void *dst, const void *d_src, size_t bytes)
{
	struct cuda_pinned *s = b->pinned;
	cudaError_t e;
	(void)pthread_mutex_lock(&s->lock);
	if (is_waiting(s, dst, bytes)) {
		e = keep(b, beside, dst, d_src, bytes);
	} else {
		e = cudaEventRecord(before, b->stream);
		e = e != cudaSuccess ? e : cudaStreamWaitEvent(beside, before, 0);
		e = e != cudaSuccess ? e : cudaMemcpyAsync(dst, d_src, bytes, cudaMemcpyDeviceToHost, beside);
	}
	(void)pthread_mutex_unlock(&s->lock);
	return e;
}

cudaError_t cuda_pinned_fetched(struct cuda *b)
{
	struct cuda_pinned *s = b->pinned;
	(void)pthread_mutex_lock(&s->lock);
	while (s->later) {
		(void)pthread_cond_wait(&s->changed, &s->lock);
	}
	cudaError_t e = s->error;
	s->error = cudaSuccess;
	(void)pthread_mutex_unlock(&s->lock);
	return e;
}
