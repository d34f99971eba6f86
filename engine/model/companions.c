/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opens the other devices of a host. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/companions.h"

/* The next device from *index on that is not the first model's. */
static int find(struct cwe_device *first, uint32_t *index, uint32_t wanted, struct cwp_backend_device *ret, struct cwb_err *err)
{
	for (;;) {
		*ret = (struct cwp_backend_device){.size = sizeof *ret};
		int r = first->ops->devices(&first->host->table, *index, ret);
		if (r == CWP_EMISSING) {
			return cwb_err_set(err, r, "%u devices of backend %s are asked for, but there are %u; ask for fewer", wanted,
				first->plugin->descriptor->id, *index > 0 ? *index : 1);
		}
		if (r != 0) {
			return cwe_device_check(first, "devices", r, err);
		}
		++*index;
		if (strncmp(ret->uuid, first->uuid, sizeof ret->uuid) != 0) {
			return 0;
		}
	}
}

static int open_one(struct cwe_registry *registry, const struct cwe_model *first, const char *uuid, struct cwe_companions *c,
	uint32_t threads, struct cwb_err *err)
{
	const struct cwe_host *host = first->device->host;
	uint32_t k = c->n;
	char backend[160];
	(void)snprintf(backend, sizeof backend, "%s:%.63s", first->device->plugin->descriptor->id, uuid);
	const struct cwe_device_choice choice = {.backend = backend, .precision = first->device->precision};
	cwe_host_init(&c->host[k], NULL, host->seed);
	c->host[k].table.threads = threads; /* that may read weights */
	c->host[k].log = host->log;
	c->host[k].log_arg = host->log_arg;
	int r = cwe_device_open(registry, &c->host[k], &choice, &c->device[k], err);
	if (r != 0) {
		return r;
	}
	c->n++;
	c->list[k] = &c->model[k];
	return cwe_model_open(first->source, first->weights, &c->device[k], &c->model[k], err);
}

int cwe_companions_open(struct cwe_registry *registry, const struct cwe_model *first, uint32_t n, struct cwe_companions *ret,
	struct cwb_err *err)
{
	struct cwe_companions c = {.host = calloc(n + 1, sizeof *c.host), .device = calloc(n + 1, sizeof *c.device),
		.model = calloc(n + 1, sizeof *c.model), .list = calloc(n + 1, sizeof(struct cwe_model *))};
	int r = c.host != NULL && c.device != NULL && c.model != NULL && c.list != NULL
		? 0 : cwb_err_set(err, -ENOMEM, "no memory for %u devices", n);
	uint32_t index = 0, threads = first->device->host->table.threads / (n + 1);
	while (r == 0 && c.n < n) {
		struct cwp_backend_device found;
		r = find(first->device, &index, n + 1, &found, err);
		r = r == 0 ? open_one(registry, first, found.uuid, &c, threads > 0 ? threads : 1, err) : r;
	}
	int entered = cwe_device_enter(first->device, r == 0 ? err : NULL);
	r = r == 0 ? entered : r;
	if (r != 0) {
		cwe_companions_close(&c);
		return r;
	}
	*ret = c;
	return 0;
}

void cwe_companions_close(struct cwe_companions *c)
{
	for (uint32_t k = 0; k < c->n; k++) {
		cwe_device_close(&c->device[k]);
	}
	free(c->host);
	free(c->device);
	free(c->model);
	free(c->list);
	memset(c, 0, sizeof *c);
}
