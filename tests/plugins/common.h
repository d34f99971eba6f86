/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opens the project's own plugins for tests. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/plugin/host.h"
#include "engine/plugin/registry.h"
#include "engine/plugin/settings.h"

/* The plugin file $CWP_PLUGIN_DIR/<id>.so; it stays open. */
static inline struct cwe_plugin open_plugin(const char *id)
{
	struct cwe_plugin p;
	struct cwb_err err = {0};
	const char *directory = getenv("CWP_PLUGIN_DIR");
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s.so", directory != NULL ? directory : "plugins/.libs", id);
	if (cwe_plugin_open(path, &p, &err) < 0) {
		fail_msg("%s", err.message);
	}
	assert_string_equal(p.descriptor->id, id);
	return p;
}

/* Settings from "name=value" texts; the list ends with NULL. Freed with cwe_settings_free. */
static inline struct cwp_setting *settings_of(const struct cwe_plugin *p, const char *const *texts)
{
	struct cwj_option options[16];
	char names[16][64];
	size_t n = 0;
	struct cwp_setting *s = NULL;
	struct cwb_err err = {0};

	for (; texts != NULL && texts[n] != NULL; n++) {
		const char *equals = strchr(texts[n], '=');
		assert_non_null(equals);
		snprintf(names[n], sizeof(names[n]), "%.*s", (int)(equals - texts[n]), texts[n]);
		options[n] = (struct cwj_option){names[n], (char *)equals + 1, 1, 1};
	}
	if (cwe_settings_make(p->descriptor, "options", options, n, &s, &err) < 0) {
		fail_msg("%s", err.message);
	}
	return s;
}

#define SETTINGS(p, ...) settings_of((p), (const char *const[]){__VA_ARGS__, NULL})

/* A host with this many threads; the pool, NULL at first, takes the place of the one before. */
static inline void host_open(struct cwe_host *host, struct cwe_pool **pool, uint32_t threads)
{
	struct cwb_err err = {0};

	cwe_pool_free(*pool);
	if (cwe_pool_new(threads, pool, &err) < 0) {
		fail_msg("%s", err.message);
	}
	cwe_host_init(host, *pool, 0);
}

/* The bit of row r and column c of a mask whose rows are `stride` bytes apart. */
static inline int mask_at(const uint8_t *mask, uint64_t stride, uint64_t r, uint64_t c)
{
	return mask[r * stride + c / 8] >> (c % 8) & 1;
}

/* Repeatable numbers around zero with a long tail, as weights have. */
static inline float weight_at(uint64_t stream, uint64_t i)
{
	uint64_t r = cwe_random(7, stream, i);
	float v = (float)(int32_t)(r >> 32) * 0x1p-31f;

	return v * v * v * 0.2f;
}
