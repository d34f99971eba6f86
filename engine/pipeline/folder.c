/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The output folder: made by this run or left unfinished by an earlier attempt of the same job, and locked. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/pipeline/run.h"

/* Says whose unfinished output a folder is; gone when the output is finished. */
#define MARK ".cwp-job"

static int read_mark(int folder, char digest[65])
{
	char *text = NULL;
	size_t length = 0;
	int r = cwb_file_read_at(folder, MARK, 256, &text, &length, NULL);
	if (r == 0 && length >= 64) {
		memcpy(digest, text, 64);
		digest[64] = '\0';
	} else {
		r = -ENOENT;
	}
	free(text);
	return r;
}

/* 0: absent or ours and unfinished. */
static int check(const struct cwe_run *run, int *ret_exists, struct cwb_err *err)
{
	const char *path = run->job->output;
	char mine[65], found[65];
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
	} else if (read_mark(folder, found) != 0) {
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
	char mine[65];
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
	r = r == 0 && !exists ? cwb_file_replace(folder, MARK, mine, 64, 0644, err) : r;
	if (r != 0) {
		(void)close(folder);
		return r;
	}
	run->output_fd = folder;
	return 0;
}
