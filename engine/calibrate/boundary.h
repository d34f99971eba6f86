/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Activations at the boundaries between layers, for all tokens. Slots are numbered; each holds the same number of elements,
 * in f32 or as the backend's products round them (cwe_device_boundary_dtype), wherever they lie: in memory while they fit the
 * job's share, else in an unlinked scratch file or in files that outlive the process (kept.h). Where the backend's memory is
 * its own, slots lie there first, as many as there is room for; the others come and go beside the computation. */
#pragma once

#include "engine/model/device.h"

struct cwe_boundary {
	uint32_t slots;
	uint64_t floats; /* elements of a slot */
	uint32_t dtype;  /* enum cwp_dtype of them */
	uint64_t width;  /* bytes of one */
	int fd;          /* -1: none */
	char *memory;    /* host memory of the slots [on_device, slots), or NULL */
	struct cwe_device *device;
	struct cwe_kept *kept; /* files of the slots; NULL: none */
	uint32_t on_device;    /* slots [0, on_device) lie in the backend's own memory */
	struct cwe_boundary_transfers *transfers; /* NULL where memory is the host's */
};

/* What is asked for. */
struct cwe_boundary_size {
	uint32_t slots;
	uint64_t floats; /* a slot */
	uint64_t piece;  /* elements of the largest piece that is put or got */
	uint32_t dtype;
};

/* Bytes that pieces take on their way, on the device and in host memory, at most; 0 where memory is the host's. */
void cwe_boundary_staging(const struct cwe_device *device, uint64_t piece, uint32_t dtype, uint64_t *ret_device, uint64_t *ret_host);

/* budget: bytes of host memory; more goes to a file in directory (which must then not be NULL). */
int cwe_boundary_new(struct cwe_device *device, const struct cwe_boundary_size *size, uint64_t budget, const char *directory,
	struct cwe_boundary *ret, struct cwb_err *err);
void cwe_boundary_free(struct cwe_boundary *b);

/* n floats from or to device memory at an offset of a slot. -ENOSPC says which folder is full; it may be said at the next call.
 * put: d_x is free at once. */
int cwe_boundary_put(struct cwe_boundary *b, uint32_t slot, uint64_t at, const float *d_x, uint64_t n, struct cwb_err *err);
int cwe_boundary_get(struct cwe_boundary *b, uint32_t slot, uint64_t at, float *d_x, uint64_t n, struct cwb_err *err);
/* What will be got next: it may begin to come. Called before the operations that it is to come beside. */
int cwe_boundary_expect(struct cwe_boundary *b, uint32_t slot, uint64_t at, uint64_t n, struct cwb_err *err);
/* All that was put is where it belongs. */
int cwe_boundary_settle(struct cwe_boundary *b, struct cwb_err *err);
/* The same from and to host memory. */
int cwe_boundary_write(struct cwe_boundary *b, uint32_t slot, uint64_t at, const float *x, uint64_t n, struct cwb_err *err);
int cwe_boundary_read(struct cwe_boundary *b, uint32_t slot, uint64_t at, float *x, uint64_t n, struct cwb_err *err);
/* Elements as they are kept, from host memory; not to the files of kept.h. */
int cwe_boundary_place(struct cwe_boundary *b, uint32_t slot, uint64_t at, const void *raw, uint64_t n, struct cwb_err *err);
/* From now on slots have files beside them, whatever their place. */
int cwe_boundary_kept(struct cwe_boundary *b, struct cwb_err *err);
/* Whether a slot needs no file. */
int cwe_boundary_in_memory(const struct cwe_boundary *b, uint32_t slot);
/* A file without a name in a folder, or with one (boundary-*) that is gone at once. Its descriptor. */
int cwe_boundary_scratch(const char *directory, struct cwb_err *err);
