/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Transfers of the checking backend: late, as a device's are. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/plugins/fake/fake.h"

static int overlap(const struct fake_transfer *t, size_t at, uint64_t bytes)
{
	return t->at < at + bytes && at < t->at + t->bytes;
}

const char *fake_busy(const struct fake *b, size_t at, uint64_t bytes, int write)
{
	for (size_t i = 0; write && i < b->fetches; i++) {
		if (overlap(&b->fetch[i], at, bytes)) {
			return "being fetched";
		}
	}
	for (size_t i = 0; i < b->sends; i++) {
		if (!b->send[i].waited && overlap(&b->send[i], at, bytes)) {
			return "sent, and send_wait() has not been called";
		}
	}
	return "";
}

int fake_upload(void *vb, void *d_dst, const void *src, size_t bytes)
{
	struct fake_access a = fake_begin(vb, "upload");
	void *dst = fake_write(&a, d_dst, bytes);
	return a.code != 0 ? a.code : cpu_backend.upload(a.b->cpu, dst, src, bytes);
}

int fake_download(void *vb, void *dst, const void *d_src, size_t bytes)
{
	struct fake_access a = fake_begin(vb, "download");
	const void *src = fake_read(&a, d_src, bytes);
	return a.code != 0 ? a.code : cpu_backend.download(a.b->cpu, dst, src, bytes);
}

int fake_zero(void *vb, void *d_dst, size_t bytes)
{
	struct fake_access a = fake_begin(vb, "zero");
	void *dst = fake_write(&a, d_dst, bytes);
	return a.code != 0 ? a.code : cpu_backend.zero(a.b->cpu, dst, bytes);
}

int fake_copy(void *vb, void *d_dst, const void *d_src, size_t bytes)
{
	struct fake_access a = fake_begin(vb, "copy");
	const char *src = fake_read(&a, d_src, bytes);
	char *dst = fake_write(&a, d_dst, bytes);
	if (a.code == 0 && bytes > 0 && src < dst + bytes && dst < src + bytes) {
		return fake_refuse(a.b, "copy", "source and destination overlap");
	}
	return a.code != 0 ? a.code : cpu_backend.copy(a.b->cpu, dst, src, bytes);
}

/* What was sent may be changed only now. */
static int finish_sends(struct fake *b, const char *op)
{
	int changed = 0;
	size_t left = 0;
	(void)pthread_mutex_lock(&b->lock); /* who loads looks at the lists */
	for (size_t i = 0; i < b->sends; i++) {
		struct fake_transfer *t = &b->send[i];
		changed |= memcmp(t->host, t->copy, t->bytes) != 0;
		if (!t->waited) {
			b->send[left++] = *t;
			continue;
		}
		free(t->copy);
	}
	b->sends = left;
	(void)pthread_mutex_unlock(&b->lock);
	return changed ? fake_refuse(b, op, "host memory was changed before what send() took from it could be there") : 0;
}

int fake_sync(void *vb)
{
	struct fake_access a = fake_begin(vb, "sync");
	return a.code != 0 ? a.code : finish_sends(a.b, "sync");
}

int fake_load_begin(void *vb)
{
	struct fake_access a = fake_begin(vb, "load_begin");
	(void)pthread_mutex_lock(&a.b->lock);
	a.b->loads = 1;
	a.b->load_from = a.b->operations;
	(void)pthread_mutex_unlock(&a.b->lock);
	return a.code;
}

int fake_load(void *vb, float *d_dst, const void *src, uint32_t dtype, uint64_t n)
{
	struct fake *b = vb;
	if (n == 0) {
		return 0;
	}
	(void)pthread_mutex_lock(&b->lock);
	struct fake_block *block = fake_find(b, d_dst, n * sizeof *d_dst);
	size_t at = (size_t)((char *)d_dst - b->address);
	const char *wrong = block == NULL ? "no device memory, or past the end of its allocation"
		: !b->loads ? "load() without load_begin()"
		: block->used > b->load_from ? "memory that operations have used since load_begin()" : fake_busy(b, at, n * sizeof *d_dst, 1);
	if (wrong[0] == '\0') {
		block->loading = 1;
	}
	(void)pthread_mutex_unlock(&b->lock);
	return wrong[0] != '\0' ? fake_refuse(b, "load", "%s", wrong) : cpu_backend.load(b->cpu, (float *)(void *)(b->memory + at), src, dtype, n);
}

int fake_load_wait(void *vb)
{
	struct fake_access a = fake_begin(vb, "load_wait");
	(void)pthread_mutex_lock(&a.b->lock);
	a.b->loads = 0;
	for (size_t i = 0; i < a.b->blocks; i++) {
		a.b->block[i].loading = 0;
	}
	(void)pthread_mutex_unlock(&a.b->lock);
	return a.code;
}

/* Puts a transfer on a list. */
static int begin(struct fake_access *a, struct fake_transfer *list, size_t *count, char *memory, const void *host, size_t bytes)
{
	struct fake *b = a->b;
	if (a->code != 0 || bytes == 0) {
		return a->code;
	}
	if (!fake_is_pinned(b, host, bytes)) {
		return fake_refuse(b, a->op, "%p with %zu bytes is no memory from host_alloc()", host, bytes);
	}
	if (*count == FAKE_TRANSFERS) {
		return fake_refuse(b, a->op, "%d transfers and no wait", FAKE_TRANSFERS);
	}
	(void)pthread_mutex_lock(&b->lock);
	list[(*count)++] = (struct fake_transfer){.at = (size_t)(memory - b->memory), .bytes = bytes, .host = (char *)(uintptr_t)host};
	(void)pthread_mutex_unlock(&b->lock);
	return 0;
}

int fake_fetch(void *vb, void *dst, const void *d_src, size_t bytes)
{
	struct fake_access a = fake_begin(vb, "fetch");
	char *src = fake_read(&a, d_src, bytes);
	int r = begin(&a, a.b->fetch, &a.b->fetches, src, dst, bytes);
	if (r == 0 && bytes > 0) {
		memset(dst, 0xff, bytes);
	}
	return r;
}

int fake_fetch_wait(void *vb)
{
	struct fake_access a = fake_begin(vb, "fetch_wait");
	struct fake *b = a.b;
	for (size_t i = 0; i < b->fetches; i++) {
		memcpy(b->fetch[i].host, b->memory + b->fetch[i].at, b->fetch[i].bytes);
	}
	(void)pthread_mutex_lock(&b->lock);
	b->fetches = 0;
	(void)pthread_mutex_unlock(&b->lock);
	int r = finish_sends(b, "fetch_wait"); /* of a lost device too */
	return a.code != 0 ? a.code : r;
}

int fake_send(void *vb, void *d_dst, const void *src, size_t bytes)
{
	struct fake_access a = fake_begin(vb, "send");
	struct fake *b = a.b;
	char *dst = fake_write(&a, d_dst, bytes);
	int r = begin(&a, b->send, &b->sends, dst, src, bytes);
	if (r == 0 && bytes > 0) {
		char *copy = malloc(bytes);
		if (copy == NULL) {
			(void)pthread_mutex_lock(&b->lock);
			b->sends--;
			(void)pthread_mutex_unlock(&b->lock);
			return -ENOMEM;
		}
		memcpy(copy, src, bytes);
		b->send[b->sends - 1].copy = copy;
		memset(dst, 0xff, bytes);
	}
	return r;
}

int fake_send_wait(void *vb)
{
	struct fake_access a = fake_begin(vb, "send_wait");
	struct fake *b = a.b;
	(void)pthread_mutex_lock(&b->lock);
	for (size_t i = 0; i < b->sends; i++) {
		if (!b->send[i].waited) {
			memcpy(b->memory + b->send[i].at, b->send[i].copy, b->send[i].bytes);
			b->send[i].waited = 1;
		}
	}
	(void)pthread_mutex_unlock(&b->lock);
	return a.code;
}
