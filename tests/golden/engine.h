/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An opened engine for tests: pool, host, registry over the build tree's plugins, device, source and model. */
#pragma once

#include "engine/model/model.h"

struct test_engine {
	struct cwe_pool *pool;
	struct cwe_host host;
	struct cwe_registry *registry;
	struct cwe_device device;
	struct cwe_source *source;
	struct cwe_model model;
};

/* Fails the test when something does not open. change: what is to be done to config.json first, or NULL. */
void test_engine_open(struct test_engine *e, const char *model, uint32_t threads, void (*change)(json_t *config));
void test_engine_close(struct test_engine *e);

/* Path below the shared reference data; skips the test when it is absent. */
const char *test_shared(const char *relative);
/* Path below the cache folder of scripts/packages, or NULL. */
const char *test_cache(const char *relative);
