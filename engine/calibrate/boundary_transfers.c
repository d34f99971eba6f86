/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Pieces of boundaries between a backend's own memory, host memory and files. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/boundary_p.h"
#include "engine/model/ops.h"

static uint64_t width_of(uint32_t dtype)
{
	return dtype == CWP_F32 ? sizeof(float) : sizeof(uint16_t);
}

void cwe_boundary_staging(const struct cwe_device *device, uint64_t piece, uint32_t dtype, uint64_t *ret_device, uint64_t *ret_host)
{
	uint64_t buffer = cwe_device_remote(device) ? piece * width_of(dtype) : 0;
	*ret_device = 4 * buffer;
	*ret_host = 3 * buffer;
}

/* How many slots lie on the device: all where there is room, that of the buffers included, which are then not needed; else
 * as many as fit. */
static uint32_t choose_slots(const struct cwe_boundary *b, uint64_t piece)
{
	uint64_t slot = b->floats * b->width, staging, host, room = b->device->boundary_room;
	cwe_boundary_staging(b->device, piece, b->dtype, &staging, &host);
	uint64_t most = room > UINT64_MAX - staging ? UINT64_MAX : room + staging;
	if (slot == 0 || b->slots <= most / slot) {
		return b->slots;
	}
	return (uint32_t)(room / slot); /* fewer than all: most is at least room */
}

static int new_buffers(struct cwe_boundary *b, struct cwb_err *err)
{
	struct cwe_boundary_transfers *t = b->transfers;
	uint64_t bytes = t->piece * b->width;
	int r = 0;
	for (int i = 0; r == 0 && i < 2; i++) {
		r = cwe_device_bytes(b->device, bytes, (void **)&t->d_put[i], err);
		r = r == 0 ? cwe_device_bytes(b->device, bytes, (void **)&t->d_get[i], err) : r;
	}
	return r;
}

int cwe_transfers_new(struct cwe_boundary *b, uint64_t piece, struct cwb_err *err)
{
	struct cwe_boundary_transfers *t = calloc(1, sizeof *t);
	if (t == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for boundaries");
	}
	t->piece = piece;
	b->transfers = t;
	b->on_device = choose_slots(b, piece);
	uint64_t bytes = b->on_device * b->floats * b->width, room = b->device->boundary_room;
	int r = b->on_device > 0 ? cwe_device_bytes(b->device, bytes, (void **)&t->d_slots, err) : 0;
	if (r != 0) {
		b->on_device = 0;
		return r;
	}
	t->room = room == UINT64_MAX ? 0 : bytes < room ? bytes : room;
	b->device->boundary_room -= t->room;
	return b->on_device < b->slots ? new_buffers(b, err) : 0;
}

int cwe_transfers_to_files(struct cwe_boundary *b, struct cwb_err *err)
{
	struct cwe_boundary_transfers *t = b->transfers;
	const struct cwp_backend *ops = b->device->ops;
	uint64_t bytes = t->piece * b->width;
	char **buffer[] = {&t->host_put, &t->host_get[0], &t->host_get[1]};
	for (size_t i = 0; i < (b->on_device < b->slots ? 3 : 1); i++) {
		*buffer[i] = *buffer[i] != NULL ? *buffer[i] : ops->host_alloc(b->device->b, bytes > 0 ? bytes : 1);
		if (*buffer[i] == NULL) {
			return cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " bytes on their way to scratch", bytes);
		}
	}
	return 0;
}

void cwe_transfers_free(struct cwe_boundary *b)
{
	struct cwe_boundary_transfers *t = b->transfers;
	if (t == NULL) {
		return;
	}
	const struct cwp_backend *ops = b->device->ops;
	uint64_t bytes = t->piece * b->width;
	(void)ops->send_wait(b->device->b);
	(void)ops->fetch_wait(b->device->b);
	for (int i = 0; i < 2; i++) {
		cwe_device_free(b->device, t->d_put[i], bytes);
		cwe_device_free(b->device, t->d_get[i], bytes);
		ops->host_free(b->device->b, t->host_get[i]);
	}
	ops->host_free(b->device->b, t->host_put);
	cwe_device_free(b->device, t->d_slots, b->on_device * b->floats * b->width);
	b->device->boundary_room += t->room;
	free(t);
	b->transfers = NULL;
}

static char *on_device(const struct cwe_boundary *b, uint32_t slot, uint64_t at)
{
	return b->transfers->d_slots + (slot * b->floats + at) * b->width;
}

static int narrow(struct cwe_boundary *b, void *d_to, const float *d_x, uint64_t n, struct cwb_err *err)
{
	return b->dtype == CWP_F32 ? CWE_OP(b->device, copy, d_to, d_x, n * sizeof *d_x)
				   : CWE_OP(b->device, narrow, d_to, b->dtype, d_x, n);
}

static int widen(struct cwe_boundary *b, float *d_x, const void *d_from, uint64_t n, struct cwb_err *err)
{
	return b->dtype == CWP_F32 ? CWE_OP(b->device, copy, d_x, d_from, n * sizeof *d_x)
				   : CWE_OP(b->device, convert, d_x, d_from, b->dtype, n);
}

int cwe_transfers_settle(struct cwe_boundary *b, struct cwb_err *err)
{
	struct cwe_boundary_transfers *t = b->transfers;
	char *host = t->host;
	if (host == NULL && !t->sent[0] && !t->sent[1]) {
		return 0;
	}
	t->host = NULL;
	t->sent[0] = t->sent[1] = 0;
	int r = CWE_OP(b->device, fetch_wait);
	return r == 0 && host != NULL ? cwe_boundary_to_file(b, t->slot, t->at, host, t->n, err) : r;
}

/* Whether these elements are being fetched. */
static int under_way(const struct cwe_boundary_transfers *t, uint32_t slot, uint64_t at, uint64_t n)
{
	return t->host != NULL && t->slot == slot && t->at < at + n && at < t->at + t->n;
}

static int put(struct cwe_boundary *b, uint32_t slot, uint64_t at, const float *d_x, uint64_t n, struct cwb_err *err)
{
	struct cwe_boundary_transfers *t = b->transfers;
	int there = slot < b->on_device;
	if (t->next_slot == slot && t->next_at < at + n && at < t->next_at + t->next_n) {
		t->next_n = 0; /* what came is old now */
	}
	int r = under_way(t, slot, at, n) ? cwe_transfers_settle(b, err) : 0;
	char *d_to = there ? on_device(b, slot, at) : t->d_put[t->put];
	r = r == 0 ? narrow(b, d_to, d_x, n, err) : r;
	if (r != 0 || (there && !cwe_boundary_wants_file(b, slot))) {
		return r;
	}
	if ((r = cwe_transfers_settle(b, err)) != 0) {
		return r;
	}
	char *host = cwe_boundary_host(b, slot, at);
	host = host != NULL ? host : t->host_put;
	if ((r = CWE_OP(b->device, fetch, host, d_to, n * b->width)) == 0) {
		t->host = host;
		t->slot = slot;
		t->at = at;
		t->n = n;
		t->put ^= 1;
	}
	return r;
}

/* Begins to bring elements to a buffer on the device. */
static int send(struct cwe_boundary *b, uint32_t slot, uint64_t at, uint64_t n, struct cwb_err *err)
{
	struct cwe_boundary_transfers *t = b->transfers;
	char *host = cwe_boundary_host(b, slot, at);
	int r = under_way(t, slot, at, n) || (host == NULL && t->sent[t->get]) ? cwe_transfers_settle(b, err) : 0;
	if (r == 0 && host == NULL) {
		host = t->host_get[t->get];
		r = cwe_boundary_from_file(b, slot, at, host, n, err);
	}
	r = r == 0 ? CWE_OP(b->device, send, t->d_get[t->get], host, n * b->width) : r;
	if (r == 0) {
		t->sent[t->get] = 1;
		t->get ^= 1;
	}
	return r;
}

int cwe_transfers_expect(struct cwe_boundary *b, uint32_t slot, uint64_t at, uint64_t n, struct cwb_err *err)
{
	struct cwe_boundary_transfers *t = b->transfers;
	if (slot < b->on_device || n > t->piece || n == 0) {
		return 0;
	}
	int r = send(b, slot, at, n, err);
	if (r == 0) {
		t->next_slot = slot;
		t->next_at = at;
		t->next_n = n;
	}
	return r;
}

static int get(struct cwe_boundary *b, uint32_t slot, uint64_t at, float *d_x, uint64_t n, struct cwb_err *err)
{
	struct cwe_boundary_transfers *t = b->transfers;
	if (slot < b->on_device) {
		return widen(b, d_x, on_device(b, slot, at), n, err);
	}
	int came = t->next_n == n && t->next_slot == slot && t->next_at == at;
	int r = came ? 0 : send(b, slot, at, n, err);
	t->next_n = 0;
	r = r == 0 ? CWE_OP(b->device, send_wait) : r;
	return r == 0 ? widen(b, d_x, t->d_get[!t->get], n, err) : r;
}

int cwe_transfers_put(struct cwe_boundary *b, uint32_t slot, uint64_t at, const float *d_x, uint64_t n, struct cwb_err *err)
{
	int r = 0;
	for (uint64_t done = 0, k; r == 0 && done < n; done += k) {
		k = n - done < b->transfers->piece ? n - done : b->transfers->piece;
		r = put(b, slot, at + done, d_x + done, k, err);
	}
	return r;
}

int cwe_transfers_get(struct cwe_boundary *b, uint32_t slot, uint64_t at, float *d_x, uint64_t n, struct cwb_err *err)
{
	int r = 0;
	for (uint64_t done = 0, k; r == 0 && done < n; done += k) {
		k = n - done < b->transfers->piece ? n - done : b->transfers->piece;
		r = get(b, slot, at + done, d_x + done, k, err);
	}
	return r;
}

int cwe_transfers_write(struct cwe_boundary *b, uint32_t slot, uint64_t at, const void *raw, uint64_t n, struct cwb_err *err)
{
	return CWE_OP(b->device, upload, on_device(b, slot, at), raw, n * b->width);
}

int cwe_transfers_read(struct cwe_boundary *b, uint32_t slot, uint64_t at, void *raw, uint64_t n, struct cwb_err *err)
{
	return CWE_OP(b->device, download, raw, on_device(b, slot, at), n * b->width);
}
