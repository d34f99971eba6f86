/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench/device.h"

#include <stdlib.h>
#include <string.h>

#include "engine/plugin/places.h"

int bench_device_prepare(struct bench_device *d, uint32_t threads, struct cwb_err *err)
{
	char *folder = NULL;
	const char *plugins = getenv("CWP_PLUGIN_DIR");
	int r = cwe_pool_new(threads, &d->pool, err);
	r = r == 0 && plugins == NULL ? cwe_plugin_folder(&folder, err) : r;
	if (r == 0) {
		plugins = plugins != NULL ? plugins : folder;
		cwe_host_init(&d->host, d->pool, 0);
		r = cwe_registry_new(&plugins, 1, CWE_REGISTRY_ANY_OWNER, &d->registry, err);
	}
	free(folder);
	return r;
}

int bench_device_open(struct bench_device *d, const char *backend, const char *precision, struct cwb_err *err)
{
	const struct cwe_device_choice choice = {.backend = backend,
		.precision = strcmp(precision, "bf16") == 0 ? CWJ_PRECISION_BF16 : CWJ_PRECISION_F32};
	return cwe_device_open(d->registry, &d->host, &choice, &d->device, err);
}

void bench_device_close(struct bench_device *d)
{
	cwe_device_close(&d->device);
	cwe_registry_free(d->registry);
	cwe_pool_free(d->pool);
}
