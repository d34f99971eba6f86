/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The functions behind struct cwp_host. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/error.h>

#include "engine/plugin/host.h"
#include "engine/plugin/host_records.h"
#include "engine/text/dataset.h"

enum { ALIGNMENT = 64 };

/* fail() may be called from several threads of one parallel_for. */
static pthread_mutex_t failure_lock = PTHREAD_MUTEX_INITIALIZER;

static void *host_alloc(void *ctx, size_t bytes)
{
	size_t padded;

	(void)ctx;
	/* No object is larger than a pointer difference can say. */
	if (__builtin_add_overflow(bytes, (size_t)ALIGNMENT - 1, &padded) || padded > PTRDIFF_MAX) {
		return NULL;
	}
	padded &= ~((size_t)ALIGNMENT - 1);
	return aligned_alloc(ALIGNMENT, padded != 0 ? padded : ALIGNMENT);
}

static void host_free(void *ctx, void *p)
{
	(void)ctx;
	free(p);
}

static void host_log(void *ctx, int level, const char *text)
{
	struct cwe_host *host = ctx;

	if (host->log != NULL && text != NULL) {
		host->log(host->log_arg, level, text);
	}
}

static int host_calibrated(void *ctx, const char *data, const char *key)
{
	struct cwe_host *host = ctx;
	char identity[CWE_ITEM_IDENTITY];
	int known = host->calibrated != NULL && data != NULL && key != NULL &&
		cwe_dataset_identity_of(data, key, strlen(key), identity) == 0 && host->calibrated(host->calibrated_arg, identity);

	host->excluded += known != 0;
	return known;
}

static int host_cancelled(void *ctx)
{
	struct cwe_host *host = ctx;

	return atomic_load_explicit(&host->cancelled, memory_order_relaxed);
}

static void host_parallel_for(void *ctx, size_t n, void (*body)(void *arg, size_t i), void *arg)
{
	struct cwe_host *host = ctx;

	if (host->pool != NULL) {
		cwe_pool_run(host->pool, n, body, arg);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		body(arg, i);
	}
}

static uint64_t host_random(void *ctx, uint64_t stream, uint64_t index)
{
	struct cwe_host *host = ctx;

	return cwe_random(host->seed, stream, index);
}

static void host_fail(void *ctx, const char *text)
{
	struct cwe_host *host = ctx;

	pthread_mutex_lock(&failure_lock);
	snprintf(host->failure, sizeof(host->failure), "%s", text != NULL ? text : "");
	pthread_mutex_unlock(&failure_lock);
}

static void host_reads(void *ctx, const char *path)
{
	struct cwe_host *host = ctx;

	if (host->reads != NULL && path != NULL)
		host->reads(host->reads_arg, path);
}

void cwe_host_init(struct cwe_host *host, struct cwe_pool *pool, uint64_t seed)
{
	memset(host, 0, sizeof(*host));
	host->table = (struct cwp_host){
		.size = sizeof(host->table),
		.threads = pool != NULL ? cwe_pool_threads(pool) : 1,
		.ctx = host,
		.alloc = host_alloc,
		.free = host_free,
		.log = host_log,
		.cancelled = host_cancelled,
		.parallel_for = host_parallel_for,
		.random = host_random,
		.fail = host_fail,
		.calibrated = host_calibrated,
		.reads = host_reads,
	};
	cwe_host_offer_records(host);
	host->pool = pool;
	host->seed = seed;
	atomic_init(&host->cancelled, 0);
}

int cwe_host_error(struct cwe_host *host, const char *plugin, const char *what, int code, struct cwb_err *err)
{
	char text[sizeof(host->failure)];

	pthread_mutex_lock(&failure_lock);
	memcpy(text, host->failure, sizeof(text));
	host->failure[0] = '\0';
	pthread_mutex_unlock(&failure_lock);
	if (code >= 0) {
		return cwb_err_set(err, CWP_EPLUGIN, "plugin '%s': %s returned %d, which is no error code; report it to the plugin's vendor",
			plugin, what, code);
	}
	return cwb_err_set(err, code, "plugin '%s': %s: %s", plugin, what, text[0] != '\0' ? text : cwb_err_text(code));
}

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t cwe_random(uint64_t seed, uint64_t stream, uint64_t index)
{
	const uint64_t step = UINT64_C(0x9e3779b97f4a7c15);
	/* A generator of its own for each (seed, stream); its index-th output without the ones before. */
	uint64_t state = mix(mix(seed + step) ^ mix(stream + 2 * step));

	return mix(state + (index + 1) * step);
}
