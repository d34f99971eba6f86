/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A backend's operations behind functions that look at the clock. */
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "bench/trace.h"

enum { UPLOAD, DOWNLOAD, ZERO, SYNC, COPY, ALLOC, HOST_ALLOC, LOAD_BEGIN, LOAD, LOAD_WAIT, FETCH, FETCH_WAIT, SEND, SEND_WAIT, MATMUL, OPS,
	MOST_CALLS = 4096 };

static const char *const names[OPS] = {"upload", "download", "zero", "sync", "copy", "alloc", "host_alloc", "load_begin", "load", "load_wait",
	"fetch", "fetch_wait", "send", "send_wait", "matmul"};

struct call {
	int op;
	double end, took;
	uint64_t bytes;
};

static struct {
	const struct cwp_backend *real;
	struct cwp_backend ops;
	pthread_mutex_t lock; /* of all below */
	double begin, least;
	struct {
		uint64_t calls, bytes;
		double first, took, longest;
	} sum[OPS];
	struct call call[MOST_CALLS];
	uint32_t calls;
} t = {.lock = PTHREAD_MUTEX_INITIALIZER};

static double now(void)
{
	struct timespec at;
	(void)clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

static void note(int op, double from, uint64_t bytes)
{
	double end = now(), took = end - from;
	(void)pthread_mutex_lock(&t.lock);
	t.sum[op].first = t.sum[op].calls == 0 ? from - t.begin : t.sum[op].first;
	t.sum[op].calls++;
	t.sum[op].bytes += bytes;
	t.sum[op].took += took;
	t.sum[op].longest = took > t.sum[op].longest ? took : t.sum[op].longest;
	if (took >= t.least && t.calls < MOST_CALLS) {
		t.call[t.calls++] = (struct call){op, end - t.begin, took, bytes};
	}
	(void)pthread_mutex_unlock(&t.lock);
}

static int upload(void *b, void *d_dst, const void *src, size_t bytes)
{
	double from = now();
	int r = t.real->upload(b, d_dst, src, bytes);
	note(UPLOAD, from, bytes);
	return r;
}

static int download(void *b, void *dst, const void *d_src, size_t bytes)
{
	double from = now();
	int r = t.real->download(b, dst, d_src, bytes);
	note(DOWNLOAD, from, bytes);
	return r;
}

static int zero(void *b, void *d_dst, size_t bytes)
{
	double from = now();
	int r = t.real->zero(b, d_dst, bytes);
	note(ZERO, from, bytes);
	return r;
}

static int sync_all(void *b)
{
	double from = now();
	int r = t.real->sync(b);
	note(SYNC, from, 0);
	return r;
}

static int copy(void *b, void *d_dst, const void *d_src, size_t bytes)
{
	double from = now();
	int r = t.real->copy(b, d_dst, d_src, bytes);
	note(COPY, from, bytes);
	return r;
}

static void *alloc(void *b, size_t bytes)
{
	double from = now();
	void *p = t.real->alloc(b, bytes);
	note(ALLOC, from, bytes);
	return p;
}

static void *host_alloc(void *b, size_t bytes)
{
	double from = now();
	void *p = t.real->host_alloc(b, bytes);
	note(HOST_ALLOC, from, bytes);
	return p;
}

static int load_begin(void *b)
{
	double from = now();
	int r = t.real->load_begin(b);
	note(LOAD_BEGIN, from, 0);
	return r;
}

static int load(void *b, float *d_dst, const void *src, uint32_t dtype, uint64_t n)
{
	double from = now();
	int r = t.real->load(b, d_dst, src, dtype, n);
	note(LOAD, from, n * (dtype == CWP_F32 ? 4 : 2));
	return r;
}

static int load_wait(void *b)
{
	double from = now();
	int r = t.real->load_wait(b);
	note(LOAD_WAIT, from, 0);
	return r;
}

static int fetch(void *b, void *dst, const void *d_src, size_t bytes)
{
	double from = now();
	int r = t.real->fetch(b, dst, d_src, bytes);
	note(FETCH, from, bytes);
	return r;
}

static int fetch_wait(void *b)
{
	double from = now();
	int r = t.real->fetch_wait(b);
	note(FETCH_WAIT, from, 0);
	return r;
}

static int send(void *b, void *d_dst, const void *src, size_t bytes)
{
	double from = now();
	int r = t.real->send(b, d_dst, src, bytes);
	note(SEND, from, bytes);
	return r;
}

static int send_wait(void *b)
{
	double from = now();
	int r = t.real->send_wait(b);
	note(SEND_WAIT, from, 0);
	return r;
}

static int matmul(void *b, int trans_a, int trans_b, uint64_t m, uint64_t n, uint64_t k, const float *d_a, uint64_t lda,
	const float *d_b, uint64_t ldb, int accumulate, float *d_c, uint64_t ldc)
{
	double from = now();
	int r = t.real->matmul(b, trans_a, trans_b, m, n, k, d_a, lda, d_b, ldb, accumulate, d_c, ldc);
	note(MATMUL, from, 0);
	return r;
}

const struct cwp_backend *trace_wrap(const struct cwp_backend *ops)
{
	t.real = ops;
	t.ops = *ops;
	t.ops.upload = upload;
	t.ops.download = download;
	t.ops.zero = zero;
	t.ops.sync = sync_all;
	t.ops.copy = copy;
	t.ops.alloc = alloc;
	t.ops.host_alloc = host_alloc;
	t.ops.load_begin = load_begin;
	t.ops.load = load;
	t.ops.load_wait = load_wait;
	t.ops.fetch = fetch;
	t.ops.fetch_wait = fetch_wait;
	t.ops.send = send;
	t.ops.send_wait = send_wait;
	t.ops.matmul = matmul;
	return &t.ops;
}

void trace_begin(double least)
{
	(void)pthread_mutex_lock(&t.lock);
	memset(t.sum, 0, sizeof t.sum);
	t.calls = 0;
	t.least = least;
	t.begin = now();
	(void)pthread_mutex_unlock(&t.lock);
}

void trace_print(FILE *f)
{
	(void)pthread_mutex_lock(&t.lock);
	(void)fprintf(f, "%-10s %7s %9s %9s %9s %9s\n", "operation", "calls", "first, s", "all, s", "most, ms", "MB");
	for (int i = 0; i < OPS; i++) {
		if (t.sum[i].calls > 0) {
			(void)fprintf(f, "%-10s %7" PRIu64 " %9.4f %9.4f %9.3f %9.1f\n", names[i], t.sum[i].calls, t.sum[i].first, t.sum[i].took,
				t.sum[i].longest * 1e3, (double)t.sum[i].bytes * 1e-6);
		}
	}
	for (uint32_t i = 0; i < t.calls; i++) {
		const struct call *c = &t.call[i];
		(void)fprintf(f, "  until %8.4f s: %-10s %8.3f ms %9.1f MB\n", c->end, names[c->op], c->took * 1e3, (double)c->bytes * 1e-6);
	}
	(void)pthread_mutex_unlock(&t.lock);
}
