/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Boundaries that outlive the process: each in a file of its own, forward-<layer> in the scratch folder (<layer>: whose
 * input it is), with a digest. Where boundaries are on disk the file is the slot; where they are in memory it is a copy. */
#pragma once

#include "base/digest.h"
#include "engine/calibrate/boundary.h"

/* The file of a slot. */
struct cwe_kept_file {
	int fd;      /* -1: none */
	uint64_t at; /* elements written, in order */
	uint32_t layer; /* whose input it is */
	int digesting;
	struct cwb_digest digest;
};
struct cwe_kept {
	int folder;
	struct cwe_kept_file file[]; /* [slots] */
};

/* From now on the slots of b lie in files of this folder. Before anything is put. */
int cwe_kept_new(struct cwe_boundary *b, const char *scratch, struct cwb_err *err);
void cwe_kept_close(struct cwe_boundary *b); /* cwe_boundary_free does it; files stay */

/* What is put into the slot from now on, in order, is the input of `layer`. durable: an attempt to come may want it. */
int cwe_kept_begin(struct cwe_boundary *b, uint32_t slot, uint32_t layer, int durable, struct cwb_err *err);
/* All of it was put: on disk on return, if it is durable. ret_digest: SHA-256 of the file, "" if not. */
int cwe_kept_end(struct cwe_boundary *b, uint32_t slot, char ret_digest[CWB_DIGEST_HEX], struct cwb_err *err);
/* The slot gets what an earlier attempt kept. 1: it is; 0: the file is missing, or not what was kept. */
int cwe_kept_take(struct cwe_boundary *b, uint32_t slot, uint32_t layer, const char *digest, struct cwb_err *err);
/* Nobody needs the slot or, whatever slot it may have been in, the layer's file any more. */
void cwe_kept_drop(struct cwe_boundary *b, uint32_t slot, uint32_t layer);

/* For boundary.c: n elements, as the boundary keeps them, at an offset of a slot. */
int cwe_kept_write(struct cwe_boundary *b, uint32_t slot, uint64_t at, const void *x, uint64_t n, struct cwb_err *err);
