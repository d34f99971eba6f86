/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Interfaces, their sockets and their handlers. */
#include "daemon/ctl/dispatch.h"

#include <string.h>

#include "daemon/ctl/idl.h"
#include "wire/call.h"

#define ON(socket) (1u << (socket))

static struct {
	const char *text;
	const struct cwd_method *methods;
	unsigned int sockets;
	struct cww_interface *interface;
} interfaces[] = {
	{cwd_idl_org_varlink_service, cwd_service_methods,
		ON(CWD_SOCKET_JOBS) | ON(CWD_SOCKET_ADMIN) | ON(CWD_SOCKET_METRICS), NULL},
	{cwd_idl_org_cwpd_Jobs, cwd_jobs_methods, ON(CWD_SOCKET_JOBS) | ON(CWD_SOCKET_ADMIN), NULL},
	{cwd_idl_org_cwpd_Admin, cwd_admin_methods, ON(CWD_SOCKET_ADMIN), NULL},
	{cwd_idl_org_cwpd_Metrics, cwd_metrics_methods,
		ON(CWD_SOCKET_ADMIN) | ON(CWD_SOCKET_METRICS), NULL},
};

#define N_INTERFACES (sizeof interfaces / sizeof interfaces[0])

static const char *const socket_names[CWD_N_SOCKETS] = {
	"org.cwpd.Jobs", "org.cwpd.Admin", "org.cwpd.Metrics"};

const char *cwd_socket_name(enum cwd_socket socket)
{
	return socket_names[socket];
}

static const struct cwd_method *find_method(const struct cwd_method *methods, const char *name)
{
	for (; methods->name != NULL; methods++) {
		if (strcmp(methods->name, name) == 0) {
			return methods;
		}
	}
	return NULL;
}

static int match(const struct cww_interface *interface, const struct cwd_method *methods,
	struct cwb_err *err)
{
	const struct cwd_method *method;
	size_t i;

	for (i = 0; i < interface->n_members; i++) {
		if (interface->members[i].kind == CWW_METHOD &&
			find_method(methods, interface->members[i].name) == NULL) {
			return cwb_err_set(err, CWP_EMISSING, "%s.%s has no handler",
				interface->name, interface->members[i].name);
		}
	}
	for (method = methods; method->name != NULL; method++) {
		if (cww_interface_find(interface, CWW_METHOD, method->name) == NULL) {
			return cwb_err_set(err, CWP_EMISSING, "%s.%s is not in the interface",
				interface->name, method->name);
		}
	}
	return 0;
}

int cwd_dispatch_init(struct cwb_err *err)
{
	size_t i;
	int rc = 0;

	for (i = 0; rc == 0 && i < N_INTERFACES; i++) {
		rc = cww_interface_parse(interfaces[i].text, &interfaces[i].interface, err);
		if (rc == 0) {
			rc = match(interfaces[i].interface, interfaces[i].methods, err);
		}
	}
	return rc;
}

void cwd_dispatch_free(void)
{
	size_t i;

	for (i = 0; i < N_INTERFACES; i++) {
		cww_interface_free(interfaces[i].interface);
		interfaces[i].interface = NULL;
	}
}

const struct cww_interface *cwd_dispatch_interface(enum cwd_socket socket, int i)
{
	size_t at;

	for (at = 0; at < N_INTERFACES; at++) {
		if ((interfaces[at].sockets & ON(socket)) && i-- == 0) {
			return interfaces[at].interface;
		}
	}
	return NULL;
}

static size_t find_interface(const char *name, size_t length)
{
	size_t i;

	for (i = 0; i < N_INTERFACES; i++) {
		if (strlen(interfaces[i].interface->name) == length &&
			memcmp(interfaces[i].interface->name, name, length) == 0) {
			break;
		}
	}
	return i;
}

int cwd_dispatch_check_error(const char *name, const json_t *parameters, struct cwb_err *err)
{
	size_t length = cww_call_interface_length(name), i = find_interface(name, length);
	const struct cww_member *member =
		i == N_INTERFACES
			? NULL
			: cww_interface_find(interfaces[i].interface, CWW_ERROR, name + length + 1);

	if (member == NULL) {
		return cwb_err_set(err, CWP_EMISSING, "no such error");
	}
	return cww_check(interfaces[i].interface, member->in, parameters, err);
}

static void refuse_parameter(struct cwd_call *call, const struct cwb_err *err)
{
	cwd_call_error(call, "org.varlink.service.InvalidParameter",
		json_pack("{s:s}", "parameter", err->field));
}

void cwd_dispatch(struct cwd_call *call, enum cwd_socket socket, const char *name)
{
	size_t length = cww_call_interface_length(name), i = find_interface(name, length);
	const struct cwd_method *method;
	struct cwb_err err = {0};

	if (i == N_INTERFACES) {
		cwd_call_error(call, "org.varlink.service.InterfaceNotFound",
			json_pack("{s:s%}", "interface", name, length));
		return;
	}
	method = find_method(interfaces[i].methods, name + length + 1);
	if (method == NULL) {
		cwd_call_error(call, "org.varlink.service.MethodNotFound",
			json_pack("{s:s}", "method", name));
		return;
	}
	if (!(interfaces[i].sockets & ON(socket))) {
		cwd_call_error(call, "org.varlink.service.PermissionDenied", NULL);
		return;
	}
	call->interface = interfaces[i].interface;
	call->method = cww_interface_find(call->interface, CWW_METHOD, method->name);
	if (cww_check(call->interface, call->method->in, call->parameters, &err) < 0) {
		refuse_parameter(call, &err);
		return;
	}
	if (method->needs_more && !call->more) {
		cwd_call_error(call, "org.varlink.service.ExpectedMore", NULL);
		return;
	}
	method->handle(call);
}
