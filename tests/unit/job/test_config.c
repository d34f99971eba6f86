/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The daemon's configuration: defaults, the shipped example, every key, and refusals. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "job/config.h"

static struct cwj_config *parse(const char *text)
{
	struct cwb_err err = {0};
	struct cwj_config *config = NULL;

	if (cwj_config_parse(text, strlen(text), "/etc/cwp", &config, &err) != 0) {
		fail_msg("%d:%d: %s", err.line, err.column, err.message);
	}
	return config;
}

static void refuse(const char *text, int code, int line, const char *field, const char *nearest,
	const char *part)
{
	struct cwb_err err = {0};
	struct cwj_config *config = NULL;

	int rc = cwj_config_parse(text, strlen(text), "/etc/cwp", &config, &err);
	assert_null(config);
	if (rc != code || err.line != line || strcmp(err.field, field) != 0 ||
		strcmp(err.nearest, nearest) != 0 || strstr(err.message, part) == NULL) {
		fail_msg("got %d line %d [%s] near [%s] %s\nnot %d line %d [%s] near [%s] with "
			 "\"%s\"",
			rc, err.line, err.field, err.nearest, err.message, code, line, field,
			nearest, part);
	}
}

static void check_defaults(const struct cwj_config *c)
{
	assert_null(c->sockets);
	assert_null(c->state);
	assert_null(c->scratch);
	assert_int_equal(c->n_plugin_directories, 0);
	assert_int_equal(c->n_settings, 0);
	assert_int_equal(c->n_input_roots, 0);
	assert_int_equal(c->n_output_roots, 0);
	assert_int_equal(c->limits.jobs, 1);
	assert_int_equal(c->limits.gpu_jobs, 1);
	assert_true(c->n_gpus == 0 && !c->gpus_none);
	assert_int_equal(c->limits.threads, 0);
	assert_int_equal(c->limits.memory, 0);
	assert_int_equal(c->limits.scratch, 0);
	assert_int_equal(c->limits.connections, 256);
	assert_int_equal(c->limits.grace, 10);
	assert_int_equal(c->quotas.queued, 1000);
	assert_int_equal(c->quotas.running, 0);
	assert_int_equal(c->quotas.log, 16 << 20);
	assert_int_equal(c->n_queues, 1);
	assert_string_equal(c->queues[0].name, "default");
	assert_int_equal(c->queues[0].executor, CWJ_EXECUTOR_LOCAL);
	assert_int_equal(c->queues[0].jobs, 0);
	assert_null(c->queues[0].partition);
	assert_int_equal(c->retry.attempts, 3);
	assert_int_equal(c->retry.delay, 10);
	assert_int_equal(c->retry.longest_delay, 600);
	assert_int_equal(c->retry.interruptions, 20);
	assert_null(c->cache.path);
	assert_int_equal(c->cache.size, UINT64_C(20) << 30);
	assert_int_equal(c->cache.age, 168 * 3600);
	assert_int_equal(c->retention.scratch, 24 * 3600);
	assert_int_equal(c->retention.finished, 720 * 3600);
	assert_int_equal(c->retention.jobs, 10000);
	assert_int_equal(c->n_notify, 0);
	assert_int_equal(c->log_level, CWJ_LOG_INFO);
	assert_int_equal(c->log_target, CWJ_LOG_AUTO);
}

static void nothing_means_the_defaults(void **state)
{
	static const char *const nothing[] = {
		"", "\n\n", "# only a comment\n", "  # indented\r\n#", "{}", "limits: {}\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++) {
		struct cwj_config *c = parse(nothing[i]);
		check_defaults(c);
		cwj_config_free(c);
	}
	cwj_config_free(NULL);
}

/* conf/cwpd.yaml says in words that it holds the defaults; so it must, and it must name every key.
 */
static void the_shipped_example_is_the_defaults(void **state)
{
	const char *source = getenv("CWP_SRCDIR");
	char path[4096];
	struct cwb_err err = {0};
	struct cwj_config *c = NULL, *empty = parse("");

	(void)state;
	snprintf(path, sizeof(path), "%s/conf/cwpd.yaml", source != NULL ? source : ".");
	if (cwj_config_read(path, &c, &err) != 0) {
		fail_msg("%s", err.message);
	}
	check_defaults(c);
	json_t *a = cwj_config_json(c), *b = cwj_config_json(empty);
	assert_true(json_equal(a, b));
	char *text;
	size_t length;
	assert_int_equal(cwb_file_read(path, 1 << 20, &text, &length, NULL), 0);
	const char *key;
	json_t *value;
	json_object_foreach(a, key, value)
	{
		char wanted[64];
		snprintf(wanted, sizeof(wanted), "\n%s:", key);
		assert_non_null(strstr(text, wanted));
	}
	static const char *const optional[] = {"\n#sockets:", "\n#state:", "\n#scratch:"};
	for (size_t i = 0; i < 3; i++) {
		assert_non_null(strstr(text, optional[i]));
	}
	free(text);
	json_decref(a);
	json_decref(b);
	cwj_config_free(c);
	cwj_config_free(empty);
}

static const char full[] = "sockets: run\n"
			   "state: /var/lib/cwp/\n"
			   "scratch: ../scratch\n"
			   "plugins:\n"
			   "  directories: [/usr/lib/cwp/plugins, more]\n"
			   "  settings: {cpu: {tier: avx2, n: 4}, fisher: {}}\n"
			   "roots: {input: [/srv/models, /srv/data], output: [/srv/out]}\n"
			   "limits: {jobs: 4, threads: 16, memory: 48GiB, scratch: 1.5GB, "
			   "gpu-jobs: 3, connections: 10, grace: 1m}\n"
			   "gpus: [GPU-1a, GPU-2b]\n"
			   "quotas: {queued: 0, running: 2, log: 1MiB}\n"
			   "queues:\n"
			   "  - {name: fast}\n"
			   "  - {name: cluster, executor: slurm, partition: gpu, jobs: 8}\n"
			   "retry: {attempts: 1, delay: 1s, longest-delay: 1h, interruptions: 5}\n"
			   "retention: {finished: 0, jobs: 0, scratch: 2h}\n"
			   "cache: {path: ../kept, size: 1GB, age: 0}\n"
			   "notify:\n"
			   "  - {events: [failed, queued], command: [/bin/tell, --x], time: 5s}\n"
			   "  - {url: \"https://example.org/x\"}\n"
			   "log: {level: debug, target: stderr}\n";

static void reads_every_key(void **state)
{
	struct cwj_config *c = parse(full);

	(void)state;
	assert_string_equal(c->sockets, "/etc/cwp/run");
	assert_string_equal(c->state, "/var/lib/cwp");
	assert_string_equal(c->scratch, "/etc/scratch");
	assert_int_equal(c->n_plugin_directories, 2);
	assert_string_equal(c->plugin_directories[1], "/etc/cwp/more");
	assert_int_equal(c->n_settings, 2);
	assert_string_equal(c->settings[0].plugin, "cpu");
	assert_int_equal(c->settings[0].n_options, 2);
	assert_string_equal(c->settings[0].options[0].name, "tier");
	assert_string_equal(c->settings[0].options[0].value, "avx2");
	assert_int_equal(c->settings[0].options[0].line, 6);
	assert_int_equal(c->settings[1].n_options, 0);
	assert_int_equal(c->n_input_roots, 2);
	assert_string_equal(c->output_roots[0], "/srv/out");
	assert_int_equal(c->limits.jobs, 4);
	assert_int_equal(c->limits.threads, 16);
	assert_int_equal(c->limits.memory, UINT64_C(48) << 30);
	assert_int_equal(c->limits.scratch, 1500000000);
	assert_int_equal(c->limits.connections, 10);
	assert_int_equal(c->limits.grace, 60);
	assert_int_equal(c->limits.gpu_jobs, 3);
	assert_int_equal(c->n_gpus, 2);
	assert_string_equal(c->gpus[1], "GPU-2b");
	assert_int_equal(c->gpus_none, 0);
	assert_int_equal(c->quotas.queued, 0);
	assert_int_equal(c->quotas.running, 2);
	assert_int_equal(c->quotas.log, 1 << 20);
	assert_int_equal(c->n_queues, 2);
	assert_string_equal(c->queues[0].name, "fast");
	assert_int_equal(c->queues[1].executor, CWJ_EXECUTOR_SLURM);
	assert_string_equal(c->queues[1].partition, "gpu");
	assert_int_equal(c->queues[1].jobs, 8);
	assert_int_equal(c->retry.attempts, 1);
	assert_int_equal(c->retry.longest_delay, 3600);
	assert_int_equal(c->retry.interruptions, 5);
	assert_string_equal(c->cache.path, "/etc/kept");
	assert_int_equal(c->cache.size, 1000000000);
	assert_int_equal(c->cache.age, 0);
	assert_int_equal(c->retention.scratch, 7200);
	assert_int_equal(c->retention.finished, 0);
	assert_int_equal(c->retention.jobs, 0);
	assert_int_equal(c->n_notify, 2);
	assert_int_equal(c->notify[0].events, CWJ_EVENT_FAILED | CWJ_EVENT_QUEUED);
	assert_int_equal(c->notify[0].n_command, 2);
	assert_string_equal(c->notify[0].command[1], "--x");
	assert_int_equal(c->notify[0].time, 5);
	assert_int_equal(c->notify[1].events,
		CWJ_EVENT_DONE | CWJ_EVENT_FAILED | CWJ_EVENT_REJECTED | CWJ_EVENT_CANCELLED);
	assert_string_equal(c->notify[1].url, "https://example.org/x");
	assert_int_equal(c->notify[1].time, 30);
	assert_int_equal(c->log_level, CWJ_LOG_DEBUG);
	assert_int_equal(c->log_target, CWJ_LOG_STDERR);
	/* And what it says as JSON reads back as the same. */
	json_t *json = cwj_config_json(c);
	char *text = cwb_json_dump(json, NULL);
	struct cwj_config *again = parse(text);
	json_t *json_again = cwj_config_json(again);
	assert_true(json_equal(json, json_again));
	json_decref(json);
	json_decref(json_again);
	free(text);
	cwj_config_free(again);
	cwj_config_free(c);
}

static void refuses_with_place_and_remedy(void **state)
{
	(void)state;
	refuse("socket: x\n", CWP_EUNKNOWN, 1, "socket", "sockets", "did you mean");
	refuse("\nlimits: {job: 1}\n", CWP_EUNKNOWN, 2, "limits.job", "jobs", "did you mean");
	refuse("limits: {jobs: 0}\n", CWP_EVALUE, 1, "limits.jobs", "", "from 1 to 1024");
	refuse("limits: {memory: 1}\n", CWP_EVALUE, 1, "limits.memory", "", "write a size");
	refuse("limits: {grace: 0s}\n", CWP_EVALUE, 1, "limits.grace", "", "too small");
	refuse("limits: []\n", CWP_EVALUE, 1, "limits", "", "needs a mapping");
	refuse("limits: {gpu-jobs: 0}\n", CWP_EVALUE, 1, "limits.gpu-jobs", "", "from 1 to 64");
	refuse("gpus: all\n", CWP_EVALUE, 1, "gpus", "", "neither auto nor none");
	refuse("gpus: [GPU-1, \"a/b\"]\n", CWP_EVALUE, 1, "gpus[1]", "", "nvidia-smi -L");
	refuse("gpus: {a: b}\n", CWP_EVALUE, 1, "gpus", "", "write a list such as");
	refuse("queues:\n  - {executor: local}\n", CWP_EMISSING, 2, "queues[0].name", "",
		"is required");
	refuse("queues: [{name: a, executor: slrum}]\n", CWP_EUNKNOWN, 1, "queues[0].executor",
		"slurm", "did you mean");
	refuse("queues:\n- name: a\n- name: a\n", CWP_EVALUE, 3, "queues[1].name", "",
		"already the name of the one in line 2");
	refuse("notify: [{events: [done]}]\n", CWP_EMISSING, 1, "notify[0]", "",
		"either command or url");
	refuse("notify: [{command: [/x], url: \"http://y\"}]\n", CWP_EVALUE, 1, "notify[0]", "",
		"either command or url");
	refuse("notify: [{command: []}]\n", CWP_EVALUE, 1, "notify[0].command", "",
		"no absolute path");
	refuse("notify: [{command: [tell]}]\n", CWP_EVALUE, 1, "notify[0].command", "",
		"no absolute path");
	refuse("notify: [{command: /bin/tell}]\n", CWP_EVALUE, 1, "notify[0].command", "",
		"needs a list");
	refuse("notify: [{url: ftp://x}]\n", CWP_EVALUE, 1, "notify[0].url", "", "no web address");
	refuse("notify: [{url: \"http://x\", events: [dnoe]}]\n", CWP_EUNKNOWN, 1,
		"notify[0].events[0]", "done", "");
	refuse("notify: [{url: \"http://x\", events: done}]\n", CWP_EVALUE, 1, "notify[0].events",
		"", "needs a list");
	refuse("notify: [{url: \"http://x\", events: [[done]]}]\n", CWP_EVALUE, 1,
		"notify[0].events[0]", "", "needs a name");
	refuse("retry: {delay: 1h}\n", CWP_EVALUE, 1, "retry", "", "longest-delay is shorter");
	refuse("log: {level: noisy}\n", CWP_EUNKNOWN, 1, "log.level", "",
		"write one of: info, error, warning, debug");
	refuse("plugins: {settings: [cpu]}\n", CWP_EVALUE, 1, "plugins.settings", "",
		"needs a mapping");
	refuse("plugins: {settings: {cpu: avx2}}\n", CWP_EVALUE, 1, "plugins.settings.cpu", "",
		"needs a mapping");
	refuse("plugins: {settings: {cpu: {a: [b]}}}\n", CWP_EVALUE, 1, "plugins.settings.cpu.a",
		"", "not nested");
	refuse("plugins: {directories: /usr/lib}\n", CWP_EVALUE, 1, "plugins.directories", "",
		"needs a list");
	refuse("roots: {input: [\"\"]}\n", CWP_EVALUE, 1, "roots.input[0]", "", "empty path");
	refuse("state:\n", CWP_EVALUE, 1, "state", "", "has no value");
	refuse("state: &a /x\n", CWP_EFORMAT, 1, "", "", "anchors");
	refuse("\tstate: /x\n", CWP_EFORMAT, 1, "", "", "tab");
	refuse("# comment\n\n--- x\n", CWP_EVALUE, 3, "", "", "needs a mapping");
}

static void errors_of_files_begin_with_the_file(void **state)
{
	char path[] = "/tmp/cwj-config-XXXXXX", expected[64];
	int fd = mkstemp(path);
	struct cwb_err err = {0};
	struct cwj_config *c = NULL;

	(void)state;
	assert_int_equal(cwb_file_write(fd, "log: {}\nlimit: {}\n", 18, path, NULL), 0);
	assert_int_equal(cwj_config_read(path, &c, &err), CWP_EUNKNOWN);
	snprintf(expected, sizeof(expected), "%s:2:1: limit: ", path);
	assert_memory_equal(err.message, expected, strlen(expected));
	assert_int_equal(cwj_config_read("/nonexistent/cwpd.yaml", &c, NULL), -ENOENT);
	assert_null(c);
	assert_int_equal(cwb_file_remove_tree(-1, path, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_means_the_defaults),
		cmocka_unit_test(the_shipped_example_is_the_defaults),
		cmocka_unit_test(reads_every_key),
		cmocka_unit_test(refuses_with_place_and_remedy),
		cmocka_unit_test(errors_of_files_begin_with_the_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
