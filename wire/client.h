/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A blocking client: connect, call, read the reply or the stream of replies. One thread a client.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "wire/call.h"

struct cww_client;

/* Connects to a Unix socket. Errors: -errno of connect (-ENOENT, -ECONNREFUSED: no daemon;
 * -EACCES), -ENAMETOOLONG for a path that does not fit. *ret is freed with cww_client_close. */
int cww_client_open(const char *path, struct cww_client **ret, struct cwb_err *err);
void cww_client_close(struct cww_client *client);

/* Sends a call. parameters is stolen and may be NULL. flags: CWW_CALL_*. Errors: -errno of write,
 * CWP_ELIMIT when the call is longer than a message may be. A daemon that closed the connection is
 * no error here: receive gives what it said last, or -ECONNRESET. */
int cww_client_send(struct cww_client *client, const char *method, json_t *parameters,
	unsigned int flags, struct cwb_err *err);

/* Waits for the next reply, at most timeout_ms (-1: for ever). *ret_message owns what *ret points
 * to: json_decref it when done. A reply that carries an error is a success here: see ret->error.
 * Errors: -ETIMEDOUT, -EINTR (a signal arrived; call again), -ECONNRESET (closed by the daemon),
 * CWP_EPROTO and CWP_ELIMIT (not our daemon). */
int cww_client_receive(struct cww_client *client, int timeout_ms, json_t **ret_message,
	struct cww_reply *ret, struct cwb_err *err);

/* Both: one call, one reply. */
int cww_client_call(struct cww_client *client, const char *method, json_t *parameters,
	int timeout_ms, json_t **ret_message, struct cww_reply *ret, struct cwb_err *err);

/* For poll(2) beside other descriptors; buffered replies are not seen by poll, so receive with
 * timeout 0 first. */
int cww_client_fd(const struct cww_client *client);
