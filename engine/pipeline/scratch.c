/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The scratch folder: locked by its job, and what of it is whose. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/pipeline/run.h"
#include "engine/plugin/pool.h"

/* Names that are listed for threads at a time; there are a hundred a layer at most. */
#define NAMES 4096

/* What cwb_file_temp_open leaves when its process is killed. */
int cwe_run_is_temporary(const char *name)
{
	return name[0] == '.' && strstr(name, ".tmp-") != NULL;
}

static int starts(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* Everything that a run puts into its scratch folder. */
static int is_scratch(const char *name)
{
	return cwe_run_is_temporary(name) || strcmp(name, "journal") == 0 || starts(name, "score-") || starts(name, "combined-") ||
		starts(name, "candidates-") || starts(name, "gradient-") || starts(name, "boundary-") || starts(name, "super-") ||
		starts(name, "sequence") || starts(name, "forward-") || starts(name, "answers-");
}

static int is_scratch_temporary(const char *name)
{
	return cwe_run_is_temporary(name) || starts(name, "boundary-");
}

struct removal {
	int folder;
	char (*name)[NAME_MAX + 1]; /* [NAMES] */
};

static void remove_one(void *arg, size_t i)
{
	const struct removal *m = arg;
	(void)unlinkat(m->folder, m->name[i], 0);
}

/* Giving back what large files take is most of the work: threads share it. What they leave goes with the rest. */
static void remove_files(const struct cwe_run *run, int folder, int (*wanted)(const char *name))
{
	int fd = openat(folder, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct removal m = {.folder = folder, .name = dir != NULL ? malloc(NAMES * sizeof *m.name) : NULL};
	const struct dirent *e;
	size_t n = 0;
	while (m.name != NULL && n < NAMES && (e = readdir(dir)) != NULL) {
		if (wanted(e->d_name)) {
			memcpy(m.name[n++], e->d_name, strlen(e->d_name) + 1);
		}
	}
	cwe_pool_run(run->p->host->pool, n, remove_one, &m);
	free(m.name);
	if (dir != NULL) {
		(void)closedir(dir);
	} else if (fd >= 0) {
		(void)close(fd);
	}
}

static void clean(const struct cwe_run *run, int (*wanted)(const char *name))
{
	int folder = run->p->scratch != NULL ? open(run->p->scratch, O_DIRECTORY | O_RDONLY | O_CLOEXEC) : -1;
	if (folder >= 0) {
		remove_files(run, folder, wanted);
		(void)cwb_file_remove_matching(folder, wanted, "scratch folder", NULL);
		(void)close(folder);
	}
}

void cwe_run_scratch_clear(const struct cwe_run *run)
{
	clean(run, is_scratch);
}

void cwe_run_scratch_tidy(const struct cwe_run *run)
{
	clean(run, is_scratch_temporary);
}

int cwe_run_scratch_lock(struct cwe_run *run, struct cwb_err *err)
{
	const char *path = run->p->scratch;
	run->scratch_fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (run->scratch_fd < 0) {
		return cwb_err_errno(err, "scratch folder %s", path);
	}
	return flock(run->scratch_fd, LOCK_EX | LOCK_NB) == 0 ? 0
		: cwb_err_set(err, -EAGAIN, "scratch folder %s is in use by another worker; give each job a folder of its own", path);
}
