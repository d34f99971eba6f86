/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opens the engine for tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/golden/engine.h"
#include "tests/unit/engine/model/remote.h"

void test_engine_open(struct test_engine *e, const char *model, uint32_t threads, void (*change)(json_t *config))
{
	struct cwb_err err = {0};
	const char *plugins = getenv("CWP_PLUGIN_DIR");
	memset(e, 0, sizeof *e);
	assert_non_null(plugins);
	int r = cwe_pool_new(threads, &e->pool, &err);
	if (r == 0) {
		cwe_host_init(&e->host, e->pool, 0);
		r = cwe_registry_new(&plugins, 1, CWE_REGISTRY_ANY_OWNER, &e->registry, &err);
	}
	r = r == 0 ? cwe_device_open(e->registry, &e->host, &(struct cwe_device_choice){0}, &e->device, &err) : r;
	if (r == 0) {
		remote_replace(&e->host, &e->device);
	}
	r = r == 0 ? cwe_source_open(model, 0, &e->source, &err) : r;
	if (r == 0 && change != NULL) {
		change(e->source->config);
	}
	r = r == 0 ? cwe_model_open(e->source, NULL, &e->device, &e->model, &err) : r;
	if (r != 0) {
		fail_msg("%s: %s", model, err.message);
	}
}

void test_engine_close(struct test_engine *e)
{
	cwe_source_close(e->source);
	cwe_device_close(&e->device);
	cwe_registry_free(e->registry);
	cwe_pool_free(e->pool);
	memset(e, 0, sizeof *e);
}

static const char *below(const char *folder, const char *relative)
{
	static char path[2][4096];
	static unsigned which;
	which ^= 1;
	if (folder == NULL || (size_t)snprintf(path[which], sizeof path[which], "%s/%s", folder, relative) >= sizeof path[which] ||
		access(path[which], R_OK) != 0) {
		return NULL;
	}
	return path[which];
}

const char *test_shared(const char *relative)
{
	const char *path = below(getenv("CWP_SHARED"), relative);
	if (path == NULL) {
		print_message("skipped: the reference data %s is absent\n", relative);
		exit(77);
	}
	return path;
}

const char *test_cache(const char *relative)
{
	static char folder[4096];
	const char *cache = getenv("CWP_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	if (cache != NULL) {
		(void)snprintf(folder, sizeof folder, "%s", cache);
	} else if (xdg != NULL) {
		(void)snprintf(folder, sizeof folder, "%s/cwp", xdg);
	} else {
		(void)snprintf(folder, sizeof folder, "%s/.cache/cwp", home != NULL ? home : "");
	}
	return below(folder, relative);
}
