/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* End tokens, from the files that name them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/text/ends.h"

#define FILE_LIMIT (1u << 20)
#define MOST 64 /* end tokens of a model */

struct place {
	const char *source, *file;
};

static int add(struct cwe_ids *ids, int64_t id, const struct place *place, struct cwb_err *err)
{
	if (id < 0 || id > UINT32_MAX) {
		return cwb_err_set(err, CWP_EVALUE, "%s: %s: eos_token_id %lld is no token id", place->source, place->file, (long long)id);
	}
	for (size_t i = 0; i < ids->count; i++) {
		if (ids->id[i] == (uint32_t)id) {
			return 0;
		}
	}
	if (ids->count == MOST) {
		return cwb_err_set(err, CWP_ELIMIT, "%s: %s: more than %d end tokens", place->source, place->file, MOST);
	}
	ids->id[ids->count++] = (uint32_t)id;
	return 0;
}

/* eos_token_id of an object, if it has one. */
static int add_all(struct cwe_ids *ids, const json_t *config, const struct place *place, struct cwb_err *err)
{
	const json_t *eos = json_object_get(config, "eos_token_id");
	size_t n = json_is_array(eos) ? json_array_size(eos) : eos != NULL && !json_is_null(eos) ? 1 : 0;
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		const json_t *one = json_is_array(eos) ? json_array_get(eos, i) : eos;
		r = json_is_integer(one) ? add(ids, json_integer_value(one), place, err)
					 : cwb_err_set(err, CWP_EVALUE, "%s: %s: eos_token_id must be a token id or a list of them, not %s",
						   place->source, place->file, cwb_json_type_name(one));
	}
	return r;
}

/* A multimodal model may name it in the part for its text model only. */
static int add_config(struct cwe_ids *ids, const struct cwe_source *source, struct cwb_err *err)
{
	const struct place place = {source->path, "config.json"};
	const json_t *text = json_object_get(source->config, "text_config");
	int own = json_object_get(source->config, "eos_token_id") != NULL || text == NULL;
	return add_all(ids, own ? source->config : text, &place, err);
}

static int read_generation_config(const struct cwe_source *source, const char *text, size_t length, struct cwe_ids *ids,
	struct cwb_err *err)
{
	const struct place place = {source->path, "generation_config.json"};
	json_t *config = NULL;
	int r = cwb_json_load(text, length, FILE_LIMIT, CWB_JSON_DEPTH, &config, err);
	r = r == 0 ? add_all(ids, config, &place, err) : cwb_err_prefix(err, "%s: %s", place.source, place.file);
	json_decref(config);
	return r;
}

int cwe_end_tokens(struct cwe_source *source, const struct cwe_tokenizer *t, struct cwe_ids *ret, struct cwb_err *err)
{
	struct cwb_err own = {0};
	struct cwe_ids ids = {.id = calloc(MOST, sizeof *ids.id)};
	char *text = NULL;
	size_t length = 0;
	if (ids.id == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for end tokens");
	}
	int r = cwe_source_text(source, "generation_config.json", &text, &length, &own);
	if (r == 0) {
		r = read_generation_config(source, text, length, &ids, &own);
	} else if (r == CWP_EMISSING) {
		cwb_err_clear(&own);
		r = add_config(&ids, source, &own);
	}
	if (r == 0 && t != NULL && cwe_tokenizer_eos(t) >= 0) {
		const struct place place = {source->path, "tokenizer_config.json"};
		r = add(&ids, cwe_tokenizer_eos(t), &place, &own);
	}
	free(text);
	if (r != 0) {
		free(ids.id);
		return cwb_err_set(err, r, "%s", own.message);
	}
	*ret = ids;
	return 0;
}
