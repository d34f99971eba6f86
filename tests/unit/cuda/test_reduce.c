/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sums over several handles through copies, on a runtime whose streams do nothing before somebody waits: each sees what was
 * written before, and nothing that is written afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugins/backends/cuda/cuda.h"
#include "plugins/backends/cuda/ops_base.h"
#include "plugins/backends/cuda/ops_reduce.h"
#include "tests/unit/cuda/fake_runtime.h"

enum { MOST = 5, COUNT = (8 << 20) + 3 /* more than one step of f32 */ };

static char said[1024];
static int peers, enabled[MOST][MOST];

static void note_failure(void *ctx, const char *text)
{
	(void)ctx;
	snprintf(said, sizeof said, "%s", text);
}

static const struct cwp_host host = {.size = sizeof host, .threads = 1, .fail = note_failure};

cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer)
{
	assert_int_not_equal(device, peer);
	*can = peers;
	return fake.stays;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags)
{
	assert_int_equal(flags, 0);
	return enabled[fake.device][peer]++ ? cudaErrorPeerAccessAlreadyEnabled : cudaSuccess;
}

cudaError_t cudaMemcpyPeerAsync(void *dst, int to, const void *src, int from, size_t bytes, cudaStream_t stream)
{
	assert_int_equal(fake.device, to);
	assert_int_not_equal(to, from);
	return cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, stream);
}

struct reduction {
	uint32_t kind;
	void *y;
	const void *x;
	uint64_t n;
};

static void run_reduction(const void *arg)
{
	struct reduction r;
	memcpy(&r, arg, sizeof r);
	for (uint64_t i = 0; i < r.n; i++) {
		float *f = (float *)r.y + i;
		float g = ((const float *)r.x)[r.kind == CWP_REDUCE_SUM_F32 || r.kind == CWP_REDUCE_MAX_F32 ? i : 0];
		switch (r.kind) {
		case CWP_REDUCE_SUM_F32: *f += g; break;
		case CWP_REDUCE_SUM_F64: ((double *)r.y)[i] += ((const double *)r.x)[i]; break;
		case CWP_REDUCE_SUM_U64: ((uint64_t *)r.y)[i] += ((const uint64_t *)r.x)[i]; break;
		default: *f = g > *f ? g : *f;
		}
	}
}

cudaError_t launch_reduce(cudaStream_t stream, uint32_t kind, void *d_y, const void *d_x, uint64_t n)
{
	struct reduction r = {kind, d_y, d_x, n};
	fake_later(stream, run_reduction, &r, sizeof r);
	return fake.stays;
}

static struct cuda *open_handle(int device)
{
	struct cuda *b = calloc(1, sizeof *b);
	assert_non_null(b);
	b->host = &host;
	b->device = device;
	snprintf(b->name, sizeof b->name, "cuda Fake %d", device);
	assert_int_equal(cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking), cudaSuccess);
	assert_int_equal(cuda_memory_open(b) | cuda_pinned_open(b) | cuda_transfer_open(b) | cuda_beside_open(b) | cuda_cache_open(b) | cuda_reduce_open(b), 0);
	return b;
}

static void close_handle(struct cuda *b)
{
	(void)cudaStreamSynchronize(b->stream);
	cuda_reduce_close(b);
	cuda_pinned_close(b);
	cuda_beside_close(b);
	cuda_transfer_close(b);
	cuda_cache_close(b);
	cuda_memory_close(b);
	(void)cudaStreamDestroy(b->stream);
	free(b);
}

/* Numbers of handle k, of which sums in another order are others. */
static void fill(uint32_t kind, void *x, uint64_t n, uint32_t k)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t u = (i + 1) * (2 * k + 3) * 2654435761U % 1000003;
		switch (kind) {
		case CWP_REDUCE_SUM_F64: ((double *)x)[i] = (double)u / 7 * (k % 2 ? 1e9 : 1e-3); break;
		case CWP_REDUCE_SUM_U64: ((uint64_t *)x)[i] = u << 20; break;
		default: ((float *)x)[i] = (float)u / 7 * (k % 2 ? 1e4F : 1e-2F);
		}
	}
}

/* y gets x: what the kernel computes, at once. */
static void add(uint32_t kind, void *y, const void *x, uint64_t n)
{
	const struct reduction r = {kind, y, x, n};
	run_reduction(&r);
}

static void check(struct cuda **b, uint32_t n, uint32_t kind, uint64_t count)
{
	size_t bytes = count * (kind == CWP_REDUCE_SUM_F64 || kind == CWP_REDUCE_SUM_U64 ? 8 : 4);
	void *d_x[MOST], *x[MOST], *found = malloc(bytes + 1);
	for (uint32_t k = 0; k < n; k++) {
		d_x[k] = cuda_alloc(b[k], bytes);
		x[k] = malloc(bytes + 1);
		fill(kind, x[k], count, k);
		/* Still to come when the sum is asked for. */
		assert_int_equal(cuda_upload(b[k], d_x[k], x[k], bytes), 0);
	}
	assert_int_equal(cuda_reduce((void *const *)b, n, kind, d_x, count), 0);
	assert_int_equal(fake.device, b[0]->device);
	for (uint32_t k = 1; k < n; k++) {
		assert_int_equal(cuda_zero(b[k], d_x[k], bytes), 0);
		(void)cudaStreamSynchronize(b[k]->stream);
	}
	assert_int_equal(cuda_download(b[0], found, d_x[0], bytes), 0);
	for (uint32_t step = 1; step < n; step *= 2) {
		for (uint32_t k = 0; k + step < n; k += 2 * step) {
			add(kind, x[k], x[k + step], count);
		}
	}
	assert_memory_equal(found, x[0], bytes);
	for (uint32_t k = 0; k < n; k++) {
		cuda_free(b[k], d_x[k]);
		free(x[k]);
	}
	free(found);
}

static void open_all(struct cuda **b)
{
	fake = (struct fake_runtime){.total = UINT64_C(4) << 30};
	memset(enabled, 0, sizeof enabled);
	assert_int_equal(setenv("CWP_CUDA_REDUCE", "copies", 1), 0);
	for (int k = 0; k < MOST; k++) {
		b[k] = open_handle(k);
	}
}

static void close_all(struct cuda **b)
{
	for (int k = 0; k < MOST; k++) {
		close_handle(b[k]);
	}
	assert_int_equal(fake.taken, 0);
}

static void test_sums(void **state)
{
	struct cuda *b[MOST];
	(void)state;
	open_all(b);
	for (uint32_t n = 1; n <= MOST; n++) {
		peers = n % 2 == 0;
		for (uint32_t kind = CWP_REDUCE_SUM_F32; kind <= CWP_REDUCE_MAX_F32; kind++) {
			check(b, n, kind, 1001);
		}
	}
	check(b, 2, CWP_REDUCE_SUM_F32, COUNT);
	assert_true(enabled[0][1] > 0 && enabled[2][3] > 0 && enabled[1][0] == 0);
	close_all(b);
}

static void test_refusals(void **state)
{
	struct cuda *b[MOST];
	float *d_x[2];
	(void)state;
	open_all(b);
	d_x[0] = cuda_alloc(b[0], 64);
	d_x[1] = cuda_alloc(b[1], 64);
	void *const x[] = {d_x[0], d_x[1]}, *const missing[] = {d_x[0], NULL};
	assert_int_equal(cuda_reduce((void *const *)b, 0, CWP_REDUCE_SUM_F32, x, 4), CWP_EVALUE);
	assert_int_equal(cuda_reduce((void *const *)b, 2, 0, x, 4), CWP_EVALUE);
	assert_int_equal(cuda_reduce((void *const *)b, 2, 5, x, 4), CWP_EVALUE);
	assert_non_null(strstr(said, "reduce: 5 is no way to reduce"));
	assert_int_equal(cuda_reduce((void *const *)b, 2, CWP_REDUCE_SUM_F32, missing, 4), CWP_ESHAPE);
	assert_int_equal(cuda_reduce((void *const *)b, 2, CWP_REDUCE_SUM_F32, missing, 0), 0);
	assert_int_equal(cuda_reduce((void *const *)b, 2, CWP_REDUCE_SUM_F64, x, UINT64_MAX / 8), CWP_ESHAPE);
	b[1]->device = 0;
	assert_int_equal(cuda_reduce((void *const *)b, 2, CWP_REDUCE_SUM_F32, x, 4), CWP_EVALUE);
	assert_non_null(strstr(said, "two handles are of the same device, cuda Fake 1"));
	b[1]->device = 1;
	fake.stays = cudaErrorNvlinkUncorrectable;
	assert_int_equal(cuda_reduce((void *const *)b, 2, CWP_REDUCE_SUM_F32, x, 4), CWP_ESTATE);
	assert_int_equal(cuda_enter(b[0]), CWP_ESTATE);
	fake.stays = cudaSuccess;
	cuda_free(b[0], d_x[0]);
	cuda_free(b[1], d_x[1]);
	close_all(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_sums), cmocka_unit_test(test_refusals)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
