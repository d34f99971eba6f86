/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Choosing and opening a backend. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "engine/model/device.h"
#include "engine/plugin/settings.h"

#define GPU "cuda"
#define NONE "none"

/* One backend by its id, with what is left of the choice. */
struct wanted {
	const char *id;
	const char *uuid; /* NULL: any */
	enum cwj_precision precision;
};

static int has_word(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *at = list; at != NULL; at = strchr(at, '|')) {
		at += *at == '|';
		if (strncmp(at, word, n) == 0 && (at[n] == '|' || at[n] == '\0')) {
			return 1;
		}
	}
	return 0;
}

/* Whether the backend's option for the precision of products has this value. */
static int has_precision(const struct cwe_plugin *plugin, const char *name)
{
	int i = cwe_settings_index(plugin->descriptor, CWP_BACKEND_PRECISION);
	return i >= 0 && plugin->descriptor->options[i].range != NULL && has_word(plugin->descriptor->options[i].range, name);
}

/* What products will run in, and the settings that say so. */
static int make_settings(struct cwe_device *d, enum cwj_precision asked, struct cwb_err *err)
{
	const struct cwp_plugin *p = d->plugin->descriptor;
	int both = has_precision(d->plugin, "f32") && has_precision(d->plugin, "bf16");
	if (asked == CWJ_PRECISION_BF16 && !both) {
		if (err != NULL && err->code == 0) {
			(void)snprintf(err->field, sizeof err->field, "precision");
		}
		return cwb_err_set(err, CWP_EVALUE, "precision: backend %s %s has no bf16, only f32; use auto or f32", p->id, p->version);
	}
	d->precision = asked != CWJ_PRECISION_AUTO ? asked
		: both && !(d->ops->flags & CWP_BACKEND_HOST_MEMORY) ? CWJ_PRECISION_BF16 : CWJ_PRECISION_F32;
	struct cwj_option option = {.name = (char *)(uintptr_t)CWP_BACKEND_PRECISION,
		.value = (char *)(uintptr_t)(d->precision == CWJ_PRECISION_BF16 ? "bf16" : "f32")};
	return cwe_settings_make(p, "backend", &option, (size_t)(both ? 1 : 0), &d->settings, err);
}

/* A device without a number that was asked for is the first one, by its UUID: so it can be told afterwards. */
static void take_first(struct cwe_device *d)
{
	struct cwp_backend_device first = {.size = sizeof first};
	int r = d->ops->devices(&d->host->table, 0, &first);
	if (r == 0) {
		(void)snprintf(d->uuid, sizeof d->uuid, "%.*s", (int)sizeof first.uuid - 1, first.uuid);
	} else {
		(void)cwe_host_error(d->host, d->plugin->descriptor->id, "devices", r, NULL); /* open() says it again */
	}
}

static int open_backend(struct cwe_registry *registry, struct cwe_host *host, const struct wanted *w, struct cwe_device *ret,
	struct cwb_err *err)
{
	struct cwe_device d = {.host = host};
	int r = cwe_registry_find(registry, CWP_KIND_BACKEND, w->id, &d.plugin, err);
	if (r != 0) {
		return r;
	}
	d.ops = d.plugin->interface;
	if (d.ops->size < sizeof *d.ops) {
		return cwb_err_set(err, CWP_EABI, "backend %s: its interface has %u bytes, this host needs %zu: rebuild the plugin",
			w->id, d.ops->size, sizeof *d.ops);
	}
	if ((r = make_settings(&d, w->precision, err)) != 0) {
		return r;
	}
	if (w->uuid != NULL) {
		(void)snprintf(d.uuid, sizeof d.uuid, "%s", w->uuid);
	} else {
		take_first(&d);
	}
	r = d.ops->open(&host->table, d.settings, d.uuid[0] != '\0' ? d.uuid : NULL, &d.b);
	if (r != 0) {
		cwe_settings_free(d.plugin->descriptor, d.settings);
		r = cwe_host_error(host, w->id, "open", r, err);
		if (w->uuid != NULL && err != NULL && strstr(err->message, w->uuid) == NULL) {
			(void)cwb_err_prefix(err, "%s", w->uuid);
		}
		return r;
	}
	*ret = d;
	return 0;
}

/* Whether auto may do without what failed: there is no GPU that could be used, or nothing that could use one. */
static int is_absence(const struct cwb_err *why, const struct cwe_plugin *found, const char *uuid)
{
	int none = why->code == CWP_EMISSING || why->code == CWP_EVALUE || why->code == CWP_EUNKNOWN;
	return found == NULL || (none && uuid == NULL && why->field[0] == '\0');
}

static int open_auto(struct cwe_registry *registry, struct cwe_host *host, const struct wanted *w, int none, struct cwe_device *ret,
	struct cwb_err *err)
{
	const struct wanted cpu = {.id = "cpu", .precision = w->precision};
	const struct cwe_plugin *plugin = NULL;
	struct cwb_err why = {0};
	int r = 0;
	if (none) {
		(void)cwb_err_set(&why, CWP_EMISSING, "no GPU was given to this job");
	} else {
		r = cwe_registry_find(registry, CWP_KIND_BACKEND, w->id, &plugin, &why);
		r = r == 0 ? open_backend(registry, host, w, ret, &why) : r;
		if (r == 0) {
			return 0;
		}
		if (!is_absence(&why, plugin, w->uuid)) {
			return err != NULL && err->code == 0 ? (*err = why).code : r;
		}
	}
	r = open_backend(registry, host, &cpu, ret, err);
	if (r == 0) {
		(void)snprintf(ret->why, sizeof ret->why, "%.*s", (int)sizeof ret->why - 1,
			why.code == CWP_EUNKNOWN ? "plugin " GPU " is not installed" : why.message);
	}
	return r;
}

/* Whether a UUID that was given begins as a job has it. */
static int is_begun(const char *given, const char *name)
{
	return given != NULL && strncasecmp(given, name, strlen(name)) == 0;
}

/* The remedy that all failures to have the GPU share. */
static int tell_gpu(int r, const struct cwb_err *why, struct cwb_err *err)
{
	return cwb_err_set(err, r, "backend: %s; %suse backend: cpu", why->message,
		r == CWP_EUNKNOWN ? "install that plugin (configure --with-cuda builds it), or " : "or ");
}

int cwe_device_open(struct cwe_registry *registry, struct cwe_host *host, const struct cwe_device_choice *c,
	struct cwe_device *ret, struct cwb_err *err)
{
	const char *backend = c->backend != NULL ? c->backend : "cpu", *colon = strchr(backend, ':');
	int none = c->gpu != NULL && strcmp(c->gpu, NONE) == 0;
	struct wanted w = {.id = backend, .precision = c->precision};
	struct cwb_err why = {0};
	if (strcmp(backend, "auto") == 0) {
		w.id = GPU;
		w.uuid = none ? NULL : c->gpu;
		return open_auto(registry, host, &w, none, ret, err);
	}
	if (colon == NULL && strcmp(backend, GPU) != 0) {
		return open_backend(registry, host, &w, ret, err);
	}
	w.id = GPU;
	w.uuid = colon == NULL || is_begun(c->gpu, colon + 1) ? c->gpu : colon + 1;
	if (none || (colon != NULL && c->gpu != NULL && w.uuid != c->gpu)) {
		return cwb_err_set(err, CWP_EMISSING, "backend: %s is asked for, but %s was given to this job; use backend: cpu or auto", backend,
			none ? "no GPU" : c->gpu);
	}
	int r = open_backend(registry, host, &w, ret, &why);
	if (r != 0 && why.field[0] != '\0') {
		return err != NULL && err->code == 0 ? (*err = why).code : r;
	}
	return r == 0 ? 0 : tell_gpu(r, &why, err);
}

void cwe_device_close(struct cwe_device *d)
{
	if (d->ops != NULL) {
		d->ops->close(d->b);
		cwe_settings_free(d->plugin->descriptor, d->settings);
	}
	memset(d, 0, sizeof *d);
}
