/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Special tokens around a text. */
#include "engine/text/postprocessor.h"

#include <string.h>

#include "engine/text/component.h"

#define DEPTH 4 /* of sequences in each other */

/* The ids that the template's map "special_tokens" has for a name. */
static int special_ids(const json_t *component, const char *place, const char *name,
	struct cwe_idlist *list, struct cwb_err *err)
{
	const json_t *entry = json_object_get(json_object_get(component, "special_tokens"), name);
	const json_t *ids = json_object_get(entry, "ids");
	if (!json_is_array(ids))
		return cwe_component_refuse(err, CWP_EMISSING, place,
			"special_tokens has no \"ids\" for \"%.60s\"", name);
	for (size_t i = 0; i < json_array_size(ids); i++) {
		unsigned id;
		int rc = cwe_component_id(json_array_get(ids, i), place, &id, err);
		if (rc < 0)
			return rc;
		if (cwe_idlist_add(list, id) < 0)
			return cwe_component_refuse(err, -ENOMEM, place, "out of memory");
	}
	return 0;
}

static int read_piece(const json_t *component, const json_t *piece, const char *place,
	struct cwe_idlist side[2], int *seen, struct cwb_err *err)
{
	const json_t *special = json_object_get(piece, "SpecialToken");
	const json_t *sequence = json_object_get(piece, "Sequence");
	const json_t *id = json_object_get(special ? special : sequence, "id");
	if (!json_is_string(id))
		return cwe_component_refuse(err, CWP_EVALUE, place,
			"neither {\"SpecialToken\": {\"id\"}} nor {\"Sequence\": {\"id\"}}");
	if (special)
		return special_ids(component, place, json_string_value(id), &side[*seen], err);
	if (strcmp(json_string_value(id), "A") != 0 || *seen)
		return cwe_component_refuse(
			err, CWP_EUNKNOWN, place, "only one sequence \"A\" is supported");
	*seen = 1;
	return 0;
}

static int read_template(const json_t *component, const char *place, struct cwe_postprocessor *p,
	struct cwb_err *err)
{
	const json_t *single;
	struct cwe_idlist side[2] = {{0}, {0}};
	int seen = 0;
	int rc = cwe_component_array(component, place, "single", 1, &single, err);
	for (size_t i = 0; rc == 0 && i < json_array_size(single); i++) {
		char inner[CWE_PLACE_SIZE];
		cwe_place_item(inner, place, "single", i);
		rc = read_piece(component, json_array_get(single, i), inner, side, &seen, err);
	}
	if (rc == 0 && !seen)
		rc = cwe_component_refuse(
			err, CWP_EVALUE, place, "\"single\" has no sequence \"A\"");
	/* A template after another one goes around what that one gave. */
	for (size_t i = 0; rc == 0 && i < p->before.count; i++)
		rc = cwe_idlist_add(&side[0], p->before.id[i]);
	for (size_t i = 0; rc == 0 && i < side[1].count; i++)
		rc = cwe_idlist_add(&p->after, side[1].id[i]);
	free(side[1].id);
	if (rc < 0) {
		free(side[0].id);
		return cwb_err_set(err, rc, "%s: out of memory", place);
	}
	free(p->before.id);
	p->before = side[0];
	return 0;
}

static int read_component(const json_t *component, const char *place, int depth,
	struct cwe_postprocessor *p, struct cwb_err *err)
{
	const char *type;
	int rc = cwe_component_type(component, place, &type, err);
	if (rc < 0 || strcmp(type, "ByteLevel") == 0)
		return rc;
	if (strcmp(type, "TemplateProcessing") == 0)
		return read_template(component, place, p, err);
	if (strcmp(type, "Sequence") != 0)
		return cwe_component_unknown(place, type, err);
	const json_t *list;
	rc = cwe_component_array(component, place, "processors", 1, &list, err);
	if (rc == 0 && depth == DEPTH)
		rc = cwe_component_refuse(
			err, CWP_ELIMIT, place, "sequences are nested too deeply");
	for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
		char inner[CWE_PLACE_SIZE];
		cwe_place_item(inner, place, "processors", i);
		rc = read_component(json_array_get(list, i), inner, depth + 1, p, err);
	}
	return rc;
}

int cwe_postprocessor_read(
	const json_t *component, struct cwe_postprocessor *ret, struct cwb_err *err)
{
	*ret = (struct cwe_postprocessor){{0}, {0}};
	if (!component || json_is_null(component))
		return 0;
	return read_component(component, "post_processor", 0, ret, err);
}

void cwe_postprocessor_free(struct cwe_postprocessor *p)
{
	free(p->before.id);
	free(p->after.id);
	*p = (struct cwe_postprocessor){{0}, {0}};
}
