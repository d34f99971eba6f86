/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluators on data files that a test writes: opening, answering by a function, metrics by name. */
#pragma once

#include "tests/plugins/evaluator_sink.h"

#include <unistd.h>

static char data_folder[] = "/tmp/cwp-evaluators-XXXXXX", data_file[128];

static inline int make_data_folder(void **state)
{
	(void)state;
	return mkdtemp(data_folder) != NULL ? 0 : -1;
}

static inline int remove_data_folder(void **state)
{
	(void)state;
	return rmdir(data_folder);
}

/* A file of that name in the folder becomes data_file. */
static inline void write_data(const char *name, const char *data)
{
	(void)snprintf(data_file, sizeof data_file, "%s/%s", data_folder, name);
	FILE *f = fopen(data_file, "w");
	assert_non_null(f);
	assert_true(fputs(data, f) >= 0 && fclose(f) == 0);
}

struct under_test {
	struct cwe_plugin plugin;
	const struct cwp_evaluator *evaluator;
	struct cwp_setting *settings;
	struct cwe_host host;
	void *state;
};

static inline void use_plugin(struct under_test *u, const char *id, const char *const *settings)
{
	memset(u, 0, sizeof *u);
	u->plugin = open_plugin(id);
	u->evaluator = u->plugin.interface;
	u->settings = settings_of(&u->plugin, settings);
	cwe_host_init(&u->host, NULL, 1);
}

static inline void leave_plugin(struct under_test *u)
{
	u->evaluator->close(u->state);
	u->evaluator->close(NULL);
	cwe_settings_free(u->plugin.descriptor, u->settings);
	free(u->plugin.path);
}

/* The code; what was opened before is closed. data_file is read, and removed. */
static inline int open_data(struct under_test *u, uint64_t limit)
{
	u->evaluator->close(u->state);
	u->state = NULL;
	u->host.failure[0] = '\0';
	int r = u->evaluator->open(&u->host.table, u->settings, data_file, "", 0, limit, &u->state);
	(void)unlink(data_file);
	return r;
}

/* Refused with this code and these words. */
static inline void assert_refused(struct under_test *u, int code, const char *words)
{
	int r = open_data(u, 0);
	if (r != code || strstr(u->host.failure, words) == NULL) {
		fail_msg("code %d, \"%s\"; expected %d and \"%s\"", r, u->host.failure, code, words);
	}
	assert_null(u->state);
}

/* A file, and how it is refused. */
struct refused_data {
	const char *data;
	int code;
	const char *words;
};

static inline void assert_each_refused(struct under_test *u, const char *name, const struct refused_data *bad, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		write_data(name, bad[i].data);
		assert_refused(u, bad[i].code, bad[i].words);
	}
}

static inline int begins_with(void *prefix, const char *identity)
{
	return strncmp(identity, prefix, strlen(prefix)) == 0;
}

/* From now on the job calibrates on all items whose identities begin so. */
static inline void calibrate_on(struct under_test *u, const char *prefix)
{
	u->host.calibrated = begins_with;
	u->host.calibrated_arg = (void *)(uintptr_t)prefix;
}

static inline void finish(struct under_test *u, struct kept *ret)
{
	finish_into(u->evaluator, u->state, ret);
}

static inline void assert_value(const struct kept *t, const char *name, double value)
{
	double got = metric_of(t, name)->m.value;
	if (!(fabs(got - value) < 1e-9) && !(isnan(got) && isnan(value))) {
		fail_msg("%s is %.9f, not %.9f", name, got, value);
	}
}

static inline void give_loglik(struct under_test *u, uint64_t i, double loglik, uint64_t tokens, uint32_t flags)
{
	struct cwp_answer a = {.size = sizeof a, .loglik = loglik, .tokens = tokens, .flags = flags};
	assert_int_equal(u->evaluator->answer(u->state, i, &a), 0);
}

static inline void assert_request(struct under_test *u, uint64_t i, const char *context, const char *continuation)
{
	struct cwp_request q = request_of(u->evaluator, u->state, i);
	if (q.context_length != strlen(context) || memcmp(q.context, context, q.context_length) != 0) {
		fail_msg("context \"%.*s\", not \"%s\"", (int)q.context_length, q.context, context);
	}
	if (q.continuation_length != strlen(continuation) || memcmp(q.continuation, continuation, q.continuation_length) != 0) {
		fail_msg("continuation \"%.*s\", not \"%s\"", (int)q.continuation_length, q.continuation, continuation);
	}
	assert_true(q.item != NULL && *q.item != '\0');
}
