/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Inside of the server. */
#pragma once

#include <uv.h>

#include "daemon/ctl/server.h"
#include "wire/message.h"

struct cwd_listener {
	uv_pipe_t pipe;
	struct cwd_server *server;
	enum cwd_socket socket;
	int open;
	char *path; /* of a socket that we made, else NULL */
};

struct cwd_server {
	struct cwd_daemon *daemon;
	struct cwd_listener listeners[CWD_N_SOCKETS];
	struct cwd_connection *connections;
	size_t n_connections; /* that are not being closed */
};

struct cwd_connection {
	uv_pipe_t pipe;
	struct cwd_server *server;
	enum cwd_socket socket;
	uid_t uid;
	int admin;
	struct cww_reader reader;
	struct cwd_call *call; /* the one that is being answered */
	double partial_since;  /* monotonic; 0: no half message */
	int reading, processing, closing, closing_soon;
	size_t n_writes;
	struct cwd_connection *next, **back;
	char chunk[8192];
};

/* A connection that was accepted on that listener; takes care of itself from here. */
void cwd_connection_accept(struct cwd_listener *listener);
