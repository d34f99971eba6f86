/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opens the checking backend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/plugin/settings.h"
#include "tests/unit/engine/model/remote.h"

struct cwe_registry *remote_registry(void)
{
	static char folder[4096];
	const char *build = getenv("CWP_BUILDDIR"), *folders[] = {folder};
	struct cwe_registry *registry = NULL;
	struct cwb_err err = {0};
	assert_non_null(build);
	(void)snprintf(folder, sizeof folder, "%s/tests/plugins/fake/.libs", build);
	if (cwe_registry_new(folders, 1, CWE_REGISTRY_ANY_OWNER, &registry, &err) != 0) {
		fail_msg("%s", err.message);
	}
	return registry;
}

void remote_open(struct cwe_registry *registry, struct cwe_host *host, const char *precision, struct cwe_device *ret)
{
	struct cwe_device d = {.host = host};
	struct cwj_option option = {.name = (char *)(uintptr_t)CWP_BACKEND_PRECISION, .value = (char *)(uintptr_t)precision};
	struct cwb_err err = {0};
	int r = cwe_registry_find(registry, CWP_KIND_BACKEND, "cuda", &d.plugin, &err);
	if (r == 0) {
		d.ops = d.plugin->interface;
		r = cwe_settings_make(d.plugin->descriptor, "backend", &option, 1, &d.settings, &err);
	}
	if (r == 0 && (r = d.ops->open(&host->table, d.settings, NULL, &d.b)) != 0) {
		(void)cwe_host_error(host, "cuda", "open", r, &err);
	}
	if (r != 0) {
		fail_msg("%s", err.message);
	}
	*ret = d;
}

void remote_replace(struct cwe_host *host, struct cwe_device *device)
{
	static struct cwe_registry *registry;
	const char *precision = getenv("CWP_TEST_REMOTE");
	if (precision != NULL) {
		registry = registry != NULL ? registry : remote_registry();
		cwe_device_close(device);
		remote_open(registry, host, precision, device);
		const char *room = getenv("CWP_TEST_ROOM");
		device->boundary_room = room != NULL ? strtoull(room, NULL, 10) : UINT64_MAX;
	}
}
