/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Memory that runs out at every single allocation: each time a clean -ENOMEM, nothing returned,
 * nothing leaked (the sanitizer build sees leaks). The linker sends this room's and base's
 * allocations through the counters below. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "job/config.h"
#include "job/job.h"
#include "job/sweep.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);

static long left = -1; /* allocations until the one that fails; negative: none does */

static int fails(void)
{
	if (left < 0) {
		return 0;
	}
	left--;
	return left < 0;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t n)
{
	return fails() ? NULL : __real_strndup(text, n);
}

static const char job_text[] =
	"name: n\nmodel: m\nadapter: [a, b]\noutput: o\nchat: llama3\nlimits: {memory: 4GiB}\n"
	"calibrate:\n  critical: [{name: s, data: answers, path: p}, {name: f, data: pairs, path: "
	"q}]\n"
	"  utility: [{name: t, data: text, path: r}]\n"
	"score: {plugin: fisher, options: {error-aware: true, x: y}}\nprotect: {fraction: 0.05}\n"
	"quantize: {plugin: static, skip: [a, b], options: {bits: 4}}\n"
	"evaluate: [{name: e, benchmark: b, path: p, options: {k: v}}]\n"
	"gate: [{metric: e.x, at-most: 1}]\n";

static const char matrix_text[] =
	"\nmatrix: {protect.fraction: [.1, .2], quantize.options.new: [\"a\", true], "
	"score.beta: [2]}\n";

static const char config_text[] = "sockets: s\nplugins: {directories: [a, b], settings: {cpu: {t: "
				  "v}}}\nroots: {input: [x], output: [y]}\n"
				  "queues: [{name: a, partition: p}, {name: b}]\nnotify: "
				  "[{command: [/x, y]}, {url: \"http://z\"}]\n";

/* One attempt with the n-th allocation failing; 1 when there was no n-th. */
static int try_job(long n)
{
	struct cwb_err err = {0};
	struct cwj_job *job = NULL;
	json_t *json = NULL;
	char hex[65];

	left = n;
	int rc = cwj_job_parse(job_text, strlen(job_text), "/d", &job, &err);
	if (rc == 0) {
		json = cwj_job_json(job);
		rc = json != NULL ? cwj_job_digest(job, hex) : -ENOMEM;
	} else {
		assert_null(job);
		assert_int_equal(err.code, -ENOMEM);
		assert_true(err.message[0] != '\0');
	}
	int done = left >= 0;
	left = -1;
	assert_int_equal(rc, done ? 0 : -ENOMEM);
	json_decref(json);
	cwj_job_free(job);
	return done;
}

static int try_sweep(long n)
{
	char text[sizeof(job_text) + sizeof(matrix_text)], hex[65];
	struct cwb_err err = {0};
	struct cwj_sweep *sweep = NULL;
	json_t *json = NULL;

	strcpy(text, job_text);
	strcat(text, matrix_text);
	left = n;
	int rc = cwj_sweep_parse(text, strlen(text), "/d", &sweep, &err);
	if (rc == 0) {
		json = cwj_sweep_values(sweep, 3);
		rc = json != NULL ? cwj_sweep_digest(sweep, hex) : -ENOMEM;
	} else {
		assert_null(sweep);
		assert_int_equal(err.code, -ENOMEM);
		assert_true(err.message[0] != '\0');
	}
	int done = left >= 0;
	left = -1;
	assert_int_equal(rc, done ? 0 : -ENOMEM);
	json_decref(json);
	cwj_sweep_free(sweep);
	return done;
}

static int try_config(long n)
{
	struct cwb_err err = {0};
	struct cwj_config *config = NULL;
	json_t *json = NULL;

	left = n;
	int rc = cwj_config_parse(config_text, strlen(config_text), "/d", &config, &err);
	if (rc == 0) {
		json = cwj_config_json(config);
		rc = json != NULL ? 0 : -ENOMEM;
	} else {
		assert_null(config);
		assert_int_equal(err.code, -ENOMEM);
	}
	int done = left >= 0;
	left = -1;
	assert_int_equal(rc, done ? 0 : -ENOMEM);
	json_decref(json);
	cwj_config_free(config);
	return done;
}

static void survives(int (*attempt)(long n))
{
	long n = 0;

	while (!attempt(n)) {
		n++;
		assert_true(n < 100000);
	}
	/* Fewer would mean that the linker did not send them here. */
	assert_true(n > 100);
}

static void jobs_survive_every_failure(void **state)
{
	(void)state;
	survives(try_job);
}

static void sweeps_survive_every_failure(void **state)
{
	(void)state;
	survives(try_sweep);
}

static void configurations_survive_every_failure(void **state)
{
	(void)state;
	survives(try_config);
}

int main(void)
{
	/* jansson is a shared library: it is handed the same counters. */
	json_set_alloc_funcs(__wrap_malloc, free);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_survive_every_failure),
		cmocka_unit_test(sweeps_survive_every_failure),
		cmocka_unit_test(configurations_survive_every_failure),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
