/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opening the backend under test and the reference; numbers for tests. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/plugin/settings.h"
#include "tests/cuda/pair.h"

struct pair pair;

float *pair_normal(uint64_t *seed, size_t n, float scale)
{
	float *x = test_filled(n, 0.0F);
	for (size_t i = 0; i < n; i++) {
		/* Four uniform numbers: their sum has the variance 1/3. */
		uint64_t r = test_random(seed);
		float sum = (float)(r & 0xFFFF) + (float)(r >> 16 & 0xFFFF) + (float)(r >> 32 & 0xFFFF) + (float)(r >> 48);
		x[i] = scale * 1.7320508F * (sum * 0x1p-16F - 2.0F);
	}
	return x;
}

float *pair_rounded(const float *x, size_t n)
{
	float *y = test_filled(n, 0.0F);
	uint16_t *half = malloc(n * sizeof(*half) + 2);
	assert_non_null(half);
	memcpy(y, x, n * sizeof(*y));
	if (pair.bf16) {
		assert_int_equal(cpu_backend.narrow(pair.reference, half, CWP_BF16, x, n), 0);
		assert_int_equal(cpu_backend.convert(pair.reference, y, half, CWP_BF16, n), 0);
	}
	free(half);
	return y;
}

double pair_product_bound(size_t k)
{
	return 1e-5 + (pair.bf16 ? 0x1p-23 / 16.0 * (double)k : 0x1p-24 * sqrt((double)k));
}

/* The settings with precision `value`; 0: the plugin has no such option or value. */
static int settings_of(const struct cwp_plugin *p, const char *value, struct cwp_setting **ret)
{
	struct cwb_err err = {0};
	char name[] = CWP_BACKEND_PRECISION, text[8];
	snprintf(text, sizeof(text), "%s", value);
	struct cwj_option option = {.name = name, .value = text};
	int has = cwe_settings_index(p, name) >= 0;
	int rc = cwe_settings_make(p, "backend", &option, has ? 1 : 0, ret, &err);
	if (rc) {
		print_message("# %s\n", err.message);
	}
	return rc == 0 && (has || strcmp(value, "f32") == 0);
}

static enum pair_sizes sizes_of(const struct cwp_backend *ops)
{
	static const char *const names[] = {"tiny", "small", "large"};
	const char *asked = getenv("CWP_TEST_SIZES");
	for (int i = 0; asked && i < 3; i++) {
		if (strcmp(asked, names[i]) == 0) {
			return (enum pair_sizes)i;
		}
	}
	return ops->flags & CWP_BACKEND_HOST_MEMORY ? PAIR_SMALL : PAIR_LARGE;
}

/* Plain C, where the backend under test is the CPU's too. */
static void open_reference(void)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	const char *old = getenv("CWP_CPU");
	char *keep = old ? strdup(old) : NULL;
	test_host_init(&pair.reference_host, processors < 16 ? (uint32_t)processors : 16);
	if (pair.ops->flags & CWP_BACKEND_HOST_MEMORY) {
		setenv("CWP_CPU", "scalar", 1);
	}
	int rc = cpu_backend.open(&pair.reference_host.table, NULL, NULL, &pair.reference);
	if (rc) {
		print_message("# the reference: code %d: %s\n", rc, pair.reference_host.failure);
		exit(1);
	}
	unsetenv("CWP_CPU");
	if (keep) {
		setenv("CWP_CPU", keep, 1);
	}
	free(keep);
}

/* 0, 77 when there is no device, 1. */
static int open_pair(const char *precision)
{
	struct cwp_setting *settings = NULL;
	if (!settings_of(pair.plugin.descriptor, precision, &settings)) {
		cwe_settings_free(pair.plugin.descriptor, settings);
		return -1;
	}
	test_host_init(&pair.host, 2);
	int rc = pair.ops->open(&pair.host.table, settings, NULL, &pair.b);
	cwe_settings_free(pair.plugin.descriptor, settings);
	if (rc) {
		print_message("skipped: backend %s: code %d: %s\n", pair.plugin.descriptor->id, rc, pair.host.failure);
		return 77;
	}
	pair.bf16 = strcmp(precision, "bf16") == 0;
	pair.sizes = sizes_of(pair.ops);
	open_reference();
	print_message("# %s, %s, against %s\n", pair.ops->describe(pair.b), precision, cpu_backend.describe(pair.reference));
	return 0;
}

static int open_plugin(void)
{
	const char *id = getenv("CWP_TEST_BACKEND"), *folder = getenv("CWP_PLUGIN_DIR");
	char path[4096];
	struct cwb_err err = {0};
	id = id && id[0] ? id : "cpu";
	if (strchr(id, '/')) {
		snprintf(path, sizeof(path), "%s", id);
	} else {
		snprintf(path, sizeof(path), "%s/%s.so", folder ? folder : "plugins/.libs", id);
	}
	if (access(path, R_OK) != 0) {
		print_message("skipped: there is no plugin %s\n", path);
		return 77;
	}
	if (cwe_plugin_open(path, &pair.plugin, &err) != 0) {
		print_message("%s\n", err.message);
		return 1;
	}
	pair.ops = pair.plugin.interface;
	return 0;
}

int pair_main(int (*group)(void), int all_precisions)
{
	static const char *const precisions[] = {"f32", "bf16"};
	int rc = open_plugin(), failed = 0;
	const char *asked = getenv("CWP_TEST_PRECISION");
	for (int i = 0; rc == 0 && i < (all_precisions ? 2 : 1); i++) {
		if (asked && strcmp(asked, precisions[i]) != 0) {
			continue;
		}
		int e = open_pair(precisions[i]);
		if (e > 0) {
			return e;
		}
		if (e == 0) {
			failed += group() != 0;
			pair.ops->close(pair.b);
			cpu_backend.close(pair.reference);
		}
	}
	free(pair.plugin.path);
	return rc ? rc : failed > 0;
}
