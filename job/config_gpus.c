/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* gpus of the daemon's configuration: auto, none, or a list of UUIDs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "job/config.h"
#include "job/config_table.h"
#include "job/schema_value.h"

#define MOST_GPUS 64

static int check_uuid(struct cwj_reader *r, const struct cwj_yaml *node, const char *uuid)
{
	char backend[96] = "cuda:";

	if (strlen(uuid) < 64) {
		strcat(backend, uuid);
		if (cwj_backend_is_known(backend)) {
			return 0;
		}
	}
	return cwj_fail(r, node, CWP_EVALUE, "\"%.64s\" is no UUID of a GPU; nvidia-smi -L prints them, such as GPU-5f3c..", uuid);
}

static int gpus_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	struct cwj_config *c = target;
	const struct cwj_key list = {.name = key->name,
		.kind = CWJ_TEXTS,
		.offset = offsetof(struct cwj_config, gpus),
		.count = offsetof(struct cwj_config, n_gpus),
		.high = MOST_GPUS,
		.remedy = key->remedy};

	if (node->kind == CWJ_YAML_SCALAR) {
		c->gpus_none = strcmp(node->text, "none") == 0;
		return c->gpus_none || strcmp(node->text, "auto") == 0
			       ? 0
			       : cwj_fail(r, node, CWP_EVALUE, "\"%.40s\" is neither auto nor none; %s",
					 node->text, key->remedy);
	}
	int rc = cwj_value_read(r, &list, node, target);
	for (size_t i = 0; rc == 0 && i < c->n_gpus; i++) {
		size_t mark = cwj_enter_index(r, i);
		rc = check_uuid(r, node->values[i], c->gpus[i]);
		cwj_leave(r, mark);
	}
	c->gpus_none = rc == 0 && c->n_gpus == 0;
	return rc;
}

static int gpus_json(json_t *object, const struct cwj_key *key, const void *target)
{
	const struct cwj_config *c = target;
	json_t *value = c->n_gpus > 0 ? json_array() : json_string(c->gpus_none ? "none" : "auto");

	for (size_t i = 0; value != NULL && i < c->n_gpus; i++) {
		if (json_array_append_new(value, json_string(c->gpus[i])) < 0) {
			json_decref(value);
			return -ENOMEM;
		}
	}
	return json_object_set_new(object, key->name, value) < 0 ? -ENOMEM : 0;
}

static void gpus_free(void *target)
{
	struct cwj_config *c = target;

	for (size_t i = 0; c->gpus != NULL && i < c->n_gpus; i++) {
		free(c->gpus[i]);
	}
	free(c->gpus);
	c->gpus = NULL;
	c->n_gpus = 0;
}

const struct cwj_custom cwj_config_gpus = {.read = gpus_read, .json = gpus_json, .free = gpus_free};
