/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One connection: calls in, answers out, one call at a time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/ctl/server_p.h"
#include "daemon/log.h"
#include "wire/call.h"

/* A caller that does not read its answers is cut off here; what it sends ahead is left in the
 * kernel beyond that. */
#define WRITE_QUEUE_MAX ((size_t)4 << 20)
#define READ_AHEAD_MAX (CWW_MESSAGE_MAX + 65536)

struct write {
	uv_write_t request;
	char *text;
};

enum cwd_socket cwd_connection_socket(const struct cwd_connection *connection)
{
	return connection->socket;
}

static void on_closed(uv_handle_t *handle)
{
	struct cwd_connection *connection = handle->data;
	struct cwd_call *call = connection->call;

	*connection->back = connection->next;
	if (connection->next != NULL) {
		connection->next->back = connection->back;
	}
	if (call != NULL) {
		call->connection = NULL;
		if (call->gone != NULL) {
			call->gone(call);
		}
	}
	cww_reader_free(&connection->reader);
	free(connection);
}

void cwd_connection_close(struct cwd_connection *connection)
{
	if (!connection->closing) {
		connection->closing = 1;
		connection->server->n_connections--;
		uv_close((uv_handle_t *)&connection->pipe, on_closed);
	}
}

/* The caller sends nothing more, or shall not: closed when its last answer is out. */
static void close_if_done(struct cwd_connection *connection)
{
	if (connection->closing_soon && connection->n_writes == 0 && connection->call == NULL) {
		cwd_connection_close(connection);
	}
}

static void on_written(uv_write_t *request, int status)
{
	struct write *write = (struct write *)request;
	struct cwd_connection *connection = request->handle->data;

	free(write->text);
	free(write);
	connection->n_writes--;
	if (status < 0) {
		cwd_connection_close(connection);
	}
	close_if_done(connection);
}

int cwd_connection_send(struct cwd_connection *connection, const json_t *message)
{
	struct cwb_err err = {0};
	struct write *write;
	uv_buf_t buf;
	char *text;
	size_t length;
	int rc;

	if (connection->closing) {
		return -ECONNRESET;
	}
	rc = cww_message_encode(message, &text, &length, &err);
	if (rc < 0) {
		cwd_log(CWD_LOG_ERROR, "a reply cannot be sent: %s", err.message);
		cwd_connection_close(connection);
		return rc;
	}
	if (uv_stream_get_write_queue_size((uv_stream_t *)&connection->pipe) + length >
		WRITE_QUEUE_MAX) {
		cwd_log(CWD_LOG_NOTICE, "uid %u reads its answers too slowly and is disconnected",
			(unsigned)connection->uid);
		free(text);
		cwd_connection_close(connection);
		return -ENOBUFS;
	}
	write = malloc(sizeof *write);
	buf = uv_buf_init(text, (unsigned int)length);
	rc = write == NULL ? -ENOMEM
			   : uv_write(&write->request, (uv_stream_t *)&connection->pipe, &buf, 1,
				     on_written);
	if (rc < 0) {
		free(write);
		free(text);
		cwd_connection_close(connection);
		return rc;
	}
	write->text = text;
	connection->n_writes++;
	return 0;
}

/* Sends a last message and closes when it is out. */
static void send_and_close(struct cwd_connection *connection, json_t *message)
{
	(void)uv_read_stop((uv_stream_t *)&connection->pipe); /* always succeeds */
	connection->closing_soon = 1;
	if (message == NULL || cwd_connection_send(connection, message) < 0) {
		cwd_connection_close(connection);
	}
	json_decref(message);
}

static void refuse_message(struct cwd_connection *connection, const struct cwb_err *err)
{
	connection->server->daemon->counters.bad_messages++;
	send_and_close(connection, cww_error_make("org.cwpd.Jobs.BadMessage",
					   json_pack("{s:s}", "reason", err->message)));
}

/* Takes the message. */
static void take_call(struct cwd_connection *connection, json_t *message)
{
	struct cwd_daemon *daemon = connection->server->daemon;
	struct cwb_err err = {0};
	struct cww_call parsed;
	struct cwd_call *call;

	if (cww_call_parse(message, &parsed, &err) < 0) {
		json_decref(message);
		refuse_message(connection, &err);
		return;
	}
	call = cwd_call_new(daemon, message, parsed.parameters);
	if (call == NULL) {
		cwd_connection_close(connection);
		return;
	}
	daemon->counters.calls++;
	call->connection = connection;
	call->more = parsed.more;
	call->oneway = parsed.oneway;
	call->uid = connection->uid;
	call->admin = connection->admin;
	connection->call = call;
	cwd_dispatch(call, connection->socket, parsed.method);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct cwd_connection *connection = handle->data;

	(void)suggested;
	buf->base = connection->chunk;
	buf->len = sizeof connection->chunk;
}

/* Reading goes on during a call, so that we notice when the caller leaves, up to a bound. */
static void set_reading(struct cwd_connection *connection, int on)
{
	if (connection->closing || connection->closing_soon || connection->reading == on) {
		return;
	}
	connection->reading = on;
	if (!on) {
		(void)uv_read_stop((uv_stream_t *)&connection->pipe);
	} else if (uv_read_start((uv_stream_t *)&connection->pipe, on_alloc, on_read) < 0) {
		cwd_connection_close(connection);
	}
}

/* Answers what has arrived, in order, until a call takes its time. */
static void process(struct cwd_connection *connection)
{
	struct cwb_err err = {0};
	json_t *message;
	int rc = 0;

	if (connection->processing) {
		return;
	}
	connection->processing = 1;
	while (connection->call == NULL && !connection->closing && !connection->closing_soon) {
		rc = cww_reader_next(&connection->reader, &message, &err);
		if (rc <= 0) {
			break;
		}
		take_call(connection, message);
	}
	connection->processing = 0;
	if (rc < 0) {
		refuse_message(connection, &err);
		return;
	}
	if (cww_reader_pending(&connection->reader) == 0 || connection->call != NULL) {
		connection->partial_since = 0;
	} else if (connection->partial_since == 0) {
		connection->partial_since = cwd_monotonic_now();
	}
	set_reading(connection, cww_reader_pending(&connection->reader) < READ_AHEAD_MAX);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct cwd_connection *connection = stream->data;

	if (n == UV_EOF && (connection->call == NULL || connection->call->gone == NULL)) {
		connection->closing_soon =
			1; /* it may have shut down its sending side only, and read on */
		close_if_done(connection);
		return;
	}
	if (n < 0) {
		cwd_connection_close(connection);
		return;
	}
	if (n == 0) {
		return;
	}
	if (cww_reader_feed(&connection->reader, buf->base, (size_t)n, NULL) < 0) {
		cwd_connection_close(connection);
		return;
	}
	process(connection);
}

void cwd_connection_call_ended(struct cwd_connection *connection)
{
	connection->call = NULL;
	process(connection);
	close_if_done(connection);
}

static size_t count_of_user(const struct cwd_server *server, uid_t uid)
{
	const struct cwd_connection *connection;
	size_t n = 0;

	for (connection = server->connections; connection != NULL; connection = connection->next) {
		n += connection->uid == uid && !connection->closing;
	}
	return n;
}

/* After a burst of callers that left at once, many connections are accepted whose end was not read
 * yet. They must not count against a caller who stayed. */
static void close_dead(struct cwd_server *server)
{
	struct cwd_connection *connection;

	for (connection = server->connections; connection != NULL; connection = connection->next) {
		uv_os_fd_t fd;
		char byte;

		if (!connection->closing && connection->call == NULL &&
			uv_fileno((uv_handle_t *)&connection->pipe, &fd) == 0 &&
			recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
			cwd_connection_close(connection);
		}
	}
}

static int is_too_many(const struct cwd_server *server, uid_t uid)
{
	const struct cwd_settings *settings = server->daemon->settings;

	return server->n_connections > settings->connections ||
	       (!settings->user_mode &&
		       count_of_user(server, uid) > (settings->connections + 1) / 2);
}

/* Who it is, and whether that is too many, or nobody that we serve. NULL: welcome. */
static json_t *check_peer(struct cwd_connection *connection)
{
	struct cwd_server *server = connection->server;
	const struct cwd_settings *settings = server->daemon->settings;
	struct ucred peer;
	socklen_t size = sizeof peer;
	uv_os_fd_t fd;

	if (uv_fileno((uv_handle_t *)&connection->pipe, &fd) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
		return cww_error_make("org.varlink.service.PermissionDenied", NULL);
	}
	connection->uid = peer.uid;
	connection->admin =
		connection->socket == CWD_SOCKET_ADMIN || settings->user_mode || peer.uid == 0;
	/* A folder's mode already keeps others out of user mode; a wrong mode must not open it. */
	if (settings->user_mode && peer.uid != geteuid() && peer.uid != 0) {
		return cww_error_make("org.varlink.service.PermissionDenied", NULL);
	}
	if (is_too_many(server, peer.uid)) {
		close_dead(server);
	}
	if (is_too_many(server, peer.uid)) {
		server->daemon->counters.refused_connections++;
		return cww_error_make("org.cwpd.Jobs.TooManyConnections",
			json_pack("{s:i}", "limit", (int)settings->connections));
	}
	return NULL;
}

void cwd_connection_accept(struct cwd_listener *listener)
{
	struct cwd_server *server = listener->server;
	struct cwd_connection *connection = calloc(1, sizeof *connection);
	json_t *refusal;

	if (connection == NULL) {
		cwd_log(CWD_LOG_ERROR, "no memory for a connection");
		return; /* it waits in the backlog */
	}
	(void)uv_pipe_init(server->daemon->loop, &connection->pipe, 0); /* cannot fail */
	connection->pipe.data = connection;
	connection->server = server;
	connection->socket = listener->socket;
	cww_reader_init(&connection->reader);
	connection->next = server->connections;
	connection->back = &server->connections;
	if (connection->next != NULL) {
		connection->next->back = &connection->next;
	}
	server->connections = connection;
	server->n_connections++;
	server->daemon->counters.connections++;
	if (uv_accept((uv_stream_t *)&listener->pipe, (uv_stream_t *)&connection->pipe) < 0) {
		cwd_connection_close(connection);
		return;
	}
	refusal = check_peer(connection);
	if (refusal != NULL) {
		send_and_close(connection, refusal);
		return;
	}
	set_reading(connection, 1);
}
