/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Numbers of several devices in one: through NCCL where it is installed, else through copies from device to device. Copies go
 * in pairs, first of neighbours, then of neighbouring pairs, so that the order of additions is always the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/backends/cuda/cuda.h"
#include "plugins/backends/cuda/nccl.h"
#include "plugins/backends/cuda/ops_reduce.h"

enum { CHUNK = 32 << 20 /* bytes of scratch, which is never less */ };

struct cuda_reduce {
	struct cuda_nccl *nccl; /* NULL: copies */
	int tried;              /* to have it */
};

int cuda_enter(void *vb)
{
	struct cuda *b = vb;
	return cuda_check(b, "enter", cudaSetDevice(b->device));
}

int cuda_reduce_open(struct cuda *b)
{
	b->reduce = calloc(1, sizeof(*b->reduce));
	return b->reduce ? 0 : -ENOMEM;
}

void cuda_reduce_close(struct cuda *b)
{
	if (b->reduce) {
		cuda_nccl_close(b->reduce->nccl);
		free(b->reduce);
		b->reduce = NULL;
	}
	if (b->mark) {
		(void)cudaEventDestroy(b->mark);
		b->mark = NULL;
	}
}

static size_t width_of(uint32_t kind)
{
	return kind == CWP_REDUCE_SUM_F64 || kind == CWP_REDUCE_SUM_U64 ? sizeof(double) : sizeof(float);
}

/* What `first` was told so far is done before what `then` is told from now on. */
static cudaError_t order(struct cuda *first, const struct cuda *then)
{
	cudaError_t e = cudaSetDevice(first->device);
	if (e == cudaSuccess && !first->mark) {
		e = cudaEventCreateWithFlags(&first->mark, cudaEventDisableTiming);
	}
	e = e != cudaSuccess ? e : cudaEventRecord(first->mark, first->stream);
	e = e != cudaSuccess ? e : cudaSetDevice(then->device);
	return e != cudaSuccess ? e : cudaStreamWaitEvent(then->stream, first->mark, 0);
}

/* Copies go straight from device to device where they can; through the host's memory elsewhere, by themselves. */
static cudaError_t let_in(const struct cuda *y, const struct cuda *x)
{
	int can = 0;
	cudaError_t e = cudaDeviceCanAccessPeer(&can, y->device, x->device);
	if (e != cudaSuccess || !can) {
		return e;
	}
	e = cudaDeviceEnablePeerAccess(x->device, 0);
	if (e == cudaErrorPeerAccessAlreadyEnabled) {
		(void)cudaGetLastError();
		e = cudaSuccess;
	}
	return e;
}

/* d_y of y gets d_x of x. */
static int combine(struct cuda *y, struct cuda *x, uint32_t kind, char *d_y, const char *d_x, uint64_t count)
{
	uint64_t width = width_of(kind), step = CHUNK / width;
	cudaError_t e = order(x, y);
	e = e != cudaSuccess ? e : let_in(y, x);
	void *d_chunk = e == cudaSuccess ? cuda_scratch(y, CHUNK) : NULL;
	if (e == cudaSuccess && !d_chunk) {
		return y->refused;
	}
	for (uint64_t at = 0; e == cudaSuccess && at < count; at += step) {
		uint64_t n = count - at < step ? count - at : step;
		e = cudaMemcpyPeerAsync(d_chunk, y->device, d_x + at * width, x->device, n * width, y->stream);
		e = e != cudaSuccess ? e : launch_reduce(y->stream, kind, d_y + at * width, d_chunk, n);
	}
	cuda_wrote(y, d_y, count * width);
	e = e != cudaSuccess ? e : order(y, x);
	return cuda_check(y, "reduce", e);
}

static int by_copies(struct cuda *const *b, uint32_t n, uint32_t kind, void *const *d_x, uint64_t count)
{
	int rc = 0;
	for (uint32_t step = 1; !rc && step < n; step *= 2) {
		for (uint32_t k = 0; !rc && k + step < n; k += 2 * step) {
			rc = combine(b[k], b[k + step], kind, d_x[k], d_x[k + step], count);
		}
	}
	return rc;
}

static int check(struct cuda *const *b, uint32_t n, uint32_t kind, void *const *d_x, uint64_t count)
{
	if (kind < CWP_REDUCE_SUM_F32 || kind > CWP_REDUCE_MAX_F32) {
		return cuda_refuse(b[0], CWP_EVALUE, "reduce: %u is no way to reduce", kind);
	}
	for (uint32_t k = 0; k < n; k++) {
		if (count > PTRDIFF_MAX / sizeof(double) || (count > 0 && !d_x[k])) {
			return cuda_refuse(b[0], CWP_ESHAPE, "reduce: the numbers of handle %u are not addressable", k);
		}
		for (uint32_t i = 0; i < k; i++) {
			if (b[i]->device == b[k]->device) {
				return cuda_refuse(b[0], CWP_EVALUE, "reduce: two handles are of the same device, %s", b[k]->name);
			}
		}
	}
	return 0;
}

/* NCCL for these handles; NULL: copies. CWP_CUDA_REDUCE=copies wants those. */
static struct cuda_nccl *nccl_for(struct cuda *const *b, uint32_t n)
{
	struct cuda_reduce *r = b[0]->reduce;
	const char *wish = getenv("CWP_CUDA_REDUCE");
	if (wish && strcmp(wish, "copies") == 0) {
		return NULL;
	}
	if (r->tried && r->nccl && !cuda_nccl_is_for(r->nccl, b, n)) {
		cuda_nccl_close(r->nccl);
		r->nccl = NULL;
		r->tried = 0;
	}
	if (!r->tried) {
		r->nccl = cuda_nccl_open(b, n);
		r->tried = 1;
	}
	return r->nccl;
}

int cuda_reduce(void *const *vb, uint32_t n, uint32_t kind, void *const *d_x, uint64_t count)
{
	struct cuda *b[CUDA_NCCL_MOST];
	if (n == 0 || n > CUDA_NCCL_MOST) {
		return CWP_EVALUE;
	}
	for (uint32_t k = 0; k < n; k++) {
		b[k] = vb[k];
	}
	int rc = check(b, n, kind, d_x, count);
	if (rc || n == 1 || count == 0) {
		return rc;
	}
	struct cuda_nccl *nccl = nccl_for(b, n);
	rc = nccl ? cuda_nccl_reduce(nccl, kind, d_x, count) : by_copies(b, n, kind, d_x, count);
	cuda_wrote(b[0], d_x[0], count * width_of(kind));
	int entered = cuda_enter(b[0]);
	return rc ? rc : entered;
}
