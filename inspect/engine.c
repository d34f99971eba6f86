/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opening the engine for a verb. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/plugin/places.h"
#include "inspect/inspect.h"

static int open_registry(const struct cwi_options *o, struct cwi_engine *e, struct cwb_err *err)
{
	if (o->plugin_dir != NULL) {
		return cwe_registry_new(&o->plugin_dir, 1, CWE_REGISTRY_ANY_OWNER, &e->registry, err);
	}
	char *folder = NULL;
	int r = cwe_plugin_folder(&folder, err);
	const char *list = folder;
	r = r == 0 ? cwe_registry_new(&list, 1, CWE_REGISTRY_ANY_OWNER, &e->registry, err) : r;
	free(folder);
	return r;
}

int cwi_engine_open(const struct cwi_options *o, const char *model, struct cwi_engine *ret, struct cwb_err *err)
{
	struct cwi_engine *e = ret;
	memset(e, 0, sizeof *e);
	int r = cwe_pool_new(o->threads, &e->pool, err);
	if (r == 0) {
		cwe_host_init(&e->host, e->pool, 0);
		r = open_registry(o, e, err);
	}
	if (r == 0 && model != NULL) {
		r = cwe_device_open(e->registry, &e->host, &o->device, &e->device, err);
		r = r == 0 ? cwe_source_open(model, 0, &e->source, err) : r;
		r = r == 0 ? cwe_source_adapt(e->source, o->adapters, o->n_adapters, err) : r;
		r = r == 0 ? cwe_model_open(e->source, NULL, &e->device, &e->model, err) : r;
		char text[1024];
		if (r == 0 && cwe_model_extra_text(&e->model, text, sizeof text) > 0) {
			(void)fprintf(stderr, "cwp-inspect: warning: %s: %s\n", model, text);
		}
		if (o->exact_inputs) {
			e->model.quantizes = e->model.splits = 0;
		}
	}
	if (r != 0) {
		cwi_engine_close(e);
	}
	return r;
}

void cwi_engine_close(struct cwi_engine *e)
{
	cwe_source_close(e->source);
	cwe_device_close(&e->device);
	cwe_registry_free(e->registry);
	cwe_pool_free(e->pool);
	memset(e, 0, sizeof *e);
}
