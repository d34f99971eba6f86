/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Notification and socket activation. */
#include "daemon/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int cwd_notify(const char *message, struct cwb_err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	socklen_t size;
	int fd, rc = 0;

	if (path == NULL || path[0] == '\0') {
		return 0;
	}
	if (strlen(path) >= sizeof address.sun_path) {
		return cwb_err_set(err, -ENAMETOOLONG, "NOTIFY_SOCKET: longer than %zu bytes",
			sizeof address.sun_path - 1);
	}
	memcpy(address.sun_path, path, strlen(path));
	size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (path[0] == '@') {
		address.sun_path[0] = '\0';
	}
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return cwb_err_errno(err, "socket");
	}
	if (sendto(fd, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&address, size) <
		0) {
		rc = cwb_err_errno(err, "NOTIFY_SOCKET: %s", path);
	}
	close(fd);
	return rc;
}

static int take_number(const char *name, long low, long high, long *ret, struct cwb_err *err)
{
	const char *text = getenv(name);
	char *end;
	long n;

	if (text == NULL) {
		return cwb_err_set(err, CWP_EMISSING, "%s is not set", name);
	}
	errno = 0;
	n = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || n < low || n > high) {
		return cwb_err_set(err, CWP_EVALUE, "%s: \"%s\" is not a number from %ld to %ld",
			name, text, low, high);
	}
	*ret = n;
	return 0;
}

static void take_names(struct cwd_inherited *sockets, int n)
{
	const char *names = getenv("LISTEN_FDNAMES");
	int i;

	for (i = 0; i < n && names != NULL; i++) {
		const char *end = strchrnul(names, ':');

		snprintf(
			sockets[i].name, sizeof sockets[i].name, "%.*s", (int)(end - names), names);
		names = *end == ':' ? end + 1 : NULL;
	}
}

int cwd_inherit(struct cwd_inherited ret[CWD_INHERITED_MAX], struct cwb_err *err)
{
	long pid, n;
	int i, rc;

	memset(ret, 0, CWD_INHERITED_MAX * sizeof *ret);
	if (getenv("LISTEN_PID") == NULL || getenv("LISTEN_FDS") == NULL) {
		return 0;
	}
	rc = take_number("LISTEN_PID", 1, 1L << 30, &pid, err);
	if (rc == 0) {
		rc = take_number("LISTEN_FDS", 0, CWD_INHERITED_MAX, &n, err);
	}
	if (rc < 0) {
		return rc;
	}
	if (pid == (long)getpid()) {
		take_names(ret, (int)n);
		for (i = 0; i < n; i++) {
			ret[i].fd = 3 + i;
			if (fcntl(ret[i].fd, F_SETFD, FD_CLOEXEC) != 0) {
				return cwb_err_errno(err, "LISTEN_FDS: descriptor %d", ret[i].fd);
			}
		}
	} else {
		n = 0;
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return (int)n;
}
