/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opens the other devices of a host. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/model/companions.h"

/* Devices of a backend that are looked at. */
#define DEVICES_MAX 256

/* Whether a UUID is, or begins with, these n characters. */
static int is_called(const struct cwp_backend_device *d, const char *name, size_t n)
{
	return n > 0 && strncasecmp(d->uuid, name, n) == 0;
}

/* All devices of the backend. */
static int list(struct cwe_device *first, struct cwp_backend_device *ret, uint32_t *ret_n, struct cwb_err *err)
{
	uint32_t n = 0;
	int r = 0;
	while (r == 0 && n < DEVICES_MAX) {
		ret[n] = (struct cwp_backend_device){.size = sizeof *ret};
		r = first->ops->devices(&first->host->table, n, &ret[n]);
		ret[n].uuid[sizeof ret[n].uuid - 1] = '\0';
		n += r == 0;
	}
	*ret_n = n;
	return r == 0 || r == CWP_EMISSING ? 0 : cwe_device_check(first, "devices", r, err);
}

/* The first of the devices with that name that nobody has; n where there is none. */
static uint32_t find(const struct cwp_backend_device *all, uint32_t n, const uint8_t *taken, const char *name, size_t length)
{
	uint32_t i = 0;
	while (i < n && (taken[i] || !is_called(&all[i], name, length))) {
		i++;
	}
	return i;
}

/* Those of a list of names, in its order. */
static uint32_t take_given(const struct cwp_backend_device *all, uint32_t n, uint8_t *taken, const char *given, uint32_t wanted,
	struct cwp_backend_device *ret)
{
	uint32_t found = 0;
	for (const char *at = given; found < wanted && *at != '\0';) {
		size_t length = strcspn(at, ",");
		uint32_t i = find(all, n, taken, at, length);
		if (i < n) {
			taken[i] = 1;
			ret[found++] = all[i];
		}
		at += length;
		at += *at == ',';
	}
	return found;
}

static int choose(const struct cwe_device *first, const struct cwp_backend_device *all, uint32_t n, const char *given, uint32_t wanted,
	struct cwp_backend_device *ret, struct cwb_err *err)
{
	uint8_t taken[DEVICES_MAX] = {0};
	uint32_t found = 0, own = find(all, n, taken, first->uuid, strlen(first->uuid));
	if (own < n) {
		taken[own] = 1;
	}
	if (given != NULL) {
		found = take_given(all, n, taken, given, wanted, ret);
	}
	for (uint32_t i = 0; given == NULL && found < wanted && i < n; i++) {
		if (!taken[i]) {
			ret[found++] = all[i];
		}
	}
	if (found == wanted) {
		return 0;
	}
	/* A backend without devices that could be chosen from has the one that is open. */
	uint32_t have = found + 1;
	return cwb_err_set(err, CWP_EMISSING, "%u devices of backend %s are asked for, but %s %u; ask for fewer%s", wanted + 1,
		first->plugin->descriptor->id, given != NULL ? "of those that were given there are" : "there are", have,
		given != NULL ? ", or give more" : "");
}

int cwe_companions_find(struct cwe_device *first, const char *given, uint32_t n, struct cwp_backend_device *ret, struct cwb_err *err)
{
	struct cwp_backend_device *all = calloc(DEVICES_MAX, sizeof *all);
	uint32_t count = 0;
	int r = all != NULL ? list(first, all, &count, err) : cwb_err_set(err, -ENOMEM, "no memory for a list of devices");
	r = r == 0 ? choose(first, all, count, given, n, ret, err) : r;
	free(all);
	return r;
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

int cwe_companions_open(struct cwe_registry *registry, const struct cwe_model *first, const struct cwp_backend_device *found,
	uint32_t n, struct cwe_companions *ret, struct cwb_err *err)
{
	struct cwe_companions c = {.host = calloc(n + 1, sizeof *c.host), .device = calloc(n + 1, sizeof *c.device),
		.model = calloc(n + 1, sizeof *c.model), .list = calloc(n + 1, sizeof(struct cwe_model *))};
	int r = c.host != NULL && c.device != NULL && c.model != NULL && c.list != NULL
		? 0 : cwb_err_set(err, -ENOMEM, "no memory for %u devices", n);
	uint32_t threads = first->device->host->table.threads / (n + 1);
	while (r == 0 && c.n < n) {
		r = open_one(registry, first, found[c.n].uuid, &c, threads > 0 ? threads : 1, err);
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
