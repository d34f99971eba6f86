/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The output folder: made by this run or left by an earlier attempt of the same job, locked, and at the end finished,
 * withheld, or removed when nothing in it is worth keeping. A folder is a run's own as long as it holds the mark, which
 * appears together with the folder and goes last. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/pipeline/run.h"

/* Two lines: digest of the job, and of everything that decides its bytes (cwe_run.identity). */
#define MARK ".cwp-job"
#define MARK_TEMP "." MARK ".tmp-"
#define MANIFEST "manifest.json"
#define MANIFEST_LIMIT (64u << 20)
#define DIGEST 64
/* A predecessor that was killed may need a moment to die. */
#define LOCK_TRIES 300
#define LOCK_PAUSE 50000000 /* ns */

struct mark {
	char job[DIGEST + 1], identity[DIGEST + 1];
};

static int read_mark(int folder, struct mark *ret)
{
	char *text = NULL;
	size_t length = 0;
	int ok = cwb_file_read_at(folder, MARK, 256, &text, &length, NULL) == 0 && length >= DIGEST;
	memset(ret, 0, sizeof *ret);
	if (ok) {
		memcpy(ret->job, text, DIGEST);
	}
	if (ok && length > (size_t)2 * DIGEST) {
		memcpy(ret->identity, text + DIGEST + 1, DIGEST);
	}
	free(text);
	return ok;
}

static int write_mark(int folder, const char *job, const char *identity, struct cwb_err *err)
{
	char text[2 * DIGEST + 3];
	int n = snprintf(text, sizeof text, "%s\n%s\n", job, identity);
	return cwb_file_replace(folder, MARK, text, (size_t)n, 0644, err);
}

/* Whether the folder's manifest is that of this job, and what it says of the gate. */
static int is_finished(int folder, const char *job, int *ret_rejected)
{
	char *text = NULL;
	size_t length = 0;
	json_t *manifest = NULL;
	int ours = 0;
	if (cwb_file_read_at(folder, MANIFEST, MANIFEST_LIMIT, &text, &length, NULL) == 0 &&
		cwb_json_load(text, length, MANIFEST_LIMIT, 16, &manifest, NULL) == 0) {
		const char *found = json_string_value(json_object_get(manifest, "job_digest"));
		ours = found != NULL && strcmp(found, job) == 0;
		*ret_rejected = json_is_true(json_object_get(manifest, "rejected"));
	}
	json_decref(manifest);
	free(text);
	return ours;
}

/* No content: at most the mark, or the mark in the making. */
static int is_empty(int folder)
{
	int fd = openat(folder, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC), n = 0;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (dir == NULL) {
		if (fd >= 0) {
			(void)close(fd);
		}
		return 0;
	}
	for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strcmp(e->d_name, MARK) != 0 &&
			strncmp(e->d_name, MARK_TEMP, strlen(MARK_TEMP)) != 0;
	}
	(void)closedir(dir);
	return n == 0;
}

/* What an existing folder is to this job; refuses one that is not its own. run->ended: only the end is missing. */
static int judge(struct cwe_run *run, int folder, const char *job, struct cwb_err *err)
{
	const char *path = run->job->output;
	struct mark mark;
	int marked = read_mark(folder, &mark), rejected = 0;
	if (marked && strcmp(mark.job, job) != 0) {
		return cwb_err_set(err, -EEXIST, "output: %s is the unfinished output of another job; choose another folder or "
			"remove it", path);
	}
	if (faccessat(folder, MANIFEST, F_OK, 0) != 0) {
		/* An empty folder may have been made for this job. */
		return marked || is_empty(folder) ? 0 : cwb_err_set(err, -EEXIST, "output: %s exists; choose a folder that does not exist yet", path);
	}
	if ((marked || run->p->finished_is_done) && is_finished(folder, job, &rejected)) {
		run->ended = 1;
		run->rejected = rejected;
		return 0;
	}
	return cwb_err_set(err, -EEXIST, "output: %s exists and is a finished output; choose another folder or remove it", path);
}

static int job_digest(const struct cwe_run *run, char ret[DIGEST + 1], struct cwb_err *err)
{
	int r = cwj_job_digest(run->job, ret);
	return r == 0 ? 0 : cwb_err_set(err, r, "digest of the job");
}

int cwe_run_output_check(struct cwe_run *run, struct cwb_err *err)
{
	char mine[DIGEST + 1];
	int r = job_digest(run, mine, err);
	if (r != 0) {
		return r;
	}
	int folder = open(run->job->output, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (folder < 0) {
		return errno == ENOENT ? 0 : cwb_err_errno(err, "output: %s: choose a folder that does not exist yet",
			run->job->output);
	}
	r = judge(run, folder, mine, err);
	(void)close(folder);
	return r;
}

/* Makes the folder with its mark in it: there is no moment at which it stands without. */
static int make_folder(const struct cwe_run *run, const char *job, struct cwb_err *err)
{
	const char *path = run->job->output, *slash = strrchr(path, '/');
	int n = slash != NULL ? (int)(slash + 1 - path) : 0, folder = -1, r = 0;
	char *made = NULL;
	if (asprintf(&made, "%.*s.%s.cwp-new", n, path, path + n) < 0) {
		return cwb_err_set(err, -ENOMEM, "no memory for a path");
	}
	(void)cwb_file_remove_tree(AT_FDCWD, made, NULL); /* of an attempt that was killed right here */
	if (mkdir(made, 0777) != 0 || (folder = open(made, O_DIRECTORY | O_RDONLY | O_CLOEXEC)) < 0) {
		r = cwb_err_errno(err, "output: %s cannot be made", path);
	}
	r = r == 0 ? write_mark(folder, job, run->identity, err) : r;
	if (r == 0 && renameat2(AT_FDCWD, made, AT_FDCWD, path, RENAME_NOREPLACE) != 0 &&
		(errno != EINVAL || rename(made, path) != 0)) {
		r = cwb_err_errno(err, "output: %s cannot be made", path);
	}
	if (r != 0) {
		(void)cwb_file_remove_tree(AT_FDCWD, made, NULL);
	}
	if (folder >= 0) {
		(void)close(folder);
	}
	free(made);
	return r;
}

static int lock_folder(struct cwe_run *run, int folder, struct cwb_err *err)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE};
	int r = 0;
	for (int i = 0; flock(folder, LOCK_EX | LOCK_NB) != 0; i++) {
		if (errno != EWOULDBLOCK) {
			return cwb_err_errno(err, "output: %s cannot be locked", run->job->output);
		}
		if (i == LOCK_TRIES) {
			return cwb_err_set(err, -EWOULDBLOCK, "output: %s is in use by another worker; wait for it or cancel that job",
				run->job->output);
		}
		if ((r = cwe_run_cancelled(run, err)) != 0) {
			return r;
		}
		(void)nanosleep(&pause, NULL); /* cut short is fine */
	}
	return 0;
}

/* The folder that the path names now, locked; what was locked may have been renamed or removed meanwhile. */
static int open_locked(struct cwe_run *run, const char *job, struct cwb_err *err)
{
	const char *path = run->job->output;
	struct stat a, b;
	for (;;) {
		int folder = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
		int r = folder >= 0 ? lock_folder(run, folder, err) : 0;
		if (folder < 0 && errno != ENOENT) {
			return cwb_err_errno(err, "output: %s: choose a folder that does not exist yet", path);
		}
		if (folder < 0) {
			r = make_folder(run, job, err);
		} else if (r == 0 && fstat(folder, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino) {
			return folder;
		}
		if (folder >= 0) {
			(void)close(folder);
		}
		if (r != 0) {
			return r;
		}
	}
}

/* Everything but the mark, which no other predicate names. */
static int is_content(const char *name)
{
	return strcmp(name, MARK) != 0;
}

/* What was left by a process that was killed, but the writer's unfinished files, which have such names too and are gone on with. */
static int is_left_over(const char *name)
{
	const char *end = strrchr(name, '.');
	return cwe_run_is_temporary(name) && strcmp(end, ".tmp-partial") != 0;
}

int cwe_run_output_open(struct cwe_run *run, struct cwb_err *err)
{
	char mine[DIGEST + 1];
	struct mark mark;
	int r = job_digest(run, mine, err);
	int folder = r == 0 ? open_locked(run, mine, err) : r;
	if (folder < 0) {
		return folder;
	}
	r = judge(run, folder, mine, err);
	r = r == 0 ? cwe_run_scratch_lock(run, err) : r;
	if (r == 0 && !run->ended) {
		/* Files made from other inputs, or by another backend, are not gone on with. */
		int same = read_mark(folder, &mark) && strcmp(mark.identity, run->identity) == 0;
		r = cwb_file_remove_matching(folder, same ? is_left_over : is_content, "output", err);
		r = r == 0 && !same ? write_mark(folder, mine, run->identity, err) : r;
		cwe_run_scratch_tidy(run);
	}
	if (r != 0) {
		(void)close(folder);
		return r;
	}
	run->output_fd = folder;
	return 0;
}

/* The finished folder gets a name that cannot be mistaken for an accepted output. */
static int withhold(struct cwe_run *run, struct cwb_err *err)
{
	char *name = NULL;
	int r = -EEXIST;
	for (unsigned i = 0; r == -EEXIST && i < 1000; i++) {
		free(name);
		if (asprintf(&name, i == 0 ? "%s.rejected" : "%s.rejected-%u", run->job->output, i) < 0) {
			return cwb_err_set(err, -ENOMEM, "no memory for a path");
		}
		if (access(name, F_OK) != 0) {
			r = rename(run->job->output, name) == 0 ? 0 : cwb_err_errno(err, "output: %s", name);
		}
	}
	if (r == 0) {
		(void)unlinkat(run->output_fd, MARK, 0);
		r = cwb_err_set(err, CWP_EGATE, "the gate rejected the result; it lies in %s", name);
	} else {
		r = cwb_err_set(err, r, "output: %s.rejected and 999 more exist; remove some", run->job->output);
	}
	free(name);
	return r;
}

int cwe_run_output_end(struct cwe_run *run, struct cwb_err *err)
{
	cwe_run_scratch_clear(run);
	/* A kill between the manifest and the removal of the writer's journal leaves it to the run that ends this one. */
	int r = cwb_file_remove_matching(run->output_fd, cwe_run_is_temporary, "output", err);
	if (r == 0 && run->rejected) {
		return withhold(run, err);
	}
	r = r == 0 ? cwb_file_remove_tree(run->output_fd, MARK, err) : r;
	return r == 0 ? cwb_file_sync_folder(run->output_fd, run->job->output, err) : r;
}

void cwe_run_output_abandon(struct cwe_run *run, int code)
{
	int bad_input = cwb_err_exit(code) == 65;
	if (run->output_fd < 0 || run->ended) {
		return;
	}
	if (bad_input) {
		cwe_run_scratch_clear(run);
	}
	if (bad_input || is_empty(run->output_fd)) {
		(void)cwb_file_remove_tree(AT_FDCWD, run->job->output, NULL);
	}
}
