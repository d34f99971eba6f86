/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Devices of a backend -> JSON. */
#include <string.h>

#include <cwp/backend.h>

#include "engine/plugin/host.h"
#include "probe/devices.h"

enum { MOST_DEVICES = 256 };

/* The array, as far as the backend goes; *ret_code: what it said behind the last one. */
static json_t *list(const struct cwp_backend *backend, struct cwe_host *host, int *ret_code)
{
	json_t *devices = json_array();
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < MOST_DEVICES; i++) {
		struct cwp_backend_device d = {.size = sizeof(d)};
		r = backend->devices(&host->table, i, &d);
		if (r != 0) {
			break;
		}
		d.uuid[sizeof(d.uuid) - 1] = d.name[sizeof(d.name) - 1] = '\0';
		json_int_t memory = (json_int_t)(d.total > INT64_MAX ? INT64_MAX : d.total);
		if (json_array_append_new(devices, json_pack("{s:s, s:s, s:I}", "uuid", d.uuid, "name", d.name, "memory", memory)) < 0) {
			json_decref(devices);
			return NULL;
		}
	}
	*ret_code = r;
	return devices;
}

json_t *cwx_devices(const struct cwe_plugin *plugin, struct cwb_err *err)
{
	const struct cwp_plugin *p = plugin->descriptor;
	struct cwb_err why = {0};
	struct cwe_host host;
	int r = 0;

	if (p->kind != CWP_KIND_BACKEND) {
		cwb_err_set(err, CWP_EVALUE, "%s: plugin '%s' is a %s, and only backends have devices", plugin->path, p->id,
			cwe_kind_name(p->kind));
		return NULL;
	}
	cwe_host_init(&host, NULL, 0);
	json_t *devices = list(plugin->interface, &host, &r);
	if (r != 0) {
		(void)cwe_host_error(&host, p->id, "devices", r, &why);
	}
	/* Behind the last one, a backend may have something to say of why there are no more. */
	json_t *reason = r == 0 || (r == CWP_EMISSING && json_array_size(devices) > 0) ? json_null() : json_string(why.message);
	json_t *object = devices != NULL && reason != NULL ? json_pack("{s:O, s:O}", "devices", devices, "reason", reason) : NULL;
	json_decref(devices);
	json_decref(reason);
	if (object == NULL) {
		cwb_err_set(err, CWP_EPLUGIN, "%s: the name of one of its devices is not UTF-8; correct it", plugin->path);
	}
	return object;
}
