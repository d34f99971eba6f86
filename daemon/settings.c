/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Settings from the configuration file, the environment and the defaults. */
#include "daemon/settings.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/log.h"
#include "job/config.h"

static int no_memory(struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "no memory for the settings");
}

static int set(char **ret, const char *text, struct cwb_err *err)
{
	free(*ret);
	*ret = strdup(text);
	return *ret == NULL ? no_memory(err) : 0;
}

static int set_below(char **ret, const char *folder, const char *name, struct cwb_err *err)
{
	char *text;

	if (asprintf(&text, "%s/%s", folder, name) < 0) {
		return no_memory(err);
	}
	free(*ret);
	*ret = text;
	return 0;
}

static int add(struct cwd_list *list, const char *text, struct cwb_err *err)
{
	char **items = reallocarray(list->items, list->n + 1, sizeof *items);

	if (items == NULL || (items[list->n] = strdup(text)) == NULL) {
		list->items = items == NULL ? list->items : items;
		return no_memory(err);
	}
	list->items = items;
	list->n++;
	return 0;
}

static void list_free(struct cwd_list *list)
{
	size_t i;

	for (i = 0; i < list->n; i++) {
		free(list->items[i]);
	}
	free(list->items);
}

void cwd_settings_free(struct cwd_settings *settings)
{
	free(settings->config);
	free(settings->sockets);
	free(settings->state);
	free(settings->scratch);
	free(settings->cache);
	free(settings->libexec);
	list_free(&settings->gpus);
	list_free(&settings->plugins);
	list_free(&settings->inputs);
	list_free(&settings->outputs);
	memset(settings, 0, sizeof *settings);
}

static const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value == NULL || value[0] == '\0' ? NULL : value;
}

static int is_there(const char *folder, const char *name)
{
	char path[4096];

	return (size_t)snprintf(path, sizeof path, "%s/%s", folder, name) < sizeof path &&
	       access(path, F_OK) == 0;
}

/* A folder of the user's: $variable, or fallback below $HOME; then "cwp" in it. */
static int user_folder(const char *variable, const char *fallback, char **ret, struct cwb_err *err)
{
	const char *base = environment(variable), *home = environment("HOME");
	char *folder = NULL;
	int rc;

	if (base != NULL && base[0] == '/') {
		return set_below(ret, base, "cwp", err);
	}
	if (home == NULL) {
		return cwb_err_set(err, CWP_EMISSING, "neither %s nor HOME is set", variable);
	}
	rc = set_below(&folder, home, fallback, err);
	if (rc == 0) {
		rc = set_below(ret, folder, "cwp", err);
	}
	free(folder);
	return rc;
}

static int set_user_folders(struct cwd_settings *s, struct cwb_err *err)
{
	char *folder = NULL;
	int rc = set_below(&s->sockets, environment("XDG_RUNTIME_DIR"), "cwp", err);

	if (rc == 0) {
		rc = user_folder("XDG_STATE_HOME", ".local/state", &s->state, err);
	}
	if (rc == 0) {
		rc = user_folder("XDG_CONFIG_HOME", ".config", &folder, err);
	}
	if (rc == 0 && is_there(folder, "cwpd.yaml")) {
		rc = set_below(&s->config, folder, "cwpd.yaml", err);
	}
	free(folder);
	return rc;
}

static int set_system_folders(struct cwd_settings *s, const char *config, struct cwb_err *err)
{
	const char *runtime = environment("RUNTIME_DIRECTORY"),
		   *state = environment("STATE_DIRECTORY");
	int rc = set(&s->sockets, runtime == NULL ? "/run/cwp" : runtime, err);

	if (rc == 0) {
		rc = set(&s->state, state == NULL ? "/var/lib/cwp" : state, err);
	}
	if (rc == 0 && config != NULL) {
		rc = set(&s->config, config, err);
	} else if (rc == 0 && is_there(CWP_SYSCONFDIR "/cwp", "cwpd.yaml")) {
		rc = set(&s->config, CWP_SYSCONFDIR "/cwp/cwpd.yaml", err);
	}
	return rc;
}

/* Folder of the running program, without a trailing ".libs" of an uninstalled one. */
static void own_folder(char *buffer, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", buffer, size - 1);
	char *slash;

	buffer[n < 0 ? 0 : n] = '\0';
	slash = strrchr(buffer, '/');
	if (slash != NULL) {
		*slash = '\0';
	}
	slash = strrchr(buffer, '/');
	if (slash != NULL && strcmp(slash, "/.libs") == 0) {
		*slash = '\0';
	}
}

/* An uninstalled daemon finds its helpers beside itself. In user mode $CWP_LIBEXEC and
 * $CWP_PLUGIN_DIR come first: whoever sets them is whom we serve. */
static int set_programs(struct cwd_settings *s, struct cwb_err *err)
{
	const char *libexec = s->user_mode ? environment("CWP_LIBEXEC") : NULL;
	const char *plugins = s->user_mode ? environment("CWP_PLUGIN_DIR") : NULL;
	char own[4096], *below = NULL;
	int built, rc;

	own_folder(own, sizeof own);
	built = is_there(own, "config.status");
	rc = set(&s->libexec, libexec != NULL ? libexec : built ? own : CWP_LIBEXECDIR, err);
	if (rc < 0 || s->plugins.n > 0) {
		return rc;
	}
	if (plugins == NULL && built) {
		rc = set_below(&below, own, "plugins/.libs", err);
	}
	if (rc == 0) {
		rc = add(&s->plugins,
			plugins != NULL ? plugins
			: below != NULL ? below
					: CWP_PLUGINDIR,
			err);
	}
	free(below);
	return rc;
}

static uint32_t count_threads(void)
{
	cpu_set_t set_of;

	CPU_ZERO(&set_of);
	if (sched_getaffinity(0, sizeof set_of, &set_of) == 0 && CPU_COUNT(&set_of) > 0) {
		return (uint32_t)CPU_COUNT(&set_of);
	}
	return 1;
}

static void set_limits(struct cwd_settings *s, const struct cwj_config *config)
{
	static const int levels[] = {[CWJ_LOG_INFO] = CWD_LOG_INFO,
		[CWJ_LOG_ERROR] = CWD_LOG_ERROR,
		[CWJ_LOG_WARNING] = CWD_LOG_WARNING,
		[CWJ_LOG_DEBUG] = CWD_LOG_DEBUG};

	s->threads = config->limits.threads != 0 ? config->limits.threads : count_threads();
	s->memory = config->limits.memory != 0
			    ? config->limits.memory
			    : (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	s->running = config->limits.jobs;
	s->gpus_none = config->gpus_none;
	s->gpu_jobs = config->limits.gpu_jobs;
	s->running_per_user = config->quotas.running;
	s->queued_per_user = config->quotas.queued;
	s->connections = config->limits.connections;
	s->cancel_grace = s->term_grace =
		(uint32_t)(config->limits.grace < 86400 ? config->limits.grace : 86400);
	s->scratch_limit = config->limits.scratch;
	s->attempts = config->retry.attempts;
	s->delay = config->retry.delay;
	s->longest_delay = config->retry.longest_delay;
	s->interruptions = config->retry.interruptions;
	s->log_limit = config->quotas.log;
	s->cache_size = config->cache.size;
	s->cache_age = config->cache.age;
	s->keep_scratch = config->retention.scratch;
	s->keep_seconds = config->retention.finished;
	s->keep_jobs = config->retention.jobs;
	s->log_level = levels[config->log_level];
	s->message_timeout = 10;
	s->plan_timeout = 60;
}

static int set_lists(struct cwd_settings *s, const struct cwj_config *config, struct cwb_err *err)
{
	size_t i;
	int rc = 0;

	for (i = 0; rc == 0 && i < config->n_plugin_directories; i++) {
		rc = add(&s->plugins, config->plugin_directories[i], err);
	}
	for (i = 0; rc == 0 && i < config->n_gpus; i++) {
		rc = add(&s->gpus, config->gpus[i], err);
	}
	for (i = 0; rc == 0 && i < config->n_input_roots; i++) {
		rc = add(&s->inputs, config->input_roots[i], err);
	}
	for (i = 0; rc == 0 && i < config->n_output_roots; i++) {
		rc = add(&s->outputs, config->output_roots[i], err);
	}
	return rc;
}

/* Keys that this version reads but cannot obey are errors, not surprises. */
static int refuse_unsupported(
	const struct cwd_settings *s, const struct cwj_config *config, struct cwb_err *err)
{
	size_t i;

	for (i = 0; i < config->n_queues; i++) {
		if (config->queues[i].executor != CWJ_EXECUTOR_LOCAL) {
			return cwb_err_set(err, CWP_EVALUE,
				"%s:%d: queues.%s.executor: this version runs jobs on its own host "
				"only; use local",
				s->config, config->queues[i].line, config->queues[i].name);
		}
	}
	if (config->n_notify > 0) {
		return cwb_err_set(err, CWP_EVALUE,
			"%s:%d: notify: this version calls nobody; remove it and let `cwpctl "
			"events` feed your own tool",
			s->config, config->notify[0].line);
	}
	return 0;
}

static int apply(struct cwd_settings *s, const struct cwj_config *config, struct cwb_err *err)
{
	int rc = refuse_unsupported(s, config, err);

	if (rc == 0 && config->sockets != NULL) {
		rc = set(&s->sockets, config->sockets, err);
	}
	if (rc == 0 && config->state != NULL) {
		rc = set(&s->state, config->state, err);
	}
	if (rc == 0 && config->scratch != NULL) {
		rc = set(&s->scratch, config->scratch, err);
	}
	if (rc == 0 && config->cache.size > 0) {
		rc = config->cache.path != NULL ? set(&s->cache, config->cache.path, err)
						: set_below(&s->cache, s->scratch != NULL ? s->scratch : s->state, "cache", err);
	}
	if (rc == 0) {
		rc = set_lists(s, config, err);
	}
	set_limits(s, config);
	return rc;
}

int cwd_settings_reread(
	const char *config, int user_mode, struct cwd_settings *ret, struct cwb_err *err)
{
	struct cwj_config *parsed = NULL;
	int rc;

	memset(ret, 0, sizeof *ret);
	ret->user_mode = user_mode;
	rc = ret->user_mode ? set_user_folders(ret, err) : set_system_folders(ret, config, err);
	if (rc == 0) {
		rc = ret->config != NULL ? cwj_config_read(ret->config, &parsed, err)
					 : cwj_config_parse("", 0, "/", &parsed, err);
	}
	if (rc == 0) {
		rc = apply(ret, parsed, err);
	}
	cwj_config_free(parsed);
	return rc < 0 ? rc : set_programs(ret, err);
}

int cwd_settings_read(const char *config, struct cwd_settings *ret, struct cwb_err *err)
{
	int user_mode = config == NULL && environment("NOTIFY_SOCKET") == NULL &&
			environment("LISTEN_FDS") == NULL && environment("XDG_RUNTIME_DIR") != NULL;

	return cwd_settings_reread(config, user_mode, ret, err);
}

char *cwd_settings_program(const struct cwd_settings *settings, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", settings->libexec, name) < 0 ? NULL : path;
}
