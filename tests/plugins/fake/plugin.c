/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The checking backend as a plugin "cuda", so that jobs for that backend run where there is no device. CWP_FAKE_MEMORY:
 * the memory of a device in bytes, and after a colon how much of it is free; CWP_FAKE_DEVICES: their UUIDs with commas
 * between them, GPU-fake-0 by default, none where it is empty, and "no driver". What fails as asked:
 * CWP_FAKE_FAIL=code:text (open), CWP_FAKE_FULL (reserve), CWP_FAKE_LOST=n (operations from the nth on). CWP_FAKE_TELL: a file to
 * which is added how often GPTQ's operations, and all, were called; it has none of GPTQ's with CWP_FAKE_PLAIN. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/plugins/fake/fake.h"

static struct cwp_backend table;

static const struct cwp_option options[] = {
	{sizeof(struct cwp_option), CWP_OPTION_ENUM, CWP_BACKEND_PRECISION, "bf16", "bf16|f32", NULL,
		"What products round their operands to; this backend computes in f32 in either case"},
};

static void release(struct fake *b)
{
	if (b->cpu != NULL) {
		cpu_backend.close(b->cpu);
	}
	if (b->memory != NULL) {
		(void)munmap(b->memory, b->mapped);
	}
	if (b->address != NULL) {
		(void)munmap(b->address, b->mapped);
	}
	(void)pthread_mutex_destroy(&b->lock);
	free(b->block);
	free(b->pinned);
	free(b);
}

static void fake_close(void *vb)
{
	struct fake *b = vb;
	if (b == NULL) {
		return;
	}
	if (b->blocks > 0 || b->pins > 0) {
		(void)fprintf(stderr, "checking backend: close: %zu allocations and %zu of host memory were not freed\n", b->blocks, b->pins);
		abort();
	}
	for (size_t i = 0; i < b->sends; i++) {
		free(b->send[i].copy);
	}
	fake_tell_gptq(b);
	release(b);
}

static void *reserve_addresses(size_t bytes, int protection)
{
	void *p = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p != MAP_FAILED ? p : NULL;
}

static void read_memory(struct fake *b)
{
	const char *text = getenv("CWP_FAKE_MEMORY");
	char *end = NULL;
	b->total = (size_t)1 << 30;
	b->taken_by_others = 0;
	if (text != NULL && text[0] != '\0') {
		b->total = strtoull(text, &end, 10);
		uint64_t idle = *end == ':' ? strtoull(end + 1, NULL, 10) : b->total;
		b->taken_by_others = idle < b->total ? b->total - idle : 0;
	}
}

static const char *devices(void)
{
	const char *list = getenv("CWP_FAKE_DEVICES");
	return list != NULL ? list : "GPU-fake-0";
}

static int refuse_open(const struct cwp_host *host, int code, const char *why)
{
	host->fail(host->ctx, why);
	return code;
}

static int fake_devices(const struct cwp_host *host, uint32_t index, struct cwp_backend_device *ret)
{
	const char *at = devices();
	if (strcmp(at, "no driver") == 0) {
		return refuse_open(host, CWP_ESTATE, "no driver is loaded");
	}
	for (; index > 0 && at != NULL; index--) {
		at = strchr(at, ',');
		at = at != NULL ? at + 1 : NULL;
	}
	if (at == NULL || *at == '\0') {
		return CWP_EMISSING;
	}
	struct fake memory;
	read_memory(&memory);
	(void)snprintf(ret->uuid, sizeof ret->uuid, "%.*s", (int)strcspn(at, ","), at);
	(void)snprintf(ret->name, sizeof ret->name, "checking backend");
	ret->total = memory.total;
	return 0;
}

/* The device that is asked for, NULL: the first one. */
static int choose_device(const struct cwp_host *host, const char *device)
{
	struct cwp_backend_device d = {.size = sizeof d};
	int r = fake_devices(host, 0, &d);
	for (uint32_t i = 1; r == 0 && device != NULL && strcmp(device, d.uuid) != 0; i++) {
		r = fake_devices(host, i, &d);
	}
	return r == CWP_EMISSING ? refuse_open(host, r, device != NULL ? "there is no such device" : "there is no device") : r;
}

/* "code:text" */
static int fail_open(const struct cwp_host *host, const char *failure)
{
	const char *colon = strchr(failure, ':');
	return refuse_open(host, atoi(failure), colon != NULL ? colon + 1 : "failed as asked");
}

static int fake_open(const struct cwp_host *host, const struct cwp_setting *settings, const char *device, void **ret_b)
{
	const char *failure = getenv("CWP_FAKE_FAIL"), *lost = getenv("CWP_FAKE_LOST");
	int r = failure != NULL ? fail_open(host, failure) : choose_device(host, device);
	struct fake *b = r == 0 ? calloc(1, sizeof *b) : NULL;
	if (b == NULL) {
		return r != 0 ? r : -ENOMEM;
	}
	b->host = host;
	b->owner = pthread_self();
	b->bf16 = settings == NULL || strcmp(settings[0].string, "bf16") == 0;
	(void)pthread_mutex_init(&b->lock, NULL);
	read_memory(b);
	b->full = getenv("CWP_FAKE_FULL") != NULL;
	b->lost = lost != NULL ? strtoull(lost, NULL, 10) : 0;
	b->mapped = 2 * b->total + (1u << 20); /* gaps count for nothing */
	b->memory = reserve_addresses(b->mapped, PROT_READ | PROT_WRITE);
	b->address = reserve_addresses(b->mapped, PROT_NONE);
	r = b->memory != NULL && b->address != NULL ? cpu_backend.open(host, NULL, NULL, &b->cpu) : -ENOMEM;
	if (r != 0) {
		b->cpu = NULL;
		release(b);
		return r;
	}
	*ret_b = b;
	return 0;
}

static const char *fake_describe(void *vb)
{
	return ((struct fake *)vb)->bf16 ? "checking backend bf16" : "checking backend f32";
}

static const void *get_interface(const char *id)
{
	if (table.size == 0) {
		table = (struct cwp_backend){.size = sizeof table, .open = fake_open, .close = fake_close, .describe = fake_describe,
			.alloc = fake_alloc, .free = fake_free, .upload = fake_upload, .download = fake_download, .zero = fake_zero,
			.sync = fake_sync, .copy = fake_copy, .host_alloc = fake_host_alloc, .host_free = fake_host_free,
			.load_begin = fake_load_begin, .load = fake_load, .load_wait = fake_load_wait, .fetch = fake_fetch,
			.fetch_wait = fake_fetch_wait, .send = fake_send, .send_wait = fake_send_wait, .memory = fake_memory,
			.overhead = fake_overhead, .reserve = fake_reserve, .devices = fake_devices,
			.enter = fake_enter, .reduce = fake_reduce};
		fake_fill_ops(&table);
		if (getenv("CWP_FAKE_PLAIN") == NULL) {
			fake_fill_gptq(&table);
		}
	}
	return strcmp(id, CWP_BACKEND_INTERFACE) == 0 ? &table : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_BACKEND)

CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {
	.size = sizeof(struct cwp_plugin),
	.abi_major = CWP_ABI_MAJOR,
	.abi_minor = CWP_ABI_MINOR,
	.kind = CWP_KIND_BACKEND,
	.n_options = sizeof(options) / sizeof(options[0]),
	.id = "cuda",
	.version = "0.1.0",
	.vendor = "cwpd developers",
	.licence = "Apache-2.0",
	.summary = "A backend for tests, with memory of its own, that checks its caller",
	.options = options,
	.get_interface = get_interface,
};
