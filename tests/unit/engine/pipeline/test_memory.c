/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A whole job whose memory runs out somewhere: each time an error that says so and no finished output; and after all of that
 * the job, going on from what was left, ends with the bytes of an undisturbed one. */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/file.h"
#include "engine/pipeline/pipeline.h"
#include "tests/unit/engine/memory.h"

#define RUNS 120
#define FEWER 50

static char folder[64];
static long used; /* allocations of the last run */

static const char *path(const char *name)
{
	static char text[2][160];
	static unsigned which;
	which ^= 1;
	(void)snprintf(text[which], sizeof text[which], "%s/%s", folder, name);
	return text[which];
}

/* Runs the job once; the allocation of this number fails. */
static int run(const char *text, const char *scratch, long number, struct cwb_err *err)
{
	struct cwj_job *job = NULL;
	struct cwe_pool *pool = NULL;
	struct cwe_registry *registry = NULL;
	struct cwe_host host;
	const char *plugins = getenv("CWP_PLUGIN_DIR");
	assert_int_equal(cwj_job_parse(text, strlen(text), folder, &job, err), 0);
	assert_int_equal(cwe_pool_new(2, &pool, err), 0);
	cwe_host_init(&host, pool, 0);
	assert_int_equal(cwe_registry_new(&plugins, 1, CWE_REGISTRY_ANY_OWNER, &registry, err), 0);
	assert_int_equal(cwb_file_make_folders(scratch, 0700, err), 0);
	struct cwe_pipeline p = {.job = job, .host = &host, .registry = registry, .scratch = scratch};
	memory_fail(number);
	int r = cwe_pipeline_run(&p, err);
	used = number - memory_left();
	memory_fail(-1);
	cwe_registry_free(registry);
	cwe_pool_free(pool);
	cwj_job_free(job);
	return r;
}

static char *content_digest(const char *output)
{
	char name[160];
	json_error_t at;
	(void)snprintf(name, sizeof name, "%s/manifest.json", output);
	json_t *manifest = json_load_file(name, 0, &at);
	assert_non_null(manifest);
	char *digest = strdup(json_string_value(json_object_get(manifest, "content_digest")));
	json_decref(manifest);
	return digest;
}

static void jobs(const char *score, const char *quantize, long runs)
{
	const char *shared = getenv("CWP_SHARED");
	char model[512], text[2][1400];
	struct cwb_err err = {0};
	(void)snprintf(model, sizeof model, "%s/golden/smollm2", shared != NULL ? shared : "");
	if (access(model, R_OK) != 0) {
		print_message("skipped: no reference model %s\n", model);
		exit(77);
	}
	(void)snprintf(folder, sizeof folder, "/tmp/cwe-memory-XXXXXX");
	assert_non_null(mkdtemp(folder));
	static const char samples[] = "{\"ids\": [1, 2, 3, 4, 5], \"weights\": [0, 0.25, 0.25, 0.25, 0.25]}\n";
	assert_int_equal(cwb_file_replace_path(path("s.jsonl"), samples, sizeof samples - 1, 0600, &err), 0);
	for (int i = 0; i < 2; i++) {
		(void)snprintf(text[i], sizeof text[i], "model: %s\noutput: out%d\n"
			"calibrate: {critical: [{name: a, data: samples, path: s.jsonl}]}\nscore: {plugin: fisher%s}\n"
			"protect: {fraction: 0.05}\n"
			"quantize: {plugin: static, options: {bits: 4, granularity: group, group: 32%s}}\n", model, i, score, quantize);
	}
	if (run(text[0], path("scratch0"), LONG_MAX, &err) != 0) {
		fail_msg("%s", err.message);
	}
	long total = used;
	print_message("%ld allocations\n", total);
	assert_true(total > runs);
	for (long i = 0; i < runs; i++) {
		/* From the end to the beginning, so that there is something to go on from. */
		int r = run(text[1], path("scratch1"), (runs - 1 - i) * total / runs + i % 7, &err);
		if (r == 0) {
			/* Where an earlier attempt got far, fewer allocations are left. */
			assert_int_equal(cwb_file_remove_tree(AT_FDCWD, path("out1"), NULL), 0);
			continue;
		}
		assert_true(r < 0);
		assert_int_equal(err.code, r);
		if (err.message[0] == '\0') {
			fail_msg("allocation %ld: error %d without a message", (runs - 1 - i) * total / runs + i % 7, r);
		}
		assert_int_equal(access(path("out1/manifest.json"), F_OK), -1);
		cwb_err_clear(&err);
	}
	if (run(text[1], path("scratch1"), -1, &err) != 0) {
		fail_msg("%s", err.message);
	}
	char *want = content_digest(path("out0")), *got = content_digest(path("out1"));
	assert_string_equal(want, got);
	free(want);
	free(got);
	assert_int_equal(cwb_file_remove_tree(AT_FDCWD, folder, NULL), 0);
}

static void means(void **state)
{
	(void)state;
	jobs("", "", RUNS);
}

static void ranks(void **state)
{
	(void)state;
	jobs(", combine: rank, store: bf16", "", FEWER);
}

static void pilots(void **state)
{
	(void)state;
	jobs(", scale: pilot", "", FEWER);
}

static void calibrated(void **state)
{
	(void)state;
	jobs("", ", algorithm: gptq", FEWER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(means), cmocka_unit_test(ranks), cmocka_unit_test(pilots),
		cmocka_unit_test(calibrated)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
