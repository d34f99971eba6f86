/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A CUDA runtime without a device, as lazy as one may be: what a stream is told is done when somebody waits for it, in no other
 * order than streams and events demand. Memory of the host that is not pinned is refused. */
#ifndef TESTS_CUDA_FAKE_RUNTIME_H
#define TESTS_CUDA_FAKE_RUNTIME_H

#include <stdint.h>

#include <cuda_runtime_api.h>

struct fake_runtime {
	uint64_t total;      /* bytes of the device */
	uint64_t taken;
	uint64_t mallocs;    /* calls that gave memory */
	uint64_t rounds;     /* matrices rounded to BF16 */
	uint64_t way;        /* of the last product: its place in the list; the third is of small tiles */
	int device;          /* the current one */
	int pins_nothing;    /* memory that is not its own cannot be registered */
	cudaError_t stays;   /* what every call says; 0: none */
};

extern struct fake_runtime fake;

/* A stream does this in its turn; arg is copied. */
void fake_later(cudaStream_t stream, void (*run)(const void *arg), const void *arg, size_t size);

uint16_t fake_to_bf16(float x);
float fake_from_bf16(uint16_t x);

#endif
