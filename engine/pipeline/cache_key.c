/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The key of a run's scores: everything that their bytes depend on, and nothing else. Roles of sets, how they are combined,
 * budgets and the quantizer's options are left out. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/json.h"
#include "engine/format/adapter.h"
#include "engine/pipeline/cache.h"
#include "engine/pipeline/several.h"

/* To be raised when what tiles hold changes though nothing below does. */
#define KEY_VERSION 2

static const char *digest_of(const struct cwe_run *run, const char *path)
{
	return json_string_value(json_object_get(json_object_get(run->inputs, path), "sha256"));
}

/* The files by their own names, so that a moved model is still the same. */
static json_t *model_json(const struct cwe_run *run)
{
	const char *model = run->job->model, *path;
	size_t n = strlen(model);
	json_t *a = json_array(), *input;
	json_object_foreach(run->inputs, path, input) {
		if (strcmp(path, model) == 0) {
			(void)json_array_append_new(a, json_pack("[s,O]", "", json_object_get(input, "sha256")));
		} else if (strncmp(path, model, n) == 0 && path[n] == '/' && strchr(path + n + 1, '/') == NULL) {
			(void)json_array_append_new(a, json_pack("[s,O]", path + n + 1, json_object_get(input, "sha256")));
		}
	}
	return a;
}

static json_t *adapters_json(const struct cwe_run *run)
{
	static const char *const name[] = {CWE_ADAPTER_CONFIG_FILE, CWE_ADAPTER_WEIGHTS_FILE};
	json_t *a = json_array();
	for (size_t i = 0; i < run->job->n_adapters; i++) {
		for (size_t k = 0; k < sizeof name / sizeof *name; k++) {
			char *path;
			if (asprintf(&path, "%s/%s", run->job->adapters[i], name[k]) < 0) {
				json_decref(a);
				return NULL;
			}
			(void)json_array_append_new(a, json_string(digest_of(run, path)));
			free(path);
		}
	}
	return a;
}

/* The samples as they are computed with: tokens, weights, and where sequences, samples and pieces begin. */
static int corpus_digest(const struct cwe_corpus *c, char ret[65])
{
	struct cwb_digest d;
	int r = cwb_digest_begin(&d);
	if (r != 0) {
		return r;
	}
	const uint64_t shape[] = {c->sets, c->tokens, c->pieces};
	cwb_digest_update(&d, shape, sizeof shape);
	cwb_digest_update(&d, c->id, c->tokens * sizeof *c->id);
	cwb_digest_update(&d, c->weight, c->tokens * sizeof *c->weight);
	cwb_digest_update(&d, c->position, c->tokens * sizeof *c->position);
	for (size_t i = 0; i < c->pieces; i++) {
		const struct cwe_piece *p = &c->piece[i];
		const uint64_t piece[] = {p->set, p->at, p->tokens, p->sequences, p->samples};
		cwb_digest_update(&d, piece, sizeof piece);
		cwb_digest_update(&d, p->sequence_start, (p->sequences + 1) * sizeof *p->sequence_start);
		cwb_digest_update(&d, p->sample_start, (p->samples + 1) * sizeof *p->sample_start);
	}
	return cwb_digest_end_hex(&d, ret);
}

static json_t *plugin_json(const struct cwe_plugin *plugin, const struct cwp_setting *settings, uint32_t needs)
{
	const struct cwp_plugin *p = plugin->descriptor;
	json_t *options = json_array();
	for (uint32_t i = 0; i < p->n_options; i++) {
		const struct cwp_setting *s = &settings[i];
		char number[64];
		(void)snprintf(number, sizeof number, "%a", s->number);
		(void)json_array_append_new(options, json_pack("[I,s,s?]", (json_int_t)s->integer, number, s->string));
	}
	return json_pack("{s:s,s:s,s:I,s:o}", "id", p->id, "build", plugin->build_id, "needs", (json_int_t)needs, "options", options);
}

static json_t *scorer_json(const struct cwe_run *run)
{
	/* The quantizer's error enters after the sets were combined. */
	return plugin_json(run->scorer, run->scorer_settings, run->needs & ~(uint32_t)CWP_STAT_QUANT_ERROR);
}

static json_t *modules_json(const struct cwe_run *run)
{
	json_t *a = json_array();
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		if (m->quantized) {
			(void)json_array_append_new(a, json_pack("[s,I,I]", m->name, (json_int_t)m->rows, (json_int_t)m->cols));
		}
	}
	return a;
}

/* How each matrix is quantized. */
static json_t *grids_json(const struct cwe_run *run)
{
	json_t *a = json_array();
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		char digest[65];
		if (m->quantized && cwb_digest_buffer(&m->grid, sizeof m->grid, digest) == 0) {
			(void)json_array_append_new(a, json_pack("[s,s]", m->name, digest));
		}
	}
	return a;
}

/* Of a key, which is taken over; what is it for is said in the error. */
static int digest_key(json_t *key, const char *what, char ret[65], struct cwb_err *err)
{
	size_t length = 0;
	char *text = key != NULL ? cwb_json_dump(key, &length) : NULL;
	json_decref(key);
	int r = text != NULL ? cwb_digest_buffer(text, length, ret) : -ENOMEM;
	free(text);
	return r == 0 ? 0 : cwb_err_set(err, r, "digest of what decides %s", what);
}

/* Of this very program: another build may compute in another order. */
static int program_build(char ret[65], struct cwb_err *err)
{
	static const char path[] = "/proc/self/exe";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		return cwb_err_errno(err, "%s", path);
	}
	int r = cwe_note_build_id(fd, path, ret, err);
	r = r == 0 && ret[0] == '\0' ? cwb_digest_fd(fd, path, NULL, NULL, ret, NULL, err) : r;
	(void)close(fd);
	return r;
}

int cwe_cache_key(const struct cwe_run *run, char ret[65], struct cwb_err *err)
{
	char corpus[65], program[65];
	int r = program_build(program, err);
	if (r != 0) {
		return r;
	}
	if ((r = corpus_digest(&run->corpus, corpus)) != 0) {
		return cwb_err_set(err, r, "digest of the samples");
	}
	json_t *key = json_pack("{s:i,s:s,s:o,s:o,s:s,s:o,s:s,s:s,s:i,s:b,s:o}", "version", KEY_VERSION, "program", program,
		"model", model_json(run), "adapters", adapters_json(run), "samples", corpus, "scorer", scorer_json(run), "backend",
		run->device.ops->describe(run->device.b), "backend_build", run->device.plugin->build_id, "precision",
		(int)run->device.precision, "bf16", run->job->store_bf16, "modules", modules_json(run));
	/* Another number of devices adds in another order. */
	if (key != NULL && cwe_run_lanes(run) > 1 && json_object_set_new(key, "devices", json_integer(cwe_run_lanes(run))) != 0) {
		json_decref(key);
		key = NULL;
	}
	return digest_key(key, "the scores", ret, err);
}

int cwe_cache_model_key(const struct cwe_run *run, char ret[65], struct cwb_err *err)
{
	const char *chat = run->job->chat.format;
	char program[65];
	int r = program_build(program, err);
	if (r != 0) {
		return r;
	}
	json_t *key = json_pack("{s:i,s:s,s:o,s:o,s:s?,s:s?,s:s,s:s,s:i}", "version", KEY_VERSION, "program", program, "model",
		model_json(run), "adapters", adapters_json(run), "chat", chat, "chat_file", chat != NULL ? digest_of(run, chat) : NULL,
		"backend", run->device.ops->describe(run->device.b), "backend_build", run->device.plugin->build_id, "precision",
		(int)run->device.precision);
	return digest_key(key, "the original's answers", ret, err);
}

int cwe_cache_plain_key(const struct cwe_run *run, const char model[65], char ret[65], struct cwb_err *err)
{
	char corpus[65] = "";
	for (size_t i = 0; i < run->modules; i++) {
		uint32_t how = run->module[i].grid.activation;
		if (run->module[i].quantized && (how == CWP_ACT_INT8_TENSOR || how == CWP_ACT_FP8_TENSOR)) {
			ret[0] = '\0';
			return 0;
		}
	}
	int r = run->quantizer_needs != 0 ? corpus_digest(&run->corpus, corpus) : 0;
	if (r != 0) {
		return cwb_err_set(err, r, "digest of the samples");
	}
	json_t *key = json_pack("{s:i,s:s,s:o,s:o,s:s}", "version", KEY_VERSION, "model", model, "quantizer",
		plugin_json(run->quantizer, run->quantizer_settings, run->quantizer_needs), "modules", grids_json(run), "samples", corpus);
	return digest_key(key, "the plainly quantized model's answers", ret, err);
}
