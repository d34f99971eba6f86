/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What quantization layer by layer leaves on scratch: a boundary, and a small file that names it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/calibrate/checkpoint.h"
#include "engine/pipeline/sequential.h"

#define FILE_NAME "sequence.json"
#define FILE_LIMIT (64u << 20)

static int nomem(struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "no memory for the state of quantization");
}

static const char *boundary_name(uint32_t layer, char name[32])
{
	(void)snprintf(name, 32, "sequence-%" PRIu32, layer);
	return name;
}

/* Whether a file's content is a state of this run; then it is taken. */
static int take(const struct cwe_run *run, const json_t *all, struct cwe_sequential *s)
{
	const char *identity = json_string_value(json_object_get(all, "identity"));
	const char *digest = json_string_value(json_object_get(all, "digest"));
	json_t *notes = json_object_get(all, "notes");
	json_int_t layer = json_integer_value(json_object_get(all, "layer"));
	const json_t *one;
	size_t i;
	if (identity == NULL || strcmp(identity, run->identity) != 0 || digest == NULL || strlen(digest) > 64 || !json_is_array(notes) ||
		layer < 0 || layer > (json_int_t)run->model.arch.layers) {
		return 0;
	}
	json_array_foreach (notes, i, one) {
		if (!json_is_string(json_object_get(one, "module")) || !json_is_string(json_object_get(one, "note"))) {
			return 0;
		}
	}
	s->layer = (uint32_t)layer;
	(void)snprintf(s->digest, sizeof s->digest, "%s", digest);
	json_decref(s->notes);
	s->notes = json_incref(notes);
	return 1;
}

int cwe_sequential_open(const struct cwe_run *run, struct cwe_sequential *ret, struct cwb_err *err)
{
	struct cwe_sequential s = {.notes = json_array()};
	char *text = NULL;
	size_t length = 0;
	json_t *all = NULL;
	if (s.notes == NULL) {
		return nomem(err);
	}
	if (cwb_file_read_at(run->scratch_fd, FILE_NAME, FILE_LIMIT, &text, &length, NULL) == 0 &&
		cwb_json_load(text, length, FILE_LIMIT, 8, &all, NULL) == 0) {
		(void)take(run, all, &s);
	}
	json_decref(all);
	free(text);
	*ret = s;
	return 0;
}

void cwe_sequential_close(struct cwe_sequential *s)
{
	json_decref(s->notes);
	s->notes = NULL;
}

int cwe_sequential_load(const struct cwe_run *run, const struct cwe_sequential *s, struct cwe_boundary *b, uint32_t slot,
	struct cwb_err *err)
{
	char name[32];
	return cwe_checkpoint_load(run->p->scratch, boundary_name(s->layer, name), s->digest, b, slot, err);
}

int cwe_sequential_advance(const struct cwe_run *run, struct cwe_sequential *s, uint32_t layer, struct cwe_boundary *b, uint32_t slot,
	struct cwb_err *err)
{
	char name[32], digest[65] = "";
	int r = b != NULL ? cwe_checkpoint_save(run->p->scratch, boundary_name(layer, name), b, slot, digest, err) : 0;
	json_t *all = r == 0 ? json_pack("{s:s,s:I,s:s,s:O}", "identity", run->identity, "layer", (json_int_t)layer, "digest",
		digest, "notes", s->notes) : NULL;
	size_t length = 0;
	char *text = all != NULL ? cwb_json_dump(all, &length) : NULL;
	json_decref(all);
	if (r == 0) {
		r = text != NULL ? cwb_file_replace(run->scratch_fd, FILE_NAME, text, length, 0600, err) : nomem(err);
	}
	free(text);
	if (r == 0) {
		cwe_checkpoint_remove(run->p->scratch, boundary_name(s->layer, name));
		s->layer = layer;
		memcpy(s->digest, digest, sizeof digest);
	}
	return r;
}

int cwe_sequential_note(struct cwe_sequential *s, const char *module, const char *note, struct cwb_err *err)
{
	struct cwb_err line = {0}; /* makes one clean line of what a plugin wrote */
	(void)cwb_err_set(&line, CWP_EVALUE, "%s", note);
	return json_array_append_new(s->notes, json_pack("{s:s,s:s}", "module", module, "note", line.message)) == 0 ? 0 : nomem(err);
}
