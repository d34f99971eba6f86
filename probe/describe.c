/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Descriptor -> JSON. */
#include <errno.h>

#include "engine/plugin/settings.h"
#include "probe/describe.h"

/* Bytes that are not UTF-8 would make the whole document invalid: they are refused. NULL text becomes null. */
static json_t *text_json(const char *text)
{
	return text != NULL ? json_string(text) : json_null();
}

static json_t *options_json(const struct cwp_plugin *p)
{
	json_t *list = json_array();

	for (uint32_t i = 0; list != NULL && i < p->n_options; i++) {
		const struct cwp_option *o = &p->options[i];
		json_t *row = json_pack("{s:s, s:s, s:s, s:o, s:o, s:s}", "name", o->name, "type", cwe_option_type_name(o->type),
			"default", o->standard, "range", text_json(o->range), "unit", text_json(o->unit), "help", o->help);
		if (row == NULL || json_array_append_new(list, row) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return list;
}

json_t *cwx_describe(const struct cwe_plugin *plugin, struct cwb_err *err)
{
	const struct cwp_plugin *p = plugin->descriptor;
	json_t *options = options_json(p);
	json_t *abi = json_sprintf("%u.%u", (unsigned)p->abi_major, (unsigned)p->abi_minor);
	json_t *object = NULL;

	if (options != NULL && abi != NULL) {
		object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:O, s:s, s:s}", "id", p->id, "kind", cwe_kind_name(p->kind),
			"version", p->version, "vendor", p->vendor, "licence", p->licence, "summary", p->summary, "abi", abi, "options",
			options, "path", plugin->path, "build_id", plugin->build_id);
	}
	json_decref(options);
	json_decref(abi);
	if (object == NULL) {
		cwb_err_set(err, CWP_EPLUGIN, "%s: a text of its descriptor, of its options or of its path is not UTF-8; correct it",
			plugin->path);
	}
	return object;
}

json_t *cwx_describe_error(const char *path, const struct cwb_err *error)
{
	json_t *shown = json_string(path);
	json_t *message = json_string(error->message);
	json_t *object;

	/* A name in another encoding is still to be reported. */
	if (shown == NULL) {
		shown = json_null();
	}
	if (message == NULL) {
		message = json_string("refused; its path is not UTF-8, so the reason cannot be shown");
	}
	object = json_pack("{s:o, s:{s:i, s:s, s:o}}", "path", shown, "error", "code", error->code, "text", cwb_err_text(error->code),
		"message", message);
	return object;
}
