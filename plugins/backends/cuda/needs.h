/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the backend takes of a device for itself, from what it will be used for. No call of CUDA. */
#ifndef CUDA_NEEDS_H
#define CUDA_NEEDS_H

#include <stdint.h>

#include <cwp/backend.h>

enum {
	/* Products of Hopper are fastest with 32 MiB; older devices take less of it. */
	CUDA_WORKSPACE = 32 << 20,
	/* Weights pass through device memory before they are widened: all of a layer where there is room, else so much at a time. */
	CUDA_LOAD_CHUNK = 8 << 20,
	CUDA_PAGE = 2 << 20, /* the driver gives whole ones */
	CUDA_TABLES = 4 /* of one operation at most 3, and the next one's first */
};

/* Bytes of each part. */
struct cuda_needs {
	uint64_t context;   /* the driver's: context, code of kernels, cuBLASLt's own, stacks */
	uint64_t workspace; /* of products */
	uint64_t loading;   /* see above */
	uint64_t table;     /* each of CUDA_TABLES */
	uint64_t scratch;   /* what one operation keeps while it runs */
	uint64_t copies;    /* operands rounded to BF16; 0 without */
};

void cuda_needs_find(const struct cwp_backend_use *use, int bf16, struct cuda_needs *ret);
/* All together, and what is lost to whole pages; UINT64_MAX: more than there can be. */
uint64_t cuda_needs_sum(const struct cuda_needs *n);
/* Without the context: what is taken by calls of ours. */
uint64_t cuda_needs_own(const struct cuda_needs *n);

#endif
