/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The output folder: made by this run or left unfinished by an earlier attempt of the same job, and locked. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/pipeline/run.h"

/* Says whose unfinished output a folder is; gone when the output is finished. */
#define MARK ".cwp-job"

/* The mark in the making, left behind by a kill. */
#define MARK_TEMP "..cwp-job.tmp-"

/* job: digest of the job. identity: of job and inputs, "" when the mark has none. */
static int read_mark(int folder, char job[65], char identity[65])
{
	char *text = NULL;
	size_t length = 0;
	int r = cwb_file_read_at(folder, MARK, 256, &text, &length, NULL);
	if (r == 0 && length >= 129) {
		memcpy(job, text, 64);
		memcpy(identity, text + 65, 64);
		job[64] = identity[64] = '\0';
	} else {
		r = -ENOENT;
	}
	free(text);
	return r;
}

static int write_mark(int folder, const char *job, const char *identity, struct cwb_err *err)
{
	char text[132];
	int n = snprintf(text, sizeof text, "%s\n%s\n", job, identity);
	return cwb_file_replace(folder, MARK, text, (size_t)n, 0644, err);
}

/* Calls visit for each entry but . and ..; stops when it does not return 0. */
static int each_entry(int folder, int (*visit)(int folder, const char *name, struct cwb_err *err), struct cwb_err *err)
{
	int copy = openat(folder, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
	int r = 0;
	if (dir == NULL) {
		r = cwb_err_errno(err, "output folder");
		if (copy >= 0) {
			(void)close(copy);
		}
		return r;
	}
	for (struct dirent *e; r == 0 && (e = readdir(dir)) != NULL;) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
			r = visit(folder, e->d_name, err);
		}
	}
	(void)closedir(dir);
	return r;
}

static int is_content(int folder, const char *name, struct cwb_err *err)
{
	(void)folder, (void)err;
	return strncmp(name, MARK_TEMP, strlen(MARK_TEMP)) != 0;
}

static int remove_entry(int folder, const char *name, struct cwb_err *err)
{
	return cwb_file_remove_tree(folder, name, err);
}

/* 0: absent, empty (made by somebody for this job, or by an attempt that was killed at once), or ours and unfinished. */
static int check(const struct cwe_run *run, int *ret_exists, struct cwb_err *err)
{
	const char *path = run->job->output;
	char mine[65], found[65], identity[65];
	int r = cwj_job_digest(run->job, mine);
	*ret_exists = 0;
	if (r != 0) {
		return cwb_err_set(err, r, "digest of the job");
	}
	int folder = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (folder < 0) {
		return errno == ENOENT ? 0
				       : cwb_err_errno(err, "output: %s: choose a folder that does not exist yet", path);
	}
	*ret_exists = 1;
	if (faccessat(folder, "manifest.json", F_OK, 0) == 0) {
		r = cwb_err_set(err, -EEXIST, "output: %s exists and is a finished output; choose another folder or remove it", path);
	} else if (each_entry(folder, is_content, NULL) == 0) {
		r = 0;
	} else if (read_mark(folder, found, identity) != 0) {
		r = cwb_err_set(err, -EEXIST, "output: %s exists; choose a folder that does not exist yet", path);
	} else if (strcmp(mine, found) != 0) {
		r = cwb_err_set(err, -EEXIST, "output: %s is the unfinished output of another job; choose another folder or remove it", path);
	}
	(void)close(folder);
	return r;
}

int cwe_run_output_check(const struct cwe_run *run, struct cwb_err *err)
{
	int exists;
	return check(run, &exists, err);
}

int cwe_run_output_open(struct cwe_run *run, struct cwb_err *err)
{
	const char *path = run->job->output;
	char mine[65], found[65], identity[65];
	int exists, r = check(run, &exists, err);
	if (r != 0) {
		return r;
	}
	if (!exists && mkdir(path, 0777) != 0) {
		return cwb_err_errno(err, "output: %s cannot be made", path);
	}
	int folder = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (folder < 0) {
		return cwb_err_errno(err, "output: %s", path);
	}
	if (flock(folder, LOCK_EX | LOCK_NB) != 0) {
		r = cwb_err_set(err, -EWOULDBLOCK, "output: %s is in use by another worker; wait for it or cancel that job", path);
	}
	r = r == 0 ? cwj_job_digest(run->job, mine) : r;
	if (r == 0 && (read_mark(folder, found, identity) != 0 || strcmp(identity, run->identity) != 0)) {
		/* What an attempt with other inputs left must not be mixed with this one's. */
		r = each_entry(folder, remove_entry, err);
		r = r == 0 ? write_mark(folder, mine, run->identity, err) : r;
	}
	if (r != 0) {
		(void)close(folder);
		return r;
	}
	run->output_fd = folder;
	return 0;
}
