/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A walk along a path, one name after the other, that never follows a link without looking at it. */
#include "daemon/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 40 };

struct walk {
	int root;
	int at;              /* where the walk is */
	int whole;           /* root is the whole file system: nothing lies outside */
	int links;           /* that may still be followed */
	char done[PATH_MAX]; /* names from root to `at`, none of them a link */
	char todo[PATH_MAX];
};

static int fail(int code)
{
	errno = code;
	return -1;
}

/* Puts text before what is still to do. */
static int prepend(struct walk *w, const char *text)
{
	char both[sizeof w->todo];
	int n = snprintf(both, sizeof both, "%s/%s", text, w->todo);

	if (n < 0 || (size_t)n >= sizeof both) {
		return fail(ENAMETOOLONG);
	}
	memcpy(w->todo, both, (size_t)n + 1);
	return 0;
}

static int move_to(struct walk *w, int fd)
{
	if (fd < 0) {
		return -1;
	}
	if (w->at != w->root) {
		close(w->at);
	}
	w->at = fd;
	return 0;
}

/* "..": to the folder that the walk came through. Whatever has become of this one meanwhile, the
 * walk begins again at root. */
static int go_up(struct walk *w)
{
	char *last = strrchr(w->done, '/');

	if (w->done[0] == '\0') {
		return w->whole ? 0 : fail(EXDEV);
	}
	*(last != NULL ? last : w->done) = '\0';
	if (prepend(w, w->done) < 0) {
		return -1;
	}
	w->done[0] = '\0';
	return move_to(w, w->root);
}

static int follow(struct walk *w, int link)
{
	char target[sizeof w->todo];
	ssize_t n;

	if (w->links == 0) {
		return fail(ELOOP);
	}
	w->links--;
	n = readlinkat(link, "", target, sizeof target);
	if (n < 0 || (size_t)n >= sizeof target) {
		return n < 0 ? -1 : fail(ENAMETOOLONG);
	}
	target[n] = '\0';
	if (target[0] == '/') {
		if (!w->whole) {
			return fail(EXDEV);
		}
		w->done[0] = '\0';
		(void)move_to(w, w->root);
	}
	return prepend(w, target);
}

/* Takes over fd, of that name. */
static int enter(struct walk *w, int fd, const char *name)
{
	size_t length = strlen(w->done);
	struct stat st;
	int rc = fstat(fd, &st), n;

	if (rc < 0 || S_ISLNK(st.st_mode)) {
		rc = rc == 0 ? follow(w, fd) : rc;
		int saved = errno;
		close(fd);
		errno = saved;
		return rc;
	}
	n = snprintf(w->done + length, sizeof w->done - length, "%s%s", length > 0 ? "/" : "", name);
	(void)move_to(w, fd);
	return n < 0 || (size_t)n >= sizeof w->done - length ? fail(ENAMETOOLONG) : 0;
}

static int step(struct walk *w)
{
	char name[NAME_MAX + 1];
	size_t n = strcspn(w->todo, "/"), rest = n + strspn(w->todo + n, "/");
	int fd;

	if (n > NAME_MAX) {
		return fail(ENAMETOOLONG);
	}
	memcpy(name, w->todo, n);
	name[n] = '\0';
	memmove(w->todo, w->todo + rest, strlen(w->todo + rest) + 1);
	if (n == 0 || strcmp(name, ".") == 0) {
		return 0;
	}
	if (strcmp(name, "..") == 0) {
		return go_up(w);
	}
	fd = openat(w->at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -1 : enter(w, fd, name);
}

int cwd_beneath_open(const char *root, const char *rest, int links)
{
	struct walk w = {.whole = strcmp(root, "/") == 0, .links = links ? LINKS_MAX : 0};
	int rc = 0, saved;

	if (strlen(rest) >= sizeof w.todo) {
		return fail(ENAMETOOLONG);
	}
	memcpy(w.todo, rest, strlen(rest) + 1);
	w.root = w.at = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w.root < 0) {
		return -1;
	}
	while (rc == 0 && w.todo[0] != '\0') {
		rc = step(&w);
	}
	saved = errno;
	if (rc == 0 && w.at == w.root) {
		return w.root;
	}
	if (w.at != w.root && rc < 0) {
		close(w.at);
	}
	close(w.root);
	errno = saved;
	return rc < 0 ? -1 : w.at;
}
