/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Streams are lists of what is still to do; an event is done when its stream got that far. Threads call one after the other. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/cuda/fake_runtime.h"

struct fake_runtime fake = {.total = UINT64_C(4) << 30};

struct task {
	struct task *next;
	void (*run)(const void *arg);
	struct CUevent_st *record, *wait;
	uint64_t version; /* of the event */
	unsigned char arg[128];
};

struct CUstream_st {
	struct task *first, **last;
	struct CUstream_st *next;
};

struct CUevent_st {
	struct CUstream_st *stream;
	uint64_t asked, done;
	struct CUevent_st *next; /* of those that were destroyed */
};

enum { MOST = 4096 };

struct block {
	char *p;
	size_t bytes;
	int host;
};

static struct block block[MOST];
static struct CUstream_st *streams;
static struct CUevent_st *destroyed; /* streams may still have to come there: they go with the last one */

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static void leave(const int *entered)
{
	if (*entered == 0) {
		(void)pthread_mutex_unlock(&lock);
	}
}

/* Until the end of the function. */
#define ALONE __attribute__((cleanup(leave), unused)) int entered = pthread_mutex_lock(&lock)

static cudaError_t now(void)
{
	return fake.stays;
}

static struct task *push(struct CUstream_st *s)
{
	struct task *t = calloc(1, sizeof(*t));
	assert_non_null(t);
	*s->last = t;
	s->last = &t->next;
	return t;
}

static void reach(struct CUevent_st *e, uint64_t version);

static void step(struct CUstream_st *s)
{
	struct task *t = s->first;
	if (t->wait) {
		reach(t->wait, t->version);
	}
	/* What was waited for may have needed this stream. */
	if (s->first != t) {
		return;
	}
	s->first = t->next;
	if (!s->first) {
		s->last = &s->first;
	}
	if (t->run) {
		t->run(t->arg);
	}
	if (t->record) {
		t->record->done = t->version;
	}
	free(t);
}

static void reach(struct CUevent_st *e, uint64_t version)
{
	while (e->done < version) {
		assert_non_null(e->stream->first);
		step(e->stream);
	}
}

static void drain(struct CUstream_st *s)
{
	while (s->first) {
		step(s);
	}
}

void fake_later(cudaStream_t stream, void (*run)(const void *arg), const void *arg, size_t size)
{
	ALONE;
	struct task *t = push(stream);
	assert_true(size <= sizeof(t->arg));
	memcpy(t->arg, arg, size);
	t->run = run;
}

/* bytes 0: that begins there. */
static struct block *find(const void *p, size_t bytes, int host)
{
	for (size_t i = 0; i < MOST; i++) {
		struct block *k = &block[i];
		if (k->p && k->host == host && (const char *)p >= k->p && (const char *)p + bytes <= k->p + k->bytes && (bytes > 0 || p == k->p)) {
			return k;
		}
	}
	return NULL;
}

static void *make(size_t bytes, int host)
{
	size_t i = 0;
	while (block[i].p) {
		i++;
		assert_true(i < MOST);
	}
	void *p = aligned_alloc(512, (bytes + 511) / 512 * 512);
	assert_non_null(p);
	memset(p, 0xa5, bytes);
	block[i] = (struct block){p, bytes, host};
	return p;
}

cudaError_t cudaMalloc(void **ret, size_t bytes)
{
	ALONE;
	if (now() || bytes > fake.total - fake.taken) {
		return now() ? now() : cudaErrorMemoryAllocation;
	}
	*ret = make(bytes, 0);
	fake.taken += bytes;
	fake.mallocs++;
	return cudaSuccess;
}

/* Without waiting for any stream: who frees what is in use sees it. */
cudaError_t cudaFree(void *p)
{
	ALONE;
	struct block *k = p ? find(p, 0, 0) : NULL;
	if (k) {
		assert_ptr_equal(k->p, p);
		fake.taken -= k->bytes;
		free(k->p);
		k->p = NULL;
	}
	return now();
}

cudaError_t cudaHostAlloc(void **ret, size_t bytes, unsigned flags)
{
	ALONE;
	(void)flags;
	if (now()) {
		return now();
	}
	*ret = make(bytes, 1);
	return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p)
{
	ALONE;
	struct block *k = find(p, 0, 1);
	assert_non_null(k);
	free(k->p);
	k->p = NULL;
	return now();
}

cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned flags)
{
	ALONE;
	size_t i = 0;
	(void)flags;
	if (now() || fake.pins_nothing) {
		return now() ? now() : cudaErrorNotSupported;
	}
	while (block[i].p) {
		i++;
		assert_true(i < MOST);
	}
	block[i] = (struct block){p, bytes, 1};
	return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *p)
{
	ALONE;
	struct block *k = find(p, 0, 1);
	assert_non_null(k);
	assert_ptr_equal(k->p, p);
	k->p = NULL;
	return now();
}

cudaError_t cudaMemGetInfo(size_t *ret_free, size_t *ret_total)
{
	*ret_total = fake.total;
	*ret_free = fake.total - fake.taken;
	return now();
}

struct copy {
	void *dst;
	const void *src;
	size_t bytes;
};

static void run_copy(const void *arg)
{
	struct copy c;
	memcpy(&c, arg, sizeof(c));
	memcpy(c.dst, c.src, c.bytes);
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
	ALONE;
	struct copy c = {dst, src, bytes};
	const void *host = kind == cudaMemcpyDeviceToHost ? dst : src;
	assert_non_null(find(kind == cudaMemcpyDeviceToHost ? src : dst, bytes, 0));
	assert_true(find(host, bytes, kind != cudaMemcpyDeviceToDevice) || fake.pins_nothing);
	if (!now()) {
		fake_later(stream, run_copy, &c, sizeof(c));
		if (kind != cudaMemcpyDeviceToDevice && !find(host, bytes, 1)) {
			drain(stream); /* of ordinary memory it waits */
		}
	}
	return now();
}

struct set {
	char *dst;
	size_t pitch, width, height;
	int value;
};

static void run_set(const void *arg)
{
	struct set s;
	memcpy(&s, arg, sizeof(s));
	for (size_t i = 0; i < s.height; i++) {
		memset(s.dst + i * s.pitch, s.value, s.width);
	}
}

cudaError_t cudaMemset2DAsync(void *dst, size_t pitch, int value, size_t width, size_t height, cudaStream_t stream)
{
	ALONE;
	struct set s = {dst, pitch, width, height, value};
	assert_non_null(find(dst, (height - 1) * pitch + width, 0));
	if (!now()) {
		fake_later(stream, run_set, &s, sizeof(s));
	}
	return now();
}

cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t stream)
{
	return cudaMemset2DAsync(dst, bytes, value, bytes, 1, stream);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *ret, unsigned flags, int priority)
{
	ALONE;
	(void)flags;
	(void)priority;
	if (now()) {
		return now();
	}
	*ret = calloc(1, sizeof(**ret));
	assert_non_null(*ret);
	(*ret)->last = &(*ret)->first;
	(*ret)->next = streams;
	streams = *ret;
	return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *ret, unsigned flags)
{
	return cudaStreamCreateWithPriority(ret, flags, 0);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
	ALONE;
	if (!now()) {
		drain(stream);
	}
	return now();
}

cudaError_t cudaDeviceSynchronize(void)
{
	ALONE;
	for (struct CUstream_st *s = streams; s && !now(); s = s->next) {
		drain(s);
	}
	return now();
}

static void forget_events(void)
{
	while (!streams && destroyed) {
		struct CUevent_st *e = destroyed;
		destroyed = e->next;
		free(e);
	}
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
	ALONE;
	struct CUstream_st **at = &streams;
	while (*at != stream) {
		at = &(*at)->next;
	}
	*at = stream->next;
	while (stream->first) {
		struct task *t = stream->first;
		stream->first = t->next;
		free(t);
	}
	free(stream);
	forget_events();
	return now();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
	ALONE;
	(void)flags;
	if (!now()) {
		struct task *t = push(stream);
		t->wait = event;
		t->version = event->asked;
	}
	return now();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *ret, unsigned flags)
{
	(void)flags;
	if (now()) {
		return now();
	}
	*ret = calloc(1, sizeof(**ret));
	assert_non_null(*ret);
	return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
	ALONE;
	if (!now()) {
		struct task *t = push(stream);
		event->stream = stream;
		t->record = event;
		t->version = ++event->asked;
	}
	return now();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
	ALONE;
	if (!now()) {
		reach(event, event->asked);
	}
	return now();
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
	ALONE;
	event->next = destroyed;
	destroyed = event;
	forget_events();
	return now();
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *low, int *high)
{
	*low = *high = 0;
	return now();
}

cudaError_t cudaSetDevice(int device)
{
	ALONE;
	fake.device = device;
	return now();
}

cudaError_t cudaGetLastError(void)
{
	return now();
}

const char *cudaGetErrorName(cudaError_t e)
{
	return e == cudaErrorECCUncorrectable ? "cudaErrorECCUncorrectable" : "another";
}

const char *cudaGetErrorString(cudaError_t e)
{
	return e == cudaErrorECCUncorrectable ? "uncorrectable ECC error encountered" : "another error";
}
