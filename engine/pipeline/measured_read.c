/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* outcomes.jsonl of a finished output, read back. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "engine/format/manifest.h"
#include "engine/pipeline/measured.h"

#define FILE_LIMIT ((size_t)1 << 30)
#define LINE_LIMIT ((size_t)64 << 10)
#define MANIFEST_LIMIT ((size_t)64 << 20)
#define DEPTH 4

static const char *const model_name[CWE_COMPARED] = {"original", "quantized", "protected"};
static const char *const form_name[] = {"other", "mean", "exp-mean"};

struct reading {
	struct cwe_measured_file file;
	struct cwe_outcomes *o; /* of the metric at hand; NULL before the first */
	uint64_t left;          /* items of it to come */
	int present[CWE_COMPARED];
};

/* A number of an object; NaN where it is null or absent. */
static int get_number(const json_t *json, const char *key, double *ret, struct cwb_err *err)
{
	*ret = NAN;
	return cwb_json_get_number(json, key, CWB_JSON_OPTIONAL, ret, err);
}

static int take_header(struct reading *r, const json_t *line, struct cwb_err *err)
{
	int64_t version = 0;
	int code = cwb_json_get_i64(line, "version", CWB_JSON_REQUIRED, 0, INT64_MAX, &version, err);
	if (code == 0 && version != 1) {
		return cwb_err_set(err, CWP_EFORMAT, "version %lld is not known here; this program reads version 1", (long long)version);
	}
	code = code == 0 ? cwb_json_get_u64(line, "seed", CWB_JSON_REQUIRED, 0, INT64_MAX, &r->file.seed, err) : code;
	return code == 0 ? cwb_json_get_bool(line, "protecting", CWB_JSON_REQUIRED, &r->file.protecting, err) : code;
}

/* The evaluation of that name, begun where it is new. */
static int find_evaluation(struct reading *r, const char *name, const char *benchmark, const char *data, struct cwb_err *err)
{
	struct cwe_measured_file *f = &r->file;
	for (size_t i = 0; i < f->n; i++) {
		if (strcmp(f->measured[i].name, name) == 0) {
			r->o = &f->measured[i].outcomes;
			return 0;
		}
	}
	struct cwe_measured *more = realloc(f->measured, (f->n + 1) * sizeof *more);
	struct cwe_measured m = {.name = strdup(name), .benchmark = strdup(benchmark)};
	f->measured = more != NULL ? more : f->measured;
	if (more == NULL || m.name == NULL || m.benchmark == NULL) {
		free(m.name);
		free(m.benchmark);
		return cwb_err_set(err, -ENOMEM, "no memory for outcomes");
	}
	(void)snprintf(m.data, sizeof m.data, "%s", data);
	more[f->n] = m;
	r->o = &more[f->n++].outcomes;
	return 0;
}

/* What went wrong in the sink. */
static int check_sink(const struct reading *r, struct cwb_err *err)
{
	if (r->o->failed == 0) {
		return 0;
	}
	return r->o->failed == -ENOMEM ? cwb_err_set(err, -ENOMEM, "no memory for outcomes")
		: cwb_err_set(err, CWP_EFORMAT, "a metric or an item that cannot be one; remove the file and run the job again");
}

static int take_models(struct reading *r, const json_t *line, struct cwp_metric *m, struct cwb_err *err)
{
	const struct cwp_metric_sink sink = cwe_outcomes_sink(r->o);
	int code = 0;
	for (size_t k = 0; code == 0 && k < CWE_COMPARED; k++) {
		json_t *model = NULL;
		code = cwb_json_get_object(line, model_name[k], CWB_JSON_OPTIONAL, &model, err);
		r->present[k] = model != NULL;
		if (code != 0 || model == NULL) {
			continue;
		}
		if ((code = cwb_json_get_u64(model, "n", CWB_JSON_REQUIRED, 0, INT64_MAX, &m->n, err)) == 0 &&
			(code = get_number(model, "value", &m->value, err)) == 0 && (code = get_number(model, "low", &m->low, err)) == 0 &&
			(code = get_number(model, "high", &m->high, err)) == 0 &&
			(code = get_number(model, "standard_error", &m->standard_error, err)) == 0) {
			cwe_outcomes_begin(r->o, (enum cwe_compared)k);
			sink.metric(sink.ctx, m);
			code = check_sink(r, err);
		}
	}
	return code;
}

static int take_metric(struct reading *r, const json_t *line, struct cwb_err *err)
{
	struct cwp_metric m = {.size = sizeof m};
	const char *name = NULL, *benchmark = NULL, *data = "", *form = NULL;
	int64_t direction = 0;
	int code;
	if ((code = cwb_json_get_string(line, "name", CWB_JSON_REQUIRED, &name, err)) != 0 ||
		(code = cwb_json_get_string(line, "benchmark", CWB_JSON_REQUIRED, &benchmark, err)) != 0 ||
		(code = cwb_json_get_string(line, "data", CWB_JSON_REQUIRED, &data, err)) != 0 ||
		(code = cwb_json_get_string(line, "metric", CWB_JSON_REQUIRED, &m.name, err)) != 0 ||
		(code = cwb_json_get_string(line, "group", CWB_JSON_OPTIONAL, &m.group, err)) != 0 ||
		(code = cwb_json_get_string(line, "form", CWB_JSON_REQUIRED, &form, err)) != 0 ||
		(code = cwb_json_get_i64(line, "direction", CWB_JSON_REQUIRED, -1, 1, &direction, err)) != 0 ||
		(code = get_number(line, "ideal", &m.ideal, err)) != 0 ||
		(code = cwb_json_get_u64(line, "items", CWB_JSON_REQUIRED, 0, UINT32_MAX, &r->left, err)) != 0) {
		return code;
	}
	m.direction = (int32_t)direction;
	while (m.form < 3 && strcmp(form_name[m.form], form) != 0) {
		m.form++;
	}
	if (m.form == 3) {
		return cwb_err_set(err, CWP_EFORMAT, "form: \"%s\" is neither other nor mean nor exp-mean", form);
	}
	code = find_evaluation(r, name, benchmark, data, err);
	return code == 0 ? take_models(r, line, &m, err) : code;
}

static double number_at(const json_t *array, size_t i)
{
	const json_t *x = json_array_get(array, i);
	return json_is_number(x) ? json_number_value(x) : NAN;
}

static int take_item(struct reading *r, const json_t *line, struct cwb_err *err)
{
	const struct cwp_metric_sink sink = cwe_outcomes_sink(r->o);
	struct cwp_item item = {.size = sizeof item};
	int code = cwb_json_get_string(line, "id", CWB_JSON_REQUIRED, &item.id, err);
	code = code == 0 ? cwb_json_get_string(line, "group", CWB_JSON_OPTIONAL, &item.group, err) : code;
	for (size_t k = 0; code == 0 && k < CWE_COMPARED; k++) {
		json_t *model = NULL;
		code = cwb_json_get_array(line, model_name[k], CWB_JSON_OPTIONAL, &model, err);
		if (code != 0 || model == NULL) {
			continue;
		}
		if (!r->present[k] || json_array_size(model) != 3 || !json_is_integer(json_array_get(model, 2)) ||
			json_integer_value(json_array_get(model, 2)) < -1) {
			return cwb_err_set(err, CWP_EFORMAT, "%s: is not [value, weight, choice] of a model that has this metric", model_name[k]);
		}
		item.value = number_at(model, 0);
		item.weight = number_at(model, 1);
		item.choice = json_integer_value(json_array_get(model, 2));
		r->o->current = (enum cwe_compared)k;
		sink.item(sink.ctx, &item);
		code = check_sink(r, err);
	}
	r->left--;
	return code;
}

static int take_line(struct reading *r, size_t number, const char *text, size_t length, struct cwb_err *err)
{
	json_t *line = NULL;
	int code = cwb_json_load(text, length, LINE_LIMIT, DEPTH, &line, err);
	if (code == 0 && !json_is_object(line)) {
		code = cwb_err_set(err, CWP_EFORMAT, "a line is not an object");
	}
	if (code == 0) {
		code = number == 1 ? take_header(r, line, err) : r->left > 0 ? take_item(r, line, err) : take_metric(r, line, err);
	}
	json_decref(line);
	return code;
}

static int take_text(struct reading *r, const char *path, const char *text, size_t length, struct cwb_err *err)
{
	size_t number = 0, at = 0;
	int code = 0;
	while (code == 0 && at < length) {
		const char *end = memchr(text + at, '\n', length - at);
		size_t n = end != NULL ? (size_t)(end - text) - at : length - at;
		struct cwb_err own = {0};
		code = take_line(r, ++number, text + at, n, &own);
		if (code != 0) {
			return cwb_err_set(err, code, "%s:%zu: %s", path, number, own.message);
		}
		at += n + 1;
	}
	if (number == 0 || r->left > 0) {
		return cwb_err_set(err, CWP_EFORMAT, "%s: ends in the middle; run the job again", path);
	}
	return 0;
}

/* The file's digest in the output's manifest. CWP_EMISSING: the output is finished, but has none. */
static int read_digest(const char *output, char ret[CWB_DIGEST_HEX], struct cwb_err *err)
{
	char *path = NULL;
	json_t *manifest = NULL;
	if (asprintf(&path, "%s/manifest.json", output) < 0) {
		return cwb_err_set(err, -ENOMEM, "no memory for a path");
	}
	int code = cwb_json_load_file(path, MANIFEST_LIMIT, CWB_JSON_DEPTH, &manifest, err);
	const json_t *file = json_object_get(json_object_get(manifest, "files"), CWE_OUTCOMES_FILE);
	const char *known = json_string_value(json_object_get(file, "sha256"));
	if (code == 0 && known == NULL) {
		code = cwb_err_set(err, CWP_EMISSING, "%s has no " CWE_OUTCOMES_FILE ": the job evaluated nothing, had no room for it, or ran before "
			"outcomes were kept; run it again with evaluate", output);
	}
	if (code == 0) {
		(void)snprintf(ret, CWB_DIGEST_HEX, "%s", known);
	}
	json_decref(manifest);
	free(path);
	return code;
}

int cwe_measured_read(const char *output, struct cwe_measured_file *ret, struct cwb_err *err)
{
	struct reading r = {0};
	char *path = NULL, *text = NULL, known[CWB_DIGEST_HEX], found[CWB_DIGEST_HEX] = "";
	size_t length = 0;
	if (asprintf(&path, "%s/%s", output, CWE_OUTCOMES_FILE) < 0) {
		return cwb_err_set(err, -ENOMEM, "no memory for a path");
	}
	int code = read_digest(output, known, err);
	code = code == 0 ? cwb_file_read(path, FILE_LIMIT, &text, &length, err) : code;
	if (code == 0 && cwb_digest_buffer(text, length, found) != 0) {
		code = cwb_err_set(err, -ENOMEM, "no memory for a digest");
	}
	/* What was changed later is not judged. */
	if (code == 0 && strcmp(known, found) != 0) {
		code = cwb_err_set(err, CWP_EDIGEST, "%s: is not what its manifest says, but was changed later; run the job again", path);
	}
	code = code == 0 ? take_text(&r, path, text, length, err) : code;
	free(text);
	free(path);
	if (code != 0) {
		cwe_measured_free(r.file.measured, r.file.n);
		return code;
	}
	*ret = r.file;
	return 0;
}
