/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Ownership and modes of every component of a path. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/plugin/trust.h"

/* One component. `path` is the whole path that was asked for, for the message. */
static int check_component(const char *component, const char *path, struct cwb_err *err)
{
	struct stat st;

	if (lstat(component, &st) < 0) {
		return cwb_err_errno(err, "%s", component);
	}
	if (st.st_uid != 0 && st.st_uid != geteuid()) {
		return cwb_err_set(err, CWP_EDENIED,
			"%s: %s belongs to user %u, not to root or to user %u; have root own it, or move the plugin to a folder of root's", path,
			component, (unsigned)st.st_uid, (unsigned)geteuid());
	}
	/* The mode of a link says nothing; its folder decides who may replace it. */
	if (S_ISLNK(st.st_mode) || (st.st_mode & (S_IWGRP | S_IWOTH)) == 0) {
		return 0;
	}
	if (S_ISDIR(st.st_mode) && (st.st_mode & S_ISVTX) != 0 && st.st_uid == 0) {
		return 0;
	}
	return cwb_err_set(err, CWP_EDENIED, "%s: %s has mode %04o, so others may write to it; remove that with: chmod go-w %s", path,
		component, (unsigned)(st.st_mode & 07777), component);
}

/* All prefixes of an absolute path that end at a component, and "/". */
static int check_components(const char *absolute, const char *path, struct cwb_err *err)
{
	char prefix[PATH_MAX];
	size_t length = strlen(absolute);
	int rc = check_component("/", path, err);

	if (length >= sizeof(prefix)) {
		return cwb_err_set(err, -ENAMETOOLONG, "%s: longer than %d bytes", path, PATH_MAX - 1);
	}
	for (size_t at = 1; rc == 0 && at <= length; at++) {
		if ((absolute[at] == '/' || absolute[at] == '\0') && absolute[at - 1] != '/') {
			memcpy(prefix, absolute, at);
			prefix[at] = '\0';
			rc = check_component(prefix, path, err);
		}
	}
	return rc;
}

int cwe_trust_check(const char *path, char **ret_resolved, struct cwb_err *err)
{
	if (path[0] != '/') {
		return cwb_err_set(err, CWP_EVALUE, "'%s' is not an absolute path; plugins are loaded from configured directories only",
			path);
	}
	int rc = check_components(path, path, err);
	if (rc < 0) {
		return rc;
	}
	char *resolved = realpath(path, NULL);
	if (resolved == NULL) {
		return cwb_err_errno(err, "%s", path);
	}
	rc = check_components(resolved, path, err);
	if (rc < 0 || ret_resolved == NULL) {
		free(resolved);
		return rc;
	}
	*ret_resolved = resolved;
	return 0;
}
