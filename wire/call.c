/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Calls, replies and errors: which keys they have, and of which type. */
#include "wire/call.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "wire/message.h"

static int take_flag(const char *key, json_t *value, int *ret, struct cwb_err *err)
{
	if (!json_is_boolean(value)) {
		return cwb_err_set(err, CWP_EPROTO, "\"%s\" must be true or false", key);
	}
	*ret = json_is_true(value);
	return 0;
}

static int take_parameters(json_t *value, json_t **ret, struct cwb_err *err)
{
	if (json_is_null(value)) {
		return 0;
	}
	if (!json_is_object(value)) {
		return cwb_err_set(err, CWP_EPROTO, "\"parameters\" must be an object");
	}
	*ret = value;
	return 0;
}

static int refuse_key(const char *what, const char *key, struct cwb_err *err)
{
	char shown[64];

	cww_escape(key, strlen(key), shown, sizeof shown);
	return cwb_err_set(err, CWP_EPROTO, "a %s has no key \"%s\"", what, shown);
}

int cww_call_parse(const json_t *message, struct cww_call *ret, struct cwb_err *err)
{
	struct cww_call call = {0};
	const char *key;
	json_t *value;
	int rc = 0;

	json_object_foreach((json_t *)(uintptr_t)message, key, value)
	{
		if (strcmp(key, "method") == 0) {
			call.method = json_string_value(value);
		} else if (strcmp(key, "parameters") == 0) {
			rc = take_parameters(value, &call.parameters, err);
		} else if (strcmp(key, "more") == 0) {
			rc = take_flag(key, value, &call.more, err);
		} else if (strcmp(key, "oneway") == 0) {
			rc = take_flag(key, value, &call.oneway, err);
		} else if (strcmp(key, "upgrade") == 0) {
			rc = take_flag(key, value, &call.upgrade, err);
		} else {
			rc = refuse_key("call", key, err);
		}
		if (rc < 0) {
			return rc;
		}
	}
	if (call.method == NULL) {
		return cwb_err_set(err, CWP_EPROTO, "a call needs \"method\", a string");
	}
	if (call.more && call.oneway) {
		return cwb_err_set(err, CWP_EPROTO, "\"more\" and \"oneway\" exclude each other");
	}
	*ret = call;
	return 0;
}

size_t cww_call_interface_length(const char *method)
{
	const char *dot = strrchr(method, '.');

	return dot == NULL ? 0 : (size_t)(dot - method);
}

/* Steals value, whatever happens. */
static int put(json_t *message, const char *key, json_t *value)
{
	return json_object_set_new(message, key, value);
}

static json_t *finish(json_t *message, int failed, json_t *parameters)
{
	if (parameters != NULL && (json_object_size(parameters) > 0)) {
		failed |= put(message, "parameters", parameters);
	} else {
		json_decref(parameters);
	}
	if (failed) {
		json_decref(message);
		return NULL;
	}
	return message;
}

json_t *cww_call_make(const char *method, json_t *parameters, unsigned int flags)
{
	json_t *message = json_object();
	int failed = put(message, "method", json_string(method));

	if (flags & CWW_CALL_MORE) {
		failed |= put(message, "more", json_true());
	}
	if (flags & CWW_CALL_ONEWAY) {
		failed |= put(message, "oneway", json_true());
	}
	return finish(message, failed, parameters);
}

json_t *cww_reply_make(json_t *parameters, int continues)
{
	json_t *message = json_object();
	int failed = message == NULL;

	if (continues) {
		failed |= put(message, "continues", json_true());
	}
	return finish(message, failed, parameters);
}

json_t *cww_error_make(const char *error, json_t *parameters)
{
	json_t *message = json_object();
	int failed = put(message, "error", json_string(error));

	return finish(message, failed, parameters);
}

int cww_reply_parse(json_t *message, struct cww_reply *ret, struct cwb_err *err)
{
	struct cww_reply reply = {0};
	const char *key;
	json_t *value;
	int rc = 0;

	json_object_foreach(message, key, value)
	{
		if (strcmp(key, "error") == 0) {
			reply.error = json_string_value(value);
			if (reply.error == NULL) {
				rc = cwb_err_set(err, CWP_EPROTO, "\"error\" must be a string");
			}
		} else if (strcmp(key, "parameters") == 0) {
			rc = take_parameters(value, &reply.parameters, err);
		} else if (strcmp(key, "continues") == 0) {
			rc = take_flag(key, value, &reply.continues, err);
		} else {
			rc = refuse_key("reply", key, err);
		}
		if (rc < 0) {
			return rc;
		}
	}
	if (reply.parameters == NULL) {
		reply.parameters = json_object();
		if (put(message, "parameters", reply.parameters) != 0) {
			return cwb_err_set(err, -ENOMEM, "no memory for a reply");
		}
	}
	*ret = reply;
	return 0;
}
