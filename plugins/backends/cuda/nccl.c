/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The few functions of libnccl.so.2 that are used, found by their names. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/backends/cuda/nccl.h"

/* Numbers of NCCL's interface, which are the same in all of its versions 2. */
enum { NCCL_UINT64 = 5, NCCL_FLOAT32 = 7, NCCL_FLOAT64 = 8, NCCL_SUM = 0, NCCL_MAX = 2 };

struct functions {
	int (*comm_init_all)(void **comm, int n, const int *device);
	int (*comm_destroy)(void *comm);
	int (*group_start)(void);
	int (*group_end)(void);
	int (*reduce)(const void *send, void *receive, size_t count, int type, int operation, int root, void *comm, cudaStream_t stream);
	const char *(*error_string)(int result);
};

struct cuda_nccl {
	void *library;
	struct functions f;
	uint32_t n;
	struct cuda *b[CUDA_NCCL_MOST];
	void *comm[CUDA_NCCL_MOST];
};

static void tell(const struct cuda *b, int level, const char *what, const char *why)
{
	char text[512];
	snprintf(text, sizeof(text), "cuda: %s%s%s", what, why[0] != '\0' ? ": " : "", why);
	b->host->log(b->host->ctx, level, text);
}

/* Pointers of data and of functions are the same here; ISO C has no cast for it. */
static int find(void *library, const char *name, void *function)
{
	void *p = dlsym(library, name);
	memcpy(function, &p, sizeof(p));
	return p != NULL;
}

static int find_all(void *library, struct functions *f)
{
	return find(library, "ncclCommInitAll", &f->comm_init_all) && find(library, "ncclCommDestroy", &f->comm_destroy) &&
		find(library, "ncclGroupStart", &f->group_start) && find(library, "ncclGroupEnd", &f->group_end) &&
		find(library, "ncclReduce", &f->reduce) && find(library, "ncclGetErrorString", &f->error_string);
}

struct cuda_nccl *cuda_nccl_open(struct cuda *const *b, uint32_t n)
{
	int device[CUDA_NCCL_MOST];
	struct cuda_nccl *nccl = calloc(1, sizeof(*nccl));
	if (!nccl) {
		return NULL;
	}
	nccl->library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
	if (!nccl->library || !find_all(nccl->library, &nccl->f)) {
		const char *why = dlerror();
		tell(b[0], CWP_LOG_INFO, "devices add through copies, not through NCCL", why ? why : "a function is missing");
		cuda_nccl_close(nccl);
		return NULL;
	}
	for (uint32_t k = 0; k < n; k++) {
		nccl->b[k] = b[k];
		device[k] = b[k]->device;
	}
	/* Sums in the switch would not be in an order of ours. */
	(void)setenv("NCCL_NVLS_ENABLE", "0", 1);
	int r = nccl->f.comm_init_all(nccl->comm, (int)n, device);
	if (r != 0) {
		tell(b[0], CWP_LOG_WARNING, "devices add through copies: NCCL does not start", nccl->f.error_string(r));
		(void)cudaGetLastError();
		memset(nccl->comm, 0, sizeof(nccl->comm));
		cuda_nccl_close(nccl);
		return NULL;
	}
	nccl->n = n;
	tell(b[0], CWP_LOG_INFO, "devices add through NCCL", "");
	return nccl;
}

/* The library stays: threads of its own may still be about to end. */
void cuda_nccl_close(struct cuda_nccl *nccl)
{
	if (!nccl) {
		return;
	}
	for (uint32_t k = 0; k < nccl->n; k++) {
		(void)nccl->f.comm_destroy(nccl->comm[k]);
	}
	free(nccl);
}

int cuda_nccl_is_for(const struct cuda_nccl *nccl, struct cuda *const *b, uint32_t n)
{
	return nccl->n == n && memcmp(nccl->b, b, n * sizeof(*b)) == 0;
}

static int refuse(struct cuda_nccl *nccl, int result)
{
	cudaError_t e = cudaGetLastError();
	int rc = e != cudaSuccess ? cuda_check(nccl->b[0], "reduce", e) : 0;
	return rc ? rc : cuda_refuse(nccl->b[0], CWP_ESTATE, "reduce: NCCL: %s: the attempt can be made again, on one device or with "
		"CWP_CUDA_REDUCE=copies", nccl->f.error_string(result));
}

int cuda_nccl_reduce(struct cuda_nccl *nccl, uint32_t kind, void *const *d_x, uint64_t count)
{
	int type = kind == CWP_REDUCE_SUM_F64 ? NCCL_FLOAT64 : kind == CWP_REDUCE_SUM_U64 ? NCCL_UINT64 : NCCL_FLOAT32;
	int operation = kind == CWP_REDUCE_MAX_F32 ? NCCL_MAX : NCCL_SUM;
	int r = nccl->f.group_start();
	for (uint32_t k = 0; r == 0 && k < nccl->n; k++) {
		r = nccl->f.reduce(d_x[k], d_x[k], count, type, operation, 0, nccl->comm[k], nccl->b[k]->stream);
	}
	int end = nccl->f.group_end();
	r = r != 0 ? r : end;
	return r == 0 ? 0 : refuse(nccl, r);
}
