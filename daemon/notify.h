/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What systemd passes and wants to hear: sockets that it opened, and messages to $NOTIFY_SOCKET.
 * Done by hand, so that the daemon is the same on hosts without systemd. */
#pragma once

#include <stddef.h>

#include "base/err.h"

/* Sends "READY=1" and the like; quietly does nothing without $NOTIFY_SOCKET. Errors: -errno. */
int cwd_notify(const char *message, struct cwb_err *err);

#define CWD_INHERITED_MAX 16

struct cwd_inherited {
	int fd;
	char name[64]; /* FileDescriptorName=, else "" */
};

/* Takes the sockets of socket activation ($LISTEN_PID, $LISTEN_FDS, $LISTEN_FDNAMES), marks them
 * close-on-exec and clears the variables. Returns how many there are; CWP_EVALUE when the variables
 * make no sense. */
int cwd_inherit(struct cwd_inherited ret[CWD_INHERITED_MAX], struct cwb_err *err);
