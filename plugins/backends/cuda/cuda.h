/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the files of the CUDA backend share. The operations are those of struct cwp_backend, where they are explained.
 * Files in C hold checks, memory and the choice of kernels; files in CUDA hold kernels and the functions of launch.h that
 * start them. */
#ifndef CUDA_CUDA_H
#define CUDA_CUDA_H

#include <cuda_runtime_api.h>

#include <cwp/backend.h>

#include "plugins/backends/cuda/launch.h"

enum cuda_precision { CUDA_F32, CUDA_BF16 };

/* Copies in BF16 of f32 matrices that products read, kept as long as nothing writes the original. cache.c */
struct cuda_cache;

/* All device memory. memory.c */
struct cuda_memory;

/* Pinned memory that the host took. pinned.c */
struct cuda_pinned;

/* Pinned memory through which transfers go. transfer.c */
struct cuda_transfer;

/* Loads and transfers beside the computation. beside.c */
struct cuda_beside;

/* Products that were made ready. plans.c */
struct cuda_plans;

/* Sums over several devices. reduce.c */
struct cuda_reduce;

struct cuda {
	const struct cwp_host *host;
	enum cuda_precision precision;
	int device;              /* the runtime's number */
	int processors;          /* multiprocessors */
	int capability;          /* 90: 9.0 */
	size_t shared_memory;    /* bytes that a block can have */
	cudaStream_t stream;     /* of all operations */
	struct cuda_memory *memory;
	struct cuda_cache *cache;
	struct cuda_pinned *pinned;
	struct cuda_transfer *transfer;
	struct cuda_beside *beside;
	struct cuda_plans *plans;
	struct cuda_reduce *reduce;
	cudaEvent_t mark; /* of reduce(), made by the first one */
	int refused; /* the code of the last refusal: what to return when a function gave NULL and explained it */
	char name[128];
};

extern const struct cwp_backend cuda_backend;

/* Explains a refusal through host->fail() and returns code. */
int cuda_refuse(struct cuda *b, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* 0, or the code for what the runtime said: -ENOMEM, -EBUSY, CWP_ESTATE (the device is lost: the attempt may be made again,
 * there or elsewhere), CWP_EMISSING (driver), CWP_EPLUGIN. [any-thread] */
int cuda_code(cudaError_t e);
/* The same of op, explained. */
int cuda_check(struct cuda *b, const char *op, cudaError_t e);
/* CWP_ESHAPE unless rows * ld elements of f32 are addressable and ld >= cols; name is for the message. */
int cuda_check_matrix(struct cuda *b, const char *op, const char *name, const void *p, uint64_t rows, uint64_t cols, uint64_t ld);
/* CWP_ESHAPE unless the starts begin with 0 and ascend. */
int cuda_check_sequences(struct cuda *b, const char *op, const struct cwp_sequences *s);

/* Memory that one operation uses, 256-byte aligned; valid until the next call of this function, in the order of the stream.
 * NULL when there is none. */
void *cuda_scratch(struct cuda *b, size_t bytes);
/* A table of host memory (starts of sequences, say) on the device, valid until the next operation; NULL: explained. The
 * host memory is free again on return. At most 3 tables an operation. */
const void *cuda_table(struct cuda *b, const char *op, const void *table, size_t bytes);

/* Every operation says what it wrote on the device: copies of it are no longer true. */
void cuda_wrote(struct cuda *b, const void *d_p, size_t bytes);
/* The same of n numbers, and where the operation should put them rounded to BF16 besides, one behind the other: where products
 * asked for such a copy before. Otherwise NULL: the next product makes its own. The copy counts as made: the operation must
 * fill all of it, in the order of the stream. */
void *cuda_wrote_beside(struct cuda *b, const float *d_p, uint64_t n);
/* x [rows, cols] in BF16 with rows *ret_ld elements apart (a multiple of 8, rows 16-byte aligned), made now or still true from
 * an earlier call. Valid until the next call but one (two operands of one product can be held). NULL: explained. */
const void *cuda_bf16(struct cuda *b, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, uint64_t *ret_ld);

/* Parts of open() and close(); a close takes what its open left, or nothing. */
int cuda_memory_open(struct cuda *b);
void cuda_memory_close(struct cuda *b);
int cuda_pinned_open(struct cuda *b);
void cuda_pinned_close(struct cuda *b); /* before what transfers use */
int cuda_transfer_open(struct cuda *b);
void cuda_transfer_close(struct cuda *b);
int cuda_beside_open(struct cuda *b);
void cuda_beside_close(struct cuda *b);
int cuda_cache_open(struct cuda *b);
void cuda_cache_close(struct cuda *b);
int cuda_plans_open(struct cuda *b);
void cuda_plans_close(struct cuda *b);
int cuda_reduce_open(struct cuda *b);
void cuda_reduce_close(struct cuda *b);

#endif
