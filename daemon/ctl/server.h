/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sockets and connections: who may come in, how many, how much they may send and how slowly they
 * may read. */
#pragma once

#include <jansson.h>

#include "daemon/ctl/dispatch.h"
#include "daemon/daemon.h"
#include "daemon/notify.h"

/* Checks that all sockets' paths can be bound, before anything else is done. -ENAMETOOLONG says how
 * to help it. */
int cwd_server_check(const struct cwd_settings *settings, struct cwb_err *err);

/* Listens: on the inherited sockets, or on its own in settings.sockets. -EADDRINUSE: somebody else
 * answers there. */
int cwd_server_start(struct cwd_daemon *daemon, const struct cwd_inherited *inherited, int n,
	struct cwb_err *err);

/* Stops listening and removes its own sockets. */
void cwd_server_stop_listening(struct cwd_daemon *daemon);
/* Closes all connections. */
void cwd_server_close(struct cwd_daemon *daemon);
void cwd_server_free(struct cwd_daemon *daemon);

/* Closes connections that sent half a message and then nothing; once a second. */
void cwd_server_tick(struct cwd_daemon *daemon);
size_t cwd_server_connections(const struct cwd_daemon *daemon);

/* For calls. */
int cwd_connection_send(struct cwd_connection *connection, const json_t *message);
void cwd_connection_call_ended(struct cwd_connection *connection);
void cwd_connection_close(struct cwd_connection *connection);
enum cwd_socket cwd_connection_socket(const struct cwd_connection *connection);
