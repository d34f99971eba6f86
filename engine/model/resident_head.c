/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Keeping the output projection. */
#include <string.h>

#include "engine/model/model_p.h"
#include "engine/model/ops.h"
#include "engine/model/resident_head.h"

static uint64_t width_of(uint32_t dtype)
{
	return dtype == CWP_F32 ? sizeof(float) : sizeof(uint16_t);
}

/* 0 where it cannot be brought as it is stored. */
static uint64_t whole(const struct cwe_model *m)
{
	uint64_t row = (uint64_t)m->arch.hidden * width_of(cwe_model_head_tensor(m)->dtype);
	return row % sizeof(float) == 0 ? m->arch.vocabulary * row : 0;
}

uint64_t cwe_resident_head_bytes(const struct cwe_model *m, uint64_t room)
{
	uint64_t bytes = cwe_device_remote(m->device) ? whole(m) : 0;
	return bytes <= room ? bytes : 0;
}

int cwe_resident_head_new(struct cwe_model *m, uint64_t room, struct cwe_resident_head *ret, struct cwb_err *err)
{
	struct cwe_resident_head h = {.dtype = cwe_model_head_tensor(m)->dtype, .bytes = whole(m)};
	struct cwe_device *device = m->device;
	int in_room = h.bytes <= room;
	*ret = (struct cwe_resident_head){0};
	if (!cwe_device_remote(device) || h.bytes == 0 || (!in_room && h.bytes > device->boundary_room)) {
		return 0;
	}
	int r = cwe_device_bytes(device, h.bytes, (void **)&h.d_raw, err);
	r = r == 0 ? cwe_model_load_stored(m, cwe_model_head_tensor(m), m->arch.vocabulary, h.d_raw, err) : r;
	if (r != 0) {
		cwe_device_free(device, h.d_raw, h.bytes);
		return r;
	}
	h.room = in_room || device->boundary_room == UINT64_MAX ? 0 : h.bytes;
	device->boundary_room -= h.room;
	*ret = h;
	return 0;
}

void cwe_resident_head_free(struct cwe_model *m, struct cwe_resident_head *h)
{
	cwe_device_free(m->device, h->d_raw, h->bytes);
	m->device->boundary_room += h->room;
	memset(h, 0, sizeof *h);
}

int cwe_resident_head_rows(struct cwe_model *m, const struct cwe_resident_head *h, uint64_t first, uint64_t n, float *d_w,
	const float **ret_w, struct cwb_err *err)
{
	uint64_t d = m->arch.hidden;
	*ret_w = d_w;
	if (h->d_raw == NULL) {
		return cwe_model_head_rows(m, first, n, d_w, err);
	}
	const char *d_rows = h->d_raw + first * d * width_of(h->dtype);
	if (h->dtype == CWP_F32) {
		*ret_w = (const float *)(const void *)d_rows;
		return 0;
	}
	return CWE_OP(m->device, convert, d_w, d_rows, h->dtype, n * d);
}
