/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Boundaries of a backend whose memory is its own. Private to boundary.c and boundary_transfers.c. */
#pragma once

#include "engine/calibrate/boundary.h"

/* Pieces on their way. At most one is being fetched: put() stages the next one first, then waits for the one before, so that
 * the device has work meanwhile. */
struct cwe_boundary_transfers {
	uint64_t piece;      /* elements of a buffer */
	char *d_slots;       /* [on_device, floats] */
	char *d_put[2], *d_get[2]; /* where some slots are not on the device */
	char *host_put;      /* where pieces go to a file */
	char *host_get[2];   /* where they come from one */
	int put, get;        /* the buffers that are next */
	int sent[2];         /* host_get may still be read */
	/* Being fetched, host NULL: none. */
	char *host;
	uint32_t slot;
	uint64_t at, n;
	/* Expected, n 0: nothing; in d_get[!get]. */
	uint32_t next_slot;
	uint64_t next_at, next_n;
	uint64_t room; /* taken of the device's room for boundaries */
};

/* Gives slots their places; b has its sizes. *ret_rest: bytes that are to lie elsewhere. */
int cwe_transfers_new(struct cwe_boundary *b, uint64_t piece, struct cwb_err *err);
/* Buffers for pieces that go to files and come from them. */
int cwe_transfers_to_files(struct cwe_boundary *b, struct cwb_err *err);
void cwe_transfers_free(struct cwe_boundary *b);
int cwe_transfers_put(struct cwe_boundary *b, uint32_t slot, uint64_t at, const float *d_x, uint64_t n, struct cwb_err *err);
int cwe_transfers_get(struct cwe_boundary *b, uint32_t slot, uint64_t at, float *d_x, uint64_t n, struct cwb_err *err);
int cwe_transfers_expect(struct cwe_boundary *b, uint32_t slot, uint64_t at, uint64_t n, struct cwb_err *err);
int cwe_transfers_settle(struct cwe_boundary *b, struct cwb_err *err);
/* Elements as they are kept, to and from a slot on the device, at once. */
int cwe_transfers_write(struct cwe_boundary *b, uint32_t slot, uint64_t at, const void *raw, uint64_t n, struct cwb_err *err);
int cwe_transfers_read(struct cwe_boundary *b, uint32_t slot, uint64_t at, void *raw, uint64_t n, struct cwb_err *err);

/* boundary.c: to files, and from where they lie on the host. */
int cwe_boundary_to_file(struct cwe_boundary *b, uint32_t slot, uint64_t at, const void *raw, uint64_t n, struct cwb_err *err);
int cwe_boundary_from_file(struct cwe_boundary *b, uint32_t slot, uint64_t at, void *raw, uint64_t n, struct cwb_err *err);
/* Whether what is put into the slot goes to a file too. */
int cwe_boundary_wants_file(const struct cwe_boundary *b, uint32_t slot);
/* Its place in host memory, or NULL. */
char *cwe_boundary_host(const struct cwe_boundary *b, uint32_t slot, uint64_t at);
