/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An opened model, whichever kind of source it comes from. */
#include "engine/format/source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/format/adapter.h"
#include "engine/format/checkpoint.h"
#include "engine/format/gguf_output.h"
#include "engine/format/output_gguf.h"

#define CONFIG_MAX (16u << 20)
#define TEXT_MAX (256u << 20) /* the largest tokenizer.json so far has 33 MB */

struct source {
	struct cwe_source base;
	struct cwe_gguf *gguf; /* NULL unless CWE_SOURCE_GGUF */
};

/* The files beside the weights that an output takes over. */
static const char *const texts[] = {"tokenizer.json", "tokenizer_config.json", "generation_config.json",
	"special_tokens_map.json", "chat_template.jinja"};

static int no_memory(const char *path, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory", path);
}

int cwe_source_is_there(const char *directory, const char *name)
{
	char *path;
	int there;

	if (asprintf(&path, "%s/%s", directory, name) < 0)
		return 1;
	there = !access(path, F_OK) || errno != ENOENT;
	free(path);
	return there;
}

static int load_config(struct source *s, unsigned flags, struct cwb_err *err)
{
	char *path;
	int rc;

	if (!cwe_source_is_there(s->base.path, "config.json")) {
		if (flags & CWE_SOURCE_NO_WEIGHTS)
			return 0;
		return cwb_err_set(err, CWP_EMISSING, "%s: no config.json; a model is a Hugging Face directory or a .gguf file",
			s->base.path);
	}
	if (asprintf(&path, "%s/config.json", s->base.path) < 0)
		return no_memory(s->base.path, err);
	rc = cwb_json_load_file(path, CONFIG_MAX, CWB_JSON_DEPTH, &s->base.config, err);
	if (!rc && !json_is_object(s->base.config))
		rc = cwb_err_set(err, CWP_EFORMAT, "%s: no object", path);
	free(path);
	return rc;
}

/* Weights of an output, with those of the adapter that it carries. */
static int open_output(struct source *s, struct cwb_err *err)
{
	struct cwe_adapter *adapter = NULL;
	char *folder;
	int rc = cwe_output_weights_open(s->base.path, s->base.config, &s->base.weights, err);

	if (!rc)
		rc = cwe_adapter_open_beside(s->base.path, &adapter, err);
	if (rc || !adapter)
		return rc;
	folder = adapter->directory;
	rc = cwe_adapter_weights_open(s->base.weights, &folder, 1, &s->base.weights, &s->base.merge_memory, err);
	cwe_adapter_close(adapter);
	return rc;
}

static int open_gguf(struct source *s, const char *path, unsigned flags, unsigned how, struct cwb_err *err)
{
	int rc = cwe_gguf_open(path, &s->gguf, err);

	if (!rc)
		rc = cwe_gguf_config(s->gguf, &s->base.config, err);
	if (!rc && !(flags & CWE_SOURCE_NO_WEIGHTS))
		rc = cwe_gguf_weights_new(s->gguf, how, &s->base.weights, err);
	return rc;
}

/* What engines compute with: codes times scales, not rounded further. */
static int open_gguf_output(struct source *s, unsigned flags, struct cwb_err *err)
{
	char *path;
	int rc;

	s->base.kind = CWE_SOURCE_OUTPUT;
	if (asprintf(&path, "%s/%s", s->base.path, CWE_GGUF_FILE) < 0)
		return no_memory(s->base.path, err);
	rc = open_gguf(s, path, flags, CWE_GGUF_WEIGHTS_EXACT, err);
	free(path);
	return rc;
}

static int open_directory(struct source *s, unsigned flags, struct cwb_err *err)
{
	const json_t *quantization;
	int rc;

	s->base.kind = CWE_SOURCE_DIRECTORY;
	if (cwe_output_gguf_is(s->base.path))
		return open_gguf_output(s, flags, err);
	rc = load_config(s, flags, err);
	if (rc || (flags & CWE_SOURCE_NO_WEIGHTS))
		return rc;
	if (cwe_output_is(s->base.path, s->base.config)) {
		s->base.kind = CWE_SOURCE_OUTPUT;
		return open_output(s, err);
	}
	quantization = json_object_get(s->base.config, "quantization_config");
	if (quantization && !json_is_null(quantization))
		return cwb_err_set(err, CWP_EUNKNOWN, "%s/config.json: quantization_config: the weights are quantized already; take "
			"the model that they were made from", s->base.path);
	return cwe_checkpoint_weights_open(s->base.path, &s->base.weights, err);
}

int cwe_source_open(const char *path, unsigned flags, struct cwe_source **ret, struct cwb_err *err)
{
	struct source *s;
	struct stat st;
	int rc;

	if (stat(path, &st))
		return cwb_err_errno(err, "%s: cannot be opened", path);
	s = calloc(1, sizeof *s);
	if (!s)
		return no_memory(path, err);
	s->base.path = strdup(path);
	s->base.kind = CWE_SOURCE_GGUF;
	if (!s->base.path)
		rc = no_memory(path, err);
	else if (S_ISDIR(st.st_mode))
		rc = open_directory(s, flags, err);
	else
		rc = open_gguf(s, s->base.path, flags, 0, err);
	if (rc) {
		cwe_source_close(&s->base);
		return rc;
	}
	*ret = &s->base;
	return 0;
}

int cwe_source_adapt(struct cwe_source *s, char *const *directories, size_t n, struct cwb_err *err)
{
	uint64_t memory = 0;
	int rc;

	if (!n)
		return 0;
	if (s->kind == CWE_SOURCE_OUTPUT)
		return cwb_err_set(err, CWP_EVALUE, "%s: is quantized already; merge an adapter into the model that it was made from",
			s->path);
	rc = cwe_adapter_weights_open(s->weights, directories, n, &s->weights, &memory, err);
	s->merge_memory = memory > s->merge_memory ? memory : s->merge_memory;
	return rc;
}

void cwe_source_close(struct cwe_source *source)
{
	struct source *s = (struct source *)source;

	if (!s)
		return;
	cwe_weights_close(s->base.weights);
	cwe_gguf_close(s->gguf);
	json_decref(s->base.config);
	free(s->base.path);
	free(s);
}

const struct cwe_gguf *cwe_source_gguf(const struct cwe_source *source)
{
	return ((const struct source *)source)->gguf;
}

static int gguf_text(const struct source *s, const char *name, char **ret_text, size_t *ret_length, struct cwb_err *err)
{
	json_t *json = NULL;
	int rc = CWP_EMISSING;

	if (!strcmp(name, "tokenizer.json"))
		rc = cwe_gguf_tokenizer(s->gguf, &json, err);
	else if (!strcmp(name, "tokenizer_config.json"))
		rc = cwe_gguf_tokenizer_config(s->gguf, &json, err);
	else if (!strcmp(name, "generation_config.json"))
		rc = cwe_gguf_generation_config(s->gguf, &json, err);
	else
		return cwb_err_set(err, CWP_EMISSING, "%s: a GGUF file has no %s", s->base.path, name);
	if (rc)
		return rc;
	*ret_text = cwb_json_text(json, JSON_INDENT(1) | JSON_REAL_PRECISION(15), ret_length);
	json_decref(json);
	return *ret_text ? 0 : no_memory(s->base.path, err);
}

int cwe_source_text(struct cwe_source *source, const char *name, char **ret_text, size_t *ret_length, struct cwb_err *err)
{
	const struct source *s = (const struct source *)source;
	int known = 0, rc;
	char *path;

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		known |= !strcmp(name, texts[i]);
	if (!known)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: \"%s\" is no text of a source", s->base.path, name);
	if (s->gguf)
		return gguf_text(s, name, ret_text, ret_length, err);
	if (!cwe_source_is_there(s->base.path, name))
		return cwb_err_set(err, CWP_EMISSING, "%s: no %s", s->base.path, name);
	if (asprintf(&path, "%s/%s", s->base.path, name) < 0)
		return no_memory(s->base.path, err);
	rc = cwb_file_read(path, TEXT_MAX, ret_text, ret_length, err);
	free(path);
	return rc;
}
