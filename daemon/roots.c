/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Paths against roots and rights. */
#include "daemon/roots.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/beneath.h"

#define GROUPS_MAX 256

struct checker {
	const struct cwd_settings *settings;
	uid_t uid;
	gid_t groups[GROUPS_MAX];
	int n_groups;
	const char **ret_path;
	struct cwb_err *err;
};

static void find_groups(struct checker *c)
{
	struct passwd entry, *found = NULL;
	char buffer[4096];

	c->n_groups = 0;
	if (getpwuid_r(c->uid, &entry, buffer, sizeof buffer, &found) == 0 && found != NULL) {
		c->n_groups = GROUPS_MAX;
		if (getgrouplist(found->pw_name, found->pw_gid, c->groups, &c->n_groups) < 0) {
			c->n_groups = GROUPS_MAX;
		}
	}
}

static int is_in_group(const struct checker *c, gid_t gid)
{
	int i;

	for (i = 0; i < c->n_groups; i++) {
		if (c->groups[i] == gid) {
			return 1;
		}
	}
	return 0;
}

/* Whether the submitter himself has these rights (of 07), by the mode bits. */
static int has_rights(const struct checker *c, const struct stat *st, mode_t rights)
{
	mode_t mode = st->st_mode;

	if (c->uid == 0) {
		return 1;
	}
	if (st->st_uid == c->uid) {
		mode >>= 6;
	} else if (is_in_group(c, st->st_gid)) {
		mode >>= 3;
	}
	return (mode & rights) == rights;
}

static int refuse(struct checker *c, const char *field, const char *path, const char *why)
{
	int rc = cwb_err_set(c->err, CWP_EDENIED, "%s: %s: %s", field, path, why);

	snprintf(c->err->field, sizeof c->err->field, "%s", field);
	*c->ret_path = path;
	return rc;
}

/* The part of path below root, "." for root itself; NULL when it lies elsewhere. */
static const char *below(const char *path, const char *root)
{
	size_t length = strlen(root);

	while (length > 1 && root[length - 1] == '/') {
		length--;
	}
	if (length == 1 && root[0] == '/') {
		return path[1] ? path + 1 : ".";
	}
	if (strncmp(path, root, length) != 0 || (path[length] != '/' && path[length] != '\0')) {
		return NULL;
	}
	path += length;
	while (*path == '/') {
		path++;
	}
	return *path ? path : ".";
}

static int check_rights(
	struct checker *c, const char *field, const char *path, int fd, mode_t rights)
{
	struct stat st;

	if (fstat(fd, &st) != 0) {
		return refuse(c, field, path, strerror(errno));
	}
	if (S_ISDIR(st.st_mode)) {
		rights |= 1;
	}
	return has_rights(c, &st, rights) ? 0
					  : refuse(c, field, path, "you may not use it yourself");
}

static int check_path(struct checker *c, const char *field, const char *path,
	const struct cwd_list *roots, int is_output)
{
	static char *const everywhere[] = {(char *)(uintptr_t) "/"};
	char *const *items = roots->n ? roots->items : everywhere;
	size_t n = roots->n ? roots->n : 1, i;
	char *copy = strdup(path);
	const char *target = copy == NULL ? NULL : is_output ? dirname(copy) : copy;
	int rc = target == NULL ? cwb_err_set(c->err, -ENOMEM, "no memory to check paths") : 1;

	for (i = 0; rc == 1 && i < n; i++) {
		const char *rest = below(target, items[i]);
		int fd;

		if (rest == NULL) {
			continue;
		}
		/* Links beneath inputs are fine: hub caches are made of them. */
		fd = cwd_beneath_open(items[i], rest, !is_output || roots->n == 0);
		if (fd >= 0) {
			rc = check_rights(c, field, path, fd, is_output ? 2 : 4);
			close(fd);
		} else {
			rc = errno == ENOENT ? 0
					     : refuse(c, field, path,
						       errno == EXDEV || errno == ELOOP
							       ? "it leaves the root by a link"
							       : strerror(errno));
		}
	}
	if (rc == 1) {
		rc = refuse(c, field, path,
			is_output ? "outside roots.output of the daemon's configuration"
				  : "outside roots.input of the daemon's configuration");
	}
	free(copy);
	return rc;
}

int cwd_roots_check(const struct cwd_settings *settings, const struct cwj_job *job, uid_t uid,
	const char **ret_path, struct cwb_err *err)
{
	struct checker c = {.settings = settings, .uid = uid, .ret_path = ret_path, .err = err};
	char field[64];
	size_t i;
	int rc;

	if (settings->user_mode && settings->inputs.n == 0 && settings->outputs.n == 0) {
		return 0; /* the system itself checks: the daemon runs as the submitter */
	}
	find_groups(&c);
	rc = check_path(&c, "model", job->model, &settings->inputs, 0);
	for (i = 0; rc == 0 && i < job->n_adapters; i++) {
		snprintf(field, sizeof field, "adapter[%zu]", i);
		rc = check_path(&c, field, job->adapters[i], &settings->inputs, 0);
	}
	if (rc == 0 && job->chat.format != NULL && job->chat.format[0] == '/') {
		rc = check_path(&c, "chat", job->chat.format, &settings->inputs, 0);
	}
	for (i = 0; rc == 0 && i < job->n_sets; i++) {
		snprintf(field, sizeof field, "calibrate.%s[%zu].path",
			job->sets[i].role == CWJ_ROLE_CRITICAL ? "critical" : "utility", i);
		rc = check_path(&c, field, job->sets[i].path, &settings->inputs, 0);
	}
	for (i = 0; rc == 0 && i < job->n_evaluations; i++) {
		snprintf(field, sizeof field, "evaluate[%zu].path", i);
		rc = job->evaluations[i].path == NULL
			     ? 0
			     : check_path(
				       &c, field, job->evaluations[i].path, &settings->inputs, 0);
		if (rc == 0 && job->evaluations[i].judge != NULL) {
			snprintf(field, sizeof field, "evaluate[%zu].judge.model", i);
			rc = check_path(
				&c, field, job->evaluations[i].judge, &settings->inputs, 0);
		}
	}
	return rc < 0 ? rc : check_path(&c, "output", job->output, &settings->outputs, 1);
}
