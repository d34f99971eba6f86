/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Activations at the boundaries between layers, for all tokens: in memory while they fit the job's share, else in an
 * unlinked scratch file or in files that outlive the process (kept.h). Slots are numbered; each holds the same number of
 * f32. */
#pragma once

#include "engine/model/device.h"

struct cwe_boundary {
	uint32_t slots;
	uint64_t floats; /* a slot */
	int fd;          /* -1: in memory */
	float *memory;   /* host memory, [slots, floats] */
	struct cwe_device *device;
	struct cwe_kept *kept; /* files of the slots; NULL: none */
};

/* budget: bytes that may be kept in memory; more goes to a file in directory (which must then not be NULL). */
int cwe_boundary_new(struct cwe_device *device, uint32_t slots, uint64_t floats, uint64_t budget, const char *directory,
	struct cwe_boundary *ret, struct cwb_err *err);
void cwe_boundary_free(struct cwe_boundary *b);

/* n floats from or to device memory at an offset of a slot. -ENOSPC says which folder is full. */
int cwe_boundary_put(struct cwe_boundary *b, uint32_t slot, uint64_t at, const float *d_x, uint64_t n, struct cwb_err *err);
int cwe_boundary_get(struct cwe_boundary *b, uint32_t slot, uint64_t at, float *d_x, uint64_t n, struct cwb_err *err);
/* The same from and to host memory. */
int cwe_boundary_write(struct cwe_boundary *b, uint32_t slot, uint64_t at, const float *x, uint64_t n, struct cwb_err *err);
int cwe_boundary_read(struct cwe_boundary *b, uint32_t slot, uint64_t at, float *x, uint64_t n, struct cwb_err *err);
/* A file without a name in a folder, or with one (boundary-*) that is gone at once. Its descriptor. */
int cwe_boundary_scratch(const char *directory, struct cwb_err *err);
