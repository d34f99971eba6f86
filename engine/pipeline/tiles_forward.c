/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Journal lines of the calibration before its first layer is scored: inputs of layers that are kept, and the head. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/tiles.h"

/* {"boundary":n,"digest":"..","passes":n}: the input of layer n is kept. */
static int take_boundary(struct cwe_tiles *t, const json_t *line)
{
	json_int_t layer = json_integer_value(json_object_get(line, "boundary"));
	const char *digest = json_string_value(json_object_get(line, "digest"));
	if (layer < 0 || layer > t->layers || digest == NULL || !cwb_digest_is_hex(digest)) {
		return -1;
	}
	memcpy(t->boundary[layer], digest, sizeof t->boundary[layer]);
	return 0;
}

/* {"head":"<digest of the gradient>","loss":["0x1.8p+3",..],"passes":n} */
static int take_head(struct cwe_tiles *t, const json_t *line)
{
	const char *digest = json_string_value(json_object_get(line, "head"));
	const json_t *losses = json_object_get(line, "loss");
	if (digest == NULL || !cwb_digest_is_hex(digest) || json_array_size(losses) != t->sets) {
		return -1;
	}
	for (uint32_t s = 0; s < t->sets; s++) {
		const char *loss = json_string_value(json_array_get(losses, s));
		if (loss == NULL) {
			return -1;
		}
		t->head_loss[s] = strtod(loss, NULL);
	}
	memcpy(t->head, digest, sizeof t->head);
	return 0;
}

int cwe_tiles_take_forward(struct cwe_tiles *t, const json_t *line)
{
	json_int_t passes = json_integer_value(json_object_get(line, "passes"));
	if (passes < 0) {
		return -1;
	}
	t->passes = passes > 0 ? (uint64_t)passes : t->passes;
	int boundary = json_is_integer(json_object_get(line, "boundary")), head = json_object_get(line, "head") != NULL;
	if (!boundary && !head) {
		return 0;
	}
	return (boundary ? take_boundary(t, line) : take_head(t, line)) == 0 ? 1 : -1;
}

int cwe_tiles_boundary(struct cwe_tiles *t, uint32_t layer, const char *digest, struct cwb_err *err)
{
	memcpy(t->boundary[layer], digest, sizeof t->boundary[layer]);
	return cwe_tiles_append(t, json_pack("{s:I,s:s,s:I}", "boundary", (json_int_t)layer, "digest", digest, "passes",
		(json_int_t)t->passes), err);
}

int cwe_tiles_head(struct cwe_tiles *t, const char *digest, const double *loss, struct cwb_err *err)
{
	json_t *losses = json_array();
	int r = losses != NULL ? 0 : -ENOMEM;
	for (uint32_t s = 0; r == 0 && s < t->sets; s++) {
		char text[64];
		(void)snprintf(text, sizeof text, "%a", loss[s]);
		t->head_loss[s] = loss[s];
		r = json_array_append_new(losses, json_string(text)) == 0 ? 0 : -ENOMEM;
	}
	memcpy(t->head, digest, sizeof t->head);
	json_t *line = r == 0 ? json_pack("{s:s,s:O,s:I}", "head", digest, "loss", losses, "passes", (json_int_t)t->passes) : NULL;
	json_decref(losses);
	return cwe_tiles_append(t, line, err);
}
