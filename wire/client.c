/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The blocking client. */
#include "wire/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "wire/message.h"

struct cww_client {
	int fd;
	struct cww_reader reader;
};

static int connect_to(const char *path, struct cwb_err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, rc;

	if (strlen(path) >= sizeof address.sun_path) {
		return cwb_err_set(err, -ENAMETOOLONG,
			"%s: a socket's path may have at most %zu bytes; choose a shorter folder",
			path, sizeof address.sun_path - 1);
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return cwb_err_errno(err, "socket");
	}
	if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
		rc = cwb_err_errno(err, "%s", path);
		close(fd);
		return rc;
	}
	return fd;
}

int cww_client_open(const char *path, struct cww_client **ret, struct cwb_err *err)
{
	struct cww_client *client = calloc(1, sizeof *client);

	if (client == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for a connection");
	}
	client->fd = connect_to(path, err);
	if (client->fd < 0) {
		int rc = client->fd;

		free(client);
		return rc;
	}
	cww_reader_init(&client->reader);
	*ret = client;
	return 0;
}

void cww_client_close(struct cww_client *client)
{
	if (client == NULL) {
		return;
	}
	close(client->fd);
	cww_reader_free(&client->reader);
	free(client);
}

int cww_client_fd(const struct cww_client *client)
{
	return client->fd;
}

static int send_all(int fd, const char *text, size_t length, struct cwb_err *err)
{
	while (length > 0) {
		ssize_t n = send(fd, text, length, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
			return 0; /* it may have said why before it closed: the reply, or its
				     absence, tells */
		}
		if (n < 0) {
			return cwb_err_errno(err, "sending a call");
		}
		text += n;
		length -= (size_t)n;
	}
	return 0;
}

int cww_client_send(struct cww_client *client, const char *method, json_t *parameters,
	unsigned int flags, struct cwb_err *err)
{
	json_t *message = cww_call_make(method, parameters, flags);
	char *text;
	size_t length;
	int rc;

	if (message == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for a call");
	}
	rc = cww_message_encode(message, &text, &length, err);
	json_decref(message);
	if (rc < 0) {
		return rc;
	}
	rc = send_all(client->fd, text, length, err);
	free(text);
	return rc;
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (long long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Reads once, at most until the deadline (-1: none). */
static int fill(struct cww_client *client, long long deadline, struct cwb_err *err)
{
	struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};
	long long left = deadline < 0 ? -1 : deadline - now_ms();
	char bytes[16384];
	ssize_t n;
	int rc;

	rc = poll(&poll_fd, 1, deadline < 0 ? -1 : (left > 0 ? (int)left : 0));
	if (rc < 0) {
		return cwb_err_errno(err, "waiting for a reply");
	}
	if (rc == 0) {
		return cwb_err_set(err, -ETIMEDOUT, "no reply in time");
	}
	n = recv(client->fd, bytes, sizeof bytes, 0);
	if (n < 0) {
		return cwb_err_errno(err, "reading a reply");
	}
	if (n == 0) {
		return cwb_err_set(err, -ECONNRESET, "the daemon closed the connection");
	}
	return cww_reader_feed(&client->reader, bytes, (size_t)n, err);
}

int cww_client_receive(struct cww_client *client, int timeout_ms, json_t **ret_message,
	struct cww_reply *ret, struct cwb_err *err)
{
	long long deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	json_t *message;
	int rc;

	for (;;) {
		rc = cww_reader_next(&client->reader, &message, err);
		if (rc != 0) {
			break;
		}
		rc = fill(client, deadline, err);
		if (rc < 0) {
			break;
		}
	}
	if (rc < 0) {
		return rc;
	}
	rc = cww_reply_parse(message, ret, err);
	if (rc < 0) {
		json_decref(message);
		return rc;
	}
	*ret_message = message;
	return 0;
}

int cww_client_call(struct cww_client *client, const char *method, json_t *parameters,
	int timeout_ms, json_t **ret_message, struct cww_reply *ret, struct cwb_err *err)
{
	int rc = cww_client_send(client, method, parameters, 0, err);

	return rc < 0 ? rc : cww_client_receive(client, timeout_ms, ret_message, ret, err);
}
