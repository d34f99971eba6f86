/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Calls, replies and errors of the Varlink protocol, made of messages. */
#pragma once

#include <jansson.h>

#include "base/err.h"

#define CWW_CALL_MORE 1u
#define CWW_CALL_ONEWAY 2u

/* A call. The pointers belong to the message it was taken from; parameters is NULL when there are
 * none. */
struct cww_call {
	const char *method; /* "org.cwpd.Jobs.Submit" */
	json_t *parameters;
	int more;
	int oneway;
	int upgrade;
};

/* Takes a call apart. message must outlive *ret. CWP_EPROTO names the key that is missing, unknown
 * or of the wrong type. */
int cww_call_parse(const json_t *message, struct cww_call *ret, struct cwb_err *err);

/* Length of the interface's name in "org.cwpd.Jobs.Submit" (up to the last dot); 0 when there is no
 * dot. */
size_t cww_call_interface_length(const char *method);

/* A new message, or NULL when memory ran out. parameters is stolen and may be NULL. flags:
 * CWW_CALL_*. */
json_t *cww_call_make(const char *method, json_t *parameters, unsigned int flags);
json_t *cww_reply_make(json_t *parameters, int continues);
json_t *cww_error_make(const char *error, json_t *parameters);

/* A reply. The pointers belong to the message; parameters is an object (made if it was absent). */
struct cww_reply {
	const char *error; /* NULL, or the error's full name */
	json_t *parameters;
	int continues;
};

/* Takes a reply apart; adds an empty parameters object to message if it had none. CWP_EPROTO as
 * above. */
int cww_reply_parse(json_t *message, struct cww_reply *ret, struct cwb_err *err);
