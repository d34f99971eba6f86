/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"
#include "daemon/ctl/server_p.h"
#include "daemon/log.h"

#define BACKLOG 1024

/* libuv cuts a long path without a word, so this is looked at first. */
int cwd_server_check(const struct cwd_settings *settings, struct cwb_err *err)
{
	struct sockaddr_un address;
	size_t longest = strlen(settings->sockets) + 1 + strlen("org.cwpd.Metrics");

	if (longest >= sizeof address.sun_path) {
		return cwb_err_set(err, -ENAMETOOLONG,
			"sockets: %s: a socket's path may have %zu bytes, this folder makes %zu; "
			"choose a shorter one",
			settings->sockets, sizeof address.sun_path - 1, longest);
	}
	return 0;
}

static int is_answered(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), answered;

	if (fd < 0) {
		return 0;
	}
	answered = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
		   errno == EAGAIN;
	close(fd);
	return answered;
}

static int bind_socket(const char *path, mode_t mode, int *ret, struct cwb_err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, rc = 0;

	memcpy(address.sun_path, path, strlen(path) + 1); /* fits: cwd_server_check */
	if (is_answered(&address)) {
		return cwb_err_set(err, -EADDRINUSE,
			"%s: another daemon answers there; stop it, or choose other folders", path);
	}
	if (unlink(path) != 0 && errno != ENOENT) {
		return cwb_err_errno(err, "%s", path);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		return cwb_err_errno(err, "socket");
	}
	/* The mode is right before anybody can connect, since there is no listen yet. */
	if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || chmod(path, mode) != 0) {
		rc = cwb_err_errno(err, "%s", path);
		close(fd);
		return rc;
	}
	*ret = fd;
	return 0;
}

static void on_connection(uv_stream_t *stream, int status)
{
	struct cwd_listener *listener = stream->data;

	if (status < 0) {
		cwd_log(CWD_LOG_WARNING, "accept: %s", uv_strerror(status));
		return;
	}
	cwd_connection_accept(listener);
}

static int listen_on(struct cwd_server *server, enum cwd_socket socket, int fd, struct cwb_err *err)
{
	struct cwd_listener *listener = &server->listeners[socket];
	int rc;

	(void)uv_pipe_init(server->daemon->loop, &listener->pipe, 0); /* cannot fail */
	listener->server = server;
	listener->socket = socket;
	listener->pipe.data = listener;
	listener->open = 1;
	rc = uv_pipe_open(&listener->pipe, fd);
	if (rc < 0) {
		close(fd);
	} else {
		rc = uv_listen((uv_stream_t *)&listener->pipe, BACKLOG, on_connection);
	}
	return rc < 0 ? cwb_err_set(err, rc, "%s: %s", cwd_socket_name(socket), uv_strerror(rc))
		      : 0;
}

static int listen_inherited(struct cwd_server *server, const struct cwd_inherited *inherited, int n,
	struct cwb_err *err)
{
	int i, socket, rc = 0;

	for (i = 0; rc == 0 && i < n; i++) {
		for (socket = 0; socket < CWD_N_SOCKETS; socket++) {
			if (strcmp(inherited[i].name, cwd_socket_name((enum cwd_socket)socket)) ==
				0) {
				break;
			}
		}
		if (socket == CWD_N_SOCKETS || server->listeners[socket].open) {
			return cwb_err_set(err, CWP_EVALUE,
				"LISTEN_FDNAMES: \"%s\" is not one of org.cwpd.Jobs, "
				"org.cwpd.Admin, org.cwpd.Metrics, or twice"
				" there; set FileDescriptorName=",
				inherited[i].name);
		}
		rc = listen_on(server, (enum cwd_socket)socket, inherited[i].fd, err);
	}
	return rc;
}

/* Jobs and Metrics are for the group, Admin for its owner; in user mode everything is the user's
 * alone. */
static mode_t socket_mode(const struct cwd_settings *settings, enum cwd_socket socket)
{
	return settings->user_mode || socket == CWD_SOCKET_ADMIN ? 0600 : 0660;
}

static int listen_own(struct cwd_server *server, enum cwd_socket socket, struct cwb_err *err)
{
	const struct cwd_settings *settings = server->daemon->settings;
	char *path;
	int fd = -1, rc;

	if (asprintf(&path, "%s/%s", settings->sockets, cwd_socket_name(socket)) < 0) {
		return cwb_err_set(err, -ENOMEM, "no memory for a socket");
	}
	rc = bind_socket(path, socket_mode(settings, socket), &fd, err);
	if (rc == 0) {
		server->listeners[socket].path = path;
		return listen_on(server, socket, fd, err);
	}
	free(path);
	return rc;
}

int cwd_server_start(struct cwd_daemon *daemon, const struct cwd_inherited *inherited, int n,
	struct cwb_err *err)
{
	struct cwd_server *server = calloc(1, sizeof *server);
	int socket, rc;

	if (server == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the sockets");
	}
	daemon->server = server;
	server->daemon = daemon;
	rc = listen_inherited(server, inherited, n, err);
	if (rc == 0 && n == 0) {
		rc = cwb_file_make_folders(
			daemon->settings->sockets, daemon->settings->user_mode ? 0700 : 0755, err);
	}
	/* Jobs comes last: who sees it finds the others. */
	for (socket = CWD_N_SOCKETS; rc == 0 && n == 0 && socket-- > 0;) {
		rc = listen_own(server, (enum cwd_socket)socket, err);
	}
	return rc;
}

void cwd_server_stop_listening(struct cwd_daemon *daemon)
{
	struct cwd_server *server = daemon->server;
	int i;

	for (i = 0; server != NULL && i < CWD_N_SOCKETS; i++) {
		struct cwd_listener *listener = &server->listeners[i];

		if (listener->open) {
			listener->open = 0;
			uv_close((uv_handle_t *)&listener->pipe, NULL);
		}
		if (listener->path != NULL) {
			(void)unlink(listener->path); /* a successor replaces it anyway */
			free(listener->path);
			listener->path = NULL;
		}
	}
}

void cwd_server_close(struct cwd_daemon *daemon)
{
	struct cwd_connection *connection;

	for (connection = daemon->server == NULL ? NULL : daemon->server->connections;
		connection != NULL; connection = connection->next) {
		cwd_connection_close(connection);
	}
}

void cwd_server_free(struct cwd_daemon *daemon)
{
	free(daemon->server);
	daemon->server = NULL;
}

void cwd_server_tick(struct cwd_daemon *daemon)
{
	double now = cwd_monotonic_now();
	struct cwd_connection *connection, *next;

	for (connection = daemon->server == NULL ? NULL : daemon->server->connections;
		connection != NULL; connection = next) {
		next = connection->next;
		if (connection->partial_since > 0 && connection->call == NULL &&
			now - connection->partial_since > daemon->settings->message_timeout) {
			cwd_connection_close(connection);
		}
	}
}

size_t cwd_server_connections(const struct cwd_daemon *daemon)
{
	return daemon->server == NULL ? 0 : daemon->server->n_connections;
}
