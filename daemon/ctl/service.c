/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* org.varlink.service: what this is, and which interfaces it has. */
#include "config.h"

#include <string.h>

#include "daemon/ctl/dispatch.h"
#include "daemon/ctl/server.h"

static void get_info(struct cwd_call *call)
{
	json_t *names = json_array();
	const struct cww_interface *interface;
	int i;

	for (i = 0; (interface = cwd_dispatch_interface(
			     cwd_connection_socket(call->connection), i)) != NULL;
		i++) {
		(void)json_array_append_new(names,
			json_string(interface->name)); /* a short list fails the check below */
	}
	cwd_call_reply(call, json_pack("{s:s, s:s, s:s, s:s, s:o}", "vendor", "cwpd developers",
				     "product", "cwpd", "version", PACKAGE_VERSION, "url",
				     PACKAGE_URL, "interfaces", names));
}

static void get_description(struct cwd_call *call)
{
	const char *name = cwd_call_string(call, "interface");
	const struct cww_interface *interface;
	int i;

	for (i = 0; (interface = cwd_dispatch_interface(
			     cwd_connection_socket(call->connection), i)) != NULL;
		i++) {
		if (strcmp(interface->name, name) == 0) {
			cwd_call_reply(call, json_pack("{s:s}", "description", interface->text));
			return;
		}
	}
	cwd_call_error(call, "org.varlink.service.InterfaceNotFound",
		json_pack("{s:s}", "interface", name));
}

const struct cwd_method cwd_service_methods[] = {
	{"GetInfo", get_info, 0}, {"GetInterfaceDescription", get_description, 0}, {NULL, NULL, 0}};
