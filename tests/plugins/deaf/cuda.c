/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A backend "cuda" without a device: open() and devices() fail with the code of CWP_DEAF_CODE and the words of
 * CWP_DEAF_TEXT, and nothing else of it is ever called. */
#include <stdlib.h>
#include <string.h>

#include <cwp/backend.h>

static int refuse(const struct cwp_host *host)
{
	const char *code = getenv("CWP_DEAF_CODE"), *text = getenv("CWP_DEAF_TEXT");
	host->fail(host->ctx, text != NULL ? text : "no GPU");
	return code != NULL ? (int)strtol(code, NULL, 10) : CWP_EMISSING;
}

static int deaf_open(const struct cwp_host *host, const struct cwp_setting *settings, const char *device, void **ret_b)
{
	(void)settings;
	(void)device;
	(void)ret_b;
	return refuse(host);
}

static int deaf_devices(const struct cwp_host *host, uint32_t index, struct cwp_backend_device *ret)
{
	(void)index;
	(void)ret;
	return refuse(host);
}

static void never(void)
{
	abort();
}

/* All functions of an interface have to be there. */
static const void *get_interface(const char *id)
{
	static struct cwp_backend table;
	static const struct cwp_backend known = {.size = sizeof(struct cwp_backend), .open = deaf_open, .devices = deaf_devices};
	void (*const function)(void) = never;
	if (strcmp(id, CWP_BACKEND_INTERFACE) != 0) {
		return NULL;
	}
	for (size_t at = offsetof(struct cwp_backend, open); at < sizeof table; at += sizeof function) {
		memcpy((char *)&table + at, &function, sizeof function);
	}
	table.size = known.size;
	table.open = known.open;
	table.devices = known.devices;
	return &table;
}

CWP_PLUGIN_NOTE(CWP_KIND_BACKEND)

CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {
	.size = sizeof(struct cwp_plugin),
	.abi_major = CWP_ABI_MAJOR,
	.abi_minor = CWP_ABI_MINOR,
	.kind = CWP_KIND_BACKEND,
	.id = "cuda",
	.version = "1.0",
	.vendor = "cwpd developers",
	.licence = "Apache-2.0",
	.summary = "A backend without a device, for tests",
	.get_interface = get_interface,
};
