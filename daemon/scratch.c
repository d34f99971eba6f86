/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scratch folders and the cache of scores. */
#include "daemon/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cache.h"
#include "base/file.h"
#include "daemon/log.h"
#include "daemon/verdict.h"

/* Below the state folder: notes of folders whose jobs were forgotten before they were removed. */
#define NOTES "orphans"
#define NOTE_LIMIT 8192
#define CACHE_PERIOD 3600.0 /* seconds */

char *cwd_scratch_path(const struct cwd_daemon *daemon, const struct cwd_job *job)
{
	char *folder = strdup(job->output), *name = strdup(job->output), *path = NULL;
	int rc = -1;

	if (folder != NULL && name != NULL) {
		rc = daemon->settings->scratch != NULL
			     ? asprintf(&path, "%s/job-%lld", daemon->settings->scratch,
				       (long long)job->id)
			     : asprintf(&path, "%s/.%s.scratch-%lld", dirname(folder),
				       basename(name), (long long)job->id);
	}
	free(folder);
	free(name);
	return rc < 0 ? NULL : path;
}

static char *note_path(const struct cwd_daemon *daemon, int64_t id)
{
	char *path;

	return asprintf(&path, "%s/" NOTES "/%lld", daemon->settings->state, (long long)id) < 0
		       ? NULL
		       : path;
}

struct cleaning {
	struct cwd_daemon *daemon;
	int64_t id;
	char *path, *note; /* note: NULL when there is none */
	struct cwb_err err;
};

static void cleaning_free(struct cleaning *c)
{
	free(c->path);
	free(c->note);
	free(c);
}

static void clean(void *arg)
{
	struct cleaning *c = arg;

	if (cwb_file_remove_tree(AT_FDCWD, c->path, &c->err) == 0 && c->note != NULL) {
		(void)unlink(c->note); /* else the next start finds nothing to remove */
	}
}

static void on_cleaned(void *arg)
{
	struct cleaning *c = arg;
	struct cwd_job *job = cwd_queue_find(&c->daemon->queue, c->id);

	if (c->err.code != 0) {
		cwd_log(CWD_LOG_WARNING, "job %lld: scratch is not removed: %s", (long long)c->id,
			c->err.message);
	} else if (job != NULL && job->scratch != NULL && strcmp(job->scratch, c->path) == 0) {
		free(job->scratch);
		job->scratch = NULL;
		cwd_queue_save(&c->daemon->queue, job);
	}
	if (job != NULL) {
		job->cleaning = 0;
		cwd_daemon_poke(c->daemon);
	}
	cleaning_free(c);
}

/* path and note are taken. 0, or -1: no memory, and the next start cleans. */
static int start_cleaning(struct cwd_daemon *daemon, int64_t id, char *path, char *note)
{
	struct cleaning *c = calloc(1, sizeof *c);

	if (c == NULL) {
		free(path);
		free(note);
		return -1;
	}
	*c = (struct cleaning){.daemon = daemon, .id = id, .path = path, .note = note};
	if (path == NULL || cwd_daemon_task(daemon, clean, on_cleaned, c) < 0) {
		cleaning_free(c);
		return -1;
	}
	return 0;
}

void cwd_scratch_clean(struct cwd_daemon *daemon, struct cwd_job *job)
{
	if (job->scratch != NULL && !job->cleaning &&
		start_cleaning(daemon, job->id, strdup(job->scratch), NULL) == 0) {
		job->cleaning = 1;
	}
}

/* An attempt that was killed too often had not failed by itself either. */
static int is_kept(struct cwd_job *job)
{
	const struct cwd_attempt *last = cwd_job_last_attempt(job);

	return job->state == CWD_FAILED &&
	       ((job->error != NULL && cwd_verdict_may_pass(job->error->code)) ||
		       (last != NULL && strcmp(last->result, "interrupted") == 0));
}

void cwd_scratch_end(struct cwd_daemon *daemon, struct cwd_job *job)
{
	if (cwd_state_is_final(job->state) && !is_kept(job)) {
		cwd_scratch_clean(daemon, job);
	}
}

void cwd_scratch_forget(struct cwd_daemon *daemon, struct cwd_job *job)
{
	struct cwb_err err = {0};
	char *note, *folder;

	if (job->scratch == NULL) {
		return;
	}
	note = note_path(daemon, job->id);
	folder = note == NULL ? NULL : strdup(note);
	if (folder == NULL || cwb_file_make_folders(dirname(folder), 0700, &err) < 0 ||
		cwb_file_replace_path(note, job->scratch, strlen(job->scratch), 0600, &err) < 0) {
		cwd_log(CWD_LOG_WARNING, "job %lld: no note of its scratch: %s",
			(long long)job->id, folder == NULL ? "no memory" : err.message);
	}
	free(folder);
	(void)start_cleaning(daemon, job->id, strdup(job->scratch), note);
}

/* ---- start ---- */

/* The note of a job that is not known any more names a folder that scratch_path made. */
static void follow_note(struct cwd_daemon *daemon, int64_t id)
{
	char *note = note_path(daemon, id), *path = NULL, end[64];
	size_t length = 0, n;

	if (note == NULL || cwb_file_read(note, NOTE_LIMIT, &path, &length, NULL) < 0) {
		free(note);
		return;
	}
	n = (size_t)snprintf(end, sizeof end, "-%lld", (long long)id);
	if (cwd_queue_find(&daemon->queue, id) != NULL) {
		(void)unlink(note); /* the daemon died before the job was forgotten: it still has it */
	} else if (path[0] == '/' && strlen(path) == length && length > n &&
		   strcmp(path + length - n, end) == 0) {
		cwd_log(CWD_LOG_NOTICE, "job %lld is gone: its scratch %s is removed",
			(long long)id, path);
		(void)start_cleaning(daemon, id, path, note);
		return;
	} else {
		cwd_log(CWD_LOG_WARNING, "%s: names no scratch folder", note);
	}
	free(path);
	free(note);
}

/* Below the configured folder each job's has its number; a job that nobody knows needs none. */
static void follow_name(struct cwd_daemon *daemon, int64_t id)
{
	char *path = NULL;

	if (id <= 0 || cwd_queue_find(&daemon->queue, id) != NULL ||
		asprintf(&path, "%s/job-%lld", daemon->settings->scratch, (long long)id) < 0) {
		return;
	}
	cwd_log(CWD_LOG_NOTICE, "no job has the scratch %s: it is removed", path);
	(void)start_cleaning(daemon, id, path, NULL);
}

static void each_entry(struct cwd_daemon *daemon, const char *folder, const char *prefix,
	void (*follow)(struct cwd_daemon *daemon, int64_t id))
{
	DIR *dir = opendir(folder);
	const struct dirent *e;
	size_t n = strlen(prefix);

	while (dir != NULL && (e = readdir(dir)) != NULL) {
		int64_t id = strncmp(e->d_name, prefix, n) == 0 ? cwd_id_parse(e->d_name + n) : 0;

		if (id > 0) {
			follow(daemon, id);
		}
	}
	if (dir != NULL) {
		(void)closedir(dir);
	}
}

void cwd_scratch_recover(struct cwd_daemon *daemon)
{
	char *notes;

	if (asprintf(&notes, "%s/" NOTES, daemon->settings->state) >= 0) {
		each_entry(daemon, notes, "", follow_note);
		free(notes);
	}
	if (daemon->settings->scratch != NULL) {
		each_entry(daemon, daemon->settings->scratch, "job-", follow_name);
	}
}

/* ---- time ---- */

static void trim_cache(void *arg)
{
	const struct cwd_settings *s = arg;
	struct cwb_cache cache = {.folder = -1};
	struct cwb_err err = {0};

	if (access(s->cache, F_OK) == 0 &&
		(cwb_cache_open(s->cache, s->cache_size, s->cache_age, &cache, &err) < 0 ||
			(cwb_cache_trim(&cache, 0, &err) < 0 && err.code != -ENOSPC))) {
		cwd_log(CWD_LOG_WARNING, "%s", err.message);
	}
	cwb_cache_close(&cache);
}

static void on_trimmed(void *arg)
{
	(void)arg;
}

void cwd_scratch_tick(struct cwd_daemon *daemon)
{
	const struct cwd_settings *settings = daemon->settings;
	double now = cwd_wall_now(), clock = cwd_monotonic_now();
	size_t i;

	for (i = 0; i < daemon->queue.n_jobs && settings->keep_scratch != 0; i++) {
		struct cwd_job *job = daemon->queue.jobs[i];

		if (job->scratch != NULL && job->state == CWD_FAILED && !job->starting &&
			now - job->ended > (double)settings->keep_scratch) {
			cwd_scratch_clean(daemon, job);
		}
	}
	if (settings->cache != NULL &&
		(daemon->tidied == 0 || clock - daemon->tidied > CACHE_PERIOD)) {
		daemon->tidied = clock;
		/* Settings stay as long as the daemon runs. */
		(void)cwd_daemon_task(daemon, trim_cache, on_trimmed, (void *)(uintptr_t)settings);
	}
}
