/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Every key of the daemon's configuration, its default and range, and what concerns several of
 * them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "job/config_table.h"
#include "job/schema_value.h"

#define CONFIG(field) offsetof(struct cwj_config, field)
#define MOST_JOBS 1000000

static const char *const executors[] = {"local", "slurm", NULL};
static const char *const levels[] = {"info", "error", "warning", "debug", NULL};
static const char *const targets[] = {"auto", "journal", "stderr", NULL};
static const char *const events[] = {
	"queued", "started", "done", "failed", "rejected", "cancelled", "interrupted", NULL};

/* plugins.settings: plugin -> its options. */
static int settings_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	struct cwj_config *c = target;
	int rc = 0;

	(void)key;
	if (node->kind != CWJ_YAML_MAPPING) {
		return cwj_fail_kind(
			r, node, "a mapping", "write {plugin: {option: value, ..}, ..}");
	}
	c->settings = calloc(node->count + 1, sizeof(*c->settings));
	if (c->settings == NULL) {
		return cwj_fail(r, node, -ENOMEM, "no memory for its settings");
	}
	for (size_t i = 0; rc == 0 && i < node->count; i++) {
		struct cwj_plugin_use *use = &c->settings[c->n_settings++];
		size_t mark = cwj_enter(r, node->keys[i]->text);
		use->line = node->values[i]->line;
		use->column = node->values[i]->column;
		use->plugin = strdup(node->keys[i]->text);
		if (use->plugin == NULL) {
			rc = cwj_fail(r, node, -ENOMEM, "no memory for its settings");
		} else {
			rc = cwj_options_read(r, node->values[i], &use->options, &use->n_options);
		}
		cwj_leave(r, mark);
	}
	return rc;
}

static const struct cwj_key setting_keys[] = {
	{.name = "",
		.kind = CWJ_OPTIONS,
		.offset = offsetof(struct cwj_plugin_use, options),
		.count = offsetof(struct cwj_plugin_use, n_options)},
	{0},
};
static const struct cwj_table setting_table = {
	.keys = setting_keys, .size = sizeof(struct cwj_plugin_use)};

static int settings_json(json_t *object, const struct cwj_key *key, const void *target)
{
	const struct cwj_config *c = target;
	json_t *settings = json_object();

	for (size_t i = 0; settings != NULL && i < c->n_settings; i++) {
		json_t *one = cwj_table_json(&setting_table, &c->settings[i]);
		json_t *options = json_incref(json_object_get(one, ""));
		json_decref(one);
		if (json_object_set_new(settings, c->settings[i].plugin, options) < 0) {
			json_decref(settings);
			return -ENOMEM;
		}
	}
	return json_object_set_new(object, key->name, settings) < 0 ? -ENOMEM : 0;
}

static void settings_free(void *target)
{
	struct cwj_config *c = target;

	for (size_t i = 0; i < c->n_settings; i++) {
		free(c->settings[i].plugin);
		cwj_table_free(&setting_table, &c->settings[i]);
	}
	free(c->settings);
	c->settings = NULL;
	c->n_settings = 0;
}

static const struct cwj_custom settings_custom = {
	.read = settings_read, .json = settings_json, .free = settings_free};

static const struct cwj_key plugin_keys[] = {
	{.name = "directories",
		.kind = CWJ_PATHS,
		.offset = CONFIG(plugin_directories),
		.count = CONFIG(n_plugin_directories),
		.high = 64},
	{.name = "settings", .kind = CWJ_CUSTOM, .custom = &settings_custom},
	{0},
};
static const struct cwj_table plugin_table = {
	.keys = plugin_keys, .size = sizeof(struct cwj_config)};

static const struct cwj_key cache_keys[] = {
	{.name = "path", .kind = CWJ_PATH, .offset = CONFIG(cache.path)},
	{.name = "size", .kind = CWJ_SIZE, .offset = CONFIG(cache.size)},
	{.name = "age", .kind = CWJ_TIME, .offset = CONFIG(cache.age)},
	{0},
};
static const struct cwj_table cache_table = {.keys = cache_keys, .size = sizeof(struct cwj_config)};

static const struct cwj_key root_keys[] = {
	{.name = "input",
		.kind = CWJ_PATHS,
		.offset = CONFIG(input_roots),
		.count = CONFIG(n_input_roots),
		.high = 256},
	{.name = "output",
		.kind = CWJ_PATHS,
		.offset = CONFIG(output_roots),
		.count = CONFIG(n_output_roots),
		.high = 256},
	{0},
};
static const struct cwj_table root_table = {.keys = root_keys, .size = sizeof(struct cwj_config)};

static const struct cwj_key limit_keys[] = {
	{.name = "jobs", .kind = CWJ_SMALL, .offset = CONFIG(limits.jobs), .low = 1, .high = 1024},
	{.name = "threads", .kind = CWJ_SMALL, .offset = CONFIG(limits.threads), .high = 4096},
	{.name = "memory", .kind = CWJ_SIZE, .offset = CONFIG(limits.memory)},
	{.name = "scratch", .kind = CWJ_SIZE, .offset = CONFIG(limits.scratch)},
	{.name = "gpu-jobs", .kind = CWJ_SMALL, .offset = CONFIG(limits.gpu_jobs), .low = 1, .high = 64},
	{.name = "connections",
		.kind = CWJ_SMALL,
		.offset = CONFIG(limits.connections),
		.low = 1,
		.high = 65536},
	{.name = "grace", .kind = CWJ_TIME, .offset = CONFIG(limits.grace), .low = 1, .high = 3600},
	{0},
};
static const struct cwj_table limit_table = {.keys = limit_keys, .size = sizeof(struct cwj_config)};

static const struct cwj_key quota_keys[] = {
	{.name = "queued", .kind = CWJ_SMALL, .offset = CONFIG(quotas.queued), .high = MOST_JOBS},
	{.name = "running", .kind = CWJ_SMALL, .offset = CONFIG(quotas.running), .high = MOST_JOBS},
	{.name = "log",
		.kind = CWJ_SIZE,
		.offset = CONFIG(quotas.log),
		.low = 4096,
		.high = UINT64_C(1) << 40},
	{0},
};
static const struct cwj_table quota_table = {.keys = quota_keys, .size = sizeof(struct cwj_config)};

static const struct cwj_key queue_keys[] = {
	{.name = "name",
		.kind = CWJ_LABEL,
		.required = 1,
		.offset = offsetof(struct cwj_queue, name)},
	{.name = "executor",
		.kind = CWJ_CHOICE,
		.offset = offsetof(struct cwj_queue, executor),
		.names = executors},
	{.name = "jobs",
		.kind = CWJ_SMALL,
		.offset = offsetof(struct cwj_queue, jobs),
		.high = 1024},
	{.name = "partition", .kind = CWJ_LABEL, .offset = offsetof(struct cwj_queue, partition)},
	{0},
};
static const struct cwj_table queue_table = {.keys = queue_keys,
	.size = sizeof(struct cwj_queue),
	.place = offsetof(struct cwj_queue, line) + 1};

static const struct cwj_key retry_keys[] = {
	{.name = "attempts",
		.kind = CWJ_SMALL,
		.offset = CONFIG(retry.attempts),
		.low = 1,
		.high = 100},
	{.name = "delay", .kind = CWJ_TIME, .offset = CONFIG(retry.delay), .high = 86400},
	{.name = "longest-delay",
		.kind = CWJ_TIME,
		.offset = CONFIG(retry.longest_delay),
		.high = 604800},
	{.name = "interruptions",
		.kind = CWJ_SMALL,
		.offset = CONFIG(retry.interruptions),
		.low = 1,
		.high = MOST_JOBS},
	{0},
};
static const struct cwj_table retry_table = {.keys = retry_keys, .size = sizeof(struct cwj_config)};

static const struct cwj_key retention_keys[] = {
	{.name = "scratch", .kind = CWJ_TIME, .offset = CONFIG(retention.scratch)},
	{.name = "finished", .kind = CWJ_TIME, .offset = CONFIG(retention.finished)},
	{.name = "jobs", .kind = CWJ_SMALL, .offset = CONFIG(retention.jobs), .high = 100000000},
	{0},
};
static const struct cwj_table retention_table = {
	.keys = retention_keys, .size = sizeof(struct cwj_config)};

static void notify_fill(void *target)
{
	struct cwj_notify *n = target;

	n->events = CWJ_EVENT_DONE | CWJ_EVENT_FAILED | CWJ_EVENT_REJECTED | CWJ_EVENT_CANCELLED;
	n->time = 30;
}

static int notify_check(struct cwj_reader *r, const struct cwj_yaml *node, void *target)
{
	const struct cwj_notify *n = target;

	if ((n->command == NULL) == (n->url == NULL)) {
		return cwj_fail(r, node, n->url == NULL ? CWP_EMISSING : CWP_EVALUE,
			"needs either command or url; write command: [/path/to/program, argument]");
	}
	if (n->command != NULL && (n->n_command == 0 || n->command[0][0] != '/')) {
		size_t mark = cwj_enter(r, "command");
		int rc = cwj_fail(r, cwj_yaml_get(node, "command"), CWP_EVALUE,
			"begins with no absolute path; write [/path/to/program, argument]");
		cwj_leave(r, mark);
		return rc;
	}
	if (n->url != NULL && strncmp(n->url, "http://", 7) != 0 &&
		strncmp(n->url, "https://", 8) != 0) {
		size_t mark = cwj_enter(r, "url");
		int rc = cwj_fail(r, cwj_yaml_get(node, "url"), CWP_EVALUE,
			"\"%.64s\" is no web address; begin it with https:// or http://", n->url);
		cwj_leave(r, mark);
		return rc;
	}
	return 0;
}

/* An empty command is left out of the JSON: what is written must be readable again. */
static int command_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	struct cwj_key list = {.name = key->name,
		.kind = CWJ_TEXTS,
		.offset = offsetof(struct cwj_notify, command),
		.count = offsetof(struct cwj_notify, n_command),
		.high = 64,
		.remedy = "write a program and its arguments"};

	return cwj_value_read(r, &list, node, target);
}

static int command_json(json_t *object, const struct cwj_key *key, const void *target)
{
	const struct cwj_notify *n = target;

	if (n->command == NULL) {
		return 0;
	}
	json_t *array = json_array();
	for (size_t i = 0; array != NULL && i < n->n_command; i++) {
		if (json_array_append_new(array, json_string(n->command[i])) < 0) {
			json_decref(array);
			return -ENOMEM;
		}
	}
	return json_object_set_new(object, key->name, array) < 0 ? -ENOMEM : 0;
}

static void command_free(void *target)
{
	struct cwj_notify *n = target;

	for (size_t i = 0; n->command != NULL && i < n->n_command; i++) {
		free(n->command[i]);
	}
	free(n->command);
	n->command = NULL;
	n->n_command = 0;
}

static const struct cwj_custom command_custom = {
	.read = command_read, .json = command_json, .free = command_free};

static const struct cwj_key notify_keys[] = {
	{.name = "events",
		.kind = CWJ_WORDS,
		.offset = offsetof(struct cwj_notify, events),
		.names = events},
	{.name = "command", .kind = CWJ_CUSTOM, .custom = &command_custom},
	{.name = "url", .kind = CWJ_TEXT, .offset = offsetof(struct cwj_notify, url), .high = 2000},
	{.name = "time",
		.kind = CWJ_TIME,
		.offset = offsetof(struct cwj_notify, time),
		.low = 1,
		.high = 3600},
	{0},
};
static const struct cwj_table notify_table = {.keys = notify_keys,
	.size = sizeof(struct cwj_notify),
	.place = offsetof(struct cwj_notify, line) + 1,
	.fill = notify_fill,
	.check = notify_check};

static const struct cwj_key log_keys[] = {
	{.name = "level", .kind = CWJ_CHOICE, .offset = CONFIG(log_level), .names = levels},
	{.name = "target", .kind = CWJ_CHOICE, .offset = CONFIG(log_target), .names = targets},
	{0},
};
static const struct cwj_table log_table = {.keys = log_keys, .size = sizeof(struct cwj_config)};

static void config_fill(void *target)
{
	struct cwj_config *c = target;

	c->limits = (struct cwj_config_limits){.jobs = 1, .gpu_jobs = 1, .connections = 256, .grace = 10};
	c->cache = (struct cwj_config_cache){.size = CWJ_CACHE_SIZE, .age = CWJ_CACHE_AGE};
	c->quotas = (struct cwj_quotas){.queued = 1000, .log = UINT64_C(16) << 20};
	c->retry = (struct cwj_retry){
		.attempts = 3, .delay = 10, .longest_delay = 600, .interruptions = 20};
	c->retention = (struct cwj_retention){.scratch = UINT64_C(24) * 3600, .finished = UINT64_C(720) * 3600, .jobs = 10000};
}

static int fill_queues(struct cwj_reader *r, const struct cwj_yaml *node, struct cwj_config *c)
{
	if (c->n_queues > 0) {
		return 0;
	}
	c->queues = calloc(1, sizeof(*c->queues));
	if (c->queues != NULL) {
		c->n_queues = 1;
		c->queues[0].name = strdup("default");
	}
	if (c->queues == NULL || c->queues[0].name == NULL) {
		return cwj_fail(r, node, -ENOMEM, "no memory for its defaults");
	}
	return 0;
}

static int check_queues(
	struct cwj_reader *r, const struct cwj_yaml *node, const struct cwj_config *c)
{
	for (size_t i = 0; i < c->n_queues; i++) {
		for (size_t j = 0; j < i; j++) {
			if (strcmp(c->queues[i].name, c->queues[j].name) != 0) {
				continue;
			}
			size_t mark = cwj_enter(r, "queues");
			(void)cwj_enter_index(r, i);
			(void)cwj_enter(r, "name");
			int rc = cwj_fail(r,
				cwj_yaml_get(cwj_yaml_get(node, "queues")->values[i], "name"),
				CWP_EVALUE,
				"\"%s\" is already the name of the one in line %d; choose another",
				c->queues[i].name, c->queues[j].line);
			cwj_leave(r, mark);
			return rc;
		}
	}
	return 0;
}

static int config_check(struct cwj_reader *r, const struct cwj_yaml *node, void *target)
{
	struct cwj_config *c = target;
	int rc = check_queues(r, node, c);

	if (rc == 0 && c->retry.longest_delay < c->retry.delay) {
		size_t mark = cwj_enter(r, "retry");
		rc = cwj_fail(r, cwj_yaml_get(node, "retry"), CWP_EVALUE,
			"longest-delay is shorter than delay; make it at least as long");
		cwj_leave(r, mark);
	}
	return rc == 0 ? fill_queues(r, node, c) : rc;
}

static const struct cwj_key config_keys[] = {
	{.name = "sockets", .kind = CWJ_PATH, .offset = CONFIG(sockets)},
	{.name = "state", .kind = CWJ_PATH, .offset = CONFIG(state)},
	{.name = "scratch", .kind = CWJ_PATH, .offset = CONFIG(scratch)},
	{.name = "cache", .kind = CWJ_MAPPING, .table = &cache_table},
	{.name = "plugins", .kind = CWJ_MAPPING, .table = &plugin_table},
	{.name = "roots", .kind = CWJ_MAPPING, .table = &root_table},
	{.name = "limits", .kind = CWJ_MAPPING, .table = &limit_table},
	{.name = "gpus",
		.kind = CWJ_CUSTOM,
		.remedy = "write auto, none, or a list of UUIDs such as [GPU-5f3c..]",
		.custom = &cwj_config_gpus},
	{.name = "quotas", .kind = CWJ_MAPPING, .table = &quota_table},
	{.name = "queues",
		.kind = CWJ_LIST,
		.offset = CONFIG(queues),
		.count = CONFIG(n_queues),
		.high = 64,
		.table = &queue_table},
	{.name = "retry", .kind = CWJ_MAPPING, .table = &retry_table},
	{.name = "retention", .kind = CWJ_MAPPING, .table = &retention_table},
	{.name = "notify",
		.kind = CWJ_LIST,
		.offset = CONFIG(notify),
		.count = CONFIG(n_notify),
		.high = 64,
		.table = &notify_table},
	{.name = "log", .kind = CWJ_MAPPING, .table = &log_table},
	{0},
};
const struct cwj_table cwj_config_table = {.keys = config_keys,
	.size = sizeof(struct cwj_config),
	.fill = config_fill,
	.check = config_check};
