/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* From a method's name to its handler. The interface texts say what exists; the tables of handlers
 * must match them, which is checked at start. */
#pragma once

#include "daemon/ctl/call.h"

/* Sockets, each with a fixed level. */
enum cwd_socket { CWD_SOCKET_JOBS, CWD_SOCKET_ADMIN, CWD_SOCKET_METRICS, CWD_N_SOCKETS };

struct cwd_method {
	const char *name;
	void (*handle)(struct cwd_call *call);
	int needs_more;
};

/* One per interface, ended by a NULL name. */
extern const struct cwd_method cwd_service_methods[], cwd_jobs_methods[], cwd_admin_methods[],
	cwd_metrics_methods[];

/* Parses the interface texts; once. CWP_EFORMAT, or CWP_EMISSING for a method without a handler or
 * the reverse. */
int cwd_dispatch_init(struct cwb_err *err);
void cwd_dispatch_free(void);

/* Answers a call that came over that socket. */
void cwd_dispatch(struct cwd_call *call, enum cwd_socket socket, const char *method);

/* Checks an error's parameters against the interface that it belongs to. */
int cwd_dispatch_check_error(const char *name, const json_t *parameters, struct cwb_err *err);

/* Interfaces of a socket: i from 0 until NULL. */
const struct cww_interface *cwd_dispatch_interface(enum cwd_socket socket, int i);

const char *cwd_socket_name(enum cwd_socket socket);
