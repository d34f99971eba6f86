/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The output projection in a backend's own memory, whole and as it is stored, where there is room: batches of predictions walk
 * through it slice by slice, again and again. */
#pragma once

#include "engine/model/model.h"

struct cwe_resident_head {
	char *d_raw; /* [vocabulary, hidden] of dtype, or NULL: slices are loaded */
	uint32_t dtype;
	uint64_t bytes;
	uint64_t room; /* taken of the room for boundaries */
};

/* Bytes that it takes of `room` bytes that are free in any case: all or 0. */
uint64_t cwe_resident_head_bytes(const struct cwe_model *model, uint64_t room);
/* Beside `room`, what is left of the room for boundaries may be taken. */
int cwe_resident_head_new(struct cwe_model *model, uint64_t room, struct cwe_resident_head *ret, struct cwb_err *err);
void cwe_resident_head_free(struct cwe_model *model, struct cwe_resident_head *h); /* a zeroed one is fine */
/* Rows [first, first + n) as f32: *ret_w is d_w [n, hidden], or where they are. */
int cwe_resident_head_rows(struct cwe_model *model, const struct cwe_resident_head *h, uint64_t first, uint64_t n, float *d_w,
	const float **ret_w, struct cwb_err *err);
